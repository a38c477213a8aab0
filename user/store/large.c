/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Values larger than half a segment. Their bytes fill whole segments of the same pool, linked by
 * their headers; what is left over (unless it would fill more than half a segment) lies in the item
 * itself, behind its struct item_chain:
 *
 *   item in the log:  header | options | key | item_chain | last bytes of the value
 *                                               |
 *                                               v first_segment
 *   segment:          header (chain_next) | payload  ->  header (chain_next) | payload
 */
#include <xxhash.h>

#include "store/impl.h"

uint64_t chain_rest_len(const struct store *store, uint64_t value_len, uint32_t *ret_segment_cnt)
{
	uint64_t payload = segment_payload(&store->pool);
	uint64_t rest = value_len % payload;

	*ret_segment_cnt = (uint32_t)(value_len / payload);
	if (rest > store->value_inline_max) {
		*ret_segment_cnt += 1;
		rest = 0;
	}
	return rest;
}

uint64_t store_pending_bytes(const struct store *store, uint64_t value_len)
{
	uint32_t segment_cnt = 0;

	if (value_len > store->value_inline_max)
		chain_rest_len(store, value_len, &segment_cnt);
	/* The item's own segment cannot be reclaimed before it is committed. */
	return (uint64_t)(segment_cnt + 1) << store->pool.shift;
}

/* Several values may be waiting: the reclaimer works for the largest. */
static void demand_raise(struct store *store, uint32_t segment_cnt)
{
	uint32_t demand = atomic_load(&store->demand);

	while (demand < segment_cnt &&
	       !atomic_compare_exchange_weak(&store->demand, &demand, segment_cnt))
		;
}

bool chain_take(struct store_thread *t, uint32_t segment_cnt, uint64_t hash, uint32_t *ret_first)
{
	struct store *store = t->store;
	uint32_t first = SEGMENT_NONE;

	/* With the item's own segment; two that each hold half of what they need would wait for
	 * each other. */
	if (segment_free_cnt(&store->pool) < store->pool.reserve + segment_cnt + 1) {
		demand_raise(store, segment_cnt);
		return false;
	}
	for (uint32_t i = 0; i < segment_cnt; i++) {
		uint32_t idx = segment_take(&store->pool, SEGMENT_CHAIN, t->privileged);

		if (idx == SEGMENT_NONE) {
			chain_release(store, first);
			demand_raise(store, segment_cnt);
			return false;
		}
		segment_header(&store->pool, idx)->chain_hash = hash;
		segment_chain_link(&store->pool, idx, first);
		first = idx;
	}
	*ret_first = first;
	return true;
}

void chain_release(struct store *store, uint32_t first)
{
	while (first != SEGMENT_NONE) {
		uint32_t next = segment_chain_next(&store->pool, first);

		segment_release(&store->pool, first);
		first = next;
	}
}

struct item_chain item_chain_of(struct item_header *item)
{
	struct item_chain chain;

	memcpy(&chain, item_value(item), sizeof(chain));
	return chain;
}

uint64_t chain_check(const struct store *store, const struct item_chain *chain)
{
	uint64_t payload = segment_payload(&store->pool);
	uint64_t left = chain->value_len, check = 0;
	uint32_t idx = chain->first_segment;

	for (uint32_t n = 0; n < chain->segment_cnt; n++) {
		uint64_t len = left < payload ? left : payload;

		check = XXH3_64bits_withSeed(segment_header(&store->pool, idx) + 1, len, check);
		left -= len;
		idx = segment_chain_next(&store->pool, idx);
	}
	return check;
}

void chain_seal(const struct store *store, struct item_header *item)
{
	struct item_chain chain = item_chain_of(item);

	chain.check = chain_check(store, &chain);
	memcpy(item_value(item), &chain, sizeof(chain));
}

/* The segment before idx in an item's chain, SEGMENT_NONE if idx is its first; false: not in it. */
static bool chain_find(const struct store *store, const struct item_chain *chain, uint32_t idx,
		       uint32_t *ret_before)
{
	uint32_t at = chain->first_segment;

	*ret_before = SEGMENT_NONE;
	for (uint32_t n = 0; n < chain->segment_cnt; n++) {
		if (at == idx)
			return true;
		*ret_before = at;
		at = segment_chain_next(&store->pool, at);
	}
	return false;
}

