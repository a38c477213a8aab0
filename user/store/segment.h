/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * segment - the log's segments: who has them, what is in them, which are free.
 *
 * Does      hands out free segments, appends room for items, keeps sealed segments in queues by
 *           age, counts what is alive in each.
 * Shape     power-of-two slices of the log, 16 KiB to 1 MiB, about 1/1024 of it. Segment 0 holds
 *           the log's own page (struct segment_super) and no items. Each other segment begins
 *           with a struct segment_header, so that a later process can read the log alone
 *           (store/restart.c). A piece of a large value is a whole segment, or a block: a segment
 *           of blocks holds 32, of 2 KiB at least.
 * Errors    SEGMENT_NONE when no segment is free.
 * Threads   an open segment belongs to one store thread; lists and states under pool->lock;
 *           live_bytes and pending_cnt are atomic. cnt is the reclaimer's while it runs.
 * Source    Segcache, NSDI'21.
 */
#ifndef XC_STORE_SEGMENT_H
#define XC_STORE_SEGMENT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SEGMENT_NONE 0U
#define SEGMENT_QUEUES 17    /* of sealed segments */
#define SEGMENT_QUEUES_MIN 4 /* however small the log is */
#define SEGMENT_SHIFT_MIN 14
#define SEGMENT_SHIFT_MAX 20

#define SEGMENT_MAGIC 0x47455358U /* "XSEG" */
#define SEGMENT_SUPER_MAGIC 0x31474f4c58435344ULL
#define SEGMENT_SUPER_VERSION 6
/* A log has at least this many: below there is no room for a reserve and open segments. */
#define SEGMENT_CNT_MIN 64

enum segment_state {
	SEGMENT_FREE,
	SEGMENT_OPEN,
	SEGMENT_SEALED,
	SEGMENT_CHAIN,	/* one piece of a large value */
	SEGMENT_LIMBO,	/* emptied, waiting for a grace period */
	SEGMENT_PARKED, /* free, but above the limit; in memory only: the log says FREE */
	SEGMENT_BLOCKS, /* smaller pieces of large values */
};

/* In the log, in front of a piece's bytes (SEGMENT_CHAIN: in the segment's header). */
struct segment_link {
	uint32_t next;	       /* piece; PIECE_NONE: last */
	uint32_t buried;       /* of a first piece that no item has any more: the next such one */
	_Atomic uint64_t hash; /* of the key whose value this is, under this process's secret */
};

/* A piece's number: segment * 64 + 0: all of it, + 1 + n: its block n. */
#define PIECE_NONE 0U
#define PIECE_SHIFT 6
#define PIECE_BLOCK_MASK ((1U << PIECE_SHIFT) - 1)
#define BLOCK_CNT_SHIFT 5
#define BLOCK_SHIFT_MIN 11

/* In the log, at the start of each segment. */
struct segment_header {
	uint32_t magic;
	uint32_t state;	       /* enum segment_state */
	uint64_t seq;	       /* unique, never reused: part of an item's cas */
	uint64_t seq_inverse;  /* ~seq: a damaged one is noticed */
	_Atomic uint32_t used; /* bytes from the segment's start that hold reserved items */
	uint32_t queue;
	struct segment_link link; /* SEGMENT_CHAIN */
	uint32_t reserved[4];	  /* 0 */
};

_Static_assert(sizeof(struct segment_header) == 64, "a segment header is one cache line");

/* The last flush_all. */
struct segment_flush {
	uint64_t seq; /* segments up to this one are flushed */
	uint32_t gen;
	uint32_t check;
};

/*
 * In the log, at its very start. The flush record is there twice, written one after the other: a
 * crash between the two, or damage to one, leaves the other.
 */
struct segment_super {
	uint64_t magic;
	uint32_t version;
	uint32_t segment_shift;
	uint32_t segment_shift_inverse; /* ~segment_shift: a damaged one is noticed */
	uint32_t identity;		/* struct store_log's */
	struct segment_flush flush[2];
	uint64_t opened_cnt; /* a saved state holds for one count (store/state.c) */
	uint64_t promise_ns; /* a delayed flush_all; 0: none */
	uint64_t promise_inverse;
	/* Segments from this one on hold nothing and may have no memory. The upper half is the
	 * lower one's inverse, so that one store writes both. */
	_Atomic uint64_t end;
};

