/* SPDX-License-Identifier: BSD-2-Clause */
#include "store/segment.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "abi/limits.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "store/item.h"

/*
 * No item starts in the last bytes of a block, so that the kernel proves a resident item's bounds
 * with one comparison of its key's offset (abi/limits.h).
 */
#define BLOCK_LAST_START (XC_BLOCK_SIZE - XC_BLOCK_TAIL - ITEM_HEADER - ITEM_OPTIONS_MAX)

static void list_push(struct segment_pool *pool, struct segment_list *list, uint32_t idx)
{
	struct segment *seg = &pool->segments[idx];

	seg->next = SEGMENT_NONE;
	seg->prev = list->tail;
	if (list->tail != SEGMENT_NONE)
		pool->segments[list->tail].next = idx;
	else
		list->head = idx;
	list->tail = idx;
	list->cnt++;
	list->chain_blocks += seg->chain_blocks;
}

static void list_remove(struct segment_pool *pool, struct segment_list *list, uint32_t idx)
{
	struct segment *seg = &pool->segments[idx];

	if (seg->prev != SEGMENT_NONE)
		pool->segments[seg->prev].next = seg->next;
	else
		list->head = seg->next;
	if (seg->next != SEGMENT_NONE)
		pool->segments[seg->next].prev = seg->prev;
	else
		list->tail = seg->prev;
	seg->next = seg->prev = SEGMENT_NONE;
	list->cnt--;
	list->chain_blocks -= seg->chain_blocks;
}

/* Among those with free blocks or not, after a change. pool->lock is held. */
static void relist(struct segment_pool *pool, uint32_t idx)
{
	struct segment *seg = &pool->segments[idx];
	uint8_t free_cnt = 0;

	if (segment_state(seg) == SEGMENT_BLOCKS && idx < atomic_load(&pool->limit) &&
	    !seg->draining)
		free_cnt = (uint8_t)(segment_block_cnt(pool) -
				     (uint32_t)__builtin_popcount(seg->block_map));
	if (free_cnt && !seg->blocks_listed)
		list_push(pool, &pool->blocks, idx);
	if (!free_cnt && seg->blocks_listed)
		list_remove(pool, &pool->blocks, idx);
	pool->block_free_cnt += free_cnt;
	pool->block_free_cnt -= seg->blocks_listed;
	seg->blocks_listed = free_cnt;
}

int segment_pool_init(struct segment_pool *pool, uint8_t *base, uint64_t bytes, uint64_t bytes_max,
		      uint32_t shift)
{
	pthread_condattr_t attr;

	memset(pool, 0, sizeof(*pool));
	pool->base = base;
	pool->shift = shift;
	pool->cnt = (uint32_t)(bytes >> shift);
	pool->cnt_max = (uint32_t)(bytes_max >> shift);
	atomic_init(&pool->limit, pool->cnt);
	pool->segments = alloc_zero(pool->cnt_max, sizeof(*pool->segments));
	if (!pool->segments)
		return -ENOMEM;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&pool->freed, &attr);
	pthread_condattr_destroy(&attr);
	return 0;
}

void segment_pool_fini(struct segment_pool *pool)
{
	if (!pool->segments)
		return;
	alloc_free(pool->segments);
	pool->segments = NULL;
	pthread_mutex_destroy(&pool->lock);
	pthread_cond_destroy(&pool->freed);
}

uint32_t segment_item_max(const struct segment_pool *pool)
{
	return segment_payload(pool);
}

