/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Growth. bucket_cnt = 2^level + split. A hash belongs to bucket (hash mod 2^level), or, if that
 * one has been split in this round (it is below split), to (hash mod 2^(level+1)). Growing by one
 * bucket moves about half of bucket `split`'s items to bucket 2^level + split. bucket_cnt is
 * published while both are locked, and index_lock() looks at it again after it got its lock; so no
 * one ever searches the wrong half.
 *
 * Unsplit buckets are up to twice as full as split ones, and the overflow buckets take the excess:
 * at the load below about one lookup in ten follows a link late in a round, none early.
 */
#include "store/index.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BUCKETS_FIRST 256U
#define LOAD_PERCENT 70U  /* of all slots of split-level buckets, before the next one is split */
#define OVERFLOW_SHARE 4U /* overflow buckets: a quarter of the table's */
#define SPINS_BEFORE_YIELD 64

#define LOCK_TAKEN 1U
#define LOCK_USE_SHIFT(idx) (2 + 3 * (idx))
#define LOCK_USE_MASK 7U
_Static_assert(LOCK_USE_SHIFT(INDEX_SLOTS) == 32, "three bits a slot fill the lock word");

#define META_TAG_MASK ((1U << INDEX_TAG_BITS) - 1)
#define META_HIGH_SHIFT INDEX_TAG_BITS
#define META_HIGH_MASK 0xfU
#define META_USE_SHIFT 14
#define META_USE_BITS 2
_Static_assert(META_USE_BITS + 3 == INDEX_USE_BITS,
	       "use: two bits in meta, three in the lock word");
#define PLACE_UNIT_SHIFT 2

/* A link: place is an overflow bucket number + 1, and the high bits say "link": no item lies that
 * high. */
#define META_LINK 0xffffU

static uint32_t tag_of(uint64_t hash)
{
	return (uint32_t)(hash >> (64 - INDEX_TAG_BITS)) & META_TAG_MASK;
}

static void *reserve_range(uint64_t bytes)
{
	void *ptr = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (ptr == MAP_FAILED)
		return NULL;
	madvise(ptr, bytes,
		MADV_HUGEPAGE); /* fewer TLB misses where the host allows; else nothing */
	return ptr;
}

int index_init(struct index *index, uint64_t bytes_max)
{
	memset(index, 0, sizeof(*index));
	index->bucket_max = (uint32_t)(bytes_max / (64 + 64 / OVERFLOW_SHARE));
	if (index->bucket_max < BUCKETS_FIRST)
		index->bucket_max = BUCKETS_FIRST;
	index->overflow_max = index->bucket_max / OVERFLOW_SHARE;
	index->buckets = reserve_range((uint64_t)index->bucket_max * 64);
	index->overflow = reserve_range((uint64_t)index->overflow_max * 64);
	if (!index->buckets || !index->overflow) {
		index_fini(index);
		return -ENOMEM;
	}
	atomic_store(&index->bucket_cnt, BUCKETS_FIRST);
	return 0;
}

void index_fini(struct index *index)
{
	if (index->buckets)
		munmap(index->buckets, (uint64_t)index->bucket_max * 64);
	if (index->overflow)
		munmap(index->overflow, (uint64_t)index->overflow_max * 64);
	index->buckets = NULL;
	index->overflow = NULL;
}

static uint32_t bucket_of(uint32_t bucket_cnt, uint64_t hash)
{
	uint32_t level_size = 1U << (31 - __builtin_clz(bucket_cnt));
	uint32_t idx = (uint32_t)hash & (level_size - 1);

	if (idx < bucket_cnt - level_size)
		idx = (uint32_t)hash & (2 * level_size - 1);
	return idx;
}

static void lock_word(_Atomic uint32_t *word)
{
	/* Hardly ever taken: ask for the line once, as its owner, and only then look and wait. */
	while (atomic_fetch_or_explicit(word, LOCK_TAKEN, memory_order_acquire) & LOCK_TAKEN) {
		for (int spins = 0; atomic_load_explicit(word, memory_order_relaxed) & LOCK_TAKEN;
		     spins++) {
			if (spins < SPINS_BEFORE_YIELD)
				continue;
			sched_yield();
			spins = 0;
		}
	}
}

