/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Large values. Their bytes fill whole segments of the same pool, then blocks of segments that
 * several values share, linked; what is left over, less than a block, lies in the item itself,
 * behind its struct item_chain:
 *
 *   item in the log:  header | options | key | item_chain | last bytes of the value
 *                                               |
 *                                               v first_piece
 *   segment:          header with link | payload  ->  header with link | payload
 *                                               |
 *                                               v
 *   block:            link | payload  ->  link | payload
 *
 * So no length wastes much. A value of up to half a segment is kept in its item if as many of its
 * length as fit fill a segment, which eviction knows best: it judges a segment's items together,
 * and few items with much in chains are many bytes. Else an item is at most a block longer than
 * its key, and 1/32 of a segment is too short for the next item at worst. Blocks that values left
 * behind are taken first, and where they are many the reclaimer moves what is left of the emptiest
 * segments into the others (reclaim.c).
 */
#include <xxhash.h>

#include "store/impl.h"

/* Of a segment's payload, that values of one length may leave unused in it. */
#define UNUSED_SHARE 16

bool chain_is_better(const struct store *store, uint32_t other_bytes, uint64_t value_len)
{
	uint64_t payload = segment_payload(&store->pool);
	uint64_t bytes = other_bytes + value_len;

	if (value_len <= piece_payload(&store->pool, true))
		return false;
	return bytes > payload / 2 || payload % bytes > payload / UNUSED_SHARE;
}

struct chain_shape chain_shape(const struct store *store, uint64_t value_len)
{
	uint64_t whole = piece_payload(&store->pool, false);
	uint64_t block = piece_payload(&store->pool, true);
	uint64_t left = value_len % whole;

	return (struct chain_shape){ .segment_cnt = (uint32_t)(value_len / whole),
				     .block_cnt = (uint32_t)(left / block),
				     .rest_len = (uint32_t)(left % block) };
}

uint32_t chain_blocks(const struct store *store, const struct chain_shape *shape)
{
	return shape->segment_cnt * segment_block_cnt(&store->pool) + shape->block_cnt;
}

uint32_t chain_segments(const struct store *store, const struct chain_shape *shape)
{
	uint32_t block_cnt = segment_block_cnt(&store->pool);

	return shape->segment_cnt + (shape->block_cnt + block_cnt - 1) / block_cnt;
}

uint64_t store_pending_bytes(const struct store *store, uint64_t value_len)
{
	struct chain_shape shape = { 0 };

	if (value_len > piece_payload(&store->pool, true))
		shape = chain_shape(store, value_len);
	/* The item's own segment cannot be reclaimed before it is committed. */
	return (uint64_t)(chain_segments(store, &shape) + 1) << store->pool.shift;
}

/* Several values may be waiting: the reclaimer works for the largest. */
static void demand_raise(struct store *store, uint32_t segment_cnt)
{
	uint32_t demand = atomic_load(&store->demand);

	while (demand < segment_cnt &&
	       !atomic_compare_exchange_weak(&store->demand, &demand, segment_cnt))
		;
}

static bool chain_push(struct store_thread *t, bool is_block, uint64_t hash, uint32_t *first)
{
	struct segment_pool *pool = &t->store->pool;
	uint32_t piece = segment_take_piece(pool, is_block, t->privileged);

	if (piece == PIECE_NONE)
		return false;
	piece_link(pool, piece)->hash = hash;
	piece_set_next(pool, piece, *first);
	*first = piece;
	return true;
}

bool chain_take(struct store_thread *t, const struct chain_shape *shape, uint64_t hash,
		uint32_t *ret_first)
{
	struct store *store = t->store;
	uint32_t first = PIECE_NONE, segment_cnt = shape->segment_cnt;
	bool ok;

	if (shape->block_cnt > segment_block_free_cnt(&store->pool))
		segment_cnt = chain_segments(store, shape);
	/* With the item's own segment; two that each hold half of what they need would wait for
	 * each other. */
	ok = segment_free_cnt(&store->pool) >= store->pool.reserve + segment_cnt + 1;
	for (uint32_t i = 0; i < shape->block_cnt && ok; i++)
		ok = chain_push(t, true, hash, &first);
	for (uint32_t i = 0; i < shape->segment_cnt && ok; i++)
		ok = chain_push(t, false, hash, &first);
	if (!ok) {
		chain_release(store, first);
		demand_raise(store, chain_segments(store, shape));
		return false;
	}
	*ret_first = first;
	return true;
}

void chain_release(struct store *store, uint32_t first)
{
	while (first != PIECE_NONE) {
		uint32_t next = piece_next(&store->pool, first);

		segment_release_piece(&store->pool, first);
		first = next;
	}
}

void chain_release_moved(struct store *store, uint32_t first)
{
	while (first != PIECE_NONE) {
		uint32_t next = piece_link(&store->pool, first)->buried;

		segment_release_piece(&store->pool, first);
		first = next;
	}
}

