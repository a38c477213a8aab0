/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An entry of the ghost: bits 0-11 the tick it was noted in, 12-31 fingerprint; 0: none. Ticks wrap
 * at 4096, 64 spans; an entry that old has long been overwritten, the oldest of its bucket first.
 */
#include "store/ghost.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"

#define GHOST_WAYS 8U
#define GHOST_TICK_BITS 12
#define GHOST_TICK_MASK ((1U << GHOST_TICK_BITS) - 1)
/* A span is that many ticks. */
#define GHOST_TICKS 64U
#define ENTRIES_MIN 1024U
#define ENTRIES_MAX (1U << 30)
#define SKETCH_ROWS 4
#define SKETCH_COUNTERS_A_KEY 4

static uint64_t table_size(uint64_t wanted)
{
	uint64_t entries = ENTRIES_MIN;

	while (entries < wanted && entries < ENTRIES_MAX)
		entries *= 2;
	return entries;
}

/* --- ghost --- */

int ghost_init(struct ghost *ghost, uint64_t key_cnt)
{
	uint64_t entries = table_size(key_cnt);

	memset(ghost, 0, sizeof(*ghost));
	ghost->entries = alloc_zero(entries, sizeof(*ghost->entries));
	if (!ghost->entries)
		return -ENOMEM;
	ghost->bucket_mask = (uint32_t)(entries / GHOST_WAYS) - 1;
	ghost_set_span(ghost, key_cnt);
	return 0;
}

void ghost_fini(struct ghost *ghost)
{
	alloc_free((void *)ghost->entries);
	ghost->entries = NULL;
}

void ghost_set_span(struct ghost *ghost, uint64_t key_cnt)
{
	int64_t unit = (int64_t)(key_cnt / GHOST_TICKS);

	atomic_store_explicit(&ghost->unit, unit ? unit : 1, memory_order_relaxed);
}

static _Atomic uint32_t *bucket_of(const struct ghost *ghost, uint64_t hash)
{
	return &ghost->entries[((uint32_t)hash & ghost->bucket_mask) * GHOST_WAYS];
}

static uint32_t fingerprint(uint64_t hash)
{
	/* Never 0: that is an empty entry. */
	return ((uint32_t)(hash >> 32) | 1U << GHOST_TICK_BITS) & ~GHOST_TICK_MASK;
}

static uint32_t ghost_tick(const struct ghost *ghost)
{
	return (uint32_t)atomic_load_explicit(&ghost->tick, memory_order_relaxed) & GHOST_TICK_MASK;
}

void ghost_note(struct ghost *ghost, uint64_t hash)
{
	_Atomic uint32_t *bucket = bucket_of(ghost, hash);
	int64_t grown = atomic_fetch_add_explicit(&ghost->grown, 1, memory_order_relaxed) + 1;
	int64_t unit = atomic_load_explicit(&ghost->unit, memory_order_relaxed);
	uint32_t print = fingerprint(hash), oldest = 0, oldest_age = 0;
	uint32_t now;

	if (grown >= unit) {
		atomic_fetch_sub_explicit(&ghost->grown, unit, memory_order_relaxed);
		atomic_fetch_add_explicit(&ghost->tick, 1, memory_order_relaxed);
	}
	now = ghost_tick(ghost);
	for (uint32_t i = 0; i < GHOST_WAYS; i++) {
		uint32_t entry = atomic_load_explicit(&bucket[i], memory_order_relaxed);
		uint32_t age = entry ? (now - entry) & GHOST_TICK_MASK : GHOST_TICK_MASK + 1;

		if ((entry & ~GHOST_TICK_MASK) == print)
			age = GHOST_TICK_MASK + 2;
		if (age >= oldest_age) {
			oldest = i;
			oldest_age = age;
		}
	}
	atomic_store_explicit(&bucket[oldest], print | now, memory_order_relaxed);
}

bool ghost_take(struct ghost *ghost, uint64_t hash)
{
	_Atomic uint32_t *bucket = bucket_of(ghost, hash);
	uint32_t print = fingerprint(hash), now = ghost_tick(ghost);

	for (uint32_t i = 0; i < GHOST_WAYS; i++) {
		uint32_t entry = atomic_load_explicit(&bucket[i], memory_order_relaxed);

		if (!entry || (entry & ~GHOST_TICK_MASK) != print)
			continue;
		atomic_store_explicit(&bucket[i], 0, memory_order_relaxed);
		if (((now - entry) & GHOST_TICK_MASK) > GHOST_TICKS)
			return false;
		atomic_fetch_sub_explicit(&ghost->grown, 1, memory_order_relaxed);
		return true;
	}
	return false;
}

/* --- sketch --- */

int sketch_init(struct sketch *sketch, uint64_t key_cnt)
{
	uint64_t counters = table_size(key_cnt * SKETCH_COUNTERS_A_KEY);

	sketch->counters = alloc_zero(counters, sizeof(*sketch->counters));
	sketch->mask = (uint32_t)counters - 1;
	return sketch->counters ? 0 : -ENOMEM;
}

void sketch_fini(struct sketch *sketch)
{
	alloc_free((void *)sketch->counters);
	sketch->counters = NULL;
}

static _Atomic uint8_t *sketch_counter(const struct sketch *sketch, uint64_t hash, uint32_t row)
{
	/* Two halves of the hash make as many as are needed: Kirsch and Mitzenmacher, ESA'06. */
	uint32_t at = (uint32_t)hash + row * ((uint32_t)(hash >> 32) | 1);

	return &sketch->counters[at & sketch->mask];
}

uint8_t sketch_estimate(const struct sketch *sketch, uint64_t hash)
{
	uint8_t least = SKETCH_MAX;

	for (uint32_t row = 0; row < SKETCH_ROWS; row++) {
		uint8_t cnt = atomic_load_explicit(sketch_counter(sketch, hash, row),
						   memory_order_relaxed);

		if (cnt < least)
			least = cnt;
	}
	return least;
}

void sketch_raise(struct sketch *sketch, uint64_t hash, uint8_t cnt)
{
	for (uint32_t row = 0; row < SKETCH_ROWS; row++) {
		_Atomic uint8_t *counter = sketch_counter(sketch, hash, row);

		if (atomic_load_explicit(counter, memory_order_relaxed) < cnt)
			atomic_store_explicit(counter, cnt, memory_order_relaxed);
	}
}

void sketch_halve(struct sketch *sketch)
{
	for (uint64_t i = 0; i <= sketch->mask; i++) {
		_Atomic uint8_t *counter = &sketch->counters[i];
		uint8_t cnt = atomic_load_explicit(counter, memory_order_relaxed);

		if (cnt)
			atomic_store_explicit(counter, cnt / 2, memory_order_relaxed);
	}
}
