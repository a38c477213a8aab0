/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * counters - what the program counted.
 *
 * Does      sums xc_stats over CPUs; names outcomes.
 * Errors    negative errno of the map call.
 * Threads   any.
 */
#ifndef XC_FASTPATH_COUNTERS_H
#define XC_FASTPATH_COUNTERS_H

#include <stdint.h>

#include "abi/outcome.h"

int counters_read(int stats_fd, struct xc_stats *ret);
/* Keys answered with their value, and as known absent. */
uint64_t counters_hits(const struct xc_stats *stats);
uint64_t counters_absent(const struct xc_stats *stats);
const char *counters_name(enum xc_outcome outcome);    /* "pass_miss" */
const char *counters_meaning(enum xc_outcome outcome); /* one line for people */

#endif
