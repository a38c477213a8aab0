/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Samples travel in one single-producer, single-consumer ring per worker. The worker keeps one
 * request in 2^shift; the drain sets the shift so that a ring sees about RING_TARGET samples a
 * drain: few requests are all looked at, many cost next to nothing. Each sample carries the
 * weight it was taken with.
 */
#include "hotkey/tracker.h"

#include <stdatomic.h>

#include "base/alloc.h"
#include "hotkey/topk.h"

#define RING_SLOTS 4096 /* power of two */
#define RING_TARGET 1024
#define SHIFT_MAX 12

struct sample {
	uint64_t hash;
	uint16_t weight;
	uint8_t key_len;
	uint8_t is_write;
	uint8_t key[XC_KEY_MAX];
};

_Static_assert(1 << SHIFT_MAX <= UINT16_MAX, "a weight fits its field");

struct tracker_ring {
	/* the worker's */
	_Atomic uint32_t head __attribute__((aligned(64)));
	uint32_t until_next; /* requests to skip before the next sample */
	uint32_t scramble;   /* so that a repeating request pattern is not sampled in step */
	_Atomic uint64_t dropped_cnt;
	/* the drain's */
	_Atomic uint32_t tail __attribute__((aligned(64)));
	_Atomic uint32_t shift;
	struct sample samples[RING_SLOTS];
};

struct tracker {
	struct tracker_options options;
	struct topk *topk;
	struct tracker_ring *rings;
};

struct tracker *tracker_new(const struct tracker_options *options)
{
	struct tracker *tracker = alloc_zero(1, sizeof(*tracker));

	if (!tracker)
		return NULL;
	tracker->options = *options;
	tracker->topk = topk_new(options->key_cnt, options->half_life_ms);
	tracker->rings = alloc_aligned(64, options->ring_cnt * sizeof(*tracker->rings));
	if (!tracker->topk || !tracker->rings) {
		tracker_free(tracker);
		return NULL;
	}
	return tracker;
}

void tracker_free(struct tracker *tracker)
{
	if (!tracker)
		return;
	topk_free(tracker->topk);
	alloc_free(tracker->rings);
	alloc_free(tracker);
}

struct tracker_ring *tracker_ring(struct tracker *tracker, uint32_t worker_idx)
{
	return &tracker->rings[worker_idx];
}

static void ring_push(struct tracker_ring *ring, struct span key, uint64_t hash, uint32_t shift,
		      bool is_write)
{
	uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	struct sample *sample = &ring->samples[head % RING_SLOTS];

	if (head - atomic_load_explicit(&ring->tail, memory_order_acquire) == RING_SLOTS) {
		atomic_fetch_add_explicit(&ring->dropped_cnt, 1, memory_order_relaxed);
		return;
	}
	sample->hash = hash;
	sample->weight = (uint16_t)(1U << shift);
	sample->key_len = (uint8_t)key.len;
	sample->is_write = is_write;
	memcpy(sample->key, key.ptr, key.len);
	atomic_store_explicit(&ring->head, head + 1, memory_order_release);
}

static void consider(struct tracker_ring *ring, struct span key, uint64_t hash, bool is_write)
{
	uint32_t shift;

	if (ring->until_next > 0) {
		ring->until_next--;
		return;
	}
	shift = atomic_load_explicit(&ring->shift, memory_order_relaxed);
	ring_push(ring, key, hash, shift, is_write);
	/*
	 * Uniform over [0, 2^(shift+1) - 2]: a mean gap of 2^shift requests from sample to
	 * sample.
	 */
	ring->scramble = ring->scramble * 1664525U + 1013904223U;
	ring->until_next = (uint32_t)(((uint64_t)ring->scramble * ((2ULL << shift) - 1)) >> 32);
}

void tracker_sample_read(struct tracker_ring *ring, struct span key, uint64_t hash)
{
	consider(ring, key, hash, false);
}

void tracker_sample_write(struct tracker_ring *ring, struct span key, uint64_t hash)
{
	consider(ring, key, hash, true);
}

static void ring_drain(struct tracker *tracker, struct tracker_ring *ring, uint64_t now_ns)
{
	uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	uint32_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
	uint32_t cnt = head - tail;
	uint32_t shift = atomic_load_explicit(&ring->shift, memory_order_relaxed);

	for (; tail != head; tail++) {
		const struct sample *sample = &ring->samples[tail % RING_SLOTS];
		struct span key = span_of(sample->key, sample->key_len);

		if (sample->is_write)
			topk_add_write(tracker->topk, key, sample->hash, sample->weight, now_ns);
		else
			topk_add_read(tracker->topk, key, sample->hash, sample->weight, now_ns);
	}
	atomic_store_explicit(&ring->tail, tail, memory_order_release);
	if (cnt > 2 * RING_TARGET && shift < SHIFT_MAX)
		shift++;
	else if (cnt < RING_TARGET / 2 && shift > 0)
		shift--;
	atomic_store_explicit(&ring->shift, shift, memory_order_relaxed);
}

void tracker_drain(struct tracker *tracker)
{
	uint64_t now_ns = clock_now_ns(tracker->options.clock);

	for (uint32_t i = 0; i < tracker->options.ring_cnt; i++)
		ring_drain(tracker, &tracker->rings[i], now_ns);
}

uint32_t tracker_top(struct tracker *tracker, struct hot_key *ret, uint32_t max)
{
	return topk_list(tracker->topk, clock_now_ns(tracker->options.clock), ret, max);
}

uint64_t tracker_dropped_cnt(const struct tracker *tracker)
{
	uint64_t cnt = 0;

	for (uint32_t i = 0; i < tracker->options.ring_cnt; i++)
		cnt += atomic_load_explicit(&tracker->rings[i].dropped_cnt, memory_order_relaxed);
	return cnt;
}