uint32_t segment_take(struct segment_pool *pool, enum segment_state state, bool privileged)
{
	struct segment_header *header;
	struct segment *seg;
	uint32_t idx = SEGMENT_NONE;

	pthread_mutex_lock(&pool->lock);
	if (pool->free.cnt > (privileged ? 0 : pool->reserve)) {
		idx = pool->free.head;
		list_remove(pool, &pool->free, idx);
		seg = &pool->segments[idx];
		seg->used = sizeof(struct segment_header);
		seg->chain_blocks = 0;
		/* The first block is its taker's, the others are nobody's until he is done. */
		seg->block_map = state == SEGMENT_BLOCKS;
		seg->draining = state == SEGMENT_BLOCKS;
		seg->sealed_early = false;
		seg->begun = false;
		atomic_store_explicit(&seg->live_bytes, 0, memory_order_relaxed);
		atomic_store_explicit(&seg->pending_cnt, 0, memory_order_relaxed);
		atomic_store_explicit(&seg->expire_max_ds, 0, memory_order_relaxed);
		atomic_store_explicit(&seg->opened_sec, 0, memory_order_relaxed);
		/* Number and state together: a flush that covers the number finds it in use. */
		atomic_store_explicit(&seg->seq, ++pool->seq, memory_order_relaxed);
		atomic_store_explicit(&seg->state, (uint8_t)state, memory_order_release);
	}
	pthread_mutex_unlock(&pool->lock);
	if (idx == SEGMENT_NONE)
		return idx;

	header = segment_header(pool, idx);
	atomic_store_explicit(&header->used, seg->used, memory_order_relaxed);
	header->magic = SEGMENT_MAGIC;
	header->seq = segment_seq(seg);
	header->seq_inverse = ~header->seq;
	header->queue = 0;
	piece_set_next(pool, piece_whole(idx), PIECE_NONE);
	__atomic_store_n(&header->state, (uint32_t)state, __ATOMIC_RELEASE);
	return idx;
}

uint64_t segment_append(struct segment_pool *pool, uint32_t idx, uint32_t bytes)
{
	struct segment *seg = &pool->segments[idx];
	uint64_t loc = segment_loc(pool, idx) + seg->used;

	if (seg->used + bytes > segment_bytes(pool) ||
	    (loc & (XC_BLOCK_SIZE - 1)) >= BLOCK_LAST_START)
		return 0;
	seg->used += bytes;
	atomic_fetch_add_explicit(&seg->pending_cnt, 1, memory_order_relaxed);
	return loc;
}

void segment_seal(struct segment_pool *pool, uint32_t idx)
{
	struct segment *seg = &pool->segments[idx];

	pthread_mutex_lock(&pool->lock);
	segment_header(pool, idx)->queue = seg->queue;
	__atomic_store_n(&segment_header(pool, idx)->state, (uint32_t)SEGMENT_SEALED,
			 __ATOMIC_RELEASE);
	list_push(pool, &pool->queues[seg->queue], idx);
	atomic_store_explicit(&seg->state, SEGMENT_SEALED, memory_order_release);
	pthread_mutex_unlock(&pool->lock);
}

void segment_detach(struct segment_pool *pool, uint32_t idx)
{
	struct segment *seg = &pool->segments[idx];

	pthread_mutex_lock(&pool->lock);
	list_remove(pool, &pool->queues[seg->queue], idx);
	atomic_store_explicit(&seg->state, SEGMENT_LIMBO, memory_order_release);
	pthread_mutex_unlock(&pool->lock);
}

void segment_attach(struct segment_pool *pool, uint32_t idx)
{
	struct segment *seg = &pool->segments[idx];
	struct segment_list *list = &pool->queues[seg->queue];

	pthread_mutex_lock(&pool->lock);
	seg->prev = SEGMENT_NONE;
	seg->next = list->head;
	if (list->head != SEGMENT_NONE)
		pool->segments[list->head].prev = idx;
	else
		list->tail = idx;
	list->head = idx;
	list->cnt++;
	list->chain_blocks += seg->chain_blocks;
	atomic_store_explicit(&seg->state, SEGMENT_SEALED, memory_order_release);
	pthread_mutex_unlock(&pool->lock);
}

/* Or parked. pool->lock is held. */
static void make_free(struct segment_pool *pool, uint32_t idx)
{
	struct segment *seg = &pool->segments[idx];

	__atomic_store_n(&segment_header(pool, idx)->state, (uint32_t)SEGMENT_FREE,
			 __ATOMIC_RELEASE);
	if (idx < pool->limit) {
		atomic_store_explicit(&seg->state, SEGMENT_FREE, memory_order_release);
		list_push(pool, &pool->free, idx);
	} else {
		atomic_store_explicit(&seg->state, SEGMENT_PARKED, memory_order_release);
	}
	pool->released_cnt++;
	if (pool->free.cnt > pool->reserve)
		pthread_cond_broadcast(&pool->freed);
}

void segment_release(struct segment_pool *pool, uint32_t idx)
{
	pthread_mutex_lock(&pool->lock);
	make_free(pool, idx);
	pthread_mutex_unlock(&pool->lock);
}

