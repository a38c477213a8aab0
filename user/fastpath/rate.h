/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rate - how many requests a second the fast path takes from one source.
 *
 * Does      turns --rate-limit and --rate-burst into the words of xc_conf that the program goes by,
 *           and empties xc_rate when they change: what is owed at one rate means nothing at
 *           another.
 * Units     requests a second, requests.
 * Errors    negative errno after a log line; the limit is then what it was.
 * Owner     sole writer of xc_conf.rate_*.
 * Threads   main.
 * Source    docs/decisions/0012.
 */
#ifndef XC_FASTPATH_RATE_H
#define XC_FASTPATH_RATE_H

#include <stdint.h>

#include "fastpath/loader.h"

#define RATE_LIMIT_MAX 10000000
#define RATE_BURST_MAX 1000000000

/*
 * limit 0: none. burst 0: a tenth of a second's worth. The clock must be calibrated (lease_init): a
 * burst is never shorter than two of its ticks, or a source that keeps to its rate would be refused
 * for what arrives within one.
 */
int rate_apply(const struct fastpath_maps *maps, uint32_t limit, uint32_t burst);

#endif
