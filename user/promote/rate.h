/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rate - how often the kernel answers for a key, from the little that it tells.
 *
 * Does      the program counts one hit in 2^XC_HIT_SHIFT, and stamps the time of the last one about
 *           once a second: from both an estimate, and what it almost surely does not exceed.
 * Shape     two decaying means. The slow one is the estimate; it halves as fast as the tracker's,
 *           so that a key's daemon and kernel reads add up to its rate while it moves from one to
 *           the other. The fast one sees at once that a key of many hits has none any more.
 * Units     hits a second.
 * Threads   any; no state but struct rate.
 */
#ifndef XC_PROMOTE_RATE_H
#define XC_PROMOTE_RATE_H

#include <stdbool.h>
#include <stdint.h>

#define RATE_SLOW_MS 2000
#define RATE_FAST_MS 250

struct rate_mean {
	double mean, variance; /* of the mean, since hits are counted by samples */
};

struct rate {
	struct rate_mean slow, fast;
	double idle_sec; /* since the last hit is known of */
};

/* One length of time, for all the rates that it passes for. */
struct rate_step {
	double sec;
	double slow_keep, slow_weight; /* of what was known, and of one hit that is counted */
	double fast_keep, fast_weight;
};

/* sec > 0. */
void rate_step_init(struct rate_step *step, double sec);
/* sampled: hits counted in that time. stamp_moved: there was at least one hit. */
void rate_add(struct rate *rate, const struct rate_step *step, uint32_t sampled, bool stamp_moved);
/* The key has no more, in 19 moments of 20. */
double rate_most(const struct rate *rate);

#endif
