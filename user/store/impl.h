/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * impl - what the files of this room share and no other room sees.
 *
 * Does      the store's own structs, and the steps that reading, writing, reclaim and restart
 *           have in common.
 * Threads   struct store_thread belongs to its thread, but for `seen`, `held` and the counters,
 *           which others read.
 * Invariant lock order: a bucket's lock, then pool->lock. Watchers run under the bucket's lock.
 */
#ifndef XC_STORE_IMPL_H
#define XC_STORE_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "store/evict.h"
#include "store/index.h"
#include "store/item.h"
#include "store/segment.h"
#include "store/store.h"

/* TTL classes: 0 is "never", then two an octave from one second up. */
#define TTL_CLASS_CNT 48

#define THREAD_OFFLINE UINT64_MAX

#define STORE_SECRET_WORDS 24 /* 192 bytes of XXH3 secret */

/* Counters of one thread, summed when asked. */
struct store_tally {
	_Atomic int64_t item_cnt;
	_Atomic int64_t item_bytes;
	_Atomic int64_t key_value_bytes;
	_Atomic int64_t total_items;
	_Atomic int64_t evicted_cnt;
	_Atomic int64_t evicted_unfetched_cnt;
	_Atomic int64_t evicted_expiring_cnt;
	_Atomic int64_t expired_cnt;
	_Atomic int64_t expired_unfetched_cnt;
	_Atomic int64_t moved_cnt;
	_Atomic int64_t moved_bytes;
};

struct store_thread {
	struct store *store;
	_Atomic uint64_t seen; /* last epoch this thread was quiescent in */
	_Atomic uint64_t held; /* what it had seen at store_hold; THREAD_OFFLINE: holds nothing */
	uint32_t open[SEGMENT_QUEUES][TTL_CLASS_CNT];
	uint32_t open_cnt;
	uint32_t seal_gen; /* last seal request obeyed */
	uint64_t seal_check_ns;
	/* Of its last quiescence: reading a clock for each access costs as much as the access. */
	uint64_t turn_ns;
	struct segment_need need; /* what the last STORE_AGAIN lacked */
	bool privileged;	  /* the reclaimer: may take the reserve */
	bool in_use;
	uint8_t miss; /* enum store_miss of the last store_find */
	struct evict_thread evict;
	struct store_tally tally;
} __attribute__((aligned(64)));

#define TOKEN_BUCKETS 1024

/* Tokens that are taken; the lock is behind a bucket's, before none. */
struct store_tokens {
	_Atomic uint32_t cnt; /* raised under the bucket's lock: who holds that sees it */
	pthread_mutex_t lock;
	struct store_token *buckets[TOKEN_BUCKETS];
};

struct store {
	struct store_options options;
	struct segment_pool pool;
	struct index index;
	struct evict evict;
	uint64_t hash_secret[STORE_SECRET_WORDS];
	_Atomic uint32_t headroom;     /* segments kept free for writers beside pool.reserve */
	_Atomic uint32_t limit_wanted; /* pool.limit is on its way there */
	_Atomic uint32_t open_max;     /* segments that one thread may hold open */

	struct store_watcher watchers[STORE_WATCHER_MAX];
	uint32_t watcher_cnt;

	_Atomic uint64_t flush_seq; /* items in segments up to this one are gone */
	_Atomic uint32_t flush_gen;
	_Atomic bool flush_pending; /* some flushed segments are not freed yet */
	pthread_mutex_t flush_lock; /* before a bucket's */
	struct store_tokens tokens;

	/* Changed by the reclaimer: not on the line that every read reads. */
	_Atomic uint64_t epoch __attribute__((aligned(64)));
	_Atomic uint32_t seal_gen; /* raised: every thread seals what it has open, so that it can be
				      reclaimed */
	_Atomic uint32_t demand;   /* segments a large value waits for */
	_Atomic bool index_full;   /* an insert found no slot: evict though segments are free */
	_Atomic bool exhausted;	   /* -M: the reclaimer has nothing to give */
	uint32_t dead_chains;	   /* first pieces of buried chains, linked by segment_link.buried;
				      pool.lock */
	uint32_t dead_blocks;	   /* in all of them; pool.lock */
	/* Pieces replaced in rounds that were given up, linked the same way; the reclaimer's. */
	uint32_t moved_pieces;
	pthread_mutex_t thread_lock; /* threads[].in_use */
	struct store_thread *threads;

	pthread_t reclaimer;
	bool reclaimer_runs;
	_Atomic bool reclaimer_stop;
	pthread_mutex_t wake_lock;
	pthread_cond_t wake;
	bool wake_asked;
	/* Live bytes that the policy was asked about, and those it kept; the reclaimer's. */
	uint64_t judged_bytes;
	uint64_t kept_bytes;
	_Atomic uint64_t reclaimed_segment_cnt;
	_Atomic uint32_t evicted_idle_sec;
	uint32_t opened_sec; /* seconds of the clock, as a segment's */
	/* Nothing lies from this segment on; its memory is the log owner's. The reclaimer's. */
	uint32_t trimmed;
	uint64_t recovered_cnt;
	uint64_t dropped_cnt;
};

