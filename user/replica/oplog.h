/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oplog - the last changes of every arc, within one bound of memory.
 *
 * Does      appends records to arcs' logs, finds them again by sequence, drops a log's end. What
 *           was applied first, whichever arc's it is, makes room for what is new.
 * Shape     an arc's entries are numbered from 1 without gaps, in epochs that never fall; entry and
 *           epoch together name it in the whole cluster. What an arc still has goes from first_seq
 *           to its last entry; it may be nothing.
 * Units     bytes, heads included; ns of the clock that the caller passes in.
 * Errors    oplog_append: -EMSGSIZE a record over an eighth of the bound, -ENOBUFS too much has not
 *           been applied yet: try again when it has; -ENOMEM.
 *           oplog_find, oplog_epoch_at: -ENOENT no such entry yet, -ESTALE it has gone.
 * Owner     the log copies records; what find returns stays until the next change of the log.
 * Threads   one.
 * Invariant an entry that is not applied goes only by truncate or reset, so one arc that stands
 *           still takes its share of the memory and keeps no other from going on.
 */
#ifndef XC_REPLICA_OPLOG_H
#define XC_REPLICA_OPLOG_H

#include <stdint.h>

#include "base/span.h"
#include "replica/frame.h"

struct oplog;

struct oplog_entry {
	struct position at;
	uint64_t appended_ns;
	uint64_t bytes_before; /* what oplog_bytes was before this one */
	struct span record;
};

/* NULL: out of memory. */
struct oplog *oplog_new(uint32_t arc_cnt, size_t bytes);
void oplog_free(struct oplog *log); /* NULL-safe */

/* Where the arc's log ends. */
struct position oplog_last(const struct oplog *log, uint32_t arc);
/* The first entry that is still there; last + 1 when none is. */
uint64_t oplog_first_seq(const struct oplog *log, uint32_t arc);
/* Bytes of all records that the log had since it began, or was reset. */
uint64_t oplog_bytes(const struct oplog *log, uint32_t arc);

/* How much of the bound may be taken by entries that are not applied: shares leave room for the
 * next kind, so that a node that is full of its clients' writes can still follow, and lead. */
enum oplog_use {
	OPLOG_WRITE, /* half: a client's */
	OPLOG_COPY,  /* three quarters: another node's */
	OPLOG_OPEN,  /* more than all: opens an epoch, and is small */
};

int oplog_append(struct oplog *log, enum oplog_use use, uint32_t arc, uint64_t epoch,
		 struct span record, uint64_t now_ns);
int oplog_find(const struct oplog *log, uint32_t arc, uint64_t seq, struct oplog_entry *ret);
/* The epoch of an entry; also of the one just before the first that is there, and 0 of 0. */
int oplog_epoch_at(const struct oplog *log, uint32_t arc, uint64_t seq, uint64_t *ret);

/* Entries up to seq have been applied: they may make room. Never goes back, but by oplog_reset. */
void oplog_applied(struct oplog *log, uint32_t arc, uint64_t seq);
/* Drops what lies behind seq, which is applied or later, and there or just before the first. */
void oplog_truncate(struct oplog *log, uint32_t arc, uint64_t seq);
/* Drops all entries; the log goes on behind `at`, which is applied. */
void oplog_reset(struct oplog *log, uint32_t arc, struct position at);

#endif
