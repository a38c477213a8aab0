/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writing. An item is built where it will stay, out of sight; then, with the key's bucket locked,
 * five steps in this order: the old item is marked dead, the new one committed, the index slot
 * switched, the watchers told (the kernel entry switches there), the lock released. Whoever
 * acknowledges the write does it after that. A crash between the first two steps costs the one item
 * whose write was never acknowledged; it can never bring an old version back. A mere move commits
 * the copy first: nobody's write is in flight, so nothing may be lost, and the two are the same
 * version.
 */
#include "store/impl.h"

/* --- bookkeeping --- */

static void tally_add(_Atomic int64_t *counter, int64_t n)
{
	/* One writer: a plain load and store is enough, and cheaper than a locked add. */
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static int64_t key_value_len(struct item_header *item)
{
	struct item_shape shape = item_shape(item);

	return shape.bits & ITEM_CHAINED ? (int64_t)(shape.key_len + item_chain_of(item).value_len)
					 : (int64_t)shape.key_len + shape.value_len;
}

static int64_t chain_bytes(const struct store *store, struct item_header *item)
{
	struct chain_shape shape = chain_shape(store, item_chain_of(item).value_len);

	return ((int64_t)shape.segment_cnt << store->pool.shift) +
	       (int64_t)shape.block_cnt * segment_block_bytes(&store->pool);
}

static int64_t whole_bytes(const struct store *store, struct item_header *item)
{
	int64_t bytes = item_bytes(item);

	if (item_shape(item).bits & ITEM_CHAINED)
		bytes += chain_bytes(store, item);
	return bytes;
}

uint64_t store_item_bytes(const struct store *store, const struct item_view *view)
{
	return (uint64_t)whole_bytes(store, item_at(store->pool.base, view->loc));
}

/* One more item, or one less. */
static void tally_item(struct store_thread *t, struct item_header *item, int64_t sign)
{
	if (item_is_absent(item))
		return;
	tally_add(&t->tally.item_cnt, sign);
	tally_add(&t->tally.item_bytes, sign * whole_bytes(t->store, item));
	tally_add(&t->tally.key_value_bytes, sign * key_value_len(item));
}

void store_tally_born(struct store_thread *t, uint64_t loc)
{
	struct item_header *item = item_at(t->store->pool.base, loc);
	struct segment *seg = &t->store->pool.segments[segment_of(&t->store->pool, loc)];

	atomic_fetch_add_explicit(&seg->live_bytes, item_bytes(item), memory_order_relaxed);
	tally_item(t, item, 1);
}

static void bury_chain(struct store *store, struct item_header *item)
{
	struct item_chain chain = item_chain_of(item);
	struct chain_shape shape = chain_shape(store, chain.value_len);

	pthread_mutex_lock(&store->pool.lock);
	piece_link(&store->pool, chain.first_piece)->buried = store->dead_chains;
	store->dead_chains = chain.first_piece;
	store->dead_blocks += chain_blocks(store, &shape);
	pthread_mutex_unlock(&store->pool.lock);
}

void store_bury(struct store_thread *t, uint64_t loc, bool keep_chain)
{
	struct store *store = t->store;
	struct item_header *item = item_at(store->pool.base, loc);
	struct segment *seg = &store->pool.segments[segment_of(&store->pool, loc)];

	atomic_fetch_sub_explicit(&seg->live_bytes, item_bytes(item), memory_order_release);
	tally_item(t, item, -1);
	if (!keep_chain && (item_shape(item).bits & ITEM_CHAINED))
		bury_chain(store, item);
}

/* One item less that nobody asked to remove; access as store_access tells. */
static void tally_lost(struct store_thread *t, const struct item_view *item, uint32_t access,
		       enum store_change change)
{
	const struct clock *clock = t->store->options.clock;
	bool unfetched = !(access & ITEM_FETCHED);

	if (change == STORE_CHANGE_EXPIRE) {
		tally_add(&t->tally.expired_cnt, 1);
		tally_add(&t->tally.expired_unfetched_cnt, unfetched);
	} else if (change == STORE_CHANGE_EVICT) {
		tally_add(&t->tally.evicted_cnt, 1);
		tally_add(&t->tally.evicted_unfetched_cnt, unfetched);
		tally_add(&t->tally.evicted_expiring_cnt, item->expire_ns != 0);
		atomic_store(
			&t->store->evicted_idle_sec,
			(uint32_t)((clock_now_ns(clock) - item_access_ns(access)) / NSEC_PER_SEC));
	}
}

void store_unlink(struct store_thread *t, const struct index_lock *lock, struct index_slot *slot,
		  enum store_change change)
{
	struct store *store = t->store;
	uint64_t loc = index_slot_loc(slot);
	struct item_view old_item;
	struct store_event event = { .change = change, .hash = lock->hash, .old_item = &old_item };
	uint32_t access = change == STORE_CHANGE_REMOVE ? 0 : store_access(store, loc);

	item_view_fill(store, loc, 0, &old_item);
	atomic_fetch_or(&item_at(store->pool.base, loc)->word0, ITEM_DEAD);
	index_remove(&store->index, lock, slot);
	watch_change(store, &event);
	store_bury(t, loc, false);
	if (!old_item.absent)
		tally_lost(t, &old_item, access, change);
}

void store_switch(struct store_thread *t, struct index_slot *slot, uint64_t hash, uint64_t new_loc,
		  uint32_t flush_gen, enum store_change change, bool keep_chain)
{
	struct store *store = t->store;
	uint64_t old_loc = index_slot_loc(slot);
	struct item_header *item = item_at(store->pool.base, new_loc);
	struct item_view old_item, new_item;
	struct store_event event = {
		.change = change, .hash = hash, .old_item = &old_item, .new_item = &new_item
	};

	item_view_fill(store, old_loc, flush_gen, &old_item);
	if (change == STORE_CHANGE_MOVE)
		atomic_fetch_or(&item->word0, ITEM_COMMITTED);
	atomic_fetch_or(&item_at(store->pool.base, old_loc)->word0, ITEM_DEAD);
	if (change != STORE_CHANGE_MOVE)
		atomic_fetch_or_explicit(&item->word0, ITEM_COMMITTED, memory_order_release);
	index_slot_replace(slot, new_loc);
	item_view_fill(store, new_loc, flush_gen, &new_item);
	watch_change(store, &event);
	if (event.keep_resident)
		atomic_fetch_or(&item->word0, ITEM_RESIDENT);
	store_tally_born(t, new_loc);
	store_bury(t, old_loc, keep_chain);
	if (change == STORE_CHANGE_MOVE) {
		tally_add(&t->tally.moved_cnt, 1);
		tally_add(&t->tally.moved_bytes, item_bytes(item));
	}
}

void store_seal_item(struct item_header *item)
{
	item->word1 = (item->word1 & 0xff) | item_check(item) << 8;
}

/* --- reserve, fill, abandon --- */

/* Writes the optional fields; the shape says which are there. */
static void options_write(struct item_header *item, uint32_t expire_ds, uint32_t flags,
			  uint64_t cas)
{
	uint32_t bits = item_word0(item);
	uint8_t *pos = item_options(item);

	if (bits & ITEM_HAS_EXPIRE) {
		memcpy(pos, &expire_ds, 4);
		pos += 4;
	}
	if (bits & ITEM_HAS_FLAGS) {
		memcpy(pos, &flags, 4);
		pos += 4;
	}
	if (bits & ITEM_HAS_CAS)
		memcpy(pos, &cas, 8);
}

/* The open segment's items hold another chain. */
static void note_chain(struct store *store, uint64_t loc)
{
	struct item_header *item = item_at(store->pool.base, loc);
	struct chain_shape shape = chain_shape(store, item_chain_of(item).value_len);

	store->pool.segments[segment_of(&store->pool, loc)].chain_blocks +=
		chain_blocks(store, &shape);
}

enum store_status store_no_room(struct store_thread *t, uint32_t segment_cnt)
{
	t->need = (struct segment_need){ .free_cnt = segment_cnt };
	if (!atomic_load_explicit(&t->store->exhausted, memory_order_relaxed))
		return STORE_AGAIN;
	store_wake_reclaimer(t->store); /* to look again: something may have died since */
	return STORE_NO_MEMORY;
}

/* Of the item, but for the value; of a copy that reclaim makes, which carries its cas. */
static uint32_t bytes_beside(const struct item_shape *shape)
{
	return ITEM_HEADER + item_options_len(shape->bits | ITEM_HAS_CAS) + shape->key_len;
}

enum store_status store_reserve(struct store_thread *t, const struct store_put *put,
				struct store_pending *ret)
{
	struct store *store = t->store;
	uint32_t expire_ds = item_ds_from_ns(put->expire_ns);
	struct item_shape shape = {
		.bits = (expire_ds ? ITEM_HAS_EXPIRE : 0) | (put->flags ? ITEM_HAS_FLAGS : 0) |
			(put->new_cas ? ITEM_HAS_CAS : 0) | (put->binary ? ITEM_BINARY : 0) |
			(put->stale ? ITEM_STALE : 0) | (put->won ? ITEM_WON : 0) |
			(put->absent ? ITEM_ABSENT : 0),
		.key_len = (uint8_t)put->key.len,
		.value_len = (uint32_t)put->value_len
	};
	struct item_chain chain = { .value_len = put->value_len };
	struct chain_shape kept;
	uint32_t segment_cnt = 0;
	struct item_header *item;
	uint64_t loc;

	if (put->value_len > store->options.item_max)
		return STORE_TOO_LARGE;
	if (chain_is_better(store, bytes_beside(&shape), put->value_len)) {
		kept = chain_shape(store, put->value_len);
		segment_cnt = chain_segments(store, &kept);
		chain.piece_cnt = kept.segment_cnt + kept.block_cnt;
		shape.bits |= ITEM_CHAINED;
		shape.value_len = kept.rest_len + (uint32_t)sizeof(chain);
		if (segment_cnt >= atomic_load(&store->pool.limit) / 2)
			return STORE_TOO_LARGE;
		if (!chain_take(t, &kept, put->hash, &chain.first_piece))
			return store_no_room(t, segment_cnt + 1);
	}
	loc = store_append_item(t, &shape, store->evict.policy->place(&store->evict, put->hash),
				expire_ds);
	if (!loc) {
		chain_release(store, chain.first_piece);
		return store_no_room(t, segment_cnt + 1);
	}
	item = item_at(store->pool.base, loc);
	options_write(item, expire_ds, put->flags, put->new_cas);
	if (put->fetched)
		item_set_access(item, item_access_at(t->turn_ns, true));
	memcpy(item_key(item), put->key.ptr, put->key.len);
	if (shape.bits & ITEM_CHAINED) {
		memcpy(item_value(item), &chain, sizeof(chain));
		note_chain(store, loc);
	}
	*ret = (struct store_pending){
		.put = *put, .loc = loc, .chain = chain.first_piece, .chain_at = chain.first_piece
	};
	return STORE_OK;
}

/* Where the value's next bytes go, and how many at most. */
static uint8_t *fill_place(const struct store *store, const struct store_pending *pending,
			   uint64_t *ret_room)
{
	struct item_header *item = item_at(store->pool.base, pending->loc);
	uint64_t in_chain;

	if (pending->chain_at != PIECE_NONE) {
		*ret_room = piece_payload(&store->pool, piece_is_block(pending->chain_at)) -
			    pending->piece_filled;
		return piece_data(&store->pool, pending->chain_at) + pending->piece_filled;
	}
	*ret_room = pending->put.value_len - pending->filled;
	if (!(item_word0(item) & ITEM_CHAINED))
		return item_value(item) + pending->filled;
	in_chain = pending->put.value_len - chain_shape(store, pending->put.value_len).rest_len;
	return item_value(item) + sizeof(struct item_chain) + (pending->filled - in_chain);
}

void store_fill(struct store_thread *t, struct store_pending *pending, struct span bytes)
{
	struct store *store = t->store;

	while (bytes.len > 0) {
		uint64_t room;
		uint8_t *to = fill_place(store, pending, &room);
		uint64_t len = room < bytes.len ? room : bytes.len;

		memcpy(to, bytes.ptr, len);
		bytes.ptr += len;
		bytes.len -= len;
		pending->filled += len;
		if (pending->chain_at == PIECE_NONE)
			continue;
		pending->piece_filled += (uint32_t)len;
		if (len == room) {
			/* Now: all of it at the commit would keep the thread's other clients
			 * waiting. */
			pending->check = chain_check_piece(store, pending->chain_at,
							   pending->piece_filled, pending->check);
			pending->chain_at = piece_next(&store->pool, pending->chain_at);
			pending->piece_filled = 0;
		}
	}
}

void store_abandon(struct store_thread *t, struct store_pending *pending)
{
	/* For whoever reads the log alone: its check may hold, but it was never committed. */
	atomic_fetch_or(&item_at(t->store->pool.base, pending->loc)->word0, ITEM_DEAD);
	/* Never in the index, so no one can be reading the chain. */
	chain_release(t->store, pending->chain);
	store_item_done(t->store, pending->loc);
}

void store_drop_copy(struct store_thread *t, uint64_t loc)
{
	atomic_fetch_or(&item_at(t->store->pool.base, loc)->word0, ITEM_DEAD);
	store_item_done(t->store, loc);
}

/* --- commit --- */

enum store_status store_judge(const struct store_put *put, bool found, uint64_t cas)
{
	switch (put->mode) {
	case STORE_ADD:
		return found ? STORE_NOT_STORED : STORE_OK;
	case STORE_REPLACE:
		return found ? STORE_OK : STORE_NOT_STORED;
	case STORE_CAS:
		if (!found)
			return STORE_NOT_FOUND;
		return cas == put->cas ? STORE_OK : STORE_EXISTS;
	case STORE_SET:
		break;
	}
	return STORE_OK;
}

static enum store_status insert_new(struct store_thread *t, struct index_lock *lock, uint64_t loc,
				    uint32_t flush_gen)
{
	struct store *store = t->store;
	struct item_header *item = item_at(store->pool.base, loc);
	struct item_view new_item;
	struct store_event event = { .change = STORE_CHANGE_WRITE,
				     .hash = lock->hash,
				     .new_item = &new_item };

	if (index_insert(&store->index, lock, loc,
			 evict_first_use(&store->evict, &t->evict, lock->hash))) {
		if (store->options.no_evict)
			return STORE_NO_MEMORY;
		t->need = (struct segment_need){ .free_cnt = 1,
						 .released_cnt =
							 segment_released_cnt(&store->pool) + 1 };
		atomic_store(&store->index_full, true);
		return STORE_AGAIN;
	}
	atomic_fetch_or_explicit(&item->word0, ITEM_COMMITTED, memory_order_release);
	item_view_fill(store, loc, flush_gen, &new_item);
	watch_change(store, &event);
	if (event.keep_resident)
		atomic_fetch_or(&item->word0, ITEM_RESIDENT);
	store_tally_born(t, loc);
	return STORE_OK;
}

/* The old item's clients have been told of its state: the new one has it too. Bucket locked. */
static void keep_state(const struct store *store, uint64_t loc, uint64_t new_loc)
{
	struct item_header *item = item_at(store->pool.base, new_loc);

	item_set_access(item, item_access(item) | (store_access(store, loc) & ITEM_FETCHED));
	atomic_fetch_or(&item->word0, item_word0(item_at(store->pool.base, loc)) & ITEM_WON);
}

/* In place of the pending item, one that is as stale as the item in the slot. Bucket locked. */
static bool make_stale(struct store_thread *t, struct store_pending *pending,
		       const struct item_view *old_item)
{
	struct store *store = t->store;
	struct item_header *item = item_at(store->pool.base, old_item->loc);
	const struct store_copy how = {
		.expire_ds = item_expire_ds(item),
		.queue = store->pool.segments[segment_of(&store->pool, pending->loc)].queue,
		.stale = true,
		.cas = pending->put.new_cas,
		.above_cas = old_item->cas,
	};
	uint64_t loc = store_copy_as(t, pending->loc, &how);

	if (!loc)
		return false;
	store_drop_copy(t, pending->loc);
	pending->loc = loc;
	atomic_fetch_or(&item_at(store->pool.base, loc)->word0, item_word0(item) & ITEM_WON);
	return true;
}

/* See store_commit_over(). *ret_raced also when a flush covers the new item itself. */
static enum store_status commit_locked(struct store_thread *t, struct index_lock *lock,
				       struct store_pending *pending, uint64_t expect_loc,
				       bool *ret_raced)
{
	const struct store_put *put = &pending->put;
	struct store *store = t->store;
	uint32_t flush_gen = atomic_load(&store->flush_gen);
	struct index_slot slot;
	bool present = store_find_slot(store, lock, put->key, &slot);
	bool live = false;
	struct item_view old_item;
	enum store_status status;

	if (present) {
		uint64_t old_loc = index_slot_loc(&slot);

		item_view_fill(store, old_loc, flush_gen, &old_item);
		live = item_is_live(store, old_loc);
	}
	if (put->token && store_token_is_void(store, put->token))
		return STORE_NOT_STORED;
	if (item_is_flushed(store, pending->loc) ||
	    (expect_loc && (!live || old_item.loc != expect_loc))) {
		*ret_raced = true;
		return STORE_NOT_STORED;
	}
	status = store_judge(put, live, live ? old_item.cas : 0);
	if (status == STORE_EXISTS && put->allow_stale && put->cas && put->cas < old_item.cas)
		status = make_stale(t, pending, &old_item) ? STORE_OK : store_no_room(t, 1);
	if (status != STORE_OK)
		return status;
	/* A note of what a client does not find is no change. */
	if (!put->absent)
		token_void(store, put->key, lock->hash);
	if (!present)
		return insert_new(t, lock, pending->loc, flush_gen);
	if (put->keep_state)
		keep_state(store, old_item.loc, pending->loc);
	store_note_access(t, &slot, 1);
	store_switch(t, &slot, lock->hash, pending->loc, flush_gen, STORE_CHANGE_WRITE, false);
	return STORE_OK;
}

/* A flush came between reserve and commit: the same item again, in a segment that the flush does
 * not cover. */
static enum store_status rebuild(struct store_thread *t, struct store_pending *pending)
{
	struct store *store = t->store;
	struct item_header *item = item_at(store->pool.base, pending->loc);
	uint64_t loc = store_copy_item(t, pending->loc, item_expire_ds(item), 0);

	if (!loc)
		return store_no_room(t, 1);
	store_drop_copy(t, pending->loc);
	pending->loc = loc;
	return STORE_OK;
}

enum store_status store_commit_over(struct store_thread *t, struct store_pending *pending,
				    uint64_t expect_loc, uint64_t *ret_cas, bool *ret_raced)
{
	struct store *store = t->store;
	struct item_header *item = item_at(store->pool.base, pending->loc);
	enum store_status status;
	struct index_lock lock;
	bool raced;

	if (item_word0(item) & ITEM_CHAINED)
		chain_seal(item, pending->check);
	store_seal_item(item);
	for (;;) {
		raced = false;
		lock = index_lock(&store->index, pending->put.hash);
		status = commit_locked(t, &lock, pending, expect_loc, &raced);
		if (status == STORE_OK && ret_cas) {
			struct item_view view;

			item_view_fill(store, pending->loc, 0, &view);
			*ret_cas = view.cas;
		}
		index_unlock(&lock);
		if (!raced || !item_is_flushed(store, pending->loc))
			break;
		status = rebuild(t, pending);
		if (status != STORE_OK)
			break;
	}
	*ret_raced = raced;
	if (status != STORE_OK) {
		store_abandon(t, pending);
		return status;
	}
	store_item_done(store, pending->loc);
	if (!pending->put.absent)
		tally_add(&t->tally.total_items, 1);
	if (index_wants_growth(&store->index))
		index_grow(&store->index, store_hash_at, store);
	return STORE_OK;
}

enum store_status store_commit(struct store_thread *t, struct store_pending *pending,
			       uint64_t *ret_cas)
{
	pthread_mutex_t *flush_lock = pending->put.token ? &t->store->flush_lock : NULL;
	enum store_status status;
	bool raced;

	if (flush_lock)
		pthread_mutex_lock(flush_lock);
	status = store_commit_over(t, pending, 0, ret_cas, &raced);
	if (flush_lock)
		pthread_mutex_unlock(flush_lock);
	return status;
}

enum store_status store_put(struct store_thread *t, const struct store_put *put, struct span value,
			    uint64_t *ret_cas)
{
	struct store_put sized = *put;
	struct store_pending pending;
	enum store_status status;

	sized.value_len = value.len;
	status = store_reserve(t, &sized, &pending);
	if (status != STORE_OK)
		return status;
	store_fill(t, &pending, value);
	return store_commit(t, &pending, ret_cas);
}

enum store_status store_note_absent(struct store_thread *t, struct span key, uint64_t hash,
				    uint64_t expire_ns)
{
	const struct store_put put = {
		.key = key,
		.hash = hash,
		.expire_ns = expire_ns,
		.mode = STORE_ADD,
		.absent = true,
	};

	return store_put(t, &put, span_of(NULL, 0), NULL);
}

/* --- other versions of the same item --- */

static uint64_t copy_cas(const struct store *store, const struct store_copy *how,
			 const struct item_view *old_item, uint64_t new_loc)
{
	uint64_t place_cas = store_place_cas(store, new_loc);

	if (how->cas)
		return how->cas;
	if (!how->above_cas)
		return old_item->cas;
	if (place_cas > how->above_cas || how->above_cas == UINT64_MAX)
		return place_cas;
	return how->above_cas + 1;
}

uint64_t store_copy_as(struct store_thread *t, uint64_t loc, const struct store_copy *how)
{
	struct store *store = t->store;
	struct item_header *old_item = item_at(store->pool.base, loc), *item;
	struct item_shape shape = item_shape(old_item);
	uint32_t won = how->stale ? 0 : shape.bits & ITEM_WON;
	struct item_view view;
	uint64_t new_loc;

	item_view_fill(store, loc, 0, &view);
	shape.bits &= ITEM_HAS_FLAGS | ITEM_CHAINED | ITEM_BINARY | ITEM_STALE | ITEM_ABSENT;
	shape.bits |= ITEM_HAS_CAS | (how->expire_ds ? ITEM_HAS_EXPIRE : 0) |
		      (how->stale ? ITEM_STALE : 0);
	if (how->drop_value) {
		shape.bits &= ~ITEM_CHAINED;
		shape.value_len = 0;
	}
	new_loc = store_append_item(t, &shape, how->queue, how->expire_ds);
	if (!new_loc)
		return 0;
	item = item_at(store->pool.base, new_loc);
	options_write(item, how->expire_ds, view.flags, copy_cas(store, how, &view, new_loc));
	item_set_access(item, store_access(store, loc));
	atomic_fetch_or(&item->word0, won);
	memcpy(item_key(item), item_key(old_item), (size_t)shape.key_len + shape.value_len);
	if (shape.bits & ITEM_CHAINED)
		note_chain(store, new_loc);
	store_seal_item(item);
	return new_loc;
}

uint64_t store_copy_item(struct store_thread *t, uint64_t loc, uint32_t expire_ds, uint8_t queue)
{
	const struct store_copy how = { .expire_ds = expire_ds, .queue = queue };

	return store_copy_as(t, loc, &how);
}

/* Old and new bytes joined into a new version; retried while someone else changes the item. */
enum store_status store_join(struct store_thread *t, const struct store_put *how, struct span data,
			     struct store_stored *ret)
{
	for (;;) {
		struct item_view old_item;
		struct store_put put = *how;
		struct store_pending pending;
		enum store_status status;
		uint64_t cas;
		bool raced;

		if (!store_peek(t, how->key, how->hash, &old_item))
			return how->cas ? STORE_NOT_FOUND : STORE_NOT_STORED;
		if (how->cas && how->cas != old_item.cas)
			return STORE_EXISTS;
		put.binary = old_item.binary;
		put.flags = old_item.flags;
		put.expire_ns = old_item.expire_ns;
		put.value_len = old_item.value_len + data.len;
		status = store_reserve(t, &put, &pending);
		if (status != STORE_OK)
			return status;
		if (how->prepend)
			store_fill(t, &pending, data);
		for (uint64_t at = 0; at < old_item.value_len;) {
			struct span part = store_value_part(t->store, &old_item, at);

			store_fill(t, &pending, part);
			at += part.len;
		}
		if (!how->prepend)
			store_fill(t, &pending, data);
		status = store_commit_over(t, &pending, old_item.loc, &cas, &raced);
		if (status == STORE_OK && ret)
			*ret = (struct store_stored){ .cas = cas,
						      .value_len = put.value_len,
						      .expire_ns = put.expire_ns };
		if (!raced || status == STORE_AGAIN)
			return status;
	}
}

static enum store_status join(struct store_thread *t, const struct store_put *put, struct span data,
			      uint64_t *ret_cas)
{
	struct store_stored stored;
	enum store_status status = store_join(t, put, data, &stored);

	if (status == STORE_OK && ret_cas)
		*ret_cas = stored.cas;
	return status;
}

enum store_status store_append(struct store_thread *t, struct span key, uint64_t hash,
			       struct span data, uint64_t cas, uint64_t *ret_cas)
{
	const struct store_put put = { .key = key, .hash = hash, .cas = cas };

	return join(t, &put, data, ret_cas);
}

enum store_status store_prepend(struct store_thread *t, struct span key, uint64_t hash,
				struct span data, uint64_t cas, uint64_t *ret_cas)
{
	const struct store_put put = { .key = key, .hash = hash, .cas = cas, .prepend = true };

	return join(t, &put, data, ret_cas);
}