/* Whoever waits only sets a bit that is set: a plain store loses nothing. */
static void unlock_word(_Atomic uint32_t *word)
{
	atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) & ~LOCK_TAKEN,
			      memory_order_release);
}

struct index_lock index_lock(struct index *index, uint64_t hash)
{
	for (;;) {
		uint32_t cnt = atomic_load_explicit(&index->bucket_cnt, memory_order_acquire);
		uint32_t idx = bucket_of(cnt, hash);
		struct index_bucket *bucket = &index->buckets[idx];

		lock_word(&bucket->lock);
		cnt = atomic_load_explicit(&index->bucket_cnt, memory_order_acquire);
		if (bucket_of(cnt, hash) == idx)
			return (struct index_lock){ .head = bucket, .hash = hash };
		unlock_word(&bucket->lock);
	}
}

struct index_lock index_lock_bucket(struct index *index, uint32_t bucket_idx)
{
	struct index_bucket *bucket = &index->buckets[bucket_idx];

	lock_word(&bucket->lock);
	return (struct index_lock){ .head = bucket, .hash = bucket_idx };
}

void index_unlock(struct index_lock *lock)
{
	unlock_word(&lock->head->lock);
}

static const struct index_bucket *bucket_at(const struct index *index, uint64_t hash)
{
	uint32_t cnt = atomic_load_explicit(&index->bucket_cnt, memory_order_relaxed);

	return &index->buckets[bucket_of(cnt, hash)];
}

void index_prefetch(const struct index *index, uint64_t hash)
{
	__builtin_prefetch(bucket_at(index, hash), 1);
}

static bool is_link(const struct index_bucket *bucket, uint32_t idx)
{
	return idx == INDEX_SLOTS - 1 && bucket->meta[idx] == META_LINK;
}

static struct index_bucket *link_target(struct index *index, const struct index_bucket *bucket)
{
	return &index->overflow[bucket->place[INDEX_SLOTS - 1] - 1];
}

bool index_next_any(struct index *index, const struct index_lock *lock, struct index_slot *slot)
{
	uint32_t idx;

	if (!slot->bucket) {
		slot->bucket = lock->head;
		idx = 0;
	} else {
		idx = slot->idx + 1;
	}
	for (;;) {
		if (idx >= INDEX_SLOTS || !slot->bucket->place[idx])
			return false;
		if (!is_link(slot->bucket, idx)) {
			slot->idx = idx;
			return true;
		}
		slot->bucket = link_target(index, slot->bucket);
		idx = 0;
	}
}

bool index_next(struct index *index, const struct index_lock *lock, struct index_slot *slot)
{
	uint32_t tag = tag_of(lock->hash);

	while (index_next_any(index, lock, slot)) {
		if ((slot->bucket->meta[slot->idx] & META_TAG_MASK) == tag)
			return true;
	}
	return false;
}

bool index_find_place(struct index *index, const struct index_lock *lock, uint64_t loc,
		      struct index_slot *ret)
{
	struct index_slot slot = { 0 };

	while (index_next(index, lock, &slot)) {
		if (index_slot_loc(&slot) == loc) {
			*ret = slot;
			return true;
		}
	}
	return false;
}

static uint64_t loc_from(uint16_t meta, uint32_t place)
{
	uint64_t high = (meta >> META_HIGH_SHIFT) & META_HIGH_MASK;

	return (high << 32 | place) << PLACE_UNIT_SHIFT;
}

/* Races with writers on purpose: a wrong guess costs a useless prefetch and nothing else. */
__attribute__((no_sanitize("thread"))) uint64_t index_guess(const struct index *index,
							    uint64_t hash)
{
	const struct index_bucket *bucket = bucket_at(index, hash);
	uint32_t tag = tag_of(hash);

	for (uint32_t idx = 0; idx < INDEX_SLOTS; idx++) {
		if ((bucket->meta[idx] & META_TAG_MASK) == tag && !is_link(bucket, idx))
			return loc_from(bucket->meta[idx], bucket->place[idx]);
	}
	return 0;
}

