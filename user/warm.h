/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * warm - what outlives this process: where it comes from at the start, where it goes at the end.
 *
 * Does      finds the log's memory and the state of the last stop; keeps descriptors with systemd;
 *           takes sockets and memory from a daemon that runs (--upgrade), and gives them to the
 *           next.
 * Shape     the log is one of: pinned extents (fast path; the state is a file beside the lock), the
 *           file of --memory-file, a memfd that systemd or the earlier process kept, a new memfd.
 *           In all but the first the state lies behind the log in the same file.
 *           Hand-over: over the control socket's connection, one struct of a few bytes with one
 *           descriptor each, after the giving process has done all else that it had to do.
 * Errors    negative errno after one log line that says what to do next.
 * Owner     the descriptors; sockets that net took are net's.
 * Threads   main; warm_ask_successor: any.
 * Source    docs/operations.md, docs/decisions/0008.
 */
#ifndef XC_WARM_H
#define XC_WARM_H

#include "base/memory.h"
#include "store/store.h"

#define WARM_SOCKET_MAX 1024

struct warm {
	struct memory log;	  /* zeroed: pinned */
	struct store_state state; /* fd -1: nowhere */
	int log_fd;		  /* a memfd that came from outside, until it is mapped; -1 */
	int sockets[WARM_SOCKET_MAX];
	uint32_t socket_cnt;
	bool named;    /* the log is a file of the operator's */
	bool stored;   /* systemd keeps the log for the next start */
	bool unused;   /* something that came from outside had no use */
	int successor; /* connection of the process that wants to take over; -1 */
};

void warm_init(struct warm *warm);
/* Descriptors that systemd kept or opened for us; none: nothing happens. Before any fork. */
void warm_from_systemd(struct warm *warm);
/*
 * Asks the daemon on this control socket to hand over, and waits until it has ended what it does.
 * 0 also when no daemon answers there, or it ends meanwhile: then this is a start like any other,
 * with what has been given so far.
 */
int warm_from_daemon(struct warm *warm, const char *control_path);
/* The log and its state, when there is no fast path; path NULL: not in a file. It begins with
 * `bytes` and may grow to bytes_max. */
int warm_open_log(struct warm *warm, const char *path, uint64_t bytes, uint64_t bytes_max,
		  struct store_log *ret);
/* After store_new: what the state's file holds is of no use any more. */
void warm_forget_state(struct warm *warm);
/* Gives log and sockets to systemd to keep. Nothing happens without systemd. */
void warm_keep(struct warm *warm, const int *sockets, uint32_t socket_cnt);
/* Something comes after us that finds the log: its state is worth saving. */
bool warm_is_kept(const struct warm *warm);

/*
 * Sockets that came from outside and were not used would swallow their share of the clients; a log
 * would hold its memory beside the one in use.
 */
void warm_drop_unused(struct warm *warm);
/* Takes over the connection of one that asked for a hand-over; false: it may not have it. */
bool warm_ask_successor(struct warm *warm, int fd);
/* The last thing the process does. */
void warm_give(struct warm *warm);
void warm_fini(struct warm *warm);

#endif
