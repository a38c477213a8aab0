/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * command - what a control request may ask for.
 *
 * Does      turns one request line into one reply line: parses, finds the command, runs it.
 * Shape     control_command has a name and a function from request object to result.
 * Errors    a function returns NULL and writes to error what is wrong and what to do next.
 * Owner     results are the caller's (json_decref); reply lines are the caller's (free).
 * Threads   the control server's.
 */
#ifndef XC_CONTROL_COMMAND_H
#define XC_CONTROL_COMMAND_H

#include <jansson.h>

#include "base/span.h"
#include "control/server.h"

#define CONTROL_ERROR_MAX 256

/* Rows of one hot list at most. */
#define CONTROL_HOT_MAX 1024

struct control_command {
	const char *name;
	const char *help; /* what it answers, and what else the request holds */
	json_t *(*run)(const struct control_sources *sources, const json_t *request,
		       char error[CONTROL_ERROR_MAX]);
};

json_t *answer_stats(const struct control_sources *sources, const json_t *request,
		     char error[CONTROL_ERROR_MAX]);
json_t *answer_hot_list(const struct control_sources *sources, const json_t *request,
			char error[CONTROL_ERROR_MAX]);
json_t *answer_hot_pin(const struct control_sources *sources, const json_t *request,
		       char error[CONTROL_ERROR_MAX]);
json_t *answer_hot_unpin(const struct control_sources *sources, const json_t *request,
			 char error[CONTROL_ERROR_MAX]);
json_t *answer_hot_ban(const struct control_sources *sources, const json_t *request,
		       char error[CONTROL_ERROR_MAX]);
json_t *answer_hot_unban(const struct control_sources *sources, const json_t *request,
			 char error[CONTROL_ERROR_MAX]);
json_t *answer_hot_explain(const struct control_sources *sources, const json_t *request,
			   char error[CONTROL_ERROR_MAX]);
json_t *answer_hot_limits(const struct control_sources *sources, const json_t *request,
			  char error[CONTROL_ERROR_MAX]);
json_t *answer_hot_moves(const struct control_sources *sources, const json_t *request,
			 char error[CONTROL_ERROR_MAX]);
json_t *answer_cluster(const struct control_sources *sources, const json_t *request,
		       char error[CONTROL_ERROR_MAX]);
json_t *answer_config(const struct control_sources *sources, const json_t *request,
		      char error[CONTROL_ERROR_MAX]);

/* The request is for a hand-over, which is no matter of replies (control_sources.handover). */
bool control_is_handover(struct span line);
/* The reply line to a request line (without its line feed), ending in one; NULL: out of memory. */
char *control_answer(const struct control_sources *sources, struct span line);
/* {"ok":false,"error":text} as a line; NULL: out of memory. */
char *control_refuse(const char *text);

#endif
