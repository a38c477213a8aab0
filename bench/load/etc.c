/* SPDX-License-Identifier: BSD-2-Clause */
#include "etc.h"

#include <math.h>

#include "abi/limits.h"
#include "zipf.h"

#define KEY_LOCATION 30.7984
#define KEY_SCALE 8.20449
#define KEY_SHAPE 0.078688
#define VALUE_SCALE 214.476
#define VALUE_SHAPE 0.348238

const double etc_value_table[ETC_TABLE_CNT] = {
	0.00536, 0.00047, 0.17820, 0.09239, 0.00018, 0.02740, 0.00065, 0.00606,
	0.00023, 0.00837, 0.00837, 0.08989, 0.00092, 0.00326, 0.01980,
};

double etc_key_quantile(double u)
{
	return KEY_LOCATION + KEY_SCALE / KEY_SHAPE * (pow(-log(u), -KEY_SHAPE) - 1);
}

/* Of the Pareto law, the part at or above the table's end. */
double etc_value_tail_quantile(double u)
{
	double above = pow(1 + VALUE_SHAPE * ETC_TABLE_CNT / VALUE_SCALE, -1 / VALUE_SHAPE);

	return VALUE_SCALE / VALUE_SHAPE * (pow(above * (1 - u), -VALUE_SHAPE) - 1);
}

/* In (0, 1): the quantile functions have no value at the ends. */
static double unit_open(struct rand *r)
{
	double u = rand_unit(r);

	return u > 0 ? u : 0x1.0p-54;
}

uint32_t etc_key_len(struct rand *r)
{
	double len = floor(etc_key_quantile(unit_open(r)) + 0.5);

	if (len < 1)
		return 1;
	return len > XC_KEY_MAX ? XC_KEY_MAX : (uint32_t)len;
}

uint32_t etc_value_len(struct rand *r, uint32_t max)
{
	double u = rand_unit(r);
	double len;

	for (uint32_t i = 0; i < ETC_TABLE_CNT; i++) {
		if (u < etc_value_table[i])
			return i < max ? i : max;
		u -= etc_value_table[i];
	}
	len = floor(etc_value_tail_quantile(unit_open(r)));
	return len > max ? max : (uint32_t)len;
}

double etc_zipf_exponent(uint64_t key_cnt)
{
	double low = 0, high = 8;

	/* The share falls as the exponent grows; 50 halvings leave nothing of the interval. */
	for (uint32_t i = 0; i < 50; i++) {
		double middle = (low + high) / 2;
		double all = zipf_weight(key_cnt, middle);
		double popular = zipf_weight((key_cnt + 1) / 2, middle);

		if ((all - popular) / all > ETC_UNPOPULAR_SHARE)
			low = middle;
		else
			high = middle;
	}
	return high;
}
