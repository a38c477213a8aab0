/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What holds items: memory, the log, the store, the kernel's entries, and who decides which keys
 * are in there.
 */
#include "daemon.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "command/command.h"
#include "fastpath/grace.h"
#include "fastpath/kmap.h"
#include "fastpath/loader.h"
#include "fastpath/warden.h"
#include "hotkey/tracker.h"
#include "observe/eventlog.h"
#include "promote/coherence.h"
#include "store/store.h"

#define HOT_KEYS 8192 /* ranked at once */
#define HOT_HALF_LIFE_MS 2000
#define OTHER_THREADS 3 /* of the store: promoter, adoption, one to spare */

void daemon_grace(void *ctx)
{
	(void)ctx;
	grace_wait();
}

/* --- memory --- */

/* The index of the smallest items takes about a third; the log gives way as it grows. */
#define INDEX_SHARE_MAX 2
/* cache_memlimit may raise -m so many times: addresses and the index's bounds are for that much. */
#define GROWTH_MAX 4

static void trim_extents(void *ctx, uint64_t end)
{
	fastpath_trim_log(((struct daemon *)ctx)->fp, end);
}

static void trim_pages(void *ctx, uint64_t end)
{
	struct daemon *d = ctx;

	memory_drop(d->warm.log.base + end, d->warm.log.bytes - end);
}

/* Says so once: it is asked for four times a second. */
static void tell_growth(struct daemon *d, int err)
{
	if (err && !d->growth_failed)
		log_line(LOG_WARN, "main",
			 "no memory for a longer log: %s; it stays as it is until there is some",
			 strerror(-err));
	d->growth_failed = err != 0;
}

static uint64_t grow_extents(void *ctx, uint64_t from, uint64_t end)
{
	struct daemon *d = ctx;
	const struct fastpath_maps *maps = fastpath_maps(d->fp);
	int err = 0;

	/* One at a time: the reclaimer has other work. */
	if (from >= maps->ready_bytes)
		err = warden_grow_log(d->warden, d->fp);
	tell_growth(d, err);
	return maps->ready_bytes < end ? maps->ready_bytes : end;
}

static uint64_t grow_pages(void *ctx, uint64_t from, uint64_t end)
{
	struct daemon *d = ctx;
	int err;

	if (end > from + XC_EXTENT_SIZE)
		end = from + XC_EXTENT_SIZE;
	/* A memfd's pages come by themselves. */
	err = d->warm.named ? memory_reserve(&d->warm.log, from, end) : 0;
	tell_growth(d, err);
	return err ? from : end;
}

/* --- fast path --- */

static int open_fastpath(struct daemon *d)
{
	struct fastpath_options options = {
		.pin_root = d->config.pin_root,
		.instance = d->config.instance,
		.interface_cnt = d->config.interfaces.cnt,
		.xdp_mode = d->config.xdp_mode,
		.entry_cnt = d->config.hot_max ? d->config.hot_max
					       : fastpath_entry_cnt(d->config.memory_bytes),
		.log_bytes = fastpath_log_bytes(d->config.memory_bytes),
		.log_bytes_max = fastpath_log_bytes(d->memory_max),
	};
	int err;

	for (uint32_t i = 0; i < options.interface_cnt && i < FASTPATH_INTERFACE_MAX; i++)
		options.interfaces[i] = d->config.interfaces.items[i];
	if (options.interface_cnt > FASTPATH_INTERFACE_MAX) {
		log_line(LOG_ERROR, "main", "at most %d interfaces", FASTPATH_INTERFACE_MAX);
		return -E2BIG;
	}
	err = fastpath_open(&options, &d->fp);
	if (!err)
		err = grace_open(fastpath_maps(d->fp)->seg_fd);
	if (!err)
		err = warden_start(d->fp, &d->warden);
	if (err) {
		fastpath_close(d->fp);
		d->fp = NULL;
	}
	return err;
}

/* Auto mode goes on without; any other mode was asked for and must not be missing silently. */
static int setup_log(struct daemon *d, struct store_log *ret)
{
	int err;

	err = budget_open(&d->budget, d->config.memory_bytes);
	if (err) {
		log_line(LOG_ERROR, "main", "cannot measure memory: %s; is /proc mounted?",
			 strerror(-err));
		return err;
	}
	d->memory_max = d->config.memory_bytes * GROWTH_MAX;
	if (d->memory_max > STORE_LOG_MAX)
		d->memory_max = STORE_LOG_MAX;
	if (d->memory_max < d->config.memory_bytes)
		d->memory_max = d->config.memory_bytes;
	if (d->config.fastpath && d->config.xdp_mode != XDP_MODE_OFF) {
		err = open_fastpath(d);
		if (err && (err == -EBUSY || err == -EPROTO || d->config.xdp_mode != XDP_MODE_AUTO))
			return err;
		if (err)
			log_line(LOG_WARN, "main", "the fast path is off; the daemon serves alone");
	}
	if (d->fp) {
		const struct fastpath_maps *maps = fastpath_maps(d->fp);

		*ret = (struct store_log){ .base = maps->log_base,
					   .bytes = maps->log_bytes,
					   .ready_bytes = maps->ready_bytes,
					   .adopted = maps->adopted,
					   .grace = daemon_grace,
					   .trim = trim_extents,
					   .grow = grow_extents,
					   .ctx = d };
		budget_use_maps(&d->budget, fastpath_map_bytes(d->fp), XC_EXTENT_SIZE);
		if (maps->adopted)
			budget_keep_log(&d->budget, maps->ready_bytes);
		d->warm.state.fd = fastpath_state_open(d->fp);
		if (d->config.memory_file)
			log_line(LOG_WARN, "main",
				 "the memory file is not used: with an interface items outlive a "
				 "restart in pinned maps");
		return 0;
	}
	/* The kernel may still answer for a dead daemon: not once this one takes writes. */
	err = fastpath_retire(d->config.pin_root, d->config.instance, d->config.lease_ms);
	if (err)
		return err;
	err = warm_open_log(&d->warm, d->config.memory_file, d->config.memory_bytes, d->memory_max,
			    ret);
	ret->trim = trim_pages;
	ret->grow = grow_pages;
	ret->ctx = d;
	return err;
}

