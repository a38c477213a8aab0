/* SPDX-License-Identifier: BSD-2-Clause */
/* Who may use the server, read at the start and at each SIGHUP. */
#include "daemon.h"

#include "base/log.h"
#include "command/users.h"

int daemon_open_users(struct daemon *d)
{
	const struct config *c = &d->config;
	const char *path = c->sasl ? c->sasl_pwdb : c->auth_file;
	char why[COMMAND_WHY_MAX];
	struct users *users;
	int err;

	if (!path)
		return 0;
	err = users_load(path, &users, why, sizeof(why));
	if (err) {
		log_line(LOG_ERROR, "main", "users: %s; correct the file that %s names%s", why,
			 c->sasl ? "--sasl-pwdb" : "-Y",
			 atomic_load(&d->users.current)
				 ? " and send SIGHUP again, those known so far stay"
				 : "");
		return err;
	}
	swap_replace(&d->users, users_item(users));
	log_line(LOG_INFO, "main", "users: read from %s", path);
	return 0;
}
