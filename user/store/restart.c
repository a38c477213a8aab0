/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Taking over the log of an earlier process.
 *
 * The index is rebuilt from the log alone. A segment's header says how far it is filled; item by
 * item, the committed ones that are not dead, not expired, not flushed and whose check holds go
 * into the index. Everything else, and every segment without a valid header, is free space. The
 * order of a write (write.c) makes two live copies of a key impossible; if there are two all the
 * same, the younger segment's wins.
 */
#include <errno.h>

#include "base/log.h"
#include "store/impl.h"

bool store_recognise(const struct store_log *log, uint32_t *ret_shift)
{
	const struct segment_super *super = (const struct segment_super *)log->base;

	if (super->magic != SEGMENT_SUPER_MAGIC || super->version != SEGMENT_SUPER_VERSION ||
	    super->segment_shift < SEGMENT_SHIFT_MIN || super->segment_shift > SEGMENT_SHIFT_MAX)
		return false;
	*ret_shift = super->segment_shift;
	return true;
}

bool store_log_holds_items(const struct store_log *log)
{
	uint32_t shift;

	return log->adopted && store_recognise(log, &shift);
}

void store_format(struct store *store)
{
	struct segment_super *super = segment_super(&store->pool);

	super->magic = 0;
	super->version = SEGMENT_SUPER_VERSION;
	super->segment_shift = store->pool.shift;
	super->log_bytes = store->pool.bytes;
	atomic_store(&super->flush_seq, 0);
	/* A generation of kernel entries may outlive the items they named: never go back. */
	atomic_store(&store->flush_gen, atomic_load(&super->flush_gen) + 1);
	atomic_store(&super->flush_gen, atomic_load(&store->flush_gen));
	for (uint32_t i = 1; i < store->pool.cnt; i++)
		segment_release(&store->pool, i);
	atomic_thread_fence(memory_order_release);
	super->magic = SEGMENT_SUPER_MAGIC;
}

/* Marks the chain's segments as in use; false if it is not whole. */
static bool adopt_chain(struct store *store, struct item_header *item)
{
	struct item_chain chain = item_chain_of(item);
	uint32_t idx = chain.first_segment;

	for (uint32_t n = 0; n < chain.segment_cnt; n++) {
		const struct segment_header *header;

		if (idx == SEGMENT_NONE || idx >= store->pool.cnt)
			return false;
		header = segment_header(&store->pool, idx);
		if (header->magic != SEGMENT_MAGIC || header->state != SEGMENT_CHAIN)
			return false;
		idx = header->chain_next;
	}
	idx = chain.first_segment;
	for (uint32_t n = 0; n < chain.segment_cnt; n++) {
		store->pool.segments[idx].state = SEGMENT_CHAIN;
		idx = segment_header(&store->pool, idx)->chain_next;
	}
	return true;
}

static bool adopt_item(struct store_thread *t, uint64_t loc)
{
	struct store *store = t->store;
	struct item_header *item = item_at(store->pool.base, loc);
	uint64_t hash = store_hash_at(store, loc);
	struct index_lock lock;
	struct index_slot slot;
	bool ok = true;

	if ((item_shape(item).bits & ITEM_CHAINED) && !adopt_chain(store, item))
		return false;
	atomic_fetch_and(&item->word0,
			 ~ITEM_RESIDENT); /* set again for the entries that are kept */
	lock = index_lock(&store->index, hash);
	if (store_find_slot(store, &lock, span_of(item_key(item), item_key_len(item)), &slot)) {
		uint64_t other = index_slot_loc(&slot);

		if (store->pool.segments[segment_of(&store->pool, other)].seq >
		    store->pool.segments[segment_of(&store->pool, loc)].seq) {
			atomic_fetch_or(&item->word0, ITEM_DEAD);
			ok = false;
		} else {
			atomic_fetch_or(&item_at(store->pool.base, other)->word0, ITEM_DEAD);
			index_slot_replace(&slot, loc);
			store_bury(t, other, false);
		}
	} else {
		ok = index_insert(&store->index, &lock, loc, 0) == 0;
	}
	if (ok)
		store_tally_born(t, loc);
	index_unlock(&lock);
	if (index_wants_growth(&store->index))
		index_grow(&store->index, store_hash_at, store);
	return ok;
}