/* An overflow bucket's lock word is nobody's lock: the head's is held. */
static uint32_t use_high(const struct index_bucket *bucket, uint32_t idx)
{
	return atomic_load_explicit(&bucket->lock, memory_order_relaxed) >> LOCK_USE_SHIFT(idx) &
	       LOCK_USE_MASK;
}

static void use_high_set(struct index_bucket *bucket, uint32_t idx, uint32_t high)
{
	uint32_t word = atomic_load_explicit(&bucket->lock, memory_order_relaxed);

	word &= ~(LOCK_USE_MASK << LOCK_USE_SHIFT(idx));
	atomic_store_explicit(&bucket->lock, word | high << LOCK_USE_SHIFT(idx),
			      memory_order_relaxed);
}

static void slot_set_loc(struct index_bucket *bucket, uint32_t idx, uint64_t loc)
{
	uint64_t unit = loc >> PLACE_UNIT_SHIFT;
	uint32_t meta = bucket->meta[idx] & ~(META_HIGH_MASK << META_HIGH_SHIFT);

	bucket->place[idx] = (uint32_t)unit;
	bucket->meta[idx] =
		(uint16_t)(meta | ((uint32_t)(unit >> 32) & META_HIGH_MASK) << META_HIGH_SHIFT);
}

static void slot_copy(struct index_bucket *to, uint32_t to_idx, const struct index_bucket *from,
		      uint32_t idx)
{
	to->meta[to_idx] = from->meta[idx];
	to->place[to_idx] = from->place[idx];
	use_high_set(to, to_idx, use_high(from, idx));
}

static void slot_clear(struct index_bucket *bucket, uint32_t idx)
{
	bucket->meta[idx] = 0;
	bucket->place[idx] = 0;
	use_high_set(bucket, idx, 0);
}

uint64_t index_slot_loc(const struct index_slot *slot)
{
	return loc_from(slot->bucket->meta[slot->idx], slot->bucket->place[slot->idx]);
}

uint32_t index_slot_use(const struct index_slot *slot)
{
	return use_high(slot->bucket, slot->idx) << META_USE_BITS |
	       slot->bucket->meta[slot->idx] >> META_USE_SHIFT;
}

void index_slot_set_use(struct index_slot *slot, uint32_t use)
{
	uint16_t *meta = &slot->bucket->meta[slot->idx];

	*meta = (uint16_t)((*meta & ((1U << META_USE_SHIFT) - 1)) | use << META_USE_SHIFT);
	use_high_set(slot->bucket, slot->idx, use >> META_USE_BITS);
}

void index_slot_replace(struct index_slot *slot, uint64_t loc)
{
	slot_set_loc(slot->bucket, slot->idx, loc);
}

#define SPLIT_SLOTS_MAX 4096

/* A chain under division: its items, and its overflow buckets kept back, so that no one else can
 * take them before the two halves have what they need. They never need more than the whole did. */
struct split {
	uint16_t meta[SPLIT_SLOTS_MAX];
	uint32_t place[SPLIT_SLOTS_MAX];
	uint8_t use[SPLIT_SLOTS_MAX]; /* high bits */
	uint32_t slot_cnt;
	uint32_t spare[SPLIT_SLOTS_MAX / (INDEX_SLOTS - 1) + 1];
	uint32_t spare_cnt;
};

/* An empty overflow bucket, from the split's own first (NULL: no split), or NULL. */
static struct index_bucket *overflow_take(struct index *index, struct split *split,
					  uint32_t *ret_number)
{
	struct index_bucket *bucket = NULL;

	if (split && split->spare_cnt > 0) {
		*ret_number = split->spare[--split->spare_cnt];
		return &index->overflow[*ret_number - 1];
	}
	lock_word(&index->overflow_lock);
	if (index->overflow_free) {
		bucket = &index->overflow[index->overflow_free - 1];
		*ret_number = index->overflow_free;
		index->overflow_free = bucket->place[0];
		index->overflow_free_cnt--;
	} else if (atomic_load_explicit(&index->overflow_used, memory_order_relaxed) <
		   index->overflow_max) {
		*ret_number =
			atomic_fetch_add_explicit(&index->overflow_used, 1, memory_order_relaxed) +
			1;
		bucket = &index->overflow[*ret_number - 1];
	}
	unlock_word(&index->overflow_lock);
	if (bucket)
		memset(bucket, 0, sizeof(*bucket));
	return bucket;
}