void chain_release_all(struct store *store, uint32_t first)
{
	while (first != PIECE_NONE) {
		uint32_t next = piece_link(&store->pool, first)->buried;

		chain_release(store, first);
		first = next;
	}
}

struct item_chain item_chain_of(struct item_header *item)
{
	struct item_chain chain;

	memcpy(&chain, item_value(item), sizeof(chain));
	return chain;
}

uint64_t chain_check_piece(const struct store *store, uint32_t piece, uint64_t len, uint64_t before)
{
	return XXH3_64bits_withSeed(piece_data(&store->pool, piece), len, before);
}

uint64_t chain_check(const struct store *store, const struct item_chain *chain)
{
	uint64_t left = chain->value_len, check = 0;
	uint32_t piece = chain->first_piece;

	for (uint32_t n = 0; n < chain->piece_cnt; n++) {
		uint64_t payload = piece_payload(&store->pool, piece_is_block(piece));
		uint64_t len = left < payload ? left : payload;

		check = chain_check_piece(store, piece, len, check);
		left -= len;
		piece = piece_next(&store->pool, piece);
	}
	return check;
}

void chain_seal(struct item_header *item, uint64_t check)
{
	struct item_chain chain = item_chain_of(item);

	chain.check = check;
	memcpy(item_value(item), &chain, sizeof(chain));
}

/* The piece before this one in an item's chain, PIECE_NONE if it is the first; false: not in it. */
static bool chain_find(const struct store *store, const struct item_chain *chain, uint32_t piece,
		       uint32_t *ret_before)
{
	uint32_t at = chain->first_piece;

	*ret_before = PIECE_NONE;
	for (uint32_t n = 0; n < chain->piece_cnt; n++) {
		if (at == piece)
			return true;
		*ret_before = at;
		at = piece_next(&store->pool, at);
	}
	return false;
}

/* The first piece's number is part of the item, whose bytes never change: a new item. */
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
	chain.first_piece = first;
	memcpy(item_value(item), &chain, sizeof(chain));
	store_seal_item(item);
	store_switch(t, slot, hash, new_loc, flush_gen, STORE_CHANGE_MOVE, true);
	store_item_done(store, new_loc);
	return true;
}

/* The item in whose chain the piece is, and the one before it in there. */
static bool find_owner(struct store *store, const struct index_lock *lock, uint32_t piece,
		       struct index_slot *ret, uint32_t *ret_before)
{
	*ret = (struct index_slot){ 0 };
	while (index_next(&store->index, lock, ret)) {
		struct item_header *item = item_at(store->pool.base, index_slot_loc(ret));
		struct item_chain chain;

		if (!(item_word0(item) & ITEM_CHAINED))
			continue;
		chain = item_chain_of(item);
		if (chain_find(store, &chain, piece, ret_before))
			return true;
	}
	return false;
}

static uint32_t copy_piece(struct store_thread *t, uint32_t piece, uint64_t hash)
{
	struct segment_pool *pool = &t->store->pool;
	uint32_t copy = piece_next(pool, piece);

	if (!chain_push(t, piece_is_block(piece), hash, &copy))
		return PIECE_NONE;
	memcpy(piece_data(pool, copy), piece_data(pool, piece),
	       piece_payload(pool, piece_is_block(piece)));
	return copy;
}

bool chain_move_piece(struct store_thread *t, uint32_t piece)
{
	struct segment_pool *pool = &t->store->pool;
	uint64_t hash = piece_link(pool, piece)->hash;
	/* Whoever frees the chain takes it out of the index first, under this lock. */
	struct index_lock lock = index_lock(&t->store->index, hash);
	uint32_t before, copy = PIECE_NONE;
	struct index_slot slot;

	if (find_owner(t->store, &lock, piece, &slot, &before))
		copy = copy_piece(t, piece, hash);
	if (copy != PIECE_NONE && before != PIECE_NONE)
		piece_set_next(pool, before, copy);
	if (copy != PIECE_NONE && before == PIECE_NONE && !replace_first(t, &slot, hash, copy)) {
		segment_release_piece(pool, copy);
		copy = PIECE_NONE;
	}
	index_unlock(&lock);
	return copy != PIECE_NONE;
}

struct span store_value_part(const struct store *store, const struct item_view *view,
			     uint64_t offset)
{
	const struct segment_pool *pool = &store->pool;
	struct item_header *item;
	struct item_chain chain;
	uint64_t in_chain, len;
	uint32_t piece;

	if (view->value)
		return span_of(view->value + offset, view->value_len - offset);
	item = item_at(pool->base, view->loc);
	chain = item_chain_of(item);
	in_chain = chain.value_len - chain_shape(store, chain.value_len).rest_len;
	if (offset >= in_chain)
		return span_of(item_value(item) + sizeof(chain) + (offset - in_chain),
			       chain.value_len - offset);
	piece = chain.first_piece;
	while (offset >= (len = piece_payload(pool, piece_is_block(piece)))) {
		offset -= len;
		piece = piece_next(pool, piece);
	}
	return span_of(piece_data(pool, piece) + offset, len - offset);
}
