/* SPDX-License-Identifier: BSD-2-Clause */
#include "promote/rate.h"

#include <math.h>

#include "abi/conf.h"
#include "hotkey/tracker.h"

/* Random arrivals of more than this many in the mean are none at all once in twenty times. */
#define ARRIVALS_SURE 3.0
/* A stamp moves in steps of this. */
#define STAMP_SEC ((double)(1ULL << XC_STAMP_SHIFT) / 1e9)

static void mean_step(uint32_t half_life_ms, double sec, double *ret_keep, double *ret_weight)
{
	*ret_keep = exp2(-sec * 1000 / half_life_ms);
	*ret_weight = (1 - *ret_keep) * (1 << XC_HIT_SHIFT) / sec;
}

void rate_step_init(struct rate_step *step, double sec)
{
	step->sec = sec;
	mean_step(RATE_SLOW_MS, sec, &step->slow_keep, &step->slow_weight);
	mean_step(RATE_FAST_MS, sec, &step->fast_keep, &step->fast_weight);
}

static void mean_add(struct rate_mean *m, double keep, double weight, uint32_t sampled)
{
	m->mean = keep * m->mean + weight * sampled;
	m->variance = keep * keep * m->variance + weight * weight * sampled;
}

void rate_add(struct rate *rate, const struct rate_step *step, uint32_t sampled, bool stamp_moved)
{
	mean_add(&rate->slow, step->slow_keep, step->slow_weight, sampled);
	mean_add(&rate->fast, step->fast_keep, step->fast_weight, sampled);
	rate->idle_sec = stamp_moved || sampled ? 0 : rate->idle_sec + step->sec;
}

/* One more counted hit might be on its way, were there none yet. */
static double mean_most(const struct rate_mean *m, uint32_t half_life_ms)
{
	double one = M_LN2 * 1000 / half_life_ms * (1 << XC_HIT_SHIFT);

	return m->mean + HOT_SURE * sqrt(m->variance + one * one);
}

double rate_most(const struct rate *rate)
{
	double most =
		fmin(mean_most(&rate->slow, RATE_SLOW_MS), mean_most(&rate->fast, RATE_FAST_MS));

	if (rate->idle_sec > STAMP_SEC)
		most = fmin(most, ARRIVALS_SURE / (rate->idle_sec - STAMP_SEC));
	return most;
}
