/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench - what the parts of build/bench/store share.
 *
 * Does      makes stores, keys, single operations; times single operations in three phases.
 * Shape     keys are numbers from 0 on, in 16 bytes; all values are equally long.
 * Units     nanoseconds of CLOCK_MONOTONIC.
 * Errors    false: an item was missing or a write refused. No memory: abort().
 * Threads   one each, but for what the store allows.
 */
#ifndef XC_STORE_BENCH_H
#define XC_STORE_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "store/store.h"

#define BENCH_KEY_LEN 16
#define BENCH_EXTENT (16ULL << 20) /* logs are of whole ones */

struct bench_config {
	uint64_t items;
	uint32_t value_len, threads, ms, rounds;
	bool json;
};

struct bench_put {
	struct span key;
	uint64_t hash;
	struct span value;
};

struct bench_latency;

/* Of the log and the index, at most. */
static inline uint64_t bench_item_bytes(const struct bench_config *config)
{
	return BENCH_KEY_LEN + config->value_len + 24;
}

uint64_t bench_now_ns(void);
/* Writes the number n into buf, which the key borrows. */
struct span bench_key(uint8_t buf[BENCH_KEY_LEN], uint32_t n);
/* Reads the value's two ends. */
bool bench_get(struct store_thread *t, struct span key, uint64_t hash);
bool bench_set(struct store_thread *t, const struct bench_put *put);
/* On standard error, if that is a terminal. */
void bench_progress(const char *what, uint64_t done, uint64_t all);

/* An empty one with room for so many items, or (full) for somewhat fewer, but
 * for what an extent holds. */
struct store *bench_store_new(const struct bench_config *config, uint64_t items, bool full);

struct bench_latency *bench_latency_new(void);
void bench_latency_free(struct bench_latency *latency);
/*
 * Writes items 0 to items - 1 into an empty store, and reads some on the way. NULL: untimed.
 */
bool bench_grow(struct store *store, const struct bench_config *config, uint64_t items,
		struct bench_latency *latency);
/* Reads and writes the items that are there. */
void bench_steady(struct store *store, const struct bench_config *config,
		  struct bench_latency *latency);
/* In a store of its own that is full: each write takes the room of others. */
void bench_full(const struct bench_config *config, struct bench_latency *latency);
void bench_latency_show(const struct bench_latency *latency, bool json);

#endif
