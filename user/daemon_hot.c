/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who decides which keys are in the kernel, and what operators want of it.
 */
#include "daemon.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "command/command.h"
#include "control/command.h"
#include "fastpath/counters.h"
#include "fastpath/kmap.h"
#include "fastpath/loader.h"
#include "fastpath/pins.h"
#include "hot_file.h"
#include "net/net.h"
#include "origin/origins.h"
#include "promote/promoter.h"
#include "route/routes.h"

/* Where choices are saved. */
static int path_of(const struct daemon *d, char ret[PATH_MAX])
{
	struct pins pins;
	int err = 0;

	if (d->config.hot_file) {
		snprintf(ret, PATH_MAX, "%s", d->config.hot_file);
	} else {
		err = pins_init(&pins, d->config.pin_root, d->config.instance);
		snprintf(ret, PATH_MAX, "%s", pins.hot);
	}
	return err;
}

int daemon_load_hot(struct daemon *d)
{
	struct hot_choices *choices = &d->hot;
	char path[PATH_MAX];
	int err = path_of(d, path);

	if (!err)
		err = hot_file_load(path, choices);
	if (!err) {
		uint32_t ban_cnt = 0;

		for (uint32_t i = 0; i < choices->wish_cnt; i++)
			ban_cnt += choices->wishes[i].ban;
		log_line(LOG_INFO, "main",
			 "hot keys: pinned=%u banned=%u threshold=%u entries=%u bytes=%llu "
			 "(0: as configured) saved in %s",
			 choices->wish_cnt - ban_cnt, ban_cnt, choices->limits.threshold,
			 choices->limits.entry_max, (unsigned long long)choices->limits.byte_max,
			 path);
	} else if (err != -ENOENT && err != -EBADMSG) {
		log_line(LOG_WARN, "main", "cannot read %s: %s; pins, bans and limits start anew",
			 path, strerror(-err));
	}
	/* The cache is worth more than who is pinned in it. */
	return 0;
}

/* Control's thread. */
int daemon_save_hot(void *ctx, char *why)
{
	struct daemon *d = ctx;
	struct hot_choices choices = { 0 };
	struct promoter_budget budget;
	char path[PATH_MAX];
	int err = path_of(d, path);

	choices.wishes = alloc_zero(PROMOTER_WISH_MAX, sizeof(*choices.wishes));
	if (!err && !choices.wishes)
		err = -ENOMEM;
	if (!err) {
		promoter_budget(d->promoter, &budget);
		choices.limits = budget.set;
		choices.wish_cnt = promoter_wishes(d->promoter, choices.wishes, PROMOTER_WISH_MAX);
		err = hot_file_save(path, &choices);
	}
	hot_choices_fini(&choices);
	if (err)
		snprintf(why, CONTROL_WHY_MAX, "%.60s: %s; name a place for it with --hot-file",
			 path, strerror(-err));
	return err;
}

static void kernel_hits(void *ctx, struct span key, uint64_t hits, bool absent)
{
	command_kernel_hits(net_command(((struct daemon *)ctx)->net), key, hits, absent);
}

static int read_routes(void *ctx, struct xc_routes *ret)
{
	return counters_routes(fastpath_maps(((struct daemon *)ctx)->fp)->routes_fd, ret);
}

static void route_hits(void *ctx, const struct route *route, uint64_t hits, uint64_t absent)
{
	command_kernel_route(net_command(((struct daemon *)ctx)->net), route, hits, absent);
}

static void ends_soon(void *ctx, const struct route *route, struct span key, uint64_t hash)
{
	struct origins *origins = ((struct daemon *)ctx)->origins;

	if (route->rule.source && origins_takes(origins, route->rule.source, key))
		origins_refresh(origins, &route->rule, key, hash);
}

static bool is_here(void *ctx, struct span key)
{
	return daemon_answers_for(ctx, key);
}

int daemon_start_promoter(struct daemon *d)
{
	struct promoter_options options = { .store = d->store,
					    .kmap = d->kmap,
					    .tracker = d->tracker,
					    .routes = &d->routes,
					    .on_hits = kernel_hits,
					    .on_route_hits = route_hits,
					    .ctx = d,
					    .clock = d->clock,
					    .threshold = d->config.hot_threshold,
					    .negative_ttl_sec = d->config.negative_ttl_sec,
					    .place_bytes = FASTPATH_ENTRY_BYTES,
					    .grace = daemon_grace,
					    .limits = d->hot.limits,
					    .wishes = d->hot.wishes,
					    .wish_cnt = d->hot.wish_cnt };
	int err;

	if (d->fp)
		options.read_routes = read_routes;
	if (d->cluster.ring)
		options.is_here = is_here;
	if (d->origins)
		options.on_ends_soon = ends_soon;
	options.entry_max = d->kmap ? kmap_entry_cnt(d->kmap) : 0;
	if (d->config.hot_max && options.entry_max > d->config.hot_max)
		options.entry_max = d->config.hot_max;
	err = promoter_start(&options, &d->promoter);
	hot_choices_fini(&d->hot);
	if (!err)
		control_set_promoter(d->control, d->promoter);
	return err;
}
