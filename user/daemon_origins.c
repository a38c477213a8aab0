/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The daemon's origins: those of the configuration, with a source for each route that has one, and
 * what they say of themselves to who watches.
 */
#include "daemon.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "observe/metrics.h"
#include "origin/origins.h"

int daemon_open_origins(struct daemon *d)
{
	const struct config *c = &d->config;
	struct origins_conf confs[ORIGINS_MAX];
	struct origins_setup setup = {
		.all = confs, .cnt = c->origin_cnt, .store = d->store, .clock = d->clock
	};
	struct origins_source *sources = alloc_zero(c->routes.cnt + 1, sizeof(*sources));
	char why[ORIGIN_WHY_MAX];
	int err;

	if (!sources)
		return -ENOMEM;
	for (uint32_t i = 0; i < c->origin_cnt; i++)
		confs[i] =
			(struct origins_conf){ .name = c->origins[i].name,
					       .kind = c->origins[i].kind,
					       .target = c->origins[i].target,
					       .timeout_ms = c->origins[i].timeout_ms,
					       .waiting_max = c->origins[i].waiting_max,
					       .connection_cnt = c->origins[i].connection_cnt,
					       .journal = c->origins[i].journal,
					       .journal_delay_ms = c->origins[i].journal_delay_ms };
	for (uint32_t i = 0; i < c->routes.cnt; i++) {
		const struct route_rule *rule = &c->routes.rules[i];
		struct origins_source *source = &sources[setup.source_cnt];

		if (!rule->origin)
			continue;
		*source = (struct origins_source){ .key = rule->key,
						   .read = rule->read,
						   .as_json = rule->json,
						   .write = rule->write,
						   .remove = rule->remove,
						   .behind = rule->behind };
		while (strcmp(confs[source->origin].name, rule->origin) != 0)
			source->origin++;
		setup.source_cnt++;
	}
	setup.sources = sources;
	err = setup.cnt > 0 ? origins_new(&setup, &d->origins, why) : 0;
	if (err)
		log_line(LOG_ERROR, "main", "cannot open the origin %s", why);
	alloc_free(sources);
	return err;
}

int daemon_start_origins(struct daemon *d)
{
	char why[ORIGIN_WHY_MAX] = "no thread can be made";
	int err = origins_start(d->origins, why);

	if (err)
		log_line(LOG_ERROR, "main", "cannot start the origin %s", why);
	return err;
}

/* --- metrics --- */

static void put_asks(struct metrics_page *page, const struct origins *origins)
{
	metrics_family(page, METRICS_COUNTER, "xdpcache_origin_asks",
		       "Keys that were not here and that clients wanted of an origin.");
	for (uint32_t i = 0; i < origins_cnt(origins); i++)
		metrics_u64(page, origins_counts(origins, i)->asked, "origin",
			    origins_name(origins, i));
	metrics_family(page, METRICS_COUNTER, "xdpcache_origin_stale",
		       "Old values served: while a new one was fetched, or as none could be had.");
	for (uint32_t i = 0; i < origins_cnt(origins); i++) {
		const struct flight_counts *counts = origins_counts(origins, i);
		const char *name = origins_name(origins, i);

		metrics_u64(page, counts->stale, "origin", name, "reason", "refresh");
		metrics_u64(page, counts->stale_error, "origin", name, "reason", "error");
	}
	metrics_family(
		page, METRICS_COUNTER, "xdpcache_origin_refused",
		"Questions that were not put: it fails, too many wait, or the rate's bound.");
	for (uint32_t i = 0; i < origins_cnt(origins); i++)
		metrics_u64(page, origins_counts(origins, i)->refused, "origin",
			    origins_name(origins, i));
}

static void put_queries(struct metrics_page *page, const struct origins *origins)
{
	metrics_family(page, METRICS_COUNTER, "xdpcache_origin_queries",
		       "Questions to an origin, one for all who want a key, by what came of them.");
	for (uint32_t i = 0; i < origins_cnt(origins); i++) {
		const struct flight_counts *counts = origins_counts(origins, i);
		const char *name = origins_name(origins, i);

		metrics_u64(page, counts->found, "origin", name, "result", "found");
		metrics_u64(page, counts->absent, "origin", name, "result", "absent");
		metrics_u64(page, counts->failed, "origin", name, "result", "failed");
	}
	metrics_family(page, METRICS_COUNTER, "xdpcache_origin_voided",
		       "Answers that were not kept: the key was changed on the way.");
	for (uint32_t i = 0; i < origins_cnt(origins); i++)
		metrics_u64(page, origins_counts(origins, i)->voided, "origin",
			    origins_name(origins, i));
}

static void put_writes(struct metrics_page *page, const struct origins *origins)
{
	metrics_family(page, METRICS_COUNTER, "xdpcache_origin_writes",
		       "Changes that an origin was told of first, by what came of them.");
	for (uint32_t i = 0; i < origins_cnt(origins); i++) {
		const struct write_counts *counts = origins_write_counts(origins, i);
		const char *name = origins_name(origins, i);

		metrics_u64(page, counts->writes_made, "origin", name, "result", "made");
		metrics_u64(page, counts->writes_refused, "origin", name, "result", "refused");
		metrics_u64(page, counts->writes_failed, "origin", name, "result", "failed");
	}
}

static void put_journals(struct metrics_page *page, const struct origins *origins)
{
	struct journal_stats stats;

	metrics_family(
		page, METRICS_GAUGE, "xdpcache_origin_journal_records",
		"Changes that clients were promised: those that the origin does not have yet, "
		"and those that it refused.");
	for (uint32_t i = 0; i < origins_cnt(origins); i++) {
		if (!origins_journal_stats(origins, i, &stats))
			continue;
		metrics_u64(page, stats.pending_cnt, "origin", origins_name(origins, i), "state",
			    "pending");
		metrics_u64(page, stats.dead_cnt, "origin", origins_name(origins, i), "state",
			    "dead");
	}
}

static void put_breakers(struct metrics_page *page, const struct origins *origins)
{
	metrics_family(page, METRICS_GAUGE, "xdpcache_origin_breaker_state",
		       "1 at the state in which the last question found the origin's breaker.");
	for (uint32_t i = 0; i < origins_cnt(origins); i++) {
		const int now = origins_counts(origins, i)->breaker;

		for (int state = BREAKER_CLOSED; state <= BREAKER_HALF_OPEN; state++)
			metrics_u64(page, state == now, "origin", origins_name(origins, i), "state",
				    breaker_state_name((enum breaker_state)state));
	}
}

void daemon_origin_metrics(void *ctx, struct metrics_page *page)
{
	const struct daemon *d = ctx;

	if (!d->origins)
		return;
	put_asks(page, d->origins);
	put_queries(page, d->origins);
	put_writes(page, d->origins);
	put_journals(page, d->origins);
	put_breakers(page, d->origins);
}