/* --- judging items --- */

/* Written before the last flush. */
bool item_is_flushed(const struct store *store, uint64_t loc);
bool item_is_expired(struct item_header *item, uint64_t now_ns);
/* An item, neither flushed nor expired; asks the clock only where there is a TTL. */
bool item_is_live(const struct store *store, uint64_t loc);
/* A note that the key has no item, and it still holds. */
bool store_is_noted_absent(const struct store *store, uint64_t loc);
void item_view_fill(const struct store *store, uint64_t loc, uint32_t flush_gen,
		    struct item_view *ret);
uint64_t store_hash_at(void *store, uint64_t loc);
/* The cas of an item that has no other. */
uint64_t store_place_cas(const struct store *store, uint64_t loc);
/* item.access, with what the kernel has answered; the key's bucket is locked. */
uint32_t store_access(const struct store *store, uint64_t loc);
/* The slot of the key in a locked bucket, live or not. */
bool store_find_slot(struct store *store, const struct index_lock *lock, struct span key,
		     struct index_slot *ret);

/* Of a live item. One that has expired is unlinked; sets t->miss. */
bool store_find_live(struct store_thread *t, const struct index_lock *lock, struct span key,
		     struct index_slot *ret);

/* --- changing items; the key's bucket is locked --- */

/* Tells the eviction policy. Writes only what changes: readers of a hot bucket share its line. */
static inline void store_note_access(struct store_thread *t, struct index_slot *slot, uint32_t hits)
{
	uint32_t use = index_slot_use(slot);
	uint32_t new_use = evict_hit(&t->store->evict, &t->evict, (uint8_t)use, hits);

	if (new_use != use)
		index_slot_set_use(slot, new_use);
}

/* A client has asked for the item in the slot. */
static inline void store_note_fetch(struct store_thread *t, struct index_slot *slot)
{
	uint64_t loc = index_slot_loc(slot);

	store_note_access(t, slot, 1);
	item_set_access(item_at(t->store->pool.base, loc), item_access_at(t->turn_ns, true));
}

/* Takes the item out of the index, marks it dead, counts, tells the watchers. */
void store_unlink(struct store_thread *t, const struct index_lock *lock, struct index_slot *slot,
		  enum store_change change);
/* Accounts for an item that the index no longer names; its chain goes too unless another item took
 * it over. */
void store_bury(struct store_thread *t, uint64_t loc, bool keep_chain);
void store_tally_born(struct store_thread *t, uint64_t loc);
/*
 * A copy of the item at loc, committed but not yet in the index, with another expiry, in that
 * queue. Keeps value, flags and cas; a large value's chain is shared until the old item is buried.
 * 0: no room.
 */
uint64_t store_copy_item(struct store_thread *t, uint64_t loc, uint32_t expire_ds, uint8_t queue);

struct store_copy {
	uint32_t expire_ds;
	uint8_t queue;
	bool stale;	    /* becomes so, and nobody's */
	bool drop_value;    /* has none */
	uint64_t cas;	    /* 0: see next */
	uint64_t above_cas; /* its place's, or the next after this one; 0: the old item's */
};

/* The same, with other changes. */
uint64_t store_copy_as(struct store_thread *t, uint64_t loc, const struct store_copy *how);
/* The one client that is told has been told: the kernel lets go of the item. */
void store_mark_won(struct store_thread *t, struct index_slot *slot, uint64_t hash);
/* Writes the check over options, key and stored value. */
void store_seal_item(struct item_header *item);
/* Gives a copy up that was not put into the index. */
void store_drop_copy(struct store_thread *t, uint64_t loc);
/* Points the slot at the copy and tells the watchers. */
void store_switch(struct store_thread *t, struct index_slot *slot, uint64_t hash, uint64_t new_loc,
		  uint32_t flush_gen, enum store_change change, bool keep_chain);
/*
 * Commits. expect_loc: only over this very version (*ret_raced: it is gone); 0: as put.mode says.
 */
enum store_status store_commit_over(struct store_thread *t, struct store_pending *pending,
				    uint64_t expect_loc, uint64_t *ret_cas, bool *ret_raced);
void watch_change(struct store *store, struct store_event *event);
void watch_flush(struct store *store, uint32_t flush_gen);
uint64_t watch_last_hit(const struct store *store, struct span key, uint64_t hash);

/* --- tokens --- */

void token_void_all(struct store *store, struct span key, uint64_t hash);

/* The key was changed, or somebody meant to. Its bucket is locked. */
static inline void token_void(struct store *store, struct span key, uint64_t hash)
{
	if (atomic_load_explicit(&store->tokens.cnt, memory_order_relaxed))
		token_void_all(store, key, hash);
}

