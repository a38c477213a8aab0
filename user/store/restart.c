/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Taking over the log of an earlier process.
 *
 * Where that process had time to save its state, see state.c. Else the index is rebuilt from the
 * log alone. A segment's header says how far it is filled; item by item, the committed ones that
 * are not dead, not expired, not flushed and whose check holds go into the index. Everything else,
 * and every segment without a valid header, is free space. The order of a write (write.c) makes two
 * versions of a key alive impossible. A move may leave two copies of one version; the younger
 * segment's is kept.
 *
 * Two walks: the first counts, so that the index has its size before the second fills it. Splitting
 * its buckets one by one would read nearly every item again, each from somewhere else.
 */
#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/log.h"
#include "store/impl.h"

/*
 * Segments are numbered on from the time of the start, 8192 a second, and from whatever number the
 * log knows if that is higher. So a cas unique that a store before this one handed out, on memory
 * that is gone or in segments that were given back, does not come again. The numbers fit into a cas
 * (store.c: store_place_cas) for a century.
 */
#define SEQ_PER_SEC 8192U
#define SEQ_MAX ((1ULL << (64 - (SEGMENT_SHIFT_MAX - 2))) - 1)

static uint64_t seq_of_now(const struct store *store)
{
	uint64_t wall_ns = clock_wall_ns(store->options.clock);

	return wall_ns / NSEC_PER_SEC * SEQ_PER_SEC +
	       wall_ns % NSEC_PER_SEC * SEQ_PER_SEC / NSEC_PER_SEC;
}

/* 0: the header is none. */
static uint64_t header_seq(const struct segment_header *header)
{
	if (header->magic != SEGMENT_MAGIC || header->seq != ~header->seq_inverse ||
	    header->seq > SEQ_MAX)
		return 0;
	return header->seq;
}

static void seq_after(struct store *store, uint64_t seq)
{
	if (seq > store->pool.seq)
		store->pool.seq = seq;
}

static uint32_t flush_check(const struct segment_flush *flush)
{
	uint64_t words[2] = { flush->seq, flush->gen };

	return (uint32_t)XXH3_64bits_withSeed(words, sizeof(words), SEGMENT_SUPER_MAGIC);
}

/* The later of the records that are whole; false: none is. */
static bool read_flush(const struct segment_super *super, struct segment_flush *ret)
{
	bool found = false;

	for (int i = 0; i < 2; i++) {
		const struct segment_flush *flush = &super->flush[i];

		if (flush->check != flush_check(flush) || (found && flush->gen <= ret->gen))
			continue;
		*ret = *flush;
		found = true;
	}
	return found;
}

/* Of records that are not whole: as good a guess as there is. */
static uint32_t later_gen(const struct segment_super *super)
{
	uint32_t a = super->flush[0].gen, b = super->flush[1].gen;

	return a > b ? a : b;
}

void store_note_flush(struct store *store, uint64_t seq, uint32_t gen)
{
	struct segment_super *super = segment_super(&store->pool);
	struct segment_flush flush = { .seq = seq, .gen = gen };

	flush.check = flush_check(&flush);
	for (int i = 0; i < 2; i++) {
		super->flush[i] = flush;
		/* One record is whole at any time, whatever ends the process. */
		atomic_thread_fence(memory_order_seq_cst);
	}
}

void store_promise_flush(struct store *store, uint64_t at_ns)
{
	struct segment_super *super = segment_super(&store->pool);

	/* A crash in between leaves two that do not match, and so a flush. */
	super->promise_ns = at_ns;
	atomic_thread_fence(memory_order_seq_cst);
	super->promise_inverse = ~at_ns;
}

uint64_t store_promised_flush(const struct store *store)
{
	const struct segment_super *super = segment_super(&store->pool);

	return super->promise_ns == ~super->promise_inverse ? super->promise_ns : 1;
}

void store_note_end(struct store *store, uint32_t end)
{
	atomic_store(&segment_super(&store->pool)->end, end | (uint64_t)~end << 32);
}

