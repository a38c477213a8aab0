/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * client - one question to the daemon's control socket.
 *
 * Does      sends {"cmd":...} as a line and takes the reply line apart.
 * Units     CLIENT_WAIT_MS bounds the whole exchange.
 * Errors    negative errno, and one sentence that says what to do next. -ENOENT and
 *           -ECONNREFUSED: no daemon answers there; -EREMOTEIO: the daemon refused, in its own
 *           words.
 * Owner     results are the caller's (json_decref).
 */
#ifndef XC_XDPCACHE_CLIENT_H
#define XC_XDPCACHE_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

#define CLIENT_WAIT_MS 5000
#define CLIENT_ERROR_MAX 400

/* Takes over request. The sentence is written on failure alone. */
int client_ask(const char *path, json_t *request, json_t **ret_result,
	       char ret_error[CLIENT_ERROR_MAX]);
/* True if the failure means that no daemon runs. */
bool client_no_daemon(int error);
/* True if a daemon may answer later: none runs, it is stopped, or it ended half way. */
bool client_is_away(int error);

#endif