/* In this process. */
struct segment {
	uint32_t next, prev;   /* queue or free list */
	_Atomic uint8_t state; /* enum segment_state; SEALED publishes all the rest */
	uint8_t queue;
	bool damaged;	   /* at adoption: its sum does not hold */
	uint8_t era;	   /* the eviction policy's, when it was opened */
	bool sealed_early; /* not because it was full: a copy of its items wins the unused end */
	uint32_t used;	   /* owner thread while open */
	uint32_t chain_blocks; /* that its items' chains hold; owner thread while open */
	uint32_t block_map;    /* SEGMENT_BLOCKS: those in use; pool->lock */
	uint8_t blocks_listed; /* free ones, if they may be taken; pool->lock */
	bool draining;	       /* none may be taken; pool->lock */
	bool begun;	       /* evicted in part, the rest is next; reclaimer */
	_Atomic uint32_t live_bytes;
	_Atomic uint32_t pending_cnt; /* reserved, not yet committed */
	/* Latest expiry of its items; UINT32_MAX: some never expire. */
	_Atomic uint32_t expire_max_ds;
	_Atomic uint32_t opened_sec; /* of the clock; 0: an earlier process opened it */
	_Atomic uint64_t seq;
};

struct segment_list {
	uint32_t head, tail, cnt;
	uint32_t chain_blocks; /* of the segments in it */
};

struct segment_pool {
	uint8_t *base;
	uint32_t shift;
	uint32_t cnt;	  /* with segment 0; those that ever had memory. The reclaimer's */
	uint32_t cnt_max; /* that the log's addresses have room for */
	struct segment *segments;
	/* Segments from this one on are not to be used: memory is needed elsewhere. */
	_Atomic uint32_t limit;
	_Atomic uint32_t reserve; /* the last free ones are the reclaimer's */
	/* Changed by writes: not on the line that every read reads. */
	pthread_mutex_t lock __attribute__((aligned(64)));
	pthread_cond_t freed; /* some segment became free */
	struct segment_list free;
	struct segment_list queues[SEGMENT_QUEUES]; /* sealed, oldest first */
	struct segment_list blocks;		    /* segments with free blocks */
	uint32_t block_free_cnt;		    /* in them */
	uint64_t seq;				    /* last handed out */
	uint64_t released_cnt;			    /* ever */
	uint64_t nudge_cnt;			    /* waiters look around when it rises */
};

/* What a thread that found too little room waits for. */
struct segment_need {
	uint32_t free_cnt;     /* segments beside the reserve */
	uint64_t released_cnt; /* and at least this many released, ever */
};

/* bytes: of them memory is there for; bytes_max: it may grow to. */
int segment_pool_init(struct segment_pool *pool, uint8_t *base, uint64_t bytes, uint64_t bytes_max,
		      uint32_t shift);
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

/* Blocks of a segment of blocks. */
static inline uint32_t segment_block_cnt(const struct segment_pool *pool)
{
	return pool->shift - BLOCK_CNT_SHIFT < BLOCK_SHIFT_MIN
		       ? 1U << (pool->shift - BLOCK_SHIFT_MIN)
		       : 1U << BLOCK_CNT_SHIFT;
}

/* With their links. */
static inline uint32_t segment_block_bytes(const struct segment_pool *pool)
{
	return segment_payload(pool) / segment_block_cnt(pool) & ~7U;
}

static inline bool piece_is_block(uint32_t piece)
{
	return piece & PIECE_BLOCK_MASK;
}

static inline uint32_t piece_whole(uint32_t idx)
{
	return idx << PIECE_SHIFT;
}

static inline uint32_t piece_block(uint32_t idx, uint32_t block)
{
	return piece_whole(idx) + 1 + block;
}

static inline uint32_t piece_segment(uint32_t piece)
{
	return piece >> PIECE_SHIFT;
}

/* Bytes of a value that a piece holds. */
static inline uint32_t piece_payload(const struct segment_pool *pool, bool is_block)
{
	return is_block ? segment_block_bytes(pool) - (uint32_t)sizeof(struct segment_link)
			: segment_payload(pool);
}

static inline struct segment_link *piece_link(const struct segment_pool *pool, uint32_t piece)
{
	struct segment_header *header = segment_header(pool, piece_segment(piece));
	uint32_t block = (piece & PIECE_BLOCK_MASK) - 1;

	if (!piece_is_block(piece))
		return &header->link;
	return (struct segment_link *)((uint8_t *)(header + 1) +
				       (uint64_t)block * segment_block_bytes(pool));
}

