/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backlog - reply bytes that a client's socket did not take.
 *
 * Does      copies what is left of the worker's reply into the connection's `out`, in bounded
 *           steps: item bytes in the log are borrowed, and a slow reader must not keep a segment
 *           from being reused; but hundreds of MiB at once would let the other clients wait.
 * Shape     text and short runs are copied at once, to where they belong; long borrowed runs a
 *           part each turn, in order, and `out.end` follows. Meanwhile the worker holds what its
 *           thread has seen (store_hold), for as long as copying takes and not as the client does.
 * Units     bytes. All of a worker's together are bounded by shared->backlog_max.
 * Errors    no room: false, and the connection is of no more use.
 * Threads   the worker's.
 */
#ifndef XC_NET_BACKLOG_H
#define XC_NET_BACKLOG_H

#include <stdbool.h>
#include <stdint.h>

struct conn;
struct worker;

/* From byte `sent` of the worker's reply on. Nothing may be kept of an earlier one. Closes others
 * that take next to nothing if there is no room. */
bool backlog_keep(struct conn *c, uint64_t sent);
/* There is more to come behind out.end. */
bool backlog_grows(const struct conn *c);
void backlog_drop(struct conn *c);
/* Once a turn: the next part. */
void backlog_copy(struct worker *w);
/* All that is left, at once: nothing is held behind it. ctx is the worker. */
void backlog_copy_all(void *ctx);

#endif
