/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zipf - ranks drawn with probability proportional to rank^-exponent.
 *
 * Does      draws from 1 .. rank_cnt in constant time and memory.
 * Owner     a struct zipf is read-only after zipf_init.
 * Source    Hörmann, Derflinger: "Rejection-inversion to generate variates from monotone discrete
 *           distributions", ACM TOMACS 6(3), 1996.
 */
#ifndef XC_LOAD_ZIPF_H
#define XC_LOAD_ZIPF_H

#include <stdint.h>

#include "base/rand.h"

struct zipf {
	double exponent;
	uint64_t rank_cnt;
	double area_first; /* area left of 1.5 less the first rank's own */
	double area_all;
	double accept; /* at most this far left of its rank a point is always taken */
};

/* exponent >= 0 (0: uniform), rank_cnt >= 1. */
void zipf_init(struct zipf *zipf, uint64_t rank_cnt, double exponent);
/* The first rank is 0. */
uint64_t zipf_pick(const struct zipf *zipf, struct rand *r);
/* Sum of rank^-exponent over the first rank_cnt ranks; relative error below 1e-6. */
double zipf_weight(uint64_t rank_cnt, double exponent);

#endif
