/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kmap - user-space side of the kernel hot map.
 *
 * Does      gives keys a place in xc_hot / xc_entry, switches entries to new versions, empties
 *           them, takes places back.
 * Shape     a place is an entry number. xc_hot names it by the key's digest; xc_entry says where
 *           the item is.
 * Units     expiry in boot-time ns, sizes in bytes.
 * Errors    -ENOSPC no free place, -EEXIST the digest already has one, other errno from the map
 *           call.
 * Owner     sole writer of xc_hot, xc_entry and xc_filter; keeps locations, copies no values.
 * Threads   kmap_insert, kmap_set_route, kmap_remove, kmap_release: promoter thread. kmap_find,
 *           kmap_switch, kmap_vacate: any thread that holds the key's lock in the store; no system
 *           call.
 * Invariant an entry is switched or emptied before the write that caused it is acknowledged. A
 *           place is given to another key only after its xc_hot element is gone and an RCU grace
 *           period has passed.
 * Source    docs/coherence.md; include/abi/entry.h has the read and write protocol.
 */
#ifndef XC_FASTPATH_KMAP_H
#define XC_FASTPATH_KMAP_H

#include <stdbool.h>
#include <stdint.h>

#include "abi/conf.h"
#include "abi/entry.h"
#include "base/span.h"

struct kmap;

struct kmap_options {
	int hot_fd;
	struct xc_entry *entries;
	struct xc_use *uses;
	uint64_t *filter;
	struct xc_conf *conf;
	uint32_t entry_cnt;
	const uint8_t *log_base;
	uint64_t log_bytes;
	uint64_t ready_bytes; /* of these, readable at adoption; 0: all */
};

/* What an entry is to say. key and value lie in the log, value right behind key. */
struct kmap_item {
	struct span key;
	struct span value;
	uint32_t flags;
	uint64_t expire_ns;
	uint64_t cas;
	uint32_t flush_gen; /* of the store when the item was judged live */
	bool absent;	    /* the key has no item, and is in the log alone: value is empty */
};

int kmap_new(const struct kmap_options *options, struct kmap **ret);
void kmap_free(struct kmap *kmap); /* NULL-safe; maps stay as they are */

/* True if the kernel can serve such an item. */
bool kmap_fits(const struct kmap *kmap, const struct kmap_item *item);

/* Takes a place for the key, vacant until switched. hash is the store's. */
int kmap_insert(struct kmap *kmap, struct span key, uint64_t hash, uint32_t *ret_idx);
/* The key's place; false when it has none. */
bool kmap_find(struct kmap *kmap, struct span key, uint64_t hash, uint32_t *ret_idx);
/* Answers for the key count for this route (xc_routes) until told otherwise; 0: for none. */
void kmap_set_route(struct kmap *kmap, uint32_t idx, uint32_t route);
/*
 * The place's items are served until so long before they expire, from its next switch on. True: it
 * was another time. Promoter thread.
 */
bool kmap_set_early(struct kmap *kmap, uint32_t idx, uint64_t early_ns);
/* Until when the entry is served; 0: no end. */
uint64_t kmap_expire_ns(const struct kmap *kmap, uint32_t idx);
/* From the return on the kernel serves this version, which it has not answered yet. */
void kmap_switch(struct kmap *kmap, uint32_t idx, const struct kmap_item *item);
/* From the return on the kernel passes this key. */
void kmap_vacate(struct kmap *kmap, uint32_t idx);
/* Empties the entry and forgets whose place it is: kmap_find finds it no more. Key's lock held. */
void kmap_unlink(struct kmap *kmap, uint32_t idx);
/* Takes an unlinked place out of xc_hot; it is reusable after kmap_release. */
void kmap_remove(struct kmap *kmap, uint32_t idx);
/* Call after a grace period: places removed before it began become free. Returns how many. */
uint32_t kmap_release(struct kmap *kmap, uint32_t removed_before);
uint32_t kmap_removed_cnt(const struct kmap *kmap);

/* From the return on only entries of this generation are served (flush_all); O(1). */
void kmap_flush(struct kmap *kmap, uint32_t flush_gen);

/*
 * Adoption of an earlier process's places. Entries that are torn, name bytes outside the log, or
 * that keep() does not recognise are emptied; xc_hot elements that name no kept entry are
 * deleted. keep() returns the store's hash of the key. The emptied places are free after a grace
 * period and kmap_release().
 */
int kmap_adopt(struct kmap *kmap,
	       bool (*keep)(void *ctx, struct span key, const struct xc_entry *entry,
			    uint64_t *ret_hash),
	       void *ctx);

uint32_t kmap_used_cnt(const struct kmap *kmap);
/* Places with a key and nothing to serve. */
uint32_t kmap_vacant_cnt(const struct kmap *kmap);
uint32_t kmap_entry_cnt(const struct kmap *kmap);
/* What a place holds; promoter thread. The key stays valid until the place is removed. */
enum kmap_state {
	KMAP_FREE,
	KMAP_VACANT, /* has a key, serves nothing, or what was flushed */
	KMAP_SERVING,
	KMAP_ABSENT, /* serves that the key has no item */
};

enum kmap_state kmap_state(const struct kmap *kmap, uint32_t idx, struct span *ret_key,
			   uint64_t *ret_hash);
/* Sampled kernel hits of the entry so far (multiply by 1 << XC_HIT_SHIFT). */
uint32_t kmap_hits(const struct kmap *kmap, uint32_t idx);
/*
 * When the kernel last answered with the version that the entry names now: up to 1.1 s before that
 * moment; 0: not yet. Key's lock held.
 */
uint64_t kmap_last_hit_ns(const struct kmap *kmap, uint32_t idx);

#endif
