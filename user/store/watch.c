/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Observers of change. main installs them (kernel coherence, later replication); the store names
 * none of them.
 */
#include <errno.h>

#include "store/impl.h"

int store_watch(struct store *store, const struct store_watcher *watcher)
{
	if (store->watcher_cnt == STORE_WATCHER_MAX)
		return -ENOSPC;
	store->watchers[store->watcher_cnt++] = *watcher;
	return 0;
}

void watch_change(struct store *store, struct store_event *event)
{
	for (uint32_t i = 0; i < store->watcher_cnt; i++)
		store->watchers[i].on_change(store->watchers[i].ctx, event);
}

void watch_flush(struct store *store, uint32_t flush_gen)
{
	for (uint32_t i = 0; i < store->watcher_cnt; i++) {
		if (store->watchers[i].on_flush)
			store->watchers[i].on_flush(store->watchers[i].ctx, flush_gen);
	}
}

uint64_t watch_last_hit(const struct store *store, struct span key, uint64_t hash)
{
	uint64_t last_ns = 0;

	for (uint32_t i = 0; i < store->watcher_cnt; i++) {
		const struct store_watcher *watcher = &store->watchers[i];
		uint64_t hit_ns =
			watcher->last_hit_ns ? watcher->last_hit_ns(watcher->ctx, key, hash) : 0;

		if (hit_ns > last_ns)
			last_ns = hit_ns;
	}
	return last_ns;
}

int store_make_resident(struct store_thread *t, struct span key, uint64_t hash,
			bool (*fn)(void *ctx, const struct item_view *item), void *ctx)
{
	struct store *store = t->store;
	uint32_t flush_gen = atomic_load(&store->flush_gen);
	struct index_lock lock = index_lock(&store->index, hash);
	struct index_slot slot;
	int err = -ENOENT;

	if (store_find_slot(store, &lock, key, &slot)) {
		uint64_t loc = index_slot_loc(&slot);
		struct item_header *item = item_at(store->pool.base, loc);
		struct item_view view;

		item_view_fill(store, loc, flush_gen, &view);
		if (item_is_live(store, loc) || store_is_noted_absent(store, loc)) {
			err = fn(ctx, &view) ? 0 : -EAGAIN;
			if (!err)
				atomic_fetch_or(&item->word0, ITEM_RESIDENT);
		}
	}
	index_unlock(&lock);
	return err;
}

void store_drop_resident(struct store_thread *t, struct span key, uint64_t hash,
			 void (*fn)(void *ctx), void *ctx)
{
	struct store *store = t->store;
	struct index_lock lock = index_lock(&store->index, hash);
	struct index_slot slot;

	if (store_find_slot(store, &lock, key, &slot)) {
		uint64_t loc = index_slot_loc(&slot);
		struct item_header *item = item_at(store->pool.base, loc);

		item_set_access(item, store_access(store, loc));
		atomic_fetch_and(&item->word0, ~ITEM_RESIDENT);
	}
	fn(ctx);
	index_unlock(&lock);
}
