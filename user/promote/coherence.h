/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * coherence - keeps kernel entries in step with the store.
 *
 * Does      the store's watcher: under the key's lock, switches the entry of a changed resident
 *           item to its new version, or empties it.
 * Threads   whichever thread changes the item; no system call.
 * Invariant docs/coherence.md: change the store, switch the kernel entry, release the
 *           acknowledgement.
 */
#ifndef XC_PROMOTE_COHERENCE_H
#define XC_PROMOTE_COHERENCE_H

#include "fastpath/kmap.h"
#include "promote/policy.h"
#include "store/store.h"

struct store_watcher coherence_watcher(struct kmap *kmap);

/* POLICY_HOT: the entry's content for an item is in *ret; else why the kernel cannot serve it. */
enum policy_reason coherence_judge(const struct kmap *kmap, const struct item_view *view,
				   struct kmap_item *ret);

#endif
