/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stats - the server's own counters.
 *
 * Does      runs a command (xdpcache stats --json) beside the load and reads what it prints; asks
 *           a memcached for one field of its `stats`; empties a server.
 * Errors    a command that fails or prints no JSON object leaves the last figures as they were.
 * Threads   the loop's. The memcached requests block, and are for before and after a run.
 */
#ifndef XC_LOAD_STATS_H
#define XC_LOAD_STATS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/loop.h"
#include "base/sock.h"

#define STATS_TEXT_MAX 65536

struct stats_figures {
	bool valid;
	char state[16]; /* of the fast path */
	uint64_t kernel_hits;
	uint64_t kernel_absent; /* that a key has no item */
	uint64_t kernel_misses;
	uint64_t kernel_passes; /* sum over all reasons */
	uint64_t kernel_entries;
	uint64_t get_hits;
	uint64_t get_misses;
	uint64_t items;
	uint64_t bytes;
	uint64_t limit_bytes;
	uint64_t evictions;
	uint64_t expired;
};

struct stats {
	struct loop_source source; /* fd -1: no command runs */
	struct loop *loop;
	const char *command; /* NULL: none */
	pid_t pid;
	uint32_t text_len;
	char text[STATS_TEXT_MAX];
	struct stats_figures figures; /* the last that came */
	uint64_t answer_cnt;
};

void stats_init(struct stats *stats, struct loop *loop, const char *command);
void stats_fini(struct stats *stats);
/* Starts the command unless one still runs; the figures come during a later loop_drain. */
void stats_start(struct stats *stats);
/* Runs the command and waits; false: it gave no figures. */
bool stats_fetch(struct stats *stats);

/* Sends one line, returns 0 if the reply is the one expected. */
int stats_command(const struct sock_addr *server, const char *line, const char *expected);
int stats_field(const struct sock_addr *server, const char *field, uint64_t *ret);

#endif
