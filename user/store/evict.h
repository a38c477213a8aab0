/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * evict - which items of the segments being reclaimed survive, and where to.
 *
 * Does      one small interface that every eviction policy implements.
 * Shape     items live in one of SEGMENT_QUEUES queues of segments, each in order of age. Reclaim
 *           takes the oldest segment of the queue that victim_queue names and asks about each
 *           live item. Per item a policy remembers INDEX_USE_BITS bits, its `use`, kept in the
 *           index: written when the item is born, when it is asked for, and when it survives.
 *           Writers open segments only in the queues that place names: few, because each thread
 *           has one open per TTL class. The reclaimer alone fills the others.
 * Units     a touch is a birth or a hit that changed the item's use.
 * Threads   place, first_use, on_hit: any thread, the last two under the item's bucket lock.
 *           victim_queue, judge: the reclaim thread.
 * Source    docs/eviction.md, and each policy's own file.
 */
#ifndef XC_STORE_EVICT_H
#define XC_STORE_EVICT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/rand.h"
#include "store/ghost.h"
#include "store/index.h"
#include "store/segment.h"

struct evict;

/* A thread's share: nothing here is written by two. */
struct evict_thread {
	uint32_t touch_cnt; /* not yet told to the others */
	uint32_t noise;	    /* state of a cheap generator */
};

/* A live item of a segment being reclaimed. */
struct evict_item {
	uint64_t hash;
	uint8_t queue;
	uint8_t era; /* of its segment */
	uint8_t use;
};

/* What becomes of it. */
struct evict_verdict {
	bool survives;
	uint8_t queue; /* goes to the young end of this one */
	uint8_t use;   /* that it keeps */
};

/* A queue, as reclaim sees it. */
struct evict_queue {
	uint32_t segment_cnt; /* sealed, and the reclaimer's own open ones; with chains */
	uint8_t era;	      /* of its oldest sealed segment */
	bool has_sealed;
};

struct evict_policy {
	const char *name;
	/* Any segment instead of the oldest of a queue. */
	bool random_victim;
	/* The first so many queues mean the same in a later process that takes over the log. */
	uint8_t queues_kept;
	/* Without on_hit: hits are counted up to here. */
	uint8_t hit_max;
	int (*init)(struct evict *evict); /* NULL: nothing to do */
	/* Queue of a new item. */
	uint8_t (*place)(struct evict *evict, uint64_t hash);
	/* Use of a new item; NULL: 0. */
	uint8_t (*first_use)(struct evict *evict, struct evict_thread *thread, uint64_t hash);
	/* Use after `hits` more accesses; NULL: see hit_max. */
	uint8_t (*on_hit)(struct evict *evict, struct evict_thread *thread, uint8_t use,
			  uint32_t hits);
	uint8_t (*victim_queue)(struct evict *evict,
				const struct evict_queue queues[SEGMENT_QUEUES]);
	struct evict_verdict (*judge)(struct evict *evict, const struct evict_item *item);
	/* Queue of an item that is moved for another reason; NULL: its own. */
	uint8_t (*home)(const struct evict *evict, const struct evict_item *item);
};

#define EVICT_ERAS 16U

/* What evict_init is told. */
struct evict_setup {
	const char *name;    /* NULL: the default */
	uint64_t memory_cnt; /* keys to remember beyond their eviction, at most */
	uint32_t queue_max;  /* queues that the reclaimer can keep a segment open in */
	uint64_t seed;
};

struct evict_lru {
	_Atomic uint8_t era;		    /* now */
	_Atomic uint8_t oldest;		    /* era of the last victim */
	_Atomic uint32_t advancing;	    /* one thread at a time */
	_Atomic uint64_t start[EVICT_ERAS]; /* touch_cnt when the era began */
};

struct evict_tinylfu {
	_Atomic bool full; /* the window is in use */
	uint64_t aged_at;  /* touch_cnt of the last halving */
	uint32_t tail_at, admitted_at;
	uint8_t tail[64];     /* frequencies of what lately lay at the main queues' old ends */
	uint8_t admitted[64]; /* and of what was lately let in */
};

/* State of the policy. */
struct evict {
	const struct evict_policy *policy;
	uint8_t hit_max;
	uint32_t queue_max;
	uint64_t memory_cnt;
	struct ghost ghost;   /* s3fifo: keys lately evicted from the small queue */
	struct sketch sketch; /* tinylfu: how often keys that are not here were asked for */
	struct rand rand;     /* reclaim thread */
	_Atomic uint8_t scan; /* sieve: the queue that the hand is in */
	/* Changed now and then: not on the line that every hit reads. */
	_Atomic uint64_t touch_cnt __attribute__((aligned(64)));
	_Atomic uint64_t capacity; /* items that fit, as far as is known */
	struct evict_lru lru;
	struct evict_tinylfu tinylfu;
};

/* Saved beside the index: what its uses, and the segments' queues and eras, mean. */
struct evict_state {
	char policy[13]; /* padded with zeros */
	uint8_t era;
	uint8_t oldest;
	uint8_t scan;
};

_Static_assert(sizeof(struct evict_state) == 16, "no hidden padding: it is summed");

/* -EINVAL: no such policy. */
int evict_init(struct evict *evict, const struct evict_setup *setup);
void evict_fini(struct evict *evict);

void evict_save(const struct evict *evict, struct evict_state *ret);
/* False: another policy saved it, and nothing of it holds. */
bool evict_load(struct evict *evict, const struct evict_state *state);

/* used_cnt of the segments that are used at most hold item_cnt items. */
void evict_note_items(struct evict *evict, uint64_t item_cnt, uint32_t used_cnt, uint32_t used_max);
/* Counts a touch; told to the others in batches. True if this one was. */
bool evict_touch(struct evict *evict, struct evict_thread *thread);

/* What a segment opened now carries. */
static inline uint8_t evict_era(const struct evict *evict)
{
	return atomic_load_explicit(&evict->lru.era, memory_order_relaxed);
}

static inline uint8_t evict_first_use(struct evict *evict, struct evict_thread *thread,
				      uint64_t hash)
{
	return evict->policy->first_use ? evict->policy->first_use(evict, thread, hash) : 0;
}

static inline uint8_t evict_home(const struct evict *evict, const struct evict_item *item)
{
	return evict->policy->home ? evict->policy->home(evict, item) : item->queue;
}

/* Queue of a segment that an earlier process left in `queue`. */
static inline uint8_t evict_adopted_queue(const struct evict *evict, uint32_t queue)
{
	return queue < evict->policy->queues_kept ? (uint8_t)queue : 0;
}

static inline uint8_t evict_hit(struct evict *evict, struct evict_thread *thread, uint8_t use,
				uint32_t hits)
{
	if (evict->policy->on_hit)
		return evict->policy->on_hit(evict, thread, use, hits);
	if (use >= evict->hit_max)
		return use;
	return hits < (uint32_t)(evict->hit_max - use) ? (uint8_t)(use + hits) : evict->hit_max;
}

extern const struct evict_policy evict_policy_s3fifo;
extern const struct evict_policy evict_policy_lru;
extern const struct evict_policy evict_policy_lfu;
extern const struct evict_policy evict_policy_random;
extern const struct evict_policy evict_policy_sieve;
extern const struct evict_policy evict_policy_fifo;
extern const struct evict_policy evict_policy_tinylfu;

#endif
