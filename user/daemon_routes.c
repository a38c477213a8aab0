/* SPDX-License-Identifier: BSD-2-Clause */
/* The routes in effect, and their exchange while the daemon serves. */
#include "daemon.h"

#include <string.h>

#include "base/log.h"
#include "command/command.h"
#include "route/routes.h"

/* Only the main thread replaces the table, so to it the current one stays. */
static struct routes *current(const struct daemon *d)
{
	return routes_of(atomic_load_explicit(&d->routes.current, memory_order_relaxed));
}

static int set_routes(struct daemon *d, const struct config_routes *from)
{
	struct routes *routes = NULL;
	int err = from->cnt == 0
			  ? 0
			  : routes_new(from->rules, from->cnt,
				       command_slot_cnt(daemon_worker_cnt(d)), current(d), &routes);

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

bool daemon_promotes(const struct daemon *d, struct span key)
{
	const struct routes *routes = current(d);

	return !routes || route_promotes(routes_find(routes, key));
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