static inline uint8_t *piece_data(const struct segment_pool *pool, uint32_t piece)
{
	return piece_is_block(piece) ? (uint8_t *)(piece_link(pool, piece) + 1)
				     : (uint8_t *)(segment_header(pool, piece_segment(piece)) + 1);
}

/* A piece may be replaced by a copy of itself while readers walk the chain. */
static inline uint32_t piece_next(const struct segment_pool *pool, uint32_t piece)
{
	return __atomic_load_n(&piece_link(pool, piece)->next, __ATOMIC_ACQUIRE);
}

static inline void piece_set_next(const struct segment_pool *pool, uint32_t piece, uint32_t next)
{
	__atomic_store_n(&piece_link(pool, piece)->next, next, __ATOMIC_RELEASE);
}

/* Largest item a segment takes: one that starts right behind the header. */
uint32_t segment_item_max(const struct segment_pool *pool);

/* A free segment, now OPEN or CHAIN and not in any list. privileged: may take the reserve. */
uint32_t segment_take(struct segment_pool *pool, enum segment_state state, bool privileged);
/* A free piece; PIECE_NONE: there is none. */
uint32_t segment_take_piece(struct segment_pool *pool, bool is_block, bool privileged);
/* A segment with its last block is free, too. */
void segment_release_piece(struct segment_pool *pool, uint32_t piece);
/* None of its blocks may be taken from now on, or they may again. Returns those in use.
 * Reclaimer. */
uint32_t segment_drain(struct segment_pool *pool, uint32_t idx, bool draining);
/* Of those that have free blocks, the one with most; SEGMENT_NONE if none has as many. */
uint32_t segment_emptiest(struct segment_pool *pool, uint32_t free_min);
/* Free blocks that may be taken. */
uint32_t segment_block_free_cnt(struct segment_pool *pool);
/* At adoption: the block is some value's, or is not; false: it is so already. */
bool segment_mark_block(struct segment_pool *pool, uint32_t piece, bool used);
/* Adopted: the segment's free blocks may be taken. */
void segment_adopt_blocks(struct segment_pool *pool, uint32_t idx, uint32_t block_map);
/* Room for an item in an open segment of the calling thread; 0 when it does not fit. Counts as
 * pending. */
uint64_t segment_append(struct segment_pool *pool, uint32_t idx, uint32_t bytes);
/* Open -> sealed, at the young end of its queue. */
void segment_seal(struct segment_pool *pool, uint32_t idx);
/* Sealed -> limbo. */
void segment_detach(struct segment_pool *pool, uint32_t idx);
/* Limbo, or a piece that no chain has any more -> sealed, at the old end of its queue. */
void segment_attach(struct segment_pool *pool, uint32_t idx);
/* Limbo or chain -> free, or parked if it lies above the limit. */
void segment_release(struct segment_pool *pool, uint32_t idx);
/* New limit, at most cnt: parks free segments above it and frees parked ones below. Those in use
 * are for the reclaimer to empty. */
void segment_limit(struct segment_pool *pool, uint32_t limit);
/* There is memory for the segments in between, whatever is in it; they are parked. Reclaimer. */
void segment_extend(struct segment_pool *pool, uint32_t from, uint32_t end);
/* Behind the last segment that is not parked. */
uint32_t segment_end(struct segment_pool *pool);
/* Behind the last segment that is neither parked nor free. */
uint32_t segment_used_end(struct segment_pool *pool);
uint32_t segment_free_cnt(struct segment_pool *pool);
uint64_t segment_taken_cnt(struct segment_pool *pool);	  /* ever */
uint64_t segment_released_cnt(struct segment_pool *pool); /* ever */

static inline enum segment_state segment_state(const struct segment *seg)
{
	return (enum segment_state)atomic_load_explicit(&seg->state, memory_order_acquire);
}

static inline uint64_t segment_seq(const struct segment *seg)
{
	return atomic_load_explicit(&seg->seq, memory_order_relaxed);
}

/*
 * Waits until what is needed is there. 0: it is. -EAGAIN: nudged. -ETIMEDOUT: CLOCK_MONOTONIC
 * reached until_ns. *nudge_cnt: nudges already seen; moved on.
 */
int segment_wait(struct segment_pool *pool, const struct segment_need *need, uint64_t until_ns,
		 uint64_t *nudge_cnt);
/* Makes all waiters look around. */
void segment_nudge(struct segment_pool *pool);

#endif
