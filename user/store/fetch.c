/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reads that change what they read, and the state that they tell clients of.
 *
 *            store_put                    store_invalidate
 *   absent ------------> fresh --------------------------------> stale
 *     |                    | near its end, and recache_ns given    |
 *     | vivify             v                                       v
 *     +----------------> won <-------------------------------------+
 *                          | store_put: whoever won, or anyone
 *                          +----------------------------------> fresh
 *
 * Exactly one client is told that it won: the bit is set under the key's lock. A stale item that is
 * won stays stale. An item that is stale or won is in no kernel map: the kernel could not tell its
 * clients, nor choose one.
 */
#include "store/impl.h"

/* --- winning --- */

void store_mark_won(struct store_thread *t, struct index_slot *slot, uint64_t hash)
{
	struct store *store = t->store;
	uint64_t loc = index_slot_loc(slot);
	struct item_header *item = item_at(store->pool.base, loc);
	uint32_t access = store_access(store, loc);
	uint32_t before = atomic_fetch_or(&item->word0, ITEM_WON);
	struct item_view view;
	struct store_event event = {
		.change = STORE_CHANGE_WON, .hash = hash, .old_item = &view, .new_item = &view
	};

	if (!(before & ITEM_RESIDENT))
		return;
	item_view_fill(store, loc, store_flush_gen(store), &view);
	watch_change(store, &event);
	/* What the kernel has answered is asked for no more. */
	item_set_access(item, access);
	if (!event.keep_resident)
		atomic_fetch_and(&item->word0, ~ITEM_RESIDENT);
}

static bool wins(const struct store_fetch *how, const struct item_view *item,
		 uint64_t expire_before_ns)
{
	uint64_t expire_ns = how->recache_touched ? item->expire_ns : expire_before_ns;

	if (item->won || !how->may_win)
		return false;
	return item->stale || (expire_ns && expire_ns <= how->recache_ns);
}

/* --- fetching --- */

/* Puts a changed copy in the item's place. Bucket locked; the slot names the copy on STORE_OK. */
static enum store_status replace(struct store_thread *t, struct index_slot *slot, uint64_t hash,
				 const struct store_copy *how)
{
	struct store *store = t->store;
	uint32_t flush_gen = atomic_load(&store->flush_gen);
	uint64_t loc = index_slot_loc(slot);
	struct store_copy copy = *how;
	uint64_t new_loc;

	copy.queue = store->pool.segments[segment_of(&store->pool, loc)].queue;
	new_loc = store_copy_as(t, loc, &copy);
	if (!new_loc)
		return store_no_room(t, 1);
	if (item_is_flushed(store, loc)) {
		/* The copy may lie in a segment younger than the flush: it must not outlive it. */
		store_drop_copy(t, new_loc);
		return STORE_NOT_FOUND;
	}
	store_switch(t, slot, hash, new_loc, flush_gen, STORE_CHANGE_WRITE, !how->drop_value);
	store_item_done(store, new_loc);
	return STORE_OK;
}

/* The item in the slot is live; its bucket is locked. */
static enum store_status fetch_live(struct store_thread *t, const struct store_fetch *how,
				    struct index_slot *slot, uint32_t flush_gen,
				    struct store_fetched *ret)
{
	struct store *store = t->store;
	uint64_t loc = index_slot_loc(slot);
	uint32_t access = store_access(store, loc);
	struct item_header *item = item_at(store->pool.base, loc);
	const struct store_copy touched = { .expire_ds = item_ds_from_ns(how->expire_ns) };
	struct store_fetched fetched = {
		.expire_before_ns = item_ns_from_ds(item_expire_ds(item)),
		.access_ns = item_access_ns(access),
		.fetched = access & ITEM_FETCHED,
	};
	enum store_status status = how->touch ? replace(t, slot, how->hash, &touched) : STORE_OK;

	if (status != STORE_OK)
		return status;
	if (how->touch)
		token_void(store, how->key, how->hash);
	item_view_fill(store, index_slot_loc(slot), flush_gen, &fetched.item);
	fetched.won_before = fetched.item.won;
	fetched.won_now = wins(how, &fetched.item, fetched.expire_before_ns);
	if (fetched.won_now)
		store_mark_won(t, slot, how->hash);
	if (!how->unseen)
		store_note_fetch(t, slot);
	*ret = fetched;
	return STORE_OK;
}

/* Makes the item that was not there; STORE_NOT_STORED: someone else has. */
static enum store_status vivify(struct store_thread *t, const struct store_fetch *how,
				struct store_fetched *ret)
{
	const struct store_put put = {
		.key = how->key,
		.hash = how->hash,
		.expire_ns = how->vivify_ns,
		.mode = STORE_ADD,
		.new_cas = how->new_cas,
		.binary = how->binary,
		.won = true,
		.fetched = !how->unseen,
	};
	struct store_fetched fetched = {
		.item = { .key = how->key,
			  .value = how->key.ptr,
			  .expire_ns = how->vivify_ns,
			  .won = true,
			  .binary = how->binary },
		.access_ns = t->turn_ns,
		.won_now = true,
		.made = true,
	};
	enum store_status status = store_put(t, &put, span_of(NULL, 0), &fetched.item.cas);

	if (status == STORE_OK)
		*ret = fetched;
	return status;
}

enum store_status store_fetch(struct store_thread *t, const struct store_fetch *how,
			      struct store_fetched *ret)
{
	for (;;) {
		uint32_t flush_gen = store_flush_gen(t->store);
		struct index_lock lock = index_lock(&t->store->index, how->hash);
		enum store_status status = STORE_NOT_FOUND;
		struct index_slot slot;

		if (store_find_live(t, &lock, how->key, &slot))
			status = fetch_live(t, how, &slot, flush_gen, ret);
		index_unlock(&lock);
		if (status != STORE_NOT_FOUND || !how->vivify)
			return status;
		status = vivify(t, how, ret);
		if (status != STORE_NOT_STORED)
			return status;
	}
}

enum store_status store_touch(struct store_thread *t, struct span key, uint64_t hash,
			      uint64_t expire_ns, struct item_view *ret)
{
	const struct store_fetch how = {
		.key = key, .hash = hash, .touch = true, .expire_ns = expire_ns
	};
	struct store_fetched fetched;
	enum store_status status = store_fetch(t, &how, &fetched);

	if (status == STORE_OK && ret)
		*ret = fetched.item;
	return status;
}

/* --- invalidating --- */

enum store_status store_invalidate(struct store_thread *t, const struct store_invalidate *how)
{
	struct store *store = t->store;
	struct index_lock lock = index_lock(&store->index, how->hash);
	enum store_status status = STORE_NOT_FOUND;
	struct index_slot slot;

	token_void(store, how->key, how->hash);
	if (store_find_live(t, &lock, how->key, &slot)) {
		uint64_t loc = index_slot_loc(&slot);
		struct store_copy copy = {
			.expire_ds = item_expire_ds(item_at(store->pool.base, loc)),
			.stale = how->stale,
			.drop_value = how->drop_value,
			.cas = how->new_cas,
		};
		struct item_view view;

		item_view_fill(store, loc, 0, &view);
		if (how->stale && how->touch)
			copy.expire_ds = item_ds_from_ns(how->expire_ns);
		if (how->stale)
			copy.above_cas = view.cas;
		if (how->cas && how->cas != view.cas)
			status = STORE_EXISTS;
		else
			status = replace(t, &slot, how->hash, &copy);
	}
	index_unlock(&lock);
	return status;
}