bool store_recognise(const struct store_log *log, uint32_t *ret_shift, uint64_t *ret_bytes)
{
	const struct segment_super *super = (const struct segment_super *)log->base;
	uint64_t ready = log->ready_bytes ? log->ready_bytes : log->bytes, bytes;
	uint64_t end = atomic_load(&super->end);
	struct segment_flush flush;

	if (super->magic != SEGMENT_SUPER_MAGIC || super->version != SEGMENT_SUPER_VERSION ||
	    super->segment_shift != ~super->segment_shift_inverse ||
	    super->identity != log->identity || super->segment_shift < SEGMENT_SHIFT_MIN ||
	    super->segment_shift > SEGMENT_SHIFT_MAX || !read_flush(super, &flush))
		return false;
	/* Of a damaged end nothing follows. */
	bytes = (uint32_t)end == (uint32_t) ~(end >> 32)
			? (uint64_t)(uint32_t)end << super->segment_shift
			: ready;
	if (bytes > ready)
		bytes = ready;
	if (bytes >> super->segment_shift < SEGMENT_CNT_MIN)
		return false;
	*ret_shift = super->segment_shift;
	*ret_bytes = bytes;
	return true;
}

bool store_log_holds_items(const struct store_log *log)
{
	uint64_t bytes;
	uint32_t shift;

	return log->adopted && store_recognise(log, &shift, &bytes);
}

void store_format(struct store *store)
{
	struct segment_super *super = segment_super(&store->pool);
	struct segment_flush flush;
	/* A generation of kernel entries may outlive the items they named: never go back. */
	uint32_t gen = read_flush(super, &flush) ? flush.gen + 1 : later_gen(super) + 1;

	seq_after(store, seq_of_now(store));
	for (uint32_t i = 1; i < store->pool.cnt; i++)
		seq_after(store, header_seq(segment_header(&store->pool, i)));
	super->magic = 0;
	atomic_thread_fence(memory_order_seq_cst);
	super->version = SEGMENT_SUPER_VERSION;
	super->segment_shift = store->pool.shift;
	super->segment_shift_inverse = ~store->pool.shift;
	super->identity = store->options.log.identity;
	super->opened_cnt++;
	store_note_end(store, store->pool.cnt);
	store_promise_flush(store, 0);
	store_note_flush(store, 0, gen);
	atomic_store(&store->flush_gen, gen);
	for (uint32_t i = 1; i < store->pool.cnt; i++)
		segment_release(&store->pool, i);
	atomic_thread_fence(memory_order_seq_cst);
	super->magic = SEGMENT_SUPER_MAGIC;
}

/* --- proof --- */

/* What the log says is a piece of some value. */
static bool piece_is_proven(const struct store *store, uint32_t piece)
{
	uint32_t idx = piece_segment(piece);
	const struct segment_header *header;

	if (idx == SEGMENT_NONE || idx >= store->pool.cnt ||
	    (piece & PIECE_BLOCK_MASK) > segment_block_cnt(&store->pool))
		return false;
	header = segment_header(&store->pool, idx);
	return header->magic == SEGMENT_MAGIC &&
	       header->state == (piece_is_block(piece) ? SEGMENT_BLOCKS : SEGMENT_CHAIN);
}

/* The item's value is pieces that no other item has, and they hold what was committed. */
static bool chain_is_proven(const struct store *store, struct item_header *item)
{
	struct item_chain chain = item_chain_of(item);
	uint32_t piece = chain.first_piece;
	struct chain_shape shape = chain_shape(store, chain.value_len);

	/* A length beyond the log would be counted in fewer pieces than it has. */
	if (chain.value_len > segment_loc(&store->pool, store->pool.cnt) ||
	    chain.piece_cnt != shape.segment_cnt + shape.block_cnt ||
	    item_shape(item).value_len != shape.rest_len + sizeof(chain))
		return false;
	for (uint32_t n = 0; n < chain.piece_cnt; n++) {
		if (!piece_is_proven(store, piece) ||
		    piece_is_block(piece) != (n >= shape.segment_cnt))
			return false;
		piece = piece_next(&store->pool, piece);
	}
	return chain.check == chain_check(store, &chain);
}

