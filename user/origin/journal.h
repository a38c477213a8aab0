/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * journal - writes that clients were promised and that an origin does not have yet.
 *
 * Does      makes a write durable, tells its writer, and keeps it until the origin has taken it:
 *           what write-behind rests on. Answers what is pending for a key. Keeps the writes that an
 *           origin refused for good where an operator finds them (dead letters).
 * Shape     one record a key, the newest; a later write of the same key takes its place, whether
 *           the origin is being given the earlier one just then or not. On disk an SQLite database
 *           (journal_db.h), in memory all of it (journal_pending.h), which is what is asked.
 * Units     expiry in ns since 1970, 0 none; sizes in bytes.
 * Errors    journal_append: -EAGAIN too much is pending (the client is told to come back), -ENOMEM,
 *           -EMSGSIZE; to done: -EIO, -ENOSPC what the disk said: the write did not happen.
 * Owner     the journal's file is one process's; a second one is refused. Records are the
 *           journal's; journal_get and journal_take lend them until journal_put, journal_finish.
 * Threads   one of its own, the only one that touches the disk. All calls from any thread; only
 *           those of dead letters wait for the disk. done and changed are called on the journal's
 *           thread and must not wait: they post to where their work is done.
 * Invariant done(0) is called after the record is on the disk (fsync), and from then on journal_get
 *           finds it or a newer one until journal_finish(JOURNAL_DONE or JOURNAL_DEAD) was called
 *           for it. Of one key at most one record is taken at a time, each newer than the one
 *           before. Whatever is pending when the process ends, in whatever way, is pending at the
 *           next start; a record may then be taken again that the origin had got, never one that
 *           is older than what it has got from here.
 * Source    docs/origins.md, "Journal".
 */
#ifndef XC_ORIGIN_JOURNAL_H
#define XC_ORIGIN_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/span.h"

#define JOURNAL_ERROR_MAX 512
#define JOURNAL_REASON_MAX 256

struct journal;

enum journal_kind {
	JOURNAL_WRITE,	/* the key has this value */
	JOURNAL_REMOVE, /* the key has none */
};

struct journal_change {
	struct span key;
	struct span value;
	enum journal_kind kind;
	uint32_t flags;
	uint64_t expiry_ns;
};

struct journal_record {
	struct journal_change what;
	uint64_t seq; /* from 1; greater is newer */
};

struct journal_conf {
	const char *path;
	const struct clock *clock;
	uint32_t delay_ms;   /* a write waits so long for others to be made durable with it */
	uint32_t retry_ms;   /* before a record is taken again that the origin could not take now */
	uint32_t record_max; /* pending, with what is on its way to the disk … */
	uint64_t bytes_max;  /* … and their keys, values and heads */
	uint32_t dead_max;   /* letters; with so many a refused record stays pending */
	void (*changed)(void *ctx); /* journal_take may find something; NULL: nobody asks */
	void *ctx;
};

/*
 * Opens or makes the file, reads what is pending, starts the thread. On failure ret_error says what
 * is wrong with which file and what to do: -EBUSY another process has it, -EBADMSG it is damaged or
 * no journal, else what the system said.
 */
int journal_open(const struct journal_conf *conf, struct journal **ret,
		 char ret_error[JOURNAL_ERROR_MAX]);
/* Makes durable what was appended and ends; nothing is lent any more. NULL-safe. */
void journal_close(struct journal *journal);

/*
 * Copies the change. done is called once unless an error is returned. Writes of one key that
 * several threads append at a time get the order of their seq; who has to hold another order sees
 * to it that there is one write of a key at a time.
 */
int journal_append(struct journal *journal, const struct journal_change *change,
		   void (*done)(void *ctx, uint64_t seq, int error), void *ctx);

/* The durable record of the key that the origin has not got; NULL: none. */
const struct journal_record *journal_get(struct journal *journal, struct span key);
void journal_put(struct journal *journal, const struct journal_record *record);

enum journal_end {
	JOURNAL_DONE,  /* the origin has it */
	JOURNAL_RETRY, /* could not be reached: the same, or a newer one, again after retry_ms */
	JOURNAL_DEAD,  /* it will never take this one */
};

/*
 * The oldest record that the origin shall get now. NULL: none; *ret_next_ns is then when to ask
 * again (UINT64_MAX: when changed was called).
 */
const struct journal_record *journal_take(struct journal *journal, uint64_t *ret_next_ns);
/* reason: for an operator's eyes, of a dead one. */
void journal_finish(struct journal *journal, const struct journal_record *record,
		    enum journal_end end, const char *reason);

struct journal_dead {
	struct journal_record record;
	int64_t buried_sec; /* since 1970 */
	char reason[JOURNAL_REASON_MAX];
};

/* Calls each with every dead letter, oldest first, until it returns false. */
int journal_dead_walk(struct journal *journal, bool (*each)(void *ctx, const struct journal_dead *),
		      void *ctx);
/* The letter becomes pending again. -ENOENT: there is none; -EEXIST: its key has a newer write. */
int journal_dead_revive(struct journal *journal, uint64_t seq);
int journal_dead_drop(struct journal *journal, uint64_t seq);

struct journal_stats {
	uint64_t pending_cnt;
	uint64_t pending_bytes;
	uint64_t queued_cnt;   /* not durable yet */
	uint64_t written_cnt;  /* made durable since the start … */
	uint64_t commit_cnt;   /* … in so many groups */
	uint64_t merged_cnt;   /* the origin got a newer one instead */
	uint64_t refused_cnt;  /* -EAGAIN */
	uint64_t failed_cnt;   /* groups that the disk did not take */
	uint64_t finished_cnt; /* JOURNAL_DONE */
	uint64_t dead_cnt;     /* letters there are */
};

void journal_stats(struct journal *journal, struct journal_stats *ret);

#endif
