/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * etc - sizes and popularity of a published production workload.
 *
 * Does      draws key and value lengths of the ETC pool, and finds the Zipf exponent that gives
 *           its popularity.
 * Units     bytes.
 * Owner     pure functions of a struct rand.
 * Source    Atikoglu, Xu, Frachtenberg, Jiang, Paleczny: "Workload Analysis of a Large-Scale
 *           Key-Value Store", SIGMETRICS'12, section 5 (statistical modeling):
 *             key length    generalized extreme value, location 30.7984, scale 8.20449,
 *                           shape 0.078688;
 *             value length  a table for 0 to 14 bytes (0.44155 of all), beyond it generalized
 *                           Pareto, location 0, scale 214.476, shape 0.348238;
 *             GET : SET     30 : 1 (abstract, section 3.1).
 *           Popularity, section 4.2.1 and figure 5: the less popular half of ETC's keys gets 1 %
 *           of the requests. The paper fits no formula; a Zipf law with that property is taken.
 * Differs   lengths are rounded to whole bytes and bounded (keys 1 to 250). The Pareto part is
 *           drawn on the condition of 15 bytes or more, because the table holds what is below.
 *           The paper gives no distribution of TTLs: load's --ttl-share and --ttl-max are ours.
 */
#ifndef XC_LOAD_ETC_H
#define XC_LOAD_ETC_H

#include <stdint.h>

#include "base/rand.h"

#define ETC_TABLE_CNT 15
#define ETC_GETS_PER_SET 30
#define ETC_UNPOPULAR_SHARE 0.01

extern const double etc_value_table[ETC_TABLE_CNT]; /* probability of each length */

/* Inverse distribution functions, before rounding; u in (0, 1). */
double etc_key_quantile(double u);
double etc_value_tail_quantile(double u);

uint32_t etc_key_len(struct rand *r);
uint32_t etc_value_len(struct rand *r, uint32_t max);
/* The exponent at which the less popular half of key_cnt keys gets ETC_UNPOPULAR_SHARE. */
double etc_zipf_exponent(uint64_t key_cnt);

#endif