/* The item's bytes, all of which are there, are what was committed. */
static bool item_is_proven(const struct store *store, uint64_t loc)
{
	struct item_header *item = item_at(store->pool.base, loc);
	uint8_t key_len = item_key_len(item);

	if (key_len == 0 || key_len > XC_KEY_MAX || (item->word1 >> 8) != item_check(item))
		return false;
	if (!(item_shape(item).bits & ITEM_CHAINED))
		return true;
	return item_shape(item).value_len >= sizeof(struct item_chain) &&
	       chain_is_proven(store, item);
}

/* --- adoption --- */

/* Takes a chain's piece, or gives it back; false if it is so already. */
static bool piece_mark(struct store *store, uint32_t piece, bool used)
{
	struct segment *seg = &store->pool.segments[piece_segment(piece)];

	if (piece_is_block(piece))
		return segment_mark_block(&store->pool, piece, used);
	if (segment_state(seg) != (used ? SEGMENT_FREE : SEGMENT_CHAIN))
		return false;
	atomic_store(&seg->state, (uint8_t)(used ? SEGMENT_CHAIN : SEGMENT_FREE));
	return true;
}

/* Takes the chain's first pieces, or gives them back: how many could be. */
static uint32_t chain_mark(struct store *store, const struct item_chain *chain, uint32_t cnt,
			   bool used)
{
	uint32_t piece = chain->first_piece;

	for (uint32_t n = 0; n < cnt; n++) {
		if (!piece_mark(store, piece, used))
			return n;
		piece = piece_next(&store->pool, piece);
	}
	return cnt;
}

/* False if some other item has one of its pieces. */
static bool chain_adopt(struct store *store, struct item_header *item, uint64_t hash)
{
	struct item_chain chain = item_chain_of(item);
	uint32_t piece = chain.first_piece;
	uint32_t cnt = chain_mark(store, &chain, chain.piece_cnt, true);

	if (cnt < chain.piece_cnt) {
		chain_mark(store, &chain, cnt, false);
		return false;
	}
	for (uint32_t n = 0; n < cnt; n++) {
		struct segment *seg = &store->pool.segments[piece_segment(piece)];

		atomic_store(&seg->seq, segment_header(&store->pool, piece_segment(piece))->seq);
		seg->used = sizeof(struct segment_header);
		piece_link(&store->pool, piece)->hash = hash;
		piece = piece_next(&store->pool, piece);
	}
	return true;
}

static bool is_chained(struct item_header *item)
{
	return item_word0(item) & ITEM_CHAINED;
}

/*
 * A second live copy: the process ended while it moved the item, and they are the same version.
 * They share the chain then. Segments come by age, so this copy is the younger one.
 */
static bool adopt_copy(struct store_thread *t, struct index_slot *slot, uint64_t hash, uint64_t loc)
{
	struct store *store = t->store;
	struct item_header *item = item_at(store->pool.base, loc);
	uint64_t other_loc = index_slot_loc(slot);
	struct item_header *other = item_at(store->pool.base, other_loc);
	bool shared = is_chained(item) && is_chained(other) &&
		      item_chain_of(item).first_piece == item_chain_of(other).first_piece;

	if (is_chained(item) && !shared && !chain_adopt(store, item, hash))
		return false;
	atomic_fetch_or(&other->word0, ITEM_DEAD);
	index_slot_replace(slot, loc);
	store_bury(t, other_loc, shared);
	store->recovered_cnt--;
	return true;
}

static bool adopt_new(struct store *store, const struct index_lock *lock, uint64_t loc)
{
	struct item_header *item = item_at(store->pool.base, loc);

	if (is_chained(item) && !chain_adopt(store, item, lock->hash))
		return false;
	if (index_insert(&store->index, lock, loc, 0) == 0)
		return true;
	if (is_chained(item)) {
		struct item_chain chain = item_chain_of(item);

		chain_mark(store, &chain, chain.piece_cnt, false);
	}
	return false;
}

