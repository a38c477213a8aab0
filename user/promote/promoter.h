/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * promoter - decides which keys the kernel serves, and sees to it.
 *
 * Does      a thread that, ten times a second, takes what is hot (hotkey/tracker), what the
 *           kernel answered (fastpath/kmap) and what is pinned, asks the policy, and applies its
 *           answer.
 * Errors    promoter_pin: -ENOSPC too many pins, -EMSGSIZE not a legal key.
 * Owner     sole caller of kmap_insert / kmap_remove / kmap_release.
 * Threads   its own thread; pin, unpin, list from any thread.
 * Invariant a promotion that races a write loses: entries are switched under the key's lock
 *           (coherence.h). A key whose route bars it is not promoted, pinned or not, and within a
 *           round of a reload that bars it no longer resident.
 * Source    docs/coherence.md.
 */
#ifndef XC_PROMOTE_PROMOTER_H
#define XC_PROMOTE_PROMOTER_H

#include <stdbool.h>
#include <stdint.h>

#include "abi/limits.h"
#include "base/clock.h"
#include "base/span.h"

struct kmap;
struct promoter;
struct store;
struct swap;
struct tracker;

struct promoter_options {
	struct store *store;
	struct kmap *kmap; /* NULL: no fast path; keys are still ranked and listed */
	struct tracker *tracker;
	struct swap *routes; /* which keys may not be resident; NULL: all may */
	const struct clock *clock;
	uint32_t entry_max;	   /* residency budget, at most kmap_entry_cnt() */
	uint32_t threshold;	   /* reads a second that make a key hot */
	uint32_t negative_ttl_sec; /* of keys of no route; see struct route_rule */
	void (*grace)(void *ctx);  /* an RCU grace period */
	void *grace_ctx;
	/*
	 * Told of what the kernel answered since the last round, estimated; absent: that the key
	 * has no item. May be NULL.
	 */
	void (*on_hits)(void *ctx, struct span key, uint64_t hits, bool absent);
	void *on_hits_ctx;
};

struct promoter_row {
	char key[XC_KEY_MAX];
	uint8_t key_len;
	double read_rate; /* served by the daemon, a second */
	double write_rate;
	double kernel_rate; /* served by the kernel, a second */
	uint64_t value_len;
	bool resident;
	bool absent; /* resident as a key that has no item */
	bool pinned;
	const char *why; /* static text: why it is or is not in the kernel */
};

int promoter_start(const struct promoter_options *options, struct promoter **ret);
void promoter_stop(struct promoter *promoter); /* NULL-safe; residents stay in the maps */

/*
 * Keeps the key resident whenever it exists and fits; where there is no place the coldest key that
 * is not pinned makes room. Returns after the next round has seen it;
 * *ret_why is NULL when it is resident then, else static text that says why not.
 */
int promoter_pin(struct promoter *promoter, struct span key, const char **ret_why);
int promoter_unpin(struct promoter *promoter, struct span key);
/* Residents, pins and hot keys, hottest first. */
uint32_t promoter_list(struct promoter *promoter, struct promoter_row *rows, uint32_t max);

#endif
