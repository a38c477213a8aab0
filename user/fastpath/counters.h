/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * counters - what the program counted.
 *
 * Does      sums xc_stats and xc_routes over CPUs, reads times from sums; names outcomes.
 * Errors    negative errno of the map call.
 * Threads   any.
 */
#ifndef XC_FASTPATH_COUNTERS_H
#define XC_FASTPATH_COUNTERS_H

#include <stdint.h>

#include "abi/outcome.h"

int counters_read(int stats_fd, struct xc_stats *ret);
int counters_routes(int routes_fd, struct xc_routes *ret);
/* Keys answered with their value, and as known absent. */
uint64_t counters_hits(const struct xc_stats *stats);
uint64_t counters_absent(const struct xc_stats *stats);
/* Of the sample of times (hit_times, other_times). */
uint64_t counters_timed(const __u64 times[XC_TIME_BUCKETS]);
/* What a share q of them are below; 0: there is none. */
uint64_t counters_time_ns(const __u64 times[XC_TIME_BUCKETS], double q);
const char *counters_name(enum xc_outcome outcome);    /* "pass_miss" */
const char *counters_meaning(enum xc_outcome outcome); /* one line for people */

#endif