/* Items of a segment whose buckets are fetched from memory at the same time. */
#define BATCH_MAX 16

struct batch {
	uint64_t locs[BATCH_MAX], hashes[BATCH_MAX];
	uint32_t cnt;
};

static bool adopt_item(struct store_thread *t, uint64_t loc, uint64_t hash)
{
	struct store *store = t->store;
	struct item_header *item = item_at(store->pool.base, loc);
	struct span key = span_of(item_key(item), item_key_len(item));
	struct index_lock lock = index_lock(&store->index, hash);
	struct index_slot slot;
	bool ok;

	if (store_find_slot(store, &lock, key, &slot))
		ok = adopt_copy(t, &slot, hash, loc);
	else
		ok = adopt_new(store, &lock, loc);
	if (ok) {
		/* Set again for the kernel entries that are kept. */
		atomic_fetch_and(&item->word0, ~ITEM_RESIDENT);
		store_tally_born(t, loc);
		store->recovered_cnt++;
	} else {
		atomic_fetch_or(&item->word0, ITEM_DEAD);
	}
	index_unlock(&lock);
	if (index_wants_growth(&store->index))
		index_grow(&store->index, store_hash_at, store);
	return ok;
}

static void adopt_batch(struct store_thread *t, struct segment *seg, struct batch *batch)
{
	uint32_t max_ds = atomic_load(&seg->expire_max_ds);

	for (uint32_t i = 0; i < batch->cnt; i++) {
		struct item_header *item = item_at(t->store->pool.base, batch->locs[i]);
		uint32_t ds = item_expire_ds(item);

		if (!adopt_item(t, batch->locs[i], batch->hashes[i]))
			continue;
		if (ds == 0)
			ds = UINT32_MAX;
		if (ds > max_ds)
			max_ds = ds;
	}
	atomic_store(&seg->expire_max_ds, max_ds);
	batch->cnt = 0;
}

/* The next item of the segment that was committed and did not die, from *loc on; moves *loc behind
 * it. 0: there is none. */
static uint64_t next_item(const struct store *store, uint64_t *loc, uint64_t end)
{
	while (*loc + ITEM_HEADER <= end) {
		struct item_header *item = item_at(store->pool.base, *loc);
		uint32_t word0 = item_word0(item);
		uint64_t here = *loc;

		*loc += item_bytes(item);
		if (*loc > end)
			break;
		if ((word0 & ITEM_COMMITTED) && !(word0 & ITEM_DEAD))
			return here;
	}
	return 0;
}

/* Where its items begin; *ret_end: where they end. */
static uint64_t items_of(const struct segment_pool *pool, uint32_t idx, uint64_t *ret_end)
{
	*ret_end = segment_loc(pool, idx) + pool->segments[idx].used;
	return segment_loc(pool, idx) + sizeof(struct segment_header);
}

static void adopt_segment(struct store_thread *t, uint32_t idx)
{
	struct store *store = t->store;
	struct segment *seg = &store->pool.segments[idx];
	uint64_t end, at = items_of(&store->pool, idx, &end), loc;
	struct batch batch = { .cnt = 0 };

	atomic_store(&seg->expire_max_ds, 0);
	while ((loc = next_item(store, &at, end))) {
		bool whole = item_is_proven(store, loc);

		if (!whole || !item_is_live(store, loc)) {
			atomic_fetch_or(&item_at(store->pool.base, loc)->word0, ITEM_DEAD);
			store->dropped_cnt += !whole;
			continue;
		}
		batch.locs[batch.cnt] = loc;
		batch.hashes[batch.cnt] = store_hash_at(store, loc);
		store_prefetch_slot(store, batch.hashes[batch.cnt++]);
		if (batch.cnt == BATCH_MAX)
			adopt_batch(t, seg, &batch);
	}
	adopt_batch(t, seg, &batch);
}