static void overflow_release(struct index *index, uint32_t number)
{
	struct index_bucket *bucket = &index->overflow[number - 1];

	lock_word(&index->overflow_lock);
	memset(bucket, 0, sizeof(*bucket));
	bucket->place[0] = index->overflow_free;
	index->overflow_free = number;
	index->overflow_free_cnt++;
	unlock_word(&index->overflow_lock);
}

/* First free slot of a bucket without a link: they are filled from the front. */
static uint32_t used_slots(const struct index_bucket *bucket)
{
	uint32_t cnt = 0;

	while (cnt < INDEX_SLOTS && bucket->place[cnt])
		cnt++;
	return cnt;
}

/* Room in the chain that begins at bucket; makes a link when it is full. */
static int slot_make(struct index *index, struct index_bucket *bucket, struct split *split,
		     struct index_slot *ret)
{
	struct index_bucket *more;
	uint32_t number;

	while (is_link(bucket, INDEX_SLOTS - 1))
		bucket = link_target(index, bucket);
	number = used_slots(bucket);
	if (number < INDEX_SLOTS) {
		*ret = (struct index_slot){ .bucket = bucket, .idx = number };
		return 0;
	}
	more = overflow_take(index, split, &number);
	if (!more)
		return -ENOSPC;
	slot_copy(more, 0, bucket, INDEX_SLOTS - 1);
	bucket->meta[INDEX_SLOTS - 1] = META_LINK;
	bucket->place[INDEX_SLOTS - 1] = number;
	*ret = (struct index_slot){ .bucket = more, .idx = 1 };
	return 0;
}

int index_insert(struct index *index, const struct index_lock *lock, uint64_t loc, uint32_t use)
{
	struct index_slot slot;
	int err = slot_make(index, lock->head, NULL, &slot);

	if (err)
		return err;
	slot.bucket->meta[slot.idx] = (uint16_t)tag_of(lock->hash);
	slot_set_loc(slot.bucket, slot.idx, loc);
	index_slot_set_use(&slot, use);
	atomic_fetch_add_explicit(&index->item_cnt, 1, memory_order_relaxed);
	return 0;
}

void index_remove(struct index *index, const struct index_lock *lock, struct index_slot *slot)
{
	struct index_bucket *before = NULL, *last = lock->head;
	uint32_t end;

	while (is_link(last, INDEX_SLOTS - 1)) {
		before = last;
		last = link_target(index, last);
	}
	/* The chain's last item fills the hole. */
	end = used_slots(last) - 1;
	slot_copy(slot->bucket, slot->idx, last, end);
	slot_clear(last, end);
	if (before && end == 1) {
		/* One left: it goes back where the link is. */
		uint32_t number = before->place[INDEX_SLOTS - 1];

		slot_copy(before, INDEX_SLOTS - 1, last, 0);
		overflow_release(index, number);
	}
	atomic_fetch_sub_explicit(&index->item_cnt, 1, memory_order_relaxed);
}

bool index_wants_growth(const struct index *index)
{
	uint64_t cnt = atomic_load_explicit(&index->bucket_cnt, memory_order_relaxed);
	uint64_t items = atomic_load_explicit(&index->item_cnt, memory_order_relaxed);

	return cnt < index->bucket_max && items * 100 > cnt * INDEX_SLOTS * LOAD_PERCENT;
}

void index_expect(struct index *index, uint64_t item_cnt)
{
	uint64_t load = INDEX_SLOTS * LOAD_PERCENT;
	uint64_t cnt = (item_cnt * 100 + load - 1) / load;

	if (cnt > index->bucket_max)
		cnt = index->bucket_max;
	if (cnt > atomic_load(&index->bucket_cnt))
		atomic_store(&index->bucket_cnt, (uint32_t)cnt);
}

