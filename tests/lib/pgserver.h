/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pgserver - a PostgreSQL server of the test's own.
 *
 * Does      makes a database cluster in a new folder below /tmp, runs a real server on it that is
 *           reached through a socket in that folder alone, and removes both.
 * Shape     as root the server runs as nobody: it refuses to be root. Nothing is synced.
 * Errors    whatever goes wrong ends the test.
 * Owner     the test. The server ends with the test's process, however that ends.
 * Threads   the test's.
 */
#ifndef XC_TESTS_PGSERVER_H
#define XC_TESTS_PGSERVER_H

#include <stdbool.h>
#include <sys/types.h>

struct pgserver {
	char dir[32];
	char conninfo[128];
	pid_t pid; /* 0: does not run */
};

/* False: a test that needs it is skipped (apt install postgresql-15). */
bool pgserver_installed(void);
void pgserver_init(struct pgserver *server);
void pgserver_fini(struct pgserver *server); /* NULL-safe on a zeroed one */

/* setting: "NAME=VALUE" for the server's command line, or NULL. */
void pgserver_start(struct pgserver *server, const char *setting);
/* Breaks off every connection. */
void pgserver_stop(struct pgserver *server);
/* SIGSTOP and SIGCONT to it and all its processes: nobody answers, nothing is refused. */
void pgserver_freeze(const struct pgserver *server);
void pgserver_thaw(const struct pgserver *server);
/* Runs statements over a connection of their own; the first value of the last of them. */
void pgserver_run(const struct pgserver *server, const char *text, char *ret, size_t ret_max);

#endif