/* --- room --- */

uint32_t ttl_class(uint64_t ttl_ns);
/* Says what store_wait has to wait for; where eviction is off and nothing can be won back, that it
 * need not (STORE_NO_MEMORY). */
/* mode and cas, with a live item of this cas there or none. */
enum store_status store_judge(const struct store_put *put, bool found, uint64_t cas);
#define STORE_NUMBER_MAX 20 /* longest number as text */
/* What the number in the item becomes. */
enum store_status store_number_after(struct store *store, const struct store_delta *how,
				     const struct item_view *old_item, uint64_t *ret);
/* What an in-place update leaves as it is: it is done where the number's text fits. */
void store_put_number_over(const struct store_delta *how, const struct item_view *old_item,
			   uint64_t text_len, struct store_put *ret);
enum store_status store_no_room(struct store_thread *t, uint32_t segment_cnt);
/* Appends an uncommitted item; 0: no free segment. */
uint64_t store_append_item(struct store_thread *t, const struct item_shape *shape, uint8_t queue,
			   uint32_t expire_ds);
void store_item_done(struct store *store,
		     uint64_t loc); /* committed or abandoned: the segment may be reclaimed */
/* all: every open segment; else those that are expired, flushed, or asked for. */
void store_seal_open(struct store_thread *t, bool all);
void store_seal_queue(struct store_thread *t, uint8_t queue);
void store_wake_reclaimer(struct store *store);

/* --- chains (large.c) --- */

/* How a value of some length is kept. */
struct chain_shape {
	uint32_t segment_cnt; /* pieces that are whole segments, */
	uint32_t block_cnt;   /* and blocks, behind them */
	uint32_t rest_len;    /* in the item itself */
};

/* True if a value so long is better kept in pieces than in its item, beside so many bytes. */
bool chain_is_better(const struct store *store, uint32_t other_bytes, uint64_t value_len);
struct chain_shape chain_shape(const struct store *store, uint64_t value_len);
/* All that a chain's pieces take. */
uint32_t chain_blocks(const struct store *store, const struct chain_shape *shape);
/* Segments that a chain needs, if all its blocks are in segments of their own. */
uint32_t chain_segments(const struct store *store, const struct chain_shape *shape);
bool chain_take(struct store_thread *t, const struct chain_shape *shape, uint64_t hash,
		uint32_t *ret_first);
/* Replaces a piece of some item's chain by a copy of it; false: no item's, or no room. The old one
 * is free when no reader is left. Reclaimer. */
bool chain_move_piece(struct store_thread *t, uint32_t piece);
void chain_release(struct store *store, uint32_t first);
/* Of lists: of buried ones, and of pieces that were replaced one by one. */
void chain_release_moved(struct store *store, uint32_t first);
void chain_release_all(struct store *store, uint32_t first);
struct item_chain item_chain_of(struct item_header *item);
/* Of len bytes in a piece, and of those whose check is before (0: none). */
uint64_t chain_check_piece(const struct store *store, uint32_t piece, uint64_t len,
			   uint64_t before);
/* Of the value's bytes in the chain's pieces. */
uint64_t chain_check(const struct store *store, const struct item_chain *chain);
/* Notes the check in an item that is not committed yet. */
void chain_seal(struct item_header *item, uint64_t check);

/* --- the limit (limit.c) --- */

void store_init_limit(struct store *store);
/* Segments that should be free at any time: the reclaimer's reserve, and writers' headroom. */
uint32_t store_free_target(const struct store *store);
/* After a round: as many segments were taken while it waited. Reclaimer. */
void store_tune_headroom(struct store *store, uint64_t taken_cnt);
/* Segments to be freed before the limit can be lowered by as many; 0: it is where it should be. */
uint32_t store_limit_step(const struct store *store);
/* Takes a step, if the one before is done and there is room for what must move, or memory to be
 * had. True: the next one may follow at once. Reclaimer. */
bool store_move_limit(struct store *store);
/* Tells the log's owner of a tail that is free of items now. Reclaimer. */
void store_trim(struct store *store);

/* --- restart (restart.c) --- */

/* Takes over what the log holds. -ENOMEM leaves the log as it was. */
int store_adopt(struct store *store, struct store_thread *t);
void store_format(struct store *store);
/* Writes the flush record of the log. */
void store_note_flush(struct store *store, uint64_t seq, uint32_t gen);
/* Writes into the log how far its memory may be relied on. */
void store_note_end(struct store *store, uint32_t end);
/* True if the log holds a store this one can take over: *ret_shift is its segment size, in
 * *ret_bytes lies all that it holds. */
bool store_recognise(const struct store_log *log, uint32_t *ret_shift, uint64_t *ret_bytes);
/*
 * Takes over options.state; false: it cannot be used, for a reason that was logged, and the
 * log has to be read instead. Marks segments that it found damaged.
 */
bool store_load(struct store *store, struct store_thread *t);

#endif
