/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * metrics - this daemon's own numbers for Prometheus.
 *
 * Does      writes what control_sources knows as families of observe/metrics.h.
 * Shape     a source of that registry; its names and labels are the table in docs/operations.md.
 * Units     seconds and bytes, whatever the rooms count in.
 * Errors    what cannot be read now is left out of the page.
 * Owner     borrows the sources and the limits for its whole life.
 * Threads   control_metrics: one at a time; it reads beside workers.
 * Bounds    hot_max keys, route_max routes and one row for the others; all else is fixed.
 */
#ifndef XC_CONTROL_METRICS_H
#define XC_CONTROL_METRICS_H

#include "control/server.h"
#include "observe/metrics.h"

struct control_metrics {
	const struct control_sources *sources;
	uint32_t hot_max;   /* hottest keys shown; at most CONTROL_METRICS_HOT_MAX */
	uint32_t route_max; /* routes told apart */
	bool hash_keys;	    /* shows a hash in place of the key */
	/* What was shown last: see counter_of. */
	uint64_t kernel_hits;
};

#define CONTROL_METRICS_HOT_MAX 100

/* For metrics_add; ctx is a struct control_metrics. */
void control_metrics(void *ctx, struct metrics_page *page);

#endif