/* The first segment's number is part of the item, whose bytes never change: a new item. */
static bool replace_first(struct store_thread *t, struct index_slot *slot, uint64_t hash,
			  uint32_t first)
{
	struct store *store = t->store;
	uint32_t flush_gen = atomic_load(&store->flush_gen);
	uint64_t loc = index_slot_loc(slot), new_loc;
	struct item_header *item = item_at(store->pool.base, loc);
	uint8_t queue = store->pool.segments[segment_of(&store->pool, loc)].queue;
	struct item_chain chain = item_chain_of(item);

	new_loc = store_copy_item(t, loc, item_expire_ds(item), queue);
	if (!new_loc)
		return false;
	if (item_is_flushed(store, loc)) {
		store_drop_copy(t, new_loc);
		return false;
	}
	item = item_at(store->pool.base, new_loc);
	chain.first_segment = first;
	memcpy(item_value(item), &chain, sizeof(chain));
	store_seal_item(item);
	store_switch(t, slot, hash, new_loc, flush_gen, STORE_CHANGE_MOVE, true);
	store_item_done(store, new_loc);
	return true;
}

/* The item in whose chain the segment is, and the one before it in there. */
static bool find_owner(struct store *store, const struct index_lock *lock, uint32_t idx,
		       struct index_slot *ret, uint32_t *ret_before)
{
	*ret = (struct index_slot){ 0 };
	while (index_next(&store->index, lock, ret)) {
		struct item_header *item = item_at(store->pool.base, index_slot_loc(ret));
		struct item_chain chain;

		if (!(item_word0(item) & ITEM_CHAINED))
			continue;
		chain = item_chain_of(item);
		if (chain_find(store, &chain, idx, ret_before))
			return true;
	}
	return false;
}

static uint32_t copy_segment(struct store_thread *t, uint32_t idx, uint64_t hash)
{
	struct segment_pool *pool = &t->store->pool;
	uint32_t copy = segment_take(pool, SEGMENT_CHAIN, t->privileged);

	if (copy == SEGMENT_NONE)
		return copy;
	memcpy(segment_header(pool, copy) + 1, segment_header(pool, idx) + 1,
	       segment_payload(pool));
	segment_header(pool, copy)->chain_hash = hash;
	segment_chain_link(pool, copy, segment_chain_next(pool, idx));
	return copy;
}

bool chain_move_segment(struct store_thread *t, uint32_t idx)
{
	struct segment_pool *pool = &t->store->pool;
	uint64_t hash = segment_header(pool, idx)->chain_hash;
	/* Whoever frees the chain takes it out of the index first, under this lock. */
	struct index_lock lock = index_lock(&t->store->index, hash);
	uint32_t before, copy = SEGMENT_NONE;
	struct index_slot slot;

	if (find_owner(t->store, &lock, idx, &slot, &before))
		copy = copy_segment(t, idx, hash);
	if (copy != SEGMENT_NONE && before != SEGMENT_NONE)
		segment_chain_link(pool, before, copy);
	if (copy != SEGMENT_NONE && before == SEGMENT_NONE &&
	    !replace_first(t, &slot, hash, copy)) {
		segment_release(pool, copy);
		copy = SEGMENT_NONE;
	}
	index_unlock(&lock);
	return copy != SEGMENT_NONE;
}

struct span store_value_part(const struct store *store, const struct item_view *view,
			     uint64_t offset)
{
	uint64_t payload = segment_payload(&store->pool);
	struct item_header *item;
	struct item_chain chain;
	uint64_t in_chain, len;
	uint32_t idx;

	if (view->value)
		return span_of(view->value + offset, view->value_len - offset);
	item = item_at(store->pool.base, view->loc);
	chain = item_chain_of(item);
	in_chain = chain.segment_cnt * payload;
	if (in_chain > chain.value_len)
		in_chain = chain.value_len;
	if (offset >= in_chain)
		return span_of(item_value(item) + sizeof(chain) + (offset - in_chain),
			       chain.value_len - offset);
	idx = chain.first_segment;
	for (uint64_t skip = offset / payload; skip > 0; skip--)
		idx = segment_chain_next(&store->pool, idx);
	len = payload - offset % payload;
	if (len > in_chain - offset)
		len = in_chain - offset;
	return span_of(store->pool.base + segment_loc(&store->pool, idx) +
			       sizeof(struct segment_header) + offset % payload,
		       len);
}
