/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * write - changes that an origin is told of before the cache has them.
 *
 * Does      judges a change by the item as it is, has the origin make it, and then makes it in the
 *           store: so a client that was told STORED finds it in both, and one that was told an
 *           error by the origin finds what was there before.
 * Shape     ask --> its key's line --> previewed (store_preview) --> origin --> store --> answer
 *           written behind: … --> previewed --> journal --> store --> answer; and in the background
 *           journal --> origin (journal.h)
 * Units     ns.
 * Errors    in the answer: enum write_end.
 * Owner     asks are the asker's wait's (base/wait.h).
 * Threads   the origin's thread alone.
 * Invariant one change of a key at a time, in the order in which they came, so that the origin and
 *           the store have the same one last. Every ask is answered once. When the origin may or
 *           may not have made a change, the key has no item.
 * Source    docs/origins.md, "Write-through", "Write-behind".
 */
#ifndef XC_ORIGIN_WRITE_H
#define XC_ORIGIN_WRITE_H

#include "abi/limits.h"
#include "base/wait.h"
#include "origin/breaker.h"
#include "origin/journal.h"
#include "origin/origin.h"
#include "store/store.h"

struct flights;
struct writes;

enum write_end {
	WRITE_ENDED,   /* status says how; STORE_OK: the origin and the cache have it */
	WRITE_FAILED,  /* the origin may have it: it did not say in time, or could not be asked */
	WRITE_REFUSED, /* it does not have it, and will not take it */
};

struct write_ask {
	struct wait_part part; /* first */
	uint32_t source;       /* origins_write: the source's number */
	uint32_t statement;
	bool removes;
	bool behind;  /* the journal is told, and it tells the origin */
	bool absent;  /* removes: the asker knows that there is nothing, unless it is here by now */
	uint64_t cas; /* removes: 0 any */
	uint64_t deadline_ns;
	struct store_preview how; /* key and data lie in bytes; a removal's key and hash, too */
	/* The answer. */
	enum write_end end;
	enum store_status status;
	struct store_stored stored;
	uint64_t number;
	uint64_t expire_before_ns;
	bool made;
	uint8_t bytes[];
};

/* With room for the key and the data, which are copied. NULL: out of memory. */
struct write_ask *write_ask_new(const struct store_preview *how);
/* As wait_part.free. */
void write_ask_free(struct wait_part *part);

struct writes_conf {
	struct store *store;
	struct store_thread *thread;
	const struct clock *clock;
	const struct origin_ops *ops;
	void *back;
	const struct origin_pattern *patterns; /* of each statement */
	struct flights *flights;	       /* whose breaker is the origin's */
	uint32_t write_max; /* keys that are written at a time, and asks in line */
	uint32_t timeout_ms;
	/* The statement for a change from the journal; false: there is none any more. */
	bool (*find)(void *ctx, struct span key, bool removes, uint32_t *ret_statement);
	void *ctx;
};

/* X(field): written by the origin's thread alone. */
#define WRITE_COUNTS(X)                                                                            \
	X(writes) /* changes that the origin was asked to make */                                  \
	X(writes_made)                                                                             \
	X(writes_refused) /* by the origin */                                                      \
	X(writes_failed)  /* or not asked: the breaker is open, or too many are */

struct write_counts {
#define X(field) _Atomic uint64_t field;
	WRITE_COUNTS(X)
#undef X
};

int writes_new(const struct writes_conf *conf, struct writes **ret);
/* The origin is asked no more: what comes, or stands in line, has failed. NULL-safe. */
void writes_stop(struct writes *writes);
/* After the back-end was closed. NULL-safe. */
void writes_free(struct writes *writes);
void writes_ask(struct writes *writes, struct write_ask *ask);
/* Before the first ask of one that is written behind. Lines come back through the mailbox. */
void writes_use_journal(struct writes *writes, struct journal *journal, struct mailbox *box);
/* It may have something for the origin. */
void writes_wake(struct writes *writes);
/* Takes what has come through the mailbox. */
void writes_take(struct writes *writes);
/* Gives the origin what the journal has for it. */
void writes_drain(struct writes *writes);
/* When to call that at the latest; UINT64_MAX: when the journal says so. */
uint64_t writes_next_ns(const struct writes *writes);
const struct write_counts *writes_counts(const struct writes *writes);

#endif
