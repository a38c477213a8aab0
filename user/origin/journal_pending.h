/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * journal_pending - the journal's records in memory: who is pending, who is next.
 *
 * Does      finds the newest record of a key; hands out keys in the order in which they became
 *           pending, one record of a key at a time; counts.
 * Shape     a hash table of fixed length; each record is in it, and in one of two queues unless its
 *           key is taken: ready, or later (with a moment, first in first out since the delay is
 *           always the same). A newer record takes the older one's places.
 * Owner     records are counted references: the table has one, whoever is lent one has another.
 * Threads   none of its own; the journal's lock. pending_new, pending_put: any.
 * Invariant a key that is taken is in no queue.
 */
#ifndef XC_ORIGIN_JOURNAL_PENDING_H
#define XC_ORIGIN_JOURNAL_PENDING_H

#include <stdatomic.h>

#include "origin/journal.h"

enum pending_state {
	PENDING_READY,
	PENDING_LATER,
	PENDING_TAKEN, /* this record, or an older one of its key */
};

struct pending {
	struct journal_record record; /* first: what is lent */
	atomic_uint ref_cnt;
	enum pending_state state;
	uint64_t hash;
	uint64_t due_ns; /* PENDING_LATER */
	struct pending *hash_next;
	struct pending *next, *prev; /* of the queue */
	/* Its way to the disk, and off it, which may begin before the first has quite ended. */
	struct pending *job_next[2];
	void (*done)(void *ctx, uint64_t seq, int error);
	void *ctx;
	enum journal_end end;
	char *reason;	 /* JOURNAL_DEAD */
	uint8_t bytes[]; /* key, value */
};

struct pending_queue {
	struct pending *first, *last;
};

struct pending_table {
	struct pending **buckets;
	uint64_t bucket_cnt; /* a power of two */
	uint64_t seed;
	struct pending_queue ready, later;
	uint64_t cnt;
	uint64_t bytes;
};

/* Copies key and value; one reference, the caller's. NULL: out of memory. */
struct pending *pending_new(const struct journal_change *change);
void pending_put(struct pending *pending); /* NULL-safe */
uint64_t pending_bytes(const struct pending *pending);

int pending_init(struct pending_table *table, uint32_t record_max, uint64_t seed);
void pending_fini(struct pending_table *table); /* drops all; zeroed: nothing to do */

struct pending *pending_find(const struct pending_table *table, struct span key);
/* Takes the reference over. True: an older record of the key had to go. */
bool pending_insert(struct pending_table *table, struct pending *pending);
/* With a reference for the caller. */
struct pending *pending_take(struct pending_table *table, uint64_t now_ns, uint64_t *ret_next_ns);
/* The origin is through with it. False: it is not its key's newest, which is ready now. */
bool pending_finish(struct pending_table *table, struct pending *pending);
/* … or could not take it: it, or a newer one, comes again at due_ns. */
void pending_retry(struct pending_table *table, struct pending *pending, uint64_t due_ns);

#endif