void segment_limit(struct segment_pool *pool, uint32_t limit)
{
	uint32_t from;

	pthread_mutex_lock(&pool->lock);
	for (uint32_t i = limit; i < pool->limit; i++) {
		if (segment_state(&pool->segments[i]) != SEGMENT_FREE)
			continue;
		list_remove(pool, &pool->free, i);
		atomic_store_explicit(&pool->segments[i].state, SEGMENT_PARKED,
				      memory_order_release);
	}
	for (uint32_t i = pool->limit; i < limit; i++) {
		if (segment_state(&pool->segments[i]) != SEGMENT_PARKED)
			continue;
		atomic_store_explicit(&pool->segments[i].state, SEGMENT_FREE, memory_order_release);
		list_push(pool, &pool->free, i);
	}
	from = pool->limit < limit ? pool->limit : limit;
	atomic_store(&pool->limit, limit);
	/* What was drained because it lay above the limit may lie below it now. */
	for (uint32_t i = from; i < pool->cnt; i++) {
		pool->segments[i].draining = false;
		relist(pool, i);
	}
	if (pool->free.cnt > pool->reserve)
		pthread_cond_broadcast(&pool->freed);
	pthread_mutex_unlock(&pool->lock);
}

/* --- blocks --- */

uint32_t segment_take_piece(struct segment_pool *pool, bool is_block, bool privileged)
{
	uint32_t idx, block = 0;

	if (!is_block)
		return piece_whole(segment_take(pool, SEGMENT_CHAIN, privileged));
	pthread_mutex_lock(&pool->lock);
	idx = pool->blocks.head;
	if (idx != SEGMENT_NONE) {
		block = (uint32_t)__builtin_ctz(~pool->segments[idx].block_map);
		pool->segments[idx].block_map |= 1U << block;
		relist(pool, idx);
	}
	pthread_mutex_unlock(&pool->lock);
	if (idx == SEGMENT_NONE) {
		idx = segment_take(pool, SEGMENT_BLOCKS, privileged);
		if (idx == SEGMENT_NONE)
			return PIECE_NONE;
		segment_drain(pool, idx, false);
	}
	piece_set_next(pool, piece_block(idx, block), PIECE_NONE);
	return piece_block(idx, block);
}

void segment_release_piece(struct segment_pool *pool, uint32_t piece)
{
	uint32_t idx = piece_segment(piece);
	struct segment *seg = &pool->segments[idx];

	if (!piece_is_block(piece)) {
		segment_release(pool, idx);
		return;
	}
	pthread_mutex_lock(&pool->lock);
	seg->block_map &= ~(1U << ((piece & PIECE_BLOCK_MASK) - 1));
	if (seg->block_map == 0)
		seg->draining = true; /* out of the list of those with free blocks */
	relist(pool, idx);
	/* Not in a second step: a segment without blocks could be listed again in between. */
	if (seg->block_map == 0)
		make_free(pool, idx);
	pthread_mutex_unlock(&pool->lock);
}

uint32_t segment_drain(struct segment_pool *pool, uint32_t idx, bool draining)
{
	struct segment *seg = &pool->segments[idx];
	uint32_t block_map;

	pthread_mutex_lock(&pool->lock);
	seg->draining = draining;
	relist(pool, idx);
	block_map = seg->block_map;
	pthread_mutex_unlock(&pool->lock);
	return block_map;
}

uint32_t segment_emptiest(struct segment_pool *pool, uint32_t free_min)
{
	uint32_t best = SEGMENT_NONE, most = free_min;

	pthread_mutex_lock(&pool->lock);
	for (uint32_t i = pool->blocks.head; i != SEGMENT_NONE; i = pool->segments[i].next) {
		if (pool->segments[i].blocks_listed >= most) {
			best = i;
			most = pool->segments[i].blocks_listed + 1U;
		}
	}
	pthread_mutex_unlock(&pool->lock);
	return best;
}

uint32_t segment_block_free_cnt(struct segment_pool *pool)
{
	uint32_t cnt;

	pthread_mutex_lock(&pool->lock);
	cnt = pool->block_free_cnt;
	pthread_mutex_unlock(&pool->lock);
	return cnt;
}

