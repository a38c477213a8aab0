/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The weights are the bars of a histogram under the curve x^-s. A point is drawn uniformly under
 * the curve by inverting its integral; rounding its abscissa gives a rank; the few points whose
 * ordinate lies above the rank's bar are drawn again. The first bar is cut out exactly, so that
 * about one draw in a hundred is rejected at worst.
 */
#include "zipf.h"

#include <math.h>

#define EXACT_RANKS 1024

/* Integral of x^-s from 1. */
static double integral(double x, double s)
{
	double log_x = log(x);

	/* expm1 keeps s near 1 smooth: the integral there is the logarithm. */
	if (fabs(1 - s) < 1e-9)
		return log_x;
	return expm1((1 - s) * log_x) / (1 - s);
}

static double integral_inverse(double area, double s)
{
	if (fabs(1 - s) < 1e-9)
		return exp(area);
	return exp(log1p((1 - s) * area) / (1 - s));
}

void zipf_init(struct zipf *zipf, uint64_t rank_cnt, double exponent)
{
	zipf->exponent = exponent;
	zipf->rank_cnt = rank_cnt;
	zipf->area_first = integral(1.5, exponent) - 1;
	zipf->area_all = integral((double)rank_cnt + 0.5, exponent);
	zipf->accept = 2 - integral_inverse(integral(2.5, exponent) - pow(2, -exponent), exponent);
}

uint64_t zipf_pick(const struct zipf *zipf, struct rand *r)
{
	double s = zipf->exponent;

	for (;;) {
		double area = zipf->area_all + rand_unit(r) * (zipf->area_first - zipf->area_all);
		double x = integral_inverse(area, s);
		double rank = floor(x + 0.5);

		if (rank < 1)
			rank = 1;
		else if (rank > (double)zipf->rank_cnt)
			rank = (double)zipf->rank_cnt;
		if (rank - x <= zipf->accept || area >= integral(rank + 0.5, s) - pow(rank, -s))
			return (uint64_t)rank - 1;
	}
}

double zipf_weight(uint64_t rank_cnt, double exponent)
{
	uint64_t exact = rank_cnt < EXACT_RANKS ? rank_cnt : EXACT_RANKS;
	double sum = 0;

	for (uint64_t i = 1; i <= exact; i++)
		sum += pow((double)i, -exponent);
	/* Euler-Maclaurin beyond; its next term is below exact^-(s + 1). */
	if (rank_cnt > exact) {
		sum += integral((double)rank_cnt, exponent) - integral((double)exact, exponent);
		sum += (pow((double)rank_cnt, -exponent) - pow((double)exact, -exponent)) / 2;
	}
	return sum;
}
