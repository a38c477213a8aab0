/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * segment - the log's segments: who has them, what is in them, which are free.
 *
 * Does      hands out free segments, appends room for items, keeps sealed segments in queues by
 *           age, counts what is alive in each.
 * Shape     power-of-two slices of the log, 16 KiB to 1 MiB, about 1/1024 of it. Segment 0 holds
 *           the log's own page (struct segment_super) and no items. Each other segment begins
 *           with a struct segment_header, so that a later process can read the log alone
 *           (store/restart.c).
 * Errors    SEGMENT_NONE when no segment is free.
 * Threads   an open segment belongs to one store thread; lists and states under pool->lock;
 *           live_bytes and pending_cnt are atomic.
 * Source    Segcache, NSDI'21.
 */
#ifndef XC_STORE_SEGMENT_H
#define XC_STORE_SEGMENT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SEGMENT_NONE 0U
#define SEGMENT_QUEUES 2
#define SEGMENT_SHIFT_MIN 14
#define SEGMENT_SHIFT_MAX 20

#define SEGMENT_MAGIC 0x47455358U /* "XSEG" */
#define SEGMENT_SUPER_MAGIC 0x31474f4c58435344ULL
#define SEGMENT_SUPER_VERSION 1

enum segment_state {
	SEGMENT_FREE,
	SEGMENT_OPEN,
	SEGMENT_SEALED,
	SEGMENT_CHAIN, /* a piece of one large value */
	SEGMENT_LIMBO, /* emptied, waiting for a grace period */
};

/* In the log, at the start of each segment. */
struct segment_header {
	uint32_t magic;
	uint32_t state;	       /* enum segment_state */
	uint64_t seq;	       /* unique, never reused: part of an item's cas */
	_Atomic uint32_t used; /* bytes from the segment's start that hold reserved items */
	uint32_t queue;
	uint32_t chain_next;  /* SEGMENT_CHAIN: next piece; SEGMENT_NONE: last */
	uint32_t reserved[9]; /* 0 */
};

_Static_assert(sizeof(struct segment_header) == 64, "a segment header is one cache line");

/* In the log, at its very start. */
struct segment_super {
	uint64_t magic;
	uint32_t version;
	uint32_t segment_shift;
	uint64_t log_bytes;
	_Atomic uint64_t flush_seq; /* segments up to this one are flushed */
	_Atomic uint32_t flush_gen;
	uint32_t reserved;
};

/* In this process. */
struct segment {
	uint32_t next, prev; /* queue or free list */
	uint8_t state;
	uint8_t queue;
	uint8_t ttl_class;
	uint32_t used;	    /* owner thread while open */
	uint32_t chain_cnt; /* segments that its items' chains hold; owner thread while open */
	_Atomic uint32_t live_bytes;
	_Atomic uint32_t pending_cnt; /* reserved, not yet committed */
	/* Latest expiry of its items; UINT32_MAX: some never expire. */
	_Atomic uint32_t expire_max_ds;
	uint64_t seq;
};

struct segment_list {
	uint32_t head, tail, cnt;
};

struct segment_pool {
	uint8_t *base;
	uint64_t bytes;
	uint32_t shift;
	uint32_t cnt; /* with segment 0 */
	struct segment *segments;
	pthread_mutex_t lock;
	pthread_cond_t freed; /* some segment became free */
	struct segment_list free;
	struct segment_list queues[SEGMENT_QUEUES]; /* sealed, oldest first */
	uint32_t reserve; /* the last free ones are the reclaimer's */
	uint64_t seq;				    /* last handed out */
};

int segment_pool_init(struct segment_pool *pool, uint8_t *base, uint64_t bytes, uint32_t shift);
void segment_pool_fini(struct segment_pool *pool);

static inline uint32_t segment_bytes(const struct segment_pool *pool)
{
	return 1U << pool->shift;
}

static inline uint32_t segment_of(const struct segment_pool *pool, uint64_t loc)
{
	return (uint32_t)(loc >> pool->shift);
}

static inline uint64_t segment_loc(const struct segment_pool *pool, uint32_t idx)
{
	return (uint64_t)idx << pool->shift;
}

static inline struct segment_header *segment_header(const struct segment_pool *pool, uint32_t idx)
{
	return (struct segment_header *)(pool->base + segment_loc(pool, idx));
}

static inline struct segment_super *segment_super(const struct segment_pool *pool)
{
	return (struct segment_super *)pool->base;
}

/* Bytes of a segment that can hold items or a piece of a large value. */
static inline uint32_t segment_payload(const struct segment_pool *pool)
{
	return segment_bytes(pool) - (uint32_t)sizeof(struct segment_header);
}

/* Largest item a segment takes: one that starts right behind the header. */
uint32_t segment_item_max(const struct segment_pool *pool);

/* A free segment, now OPEN or CHAIN and not in any list. privileged: may take the reserve. */
uint32_t segment_take(struct segment_pool *pool, enum segment_state state, bool privileged);
/* Room for an item in an open segment of the calling thread; 0 when it does not fit. Counts as
 * pending. */
uint64_t segment_append(struct segment_pool *pool, uint32_t idx, uint32_t bytes);
/* Open -> sealed, at the young end of its queue. */
void segment_seal(struct segment_pool *pool, uint32_t idx);
/* Sealed -> limbo. */
void segment_detach(struct segment_pool *pool, uint32_t idx);
/* Limbo or chain -> free. */
void segment_release(struct segment_pool *pool, uint32_t idx);
uint32_t segment_free_cnt(struct segment_pool *pool);
/* Waits until more than the reserve is free; false on time-out. */
bool segment_wait(struct segment_pool *pool, uint64_t timeout_ns);

#endif
