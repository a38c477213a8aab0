/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hotsim - detection and policy on simulated time.
 *
 * Does      plays requests for numbered keys through the real tracker, the real rates and the real
 *           policy, with a kernel that counts hits as the program does: 1 in 2^XC_HIT_SHIFT, and
 *           a stamp. What the promoter does in between, it does too: rounds of HOTSIM_ROUND_MS,
 *           places that are free again a round after they were given up.
 * Shape     keys are numbers below key_max.
 * Owner     one thread.
 */
#ifndef XC_TESTS_HOTSIM_H
#define XC_TESTS_HOTSIM_H

#include <stdbool.h>
#include <stdint.h>

#define HOTSIM_ROUND_MS 100

struct hotsim;

struct hotsim_options {
	uint32_t key_max;
	uint32_t entry_max; /* budget */
	uint32_t ranked_cnt;
	uint32_t half_life_ms;
	double threshold;
	uint64_t seed;
};

struct hotsim_counts {
	uint64_t read_cnt, hit_cnt; /* of them by the kernel */
	uint64_t promote_cnt, demote_cnt;
};

/* As the daemon is by default. */
struct hotsim_options hotsim_defaults(uint32_t key_max, uint32_t entry_max, uint64_t seed);
struct hotsim *hotsim_new(const struct hotsim_options *options); /* NULL: no memory */
void hotsim_free(struct hotsim *sim);				 /* NULL-safe */

/* True: answered by the kernel. */
bool hotsim_read(struct hotsim *sim, uint32_t key);
void hotsim_write(struct hotsim *sim, uint32_t key);
/* HOTSIM_ROUND_MS pass, then the promoter's round. */
void hotsim_round(struct hotsim *sim);
bool hotsim_is_resident(const struct hotsim *sim, uint32_t key);
uint32_t hotsim_resident_cnt(const struct hotsim *sim);
/* Ever. */
struct hotsim_counts hotsim_counts(const struct hotsim *sim);

#endif
