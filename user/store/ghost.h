/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ghost - what is remembered of keys that are no longer here.
 *
 * Does      struct ghost: which keys were among the last N noted. struct sketch: about how often a
 *           key was asked for.
 * Shape     ghost: a table of buckets of eight entries, each fingerprint and the time it was noted;
 *           time passes as keys are noted, and back as they are taken. Sketch: four rows of
 *           counters up to SKETCH_MAX.
 * Errors    init: -ENOMEM.
 * Threads   any; a lost race costs one entry or one count.
 * Invariant about the last N keys noted and not taken since are remembered, as in a queue of N.
 */
#ifndef XC_STORE_GHOST_H
#define XC_STORE_GHOST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SKETCH_MAX 15

struct ghost {
	_Atomic uint32_t *entries;
	uint32_t bucket_mask;
	_Atomic int64_t grown; /* keys noted less keys taken, since the last tick */
	_Atomic uint64_t tick; /* its time: rises when it has grown by `unit` */
	_Atomic int64_t unit;
};

int ghost_init(struct ghost *ghost, uint64_t key_cnt);
void ghost_fini(struct ghost *ghost);
/* How many keys are remembered. */
void ghost_set_span(struct ghost *ghost, uint64_t key_cnt);
void ghost_note(struct ghost *ghost, uint64_t hash);
/* True if the key is remembered; it is forgotten then. */
bool ghost_take(struct ghost *ghost, uint64_t hash);

struct sketch {
	_Atomic uint8_t *counters;
	uint32_t mask;
};

int sketch_init(struct sketch *sketch, uint64_t key_cnt);
void sketch_fini(struct sketch *sketch);
uint8_t sketch_estimate(const struct sketch *sketch, uint64_t hash);
/* From now on the estimate is at least cnt. */
void sketch_raise(struct sketch *sketch, uint64_t hash, uint8_t cnt);
void sketch_halve(struct sketch *sketch);

#endif
