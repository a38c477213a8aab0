/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * index - from a key's hash to its item's place in the log.
 *
 * Does      a hash table of cache-line buckets that grows one bucket at a time, so that no
 *           request ever waits for a rehash.
 * Shape     bucket, 64 bytes: a lock word, ten 16-bit tags, ten 32-bit places.
 *
 *             lock   u32      bit 0 taken; bits 2-31 three high bits of each slot's use
 *             meta   u16[10]  bits 0-9 tag (hash bits 54-63), 10-13 high bits of the place,
 *                             14-15 low bits of the use
 *             place  u32[10]  log offset / 4, low bits; 0: free (no item lies at a multiple of
 *                             16 GiB: a segment's header does)
 *
 *           "Use" is what the eviction policy remembers of an item's accesses (store/evict.h).
 *           A full bucket's last slot becomes a link to an overflow bucket. 6.4 bytes a slot;
 *           36 bits of place times 4 bytes address 256 GiB. A chain has no holes: only its last
 *           bucket has free slots, so that no overflow bucket stands empty.
 * Errors    index_insert: -ENOSPC when the index may not grow and its overflow buckets are used
 *           up.
 * Threads   everything with a struct index_lock needs that bucket locked by the caller;
 *           index_grow: any thread, one at a time (others return at once).
 * Source    Litwin, "Linear hashing", VLDB'80; bucket layout after Segcache and Valkey's
 *           hashtable.c, with tags and places apart so that ten entries fit one line.
 */
#ifndef XC_STORE_INDEX_H
#define XC_STORE_INDEX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define INDEX_SLOTS 10
#define INDEX_TAG_BITS 10
#define INDEX_USE_BITS 5
#define INDEX_USE_MAX ((1U << INDEX_USE_BITS) - 1)

struct index_bucket {
	_Atomic uint32_t lock;
	uint16_t meta[INDEX_SLOTS];
	uint32_t place[INDEX_SLOTS];
};

_Static_assert(sizeof(struct index_bucket) == 64, "a bucket is one cache line");

struct index {
	struct index_bucket *buckets;  /* reserved address space, first bucket_cnt in use */
	struct index_bucket *overflow; /* reserved address space */
	uint32_t bucket_max;
	uint32_t overflow_max;
	_Atomic uint32_t bucket_cnt; /* decides which bucket a hash belongs to */
	/* Changed by writes: not on the line that every read reads. */
	_Atomic uint32_t overflow_lock __attribute__((aligned(64)));
	_Atomic uint32_t overflow_used; /* ever taken */
	uint32_t overflow_free;		/* list head + 1, 0: empty */
	uint32_t overflow_free_cnt;
	_Atomic uint64_t item_cnt;
	_Atomic uint32_t growing;
};

/* A locked bucket. */
struct index_lock {
	struct index_bucket *head;
	uint64_t hash;
};

/* A slot in a locked bucket. */
struct index_slot {
	struct index_bucket *bucket;
	uint32_t idx;
};

int index_init(struct index *index, uint64_t bytes_max);
void index_fini(struct index *index);

/* Asks the memory for the hash's bucket, ahead of index_lock. */
void index_prefetch(const struct index *index, uint64_t hash);
/* The place of the first slot in the hash's bucket whose tag fits, 0: none there. A guess, for a
 * prefetch: no lock is held. */
uint64_t index_guess(const struct index *index, uint64_t hash);

struct index_lock index_lock(struct index *index, uint64_t hash);
void index_unlock(struct index_lock *lock);

/* Walks the slots whose tag fits. Start with *slot zeroed; false at the end. */
bool index_next(struct index *index, const struct index_lock *lock, struct index_slot *slot);
/* The slot that names exactly this place. */
bool index_find_place(struct index *index, const struct index_lock *lock, uint64_t loc,
		      struct index_slot *ret);

uint64_t index_slot_loc(const struct index_slot *slot);
uint32_t index_slot_use(const struct index_slot *slot);
void index_slot_set_use(struct index_slot *slot, uint32_t use);
void index_slot_replace(struct index_slot *slot, uint64_t loc); /* keeps tag and use */

int index_insert(struct index *index, const struct index_lock *lock, uint64_t loc, uint32_t use);
/* Slots found before, in the same chain, mean nothing afterwards. */
void index_remove(struct index *index, const struct index_lock *lock, struct index_slot *slot);

/* True when the table is fuller than it should be and may still grow. */
bool index_wants_growth(const struct index *index);
/* Splits the next bucket; hash_of gives the hash of the item at a place. Call with no bucket
 * locked. */
void index_grow(struct index *index, uint64_t (*hash_of)(void *ctx, uint64_t loc), void *ctx);

/* Makes an empty index as large as item_cnt inserts would; no other thread may be here. */
void index_expect(struct index *index, uint64_t item_cnt);

/* Sets every item's use to 0; no other thread may be here. */
void index_forget_use(struct index *index);

uint64_t index_bytes(const struct index *index);
/* Walks every slot of bucket number b (with the lock held); for tests and walks. */
struct index_lock index_lock_bucket(struct index *index, uint32_t bucket_idx);
bool index_next_any(struct index *index, const struct index_lock *lock, struct index_slot *slot);

#endif
