/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server - the control socket: what the xdpcache command talks to.
 *
 * Does      answers one request line {"cmd":NAME, ...} with one reply line,
 *           {"ok":true,"result":...} or {"ok":false,"error":"..."}. The commands are in
 *           cmd_<name>.c, their table in command.c.
 * Shape     JSON, one object a line, over a unix stream socket of mode 0660 in a directory of
 *           mode 0755. A client may send several lines; each is answered before the next is read.
 * Units     times in milliseconds, sizes in bytes.
 * Errors    negative errno, after one log line. -EADDRINUSE: another daemon answers on the path;
 *           a socket that nobody answers on is replaced.
 * Owner     reads what control_sources gives it and owns none of it. The socket file is its own.
 * Threads   control_open, control_start, control_stop: main. Requests run in the server's one
 *           thread, so every source must be safe to call beside workers.
 * Bounds    CONTROL_LINE_MAX a request, client_max clients (one more is told so and closed),
 *           CONTROL_REPLY_MAX a reply; a client that neither sends nor takes for idle_ms is
 *           closed.
 */
#ifndef XC_CONTROL_SERVER_H
#define XC_CONTROL_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "abi/outcome.h"
#include "base/clock.h"
#include "fastpath/loader.h"

#define CONTROL_PATH_DEFAULT "/run/xdpcache/control.sock"
#define CONTROL_LINE_MAX 4096
#define CONTROL_REPLY_MAX (4U << 20)
#define CONTROL_CLIENT_MAX 64
#define CONTROL_WHY_MAX 192
#define CONTROL_TIMES_MAX 64

struct command_counts;
struct command_memory;
struct histogram;
struct promoter;
struct store_counts;
struct swap;

/* The fast path at one moment; the command fills it from the pins when no daemon runs. */
struct control_fastpath {
	struct xc_stats stats; /* summed over CPUs */
	struct fastpath_interface interfaces[FASTPATH_INTERFACE_MAX];
	uint32_t interface_cnt;
	uint32_t entry_cnt;	 /* keys resident */
	uint32_t entry_max;	 /* room for so many */
	uint32_t lease_ms;	 /* length of one lease; 0: not known */
	uint64_t serve_until_ns; /* boot time */
	uint64_t owner_epoch;	 /* daemons that these maps have had */
};

/* What control reads. A NULL function: this daemon has no such part, its numbers are left out. */
struct control_sources {
	void *ctx; /* passed to each */
	void (*store)(void *ctx, struct store_counts *ret);
	void (*command)(void *ctx, struct command_counts *ret); /* command_own_counts */
	int (*fastpath)(void *ctx, struct control_fastpath *ret);
	void (*memory)(void *ctx, struct command_memory *ret);
	/* Turns of the workers by how long they took; returns how many buckets. */
	uint32_t (*times)(void *ctx, uint64_t *ret_ends_ns, uint64_t *ret_cnts, uint32_t max);
	/* Adds how long requests of one enum command_op took (command_durations). */
	void (*durations)(void *ctx, uint32_t op, struct histogram *ret);
	uint64_t (*samples_dropped)(void *ctx);
	void (*config)(void *ctx, FILE *out);  /* JSON */
	void (*cluster)(void *ctx, FILE *out); /* JSON */
	/*
	 * A client asked for {"cmd":"handover"}: takes its connection over, or returns false and
	 * the client is refused.
	 */
	bool (*handover)(void *ctx, int fd);
	/*
	 * Has wishes and limits outlive the daemon; on failure why[CONTROL_WHY_MAX] says what is
	 * wrong.
	 */
	int (*hot_save)(void *ctx, char *why);
	struct promoter *promoter; /* NULL: no hot keys */
	struct swap *routes;	   /* NULL: no routes */
	const struct clock *clock;
	uint64_t start_ns; /* when the daemon began, boot time */
	uint32_t thread_cnt;
};

struct control_options {
	const char *path;
	bool dispensable;    /* where it may not be made: warn, and go on without a server */
	uint32_t client_max; /* 0: 16 */
	uint32_t idle_ms;    /* 0: a minute */
	struct control_sources sources;
};

struct control;

/* Makes directory and socket; clients may connect, and wait. dispensable: *ret may be NULL. */
int control_open(const struct control_options *options, struct control **ret);
int control_start(struct control *control); /* NULL-safe */
/* For sources that begin after the socket was opened; before control_start. NULL-safe. */
void control_set_promoter(struct control *control, struct promoter *promoter);
/* Ends the thread if it runs, closes every client, removes the socket file. NULL-safe. */
void control_stop(struct control *control);

#endif
