/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * evict - which items of the segments being reclaimed survive, and where to.
 *
 * Does      one small interface that every eviction policy implements.
 * Shape     items live in one of SEGMENT_QUEUES queues of segments, each in order of age.
 *           Reclaim takes the oldest segment of the queue that victim_queue names and asks about
 *           each live item.
 * Threads   place: any thread. victim_queue, judge: the reclaim thread.
 * Source    S3-FIFO: Yang et al., "FIFO queues are all you need for cache eviction", SOSP'23.
 */
#ifndef XC_STORE_EVICT_H
#define XC_STORE_EVICT_H

#include <stdbool.h>
#include <stdint.h>

#include "store/segment.h"

struct evict;

/* What becomes of one item. */
struct evict_verdict {
	bool survives;
	uint8_t queue; /* goes to the young end of this one */
	uint8_t freq;  /* access count it keeps */
};

struct evict_policy {
	const char *name;
	uint32_t queue_cnt;
	/* Queue of a new item. */
	uint8_t (*place)(struct evict *evict, uint64_t hash);
	/* Queue to take the oldest segment from; segments in each are given. */
	uint8_t (*victim_queue)(const struct evict *evict,
				const uint32_t queue_segment_cnt[SEGMENT_QUEUES]);
	struct evict_verdict (*judge)(struct evict *evict, uint64_t hash, uint8_t queue,
				      uint8_t freq);
};

/* State shared by the policies. */
struct evict {
	const struct evict_policy *policy;
	uint32_t *ghost;     /* fingerprints of keys lately evicted from the small queue */
	uint32_t ghost_mask; /* entries - 1 */
};

/* NULL name: the default. -EINVAL: no such policy. ghost_cnt: keys to remember. */
int evict_init(struct evict *evict, const char *name, uint64_t ghost_cnt);
void evict_fini(struct evict *evict);
/* Names of all policies, default first, NULL-terminated. */
const char *const *evict_names(void);

extern const struct evict_policy evict_policy_s3fifo;
extern const struct evict_policy evict_policy_fifo;

#endif