bool segment_mark_block(struct segment_pool *pool, uint32_t piece, bool used)
{
	struct segment *seg = &pool->segments[piece_segment(piece)];
	uint32_t bit = 1U << ((piece & PIECE_BLOCK_MASK) - 1);
	enum segment_state state = segment_state(seg);

	if ((state != SEGMENT_FREE && state != SEGMENT_BLOCKS) || !(seg->block_map & bit) != used)
		return false;
	seg->block_map ^= bit;
	atomic_store(&seg->state, (uint8_t)(seg->block_map ? SEGMENT_BLOCKS : SEGMENT_FREE));
	return true;
}

void segment_adopt_blocks(struct segment_pool *pool, uint32_t idx, uint32_t block_map)
{
	pthread_mutex_lock(&pool->lock);
	pool->segments[idx].block_map = block_map;
	atomic_store(&pool->segments[idx].state, SEGMENT_BLOCKS);
	relist(pool, idx);
	pthread_mutex_unlock(&pool->lock);
}

/* --- the whole --- */

void segment_extend(struct segment_pool *pool, uint32_t from, uint32_t end)
{
	pthread_mutex_lock(&pool->lock);
	for (uint32_t i = from; i < end; i++) {
		__atomic_store_n(&segment_header(pool, i)->state, (uint32_t)SEGMENT_FREE,
				 __ATOMIC_RELEASE);
		atomic_store_explicit(&pool->segments[i].state, SEGMENT_PARKED,
				      memory_order_release);
	}
	if (end > pool->cnt)
		pool->cnt = end;
	pthread_mutex_unlock(&pool->lock);
}

uint32_t segment_end(struct segment_pool *pool)
{
	uint32_t end = pool->cnt;

	while (end > 1 && segment_state(&pool->segments[end - 1]) == SEGMENT_PARKED)
		end--;
	return end;
}

uint32_t segment_used_end(struct segment_pool *pool)
{
	uint32_t end = pool->cnt;

	while (end > 1 && (segment_state(&pool->segments[end - 1]) == SEGMENT_PARKED ||
			   segment_state(&pool->segments[end - 1]) == SEGMENT_FREE))
		end--;
	return end;
}

uint32_t segment_free_cnt(struct segment_pool *pool)
{
	uint32_t cnt;

	pthread_mutex_lock(&pool->lock);
	cnt = pool->free.cnt;
	pthread_mutex_unlock(&pool->lock);
	return cnt;
}

uint64_t segment_taken_cnt(struct segment_pool *pool)
{
	uint64_t cnt;

	pthread_mutex_lock(&pool->lock);
	cnt = pool->seq; /* each segment taken has the next number */
	pthread_mutex_unlock(&pool->lock);
	return cnt;
}

uint64_t segment_released_cnt(struct segment_pool *pool)
{
	uint64_t cnt;

	pthread_mutex_lock(&pool->lock);
	cnt = pool->released_cnt;
	pthread_mutex_unlock(&pool->lock);
	return cnt;
}

static bool need_is_met(const struct segment_pool *pool, const struct segment_need *need)
{
	uint32_t free_cnt = need->free_cnt ? need->free_cnt : 1;

	return pool->free.cnt >= pool->reserve + free_cnt &&
	       pool->released_cnt >= need->released_cnt;
}

int segment_wait(struct segment_pool *pool, const struct segment_need *need, uint64_t until_ns,
		 uint64_t *nudge_cnt)
{
	const struct timespec until = { .tv_sec = (time_t)(until_ns / NSEC_PER_SEC),
					.tv_nsec = (long)(until_ns % NSEC_PER_SEC) };
	int err = 0;

	pthread_mutex_lock(&pool->lock);
	while (!need_is_met(pool, need) && *nudge_cnt == pool->nudge_cnt && err == 0)
		err = pthread_cond_timedwait(&pool->freed, &pool->lock, &until);
	if (need_is_met(pool, need))
		err = 0;
	else if (err != ETIMEDOUT && *nudge_cnt != pool->nudge_cnt)
		err = -EAGAIN;
	else
		err = -ETIMEDOUT;
	*nudge_cnt = pool->nudge_cnt;
	pthread_mutex_unlock(&pool->lock);
	return err;
}

void segment_nudge(struct segment_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->nudge_cnt++;
	pthread_cond_broadcast(&pool->freed);
	pthread_mutex_unlock(&pool->lock);
}
