/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tracker - what is hot now.
 *
 * Does      takes sampled GETs and SETs from the workers and ranks keys by decayed rate.
 * Shape     each worker owns one bounded ring (tracker_ring); a full ring drops the sample and
 *           counts it.
 * Units     rates in requests a second, estimated from 1-in-N samples.
 * Threads   tracker_sample_*: the ring's worker. tracker_drain, tracker_top: the promoter thread.
 * Source    Metwally, Agrawal, El Abbadi, "Efficient computation of frequent and top-k elements in
 *           data streams" (Space-Saving), ICDT'05, with exponential decay.
 */
#ifndef XC_HOTKEY_TRACKER_H
#define XC_HOTKEY_TRACKER_H

#include <stdbool.h>
#include <stdint.h>

#include "abi/limits.h"
#include "base/clock.h"
#include "base/span.h"

/* Standard deviations that make an estimate sure. */
#define HOT_SURE 2.0

struct tracker;
struct tracker_ring;

struct tracker_options {
	uint32_t key_cnt;      /* keys ranked at once (K) */
	uint32_t ring_cnt;     /* workers */
	uint32_t half_life_ms; /* a key not asked for loses half its rate in this time */
	const struct clock *clock;
};

struct hot_key {
	char key[XC_KEY_MAX];
	uint8_t key_len;
	uint64_t hash;
	double read_rate;  /* requests a second */
	double read_doubt; /* so much less it may be, since only samples are seen */
	double write_rate;
};

struct tracker *tracker_new(const struct tracker_options *options);
void tracker_free(struct tracker *tracker); /* NULL-safe */
struct tracker_ring *tracker_ring(struct tracker *tracker, uint32_t worker_idx);

/* Called for every GET / write a worker serves; keeps 1 in N. Cheap: a counter, seldom more. */
void tracker_sample_read(struct tracker_ring *ring, struct span key, uint64_t hash);
void tracker_sample_write(struct tracker_ring *ring, struct span key, uint64_t hash);

/* Takes what the rings hold into the ranking. */
void tracker_drain(struct tracker *tracker);
/* Hottest first; returns how many were written. */
uint32_t tracker_top(struct tracker *tracker, struct hot_key *ret, uint32_t max);
uint64_t tracker_dropped_cnt(const struct tracker *tracker);

#endif