/* The item's bytes are all there and are what was committed. */
static bool item_is_proven(struct segment_pool *pool, uint64_t loc, uint64_t end)
{
	struct item_header *item = item_at(pool->base, loc);
	uint8_t key_len = item_key_len(item);

	return key_len > 0 && key_len <= XC_KEY_MAX && loc + item_bytes(item) <= end &&
	       (item->word1 >> 8) == item_check(item);
}

static void adopt_segment(struct store_thread *t, uint32_t idx)
{
	struct store *store = t->store;
	struct segment_pool *pool = &store->pool;
	struct segment *seg = &pool->segments[idx];
	uint64_t loc = segment_loc(pool, idx) + sizeof(struct segment_header);
	uint64_t end = segment_loc(pool, idx) + atomic_load(&segment_header(pool, idx)->used);
	uint32_t expire_max_ds = 0;

	while (loc + ITEM_HEADER <= end) {
		struct item_header *item = item_at(pool->base, loc);
		uint32_t word0 = item_word0(item);
		uint32_t bytes = item_bytes(item);

		if (loc + bytes > end)
			break;
		if ((word0 & ITEM_COMMITTED) && !(word0 & ITEM_DEAD)) {
			bool whole = item_is_proven(pool, loc, end);

			if (whole && item_is_live(store, loc) && adopt_item(t, loc)) {
				uint32_t ds = item_expire_ds(item);

				if (ds == 0 || expire_max_ds == UINT32_MAX)
					ds = UINT32_MAX;
				if (ds > expire_max_ds)
					expire_max_ds = ds;
				store->recovered_cnt++;
			} else {
				atomic_fetch_or(&item->word0, ITEM_DEAD);
				store->dropped_cnt += !whole;
			}
		}
		loc += bytes;
	}
	atomic_store(&seg->expire_max_ds, expire_max_ds);
}

/* Takes what the header says into the segment's record; false if there is no item in it. */
static bool read_header(struct store *store, uint32_t idx)
{
	struct segment *seg = &store->pool.segments[idx];
	const struct segment_header *header = segment_header(&store->pool, idx);
	uint32_t used = atomic_load(&header->used);

	if (header->magic != SEGMENT_MAGIC)
		return false;
	if (header->seq > store->pool.seq)
		store->pool.seq = header->seq;
	if ((header->state != SEGMENT_OPEN && header->state != SEGMENT_SEALED) ||
	    used < sizeof(*header) || used > segment_bytes(&store->pool) ||
	    header->seq <= atomic_load(&store->flush_seq))
		return false;
	seg->seq = header->seq;
	seg->used = used;
	seg->queue = header->queue < SEGMENT_QUEUES ? (uint8_t)header->queue : 0;
	return true;
}

void store_recover(struct store *store, struct store_thread *t)
{
	struct segment_super *super = segment_super(&store->pool);

	atomic_store(&store->flush_seq, atomic_load(&super->flush_seq));
	atomic_store(&store->flush_gen, atomic_load(&super->flush_gen));
	store->pool.seq = atomic_load(&super->flush_seq);
	super->log_bytes = store->pool.bytes;
	for (uint32_t i = 1; i < store->pool.cnt; i++) {
		if (read_header(store, i))
			store->pool.segments[i].state = SEGMENT_OPEN; /* until adopted */
	}
	for (uint32_t i = 1; i < store->pool.cnt; i++) {
		if (store->pool.segments[i].state == SEGMENT_OPEN) {
			adopt_segment(t, i);
			segment_seal(&store->pool, i);
		}
	}
	for (uint32_t i = 1; i < store->pool.cnt; i++) {
		if (store->pool.segments[i].state == SEGMENT_FREE)
			segment_release(&store->pool, i);
	}
	log_line(LOG_INFO, "store",
		 "took over the log of an earlier process: items=%llu dropped=%llu",
		 (unsigned long long)store->recovered_cnt, (unsigned long long)store->dropped_cnt);
}
