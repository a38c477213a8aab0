/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * This file is docs/coherence.md and nothing else.
 */
#include "promote/coherence.h"

enum policy_reason coherence_judge(const struct kmap *kmap, const struct item_view *view,
				   struct kmap_item *ret)
{
	/* What a client must be told of, the kernel cannot tell: mg would answer k in base64. */
	if (view->won)
		return POLICY_WON;
	if (view->stale)
		return POLICY_STALE;
	if (view->binary)
		return POLICY_BASE64;
	if (!view->value || view->value_len > XC_VALUE_MAX)
		return POLICY_TOO_LARGE;
	*ret = (struct kmap_item){
		.key = view->key,
		.value = span_of(view->value, view->value_len), /* of a note: empty */
		.flags = view->flags,
		.expire_ns = view->expire_ns,
		.cas = view->cas,
		.flush_gen = view->flush_gen,
		.absent = view->absent,
	};
	return kmap_fits(kmap, ret) ? POLICY_HOT : POLICY_KEY_BYTES;
}

/* The store has switched its index already; nobody has been told of the write yet. */
static void on_change(void *ctx, struct store_event *event)
{
	const struct item_view *any = event->new_item ? event->new_item : event->old_item;
	bool was_resident = event->old_item && event->old_item->resident;
	struct kmap *kmap = ctx;
	struct kmap_item item;
	uint32_t idx;

	/* A new item may be one that a vacant place waits for: deleted, and set again. */
	if (!was_resident && (!event->new_item || kmap_vacant_cnt(kmap) == 0))
		return;
	if (!kmap_find(kmap, any->key, event->hash, &idx))
		return;
	if (event->new_item && coherence_judge(kmap, event->new_item, &item) == POLICY_HOT) {
		kmap_switch(kmap, idx, &item);
		event->keep_resident = true;
	} else if (was_resident) {
		kmap_vacate(kmap, idx);
	}
}

static uint64_t last_hit_ns(void *ctx, struct span key, uint64_t hash)
{
	uint32_t idx;

	return kmap_find(ctx, key, hash, &idx) ? kmap_last_hit_ns(ctx, idx) : 0;
}

static void on_flush(void *ctx, uint32_t flush_gen)
{
	kmap_flush(ctx, flush_gen);
}

struct store_watcher coherence_watcher(struct kmap *kmap)
{
	return (struct store_watcher){ .on_change = on_change,
				       .on_flush = on_flush,
				       .last_hit_ns = last_hit_ns,
				       .ctx = kmap };
}