/* Takes what the header says into the segment's record; false if there is no item in it. */
static bool read_header(struct store *store, uint32_t idx)
{
	struct segment *seg = &store->pool.segments[idx];
	const struct segment_header *header = segment_header(&store->pool, idx);
	uint32_t used = atomic_load(&header->used);

	if (seg->damaged || header_seq(header) == 0)
		return false;
	seq_after(store, header->seq);
	if ((header->state != SEGMENT_OPEN && header->state != SEGMENT_SEALED) ||
	    used < sizeof(*header) || used > segment_bytes(&store->pool) ||
	    header->seq <= atomic_load(&store->flush_seq))
		return false;
	atomic_store(&seg->seq, header->seq);
	seg->used = used;
	seg->sealed_early = header->state == SEGMENT_OPEN;
	seg->queue = evict_adopted_queue(&store->evict, header->queue);
	return true;
}

struct aged {
	uint64_t seq;
	uint32_t idx;
};

static int compare_age(const void *a, const void *b)
{
	const struct aged *left = a, *right = b;

	return (left->seq > right->seq) - (left->seq < right->seq);
}

/* That may come into the index, and few that do not. */
static uint64_t count_items(const struct store *store, const struct aged *aged, uint32_t aged_cnt)
{
	uint64_t now_ns = clock_now_ns(store->options.clock), cnt = 0;

	for (uint32_t i = 0; i < aged_cnt; i++) {
		uint64_t end, at = items_of(&store->pool, aged[i].idx, &end), loc;

		while ((loc = next_item(store, &at, end)))
			cnt += !item_is_expired(item_at(store->pool.base, loc), now_ns);
	}
	return cnt;
}

static int recover(struct store *store, struct store_thread *t)
{
	struct aged *aged = alloc_zero(store->pool.cnt, sizeof(*aged));
	uint32_t aged_cnt = 0;

	if (!aged)
		return -ENOMEM;
	seq_after(store, seq_of_now(store));
	seq_after(store, atomic_load(&store->flush_seq));
	for (uint32_t i = 1; i < store->pool.cnt; i++) {
		struct segment *seg = &store->pool.segments[i];

		if (!read_header(store, i))
			continue;
		atomic_store(&seg->state, SEGMENT_OPEN); /* until adopted */
		aged[aged_cnt++] = (struct aged){ .seq = segment_seq(seg), .idx = i };
	}
	/* Eviction goes by age. */
	qsort(aged, aged_cnt, sizeof(*aged), compare_age);
	index_expect(&store->index, count_items(store, aged, aged_cnt));
	for (uint32_t i = 0; i < aged_cnt; i++) {
		adopt_segment(t, aged[i].idx);
		segment_seal(&store->pool, aged[i].idx);
	}
	for (uint32_t i = 1; i < store->pool.cnt; i++) {
		struct segment *seg = &store->pool.segments[i];

		if (segment_state(seg) == SEGMENT_FREE)
			segment_release(&store->pool, i);
		else if (segment_state(seg) == SEGMENT_BLOCKS)
			segment_adopt_blocks(&store->pool, i, seg->block_map);
	}
	alloc_free(aged);
	log_line(LOG_INFO, "store",
		 "took over the log of an earlier process: items=%llu dropped=%llu",
		 (unsigned long long)store->recovered_cnt, (unsigned long long)store->dropped_cnt);
	return 0;
}

int store_adopt(struct store *store, struct store_thread *t)
{
	struct segment_super *super = segment_super(&store->pool);
	struct segment_flush flush = { 0 };
	bool loaded;

	read_flush(super, &flush); /* store_recognise found one */
	atomic_store(&store->flush_seq, flush.seq);
	atomic_store(&store->flush_gen, flush.gen);
	loaded = store->options.state && store_load(store, t);
	/* From here on the state is nobody's, whatever becomes of its file. */
	super->opened_cnt++;
	store_note_end(store, store->pool.cnt);
	store_note_flush(store, flush.seq, flush.gen);
	return loaded ? 0 : recover(store, t);
}
