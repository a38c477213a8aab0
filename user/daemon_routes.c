/* SPDX-License-Identifier: BSD-2-Clause */
/* The routes in effect, and their exchange while the daemon serves. */
#include "daemon.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "command/command.h"
#include "origin/origins.h"
#include "route/routes.h"

/* Only the main thread replaces the table, so to it the current one stays. */
static struct routes *current(const struct daemon *d)
{
	return routes_of(atomic_load_explicit(&d->routes.current, memory_order_relaxed));
}

/* A source that was not there at the start cannot be asked; 0. */
static uint32_t source_of(const struct daemon *d, const struct route_rule *rule)
{
	const struct origins_source source = { .key = rule->key,
					       .read = rule->read,
					       .as_json = rule->json,
					       .write = rule->write,
					       .remove = rule->remove,
					       .behind = rule->behind };

	return d->origins && rule->origin ? origins_find(d->origins, rule->origin, &source) : 0;
}

static int number_sources(const struct daemon *d, const struct config_routes *from,
			  struct route_rule *rules)
{
	for (uint32_t i = 0; i < from->cnt; i++) {
		rules[i] = from->rules[i];
		rules[i].source = source_of(d, &rules[i]);
		rules[i].writes = rules[i].source && rules[i].write;
		rules[i].removes = rules[i].source && rules[i].remove;
		if (rules[i].origin && !rules[i].source) {
			log_line(LOG_ERROR, "main",
				 "%s: origin, key, json or a statement of \"%s\" is new: restart "
				 "for it, or write what was there before",
				 from->sources[i], (const char *)rules[i].prefix.ptr);
			return -EBUSY;
		}
	}
	return 0;
}

static int set_routes(struct daemon *d, const struct config_routes *from)
{
	struct route_rule *rules = alloc_zero(from->cnt + 1, sizeof(*rules));
	struct routes *routes = NULL;
	int err = rules ? number_sources(d, from, rules) : -ENOMEM;

	if (!err && from->cnt > 0)
		err = routes_new(rules, from->cnt, command_slot_cnt(daemon_worker_cnt(d)),
				 current(d), &routes);
	alloc_free(rules);
	if (err)
		log_line(LOG_ERROR, "main", "cannot set the routes up: %s", strerror(-err));
	else
		swap_replace(&d->routes, (struct swap_item *)routes);
	return err;
}

int daemon_open_routes(struct daemon *d)
{
	return set_routes(d, &d->config.routes);
}

static const struct route *route_of(const struct daemon *d, struct span key)
{
	const struct routes *routes = current(d);

	return routes ? routes_find(routes, key) : NULL;
}

bool daemon_promotes(const struct daemon *d, struct span key)
{
	return route_promotes(route_of(d, key));
}

uint64_t daemon_window_ns(const struct daemon *d, struct span key)
{
	const struct route *route = route_of(d, key);

	return route ? route_window_ns(&route->rule) : 0;
}

void daemon_reload(struct daemon *d)
{
	struct config_routes old;
	struct config fresh;
	bool leave;
	int err = config_load(d->argc, d->argv, &fresh, &leave);

	config_use_log_format(&d->config); /* another one takes a restart */
	if (err) {
		log_line(LOG_ERROR, "main",
			 "not reloaded, everything stays as it was: correct the configuration and "
			 "send SIGHUP again");
		return;
	}
	daemon_reload_rate(d, &fresh);
	config_warn_changed(&d->config, &fresh);
	if (config_origins_differ(&d->config, &fresh))
		log_line(LOG_WARN, "main",
			 "the origins are those of the start: restart to change them");
	if (set_routes(d, &fresh.routes) == 0) {
		pthread_mutex_lock(&d->config_lock);
		old = d->config.routes;
		d->config.routes = fresh.routes;
		fresh.routes = old;
		pthread_mutex_unlock(&d->config_lock);
		log_line(LOG_INFO, "main", "reloaded: routes=%u", d->config.routes.cnt);
	}
	config_fini(&fresh);
	daemon_open_users(d);
}