/* Empties a chain into the split. */
static void chain_collect(struct index *index, struct index_bucket *head, struct split *split)
{
	struct index_bucket *bucket = head;

	split->slot_cnt = 0;
	split->spare_cnt = 0;
	for (;;) {
		bool linked = is_link(bucket, INDEX_SLOTS - 1);
		uint32_t number = linked ? bucket->place[INDEX_SLOTS - 1] : 0;

		for (uint32_t idx = 0;
		     idx < INDEX_SLOTS && bucket->place[idx] && !is_link(bucket, idx); idx++) {
			split->meta[split->slot_cnt] = bucket->meta[idx];
			split->place[split->slot_cnt] = bucket->place[idx];
			split->use[split->slot_cnt++] = (uint8_t)use_high(bucket, idx);
		}
		memset(bucket->meta, 0, sizeof(bucket->meta));
		memset(bucket->place, 0, sizeof(bucket->place));
		if (!linked)
			return;
		split->spare[split->spare_cnt++] = number;
		bucket = &index->overflow[number - 1];
	}
}

/* A chain too long to divide means that our keyed hash is broken: leave it. */
static bool chain_fits(struct index *index, const struct index_bucket *bucket)
{
	uint32_t links = 0;

	while (is_link(bucket, INDEX_SLOTS - 1)) {
		bucket = link_target(index, bucket);
		links++;
	}
	return (links + 1) * INDEX_SLOTS <= SPLIT_SLOTS_MAX;
}

static void chain_divide(struct index *index, struct split *split, struct index_bucket *low,
			 struct index_bucket *high, uint32_t hash_bit,
			 uint64_t (*hash_of)(void *ctx, uint64_t loc), void *ctx)
{
	for (uint32_t i = 0; i < split->slot_cnt; i++) {
		uint64_t hash = hash_of(ctx, loc_from(split->meta[i], split->place[i]));
		struct index_slot slot;

		if (slot_make(index, (hash & hash_bit) ? high : low, split, &slot))
			abort(); /* see struct split */
		slot.bucket->meta[slot.idx] = split->meta[i];
		slot.bucket->place[slot.idx] = split->place[i];
		use_high_set(slot.bucket, slot.idx, split->use[i]);
	}
	while (split->spare_cnt > 0)
		overflow_release(index, split->spare[--split->spare_cnt]);
}

void index_grow(struct index *index, uint64_t (*hash_of)(void *ctx, uint64_t loc), void *ctx)
{
	struct index_lock low, high;
	uint32_t cnt, level_size;
	struct split split;

	if (atomic_exchange_explicit(&index->growing, 1, memory_order_acquire))
		return;
	cnt = atomic_load_explicit(&index->bucket_cnt, memory_order_relaxed);
	if (cnt < index->bucket_max) {
		level_size = 1U << (31 - __builtin_clz(cnt));
		low = index_lock_bucket(index, cnt - level_size);
		if (chain_fits(index, low.head)) {
			high = index_lock_bucket(index, cnt);
			chain_collect(index, low.head, &split);
			chain_divide(index, &split, low.head, high.head, level_size, hash_of, ctx);
			atomic_store_explicit(&index->bucket_cnt, cnt + 1, memory_order_release);
			index_unlock(&high);
		}
		index_unlock(&low);
	}
	atomic_store_explicit(&index->growing, 0, memory_order_release);
}

static void bucket_forget_use(struct index_bucket *bucket)
{
	atomic_store_explicit(&bucket->lock, 0, memory_order_relaxed);
	for (uint32_t idx = 0; idx < INDEX_SLOTS; idx++) {
		if (!is_link(bucket, idx))
			bucket->meta[idx] &= (1U << META_USE_SHIFT) - 1;
	}
}

void index_forget_use(struct index *index)
{
	for (uint32_t i = 0; i < atomic_load(&index->bucket_cnt); i++)
		bucket_forget_use(&index->buckets[i]);
	for (uint32_t i = 0; i < atomic_load(&index->overflow_used); i++)
		bucket_forget_use(&index->overflow[i]);
}

uint64_t index_bytes(const struct index *index)
{
	uint64_t cnt = atomic_load_explicit(&index->bucket_cnt, memory_order_relaxed);

	return (cnt + atomic_load_explicit(&index->overflow_used, memory_order_relaxed)) *
	       sizeof(struct index_bucket);
}