/* --- store and kernel entries --- */

int daemon_open_store(struct daemon *d)
{
	struct store_options options = {
		.item_max = d->config.item_max,
		.thread_max = daemon_worker_cnt(d) + OTHER_THREADS + d->config.origin_cnt,
		.no_evict = d->config.no_evict,
		.eviction = d->config.eviction,
		.clock = d->clock,
	};
	int err = setup_log(d, &options.log);

	if (err)
		return err;
	options.index_bytes_max = d->memory_max / INDEX_SHARE_MAX;
	if (d->warm.state.fd >= 0)
		options.state = &d->warm.state;
	if (d->fp && options.log.adopted && !store_log_holds_items(&options.log)) {
		/* About to be written over: first no kernel program may be reading it. */
		fastpath_maps(d->fp)->conf->serve_until_ns = 0;
		grace_wait();
	}
	d->store = store_new(&options, &err);
	if (!d->store)
		log_line(LOG_ERROR, "main", "cannot set the store up: %s%s", strerror(-err),
			 err == -EINVAL ? "; see -m and -I" : "");
	if (d->store) {
		warm_forget_state(&d->warm);
		store_set_limit(d->store, budget_log_bytes(&d->budget));
	}
	return err;
}

struct adoption {
	struct daemon *d;
	struct store_thread *thread;
	const struct xc_entry *entry;
	uint64_t window_ns;
	uint32_t kept;
};

/* The entry names exactly the store's current version of the key. */
static bool entry_is_current(void *ctx, const struct item_view *view)
{
	const struct adoption *a = ctx;
	uint64_t key_loc = (uint64_t)(view->key.ptr - fastpath_maps(a->d->fp)->log_base);

	return view->value && key_loc == a->entry->key_loc &&
	       view->value_len == a->entry->value_len && view->flush_gen == a->entry->flush_gen &&
	       view->cas == a->entry->cas &&
	       a->entry->expire_ns == (view->expire_ns ? view->expire_ns - a->window_ns : 0);
}

static bool keep_entry(void *ctx, struct span key, const struct xc_entry *entry, uint64_t *ret_hash)
{
	struct adoption *a = ctx;

	/* A route may have come to bar it while no daemon ran. */
	if (!daemon_promotes(a->d, key))
		return false;
	a->entry = entry;
	a->window_ns = daemon_window_ns(a->d, key);
	*ret_hash = store_hash(a->d->store, key);
	if (store_make_resident(a->thread, key, *ret_hash, entry_is_current, a))
		return false;
	a->kept++;
	return true;
}

int daemon_adopt_entries(struct daemon *d)
{
	const struct fastpath_maps *maps = fastpath_maps(d->fp);
	struct kmap_options options = {
		.hot_fd = maps->hot_fd,
		.entries = maps->entries,
		.uses = maps->uses,
		.filter = maps->filter,
		.conf = maps->conf,
		.entry_cnt = maps->entry_cnt,
		.log_base = maps->log_base,
		.log_bytes = maps->log_bytes,
		.ready_bytes = maps->ready_bytes,
	};
	struct adoption adoption = { .d = d };
	struct store_watcher watcher;
	int err = kmap_new(&options, &d->kmap);

	if (err)
		return err;
	adoption.thread = store_thread_new(d->store);
	/* The store's generation counts: it was written before any flush was acknowledged. */
	kmap_flush(d->kmap, store_flush_gen(d->store));
	if (!maps->adopted)
		maps->conf->flush_at_ns = 0;
	err = kmap_adopt(d->kmap, keep_entry, &adoption);
	store_thread_free(adoption.thread);
	if (err) {
		log_line(LOG_ERROR, "main", "cannot take the kernel entries over: %s",
			 strerror(-err));
		return err;
	}
	if (maps->adopted)
		log_line(LOG_INFO, "main", "kernel entries kept: %u of %u", adoption.kept,
			 maps->entry_cnt);
	grace_wait();
	kmap_release(d->kmap, kmap_removed_cnt(d->kmap));
	watcher = coherence_watcher(d->kmap);
	return store_watch(d->store, &watcher);
}

int daemon_open_tracker(struct daemon *d)
{
	struct tracker_options tracker = { .key_cnt = HOT_KEYS,
					   .ring_cnt = daemon_worker_cnt(d),
					   .half_life_ms = HOT_HALF_LIFE_MS,
					   .clock = d->clock };

	d->tracker = tracker_new(&tracker);
	return d->tracker ? 0 : -ENOMEM;
}

int daemon_open_events(struct daemon *d)
{
	struct store_watcher watcher;

	d->events = eventlog_new(d->clock);
	if (!d->events)
		return -ENOMEM;
	watcher = command_eviction_watcher(d->events);
	return store_watch(d->store, &watcher);
}
