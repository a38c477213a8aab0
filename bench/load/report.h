/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * report - a run in words, in JSON, and as one line while it goes.
 *
 * Does      judges whether every reply was right, prints the summary table, shows progress.
 * Threads   one.
 */
#ifndef XC_LOAD_REPORT_H
#define XC_LOAD_REPORT_H

#include <stdio.h>

#include "engine.h"

#define REPORT_REASON_MAX 8

struct report {
	const struct options *options;
	const struct figures *figures;
	struct udp_counts udp;
	struct stats_figures before, after; /* valid: the server gave them */
	bool evictions_known;
	uint64_t evictions; /* during the run */
	char workload[256];
	bool ended_early;
	/* filled by report_judge */
	const char *reasons[REPORT_REASON_MAX]; /* what was not right; none: all was */
	uint32_t reason_cnt;
};

/* True: every reply was right and none is missing. */
bool report_judge(struct report *report);
void report_print(const struct report *report, FILE *out);
void report_print_json(const struct report *report, FILE *out);

struct progress {
	uint64_t at_ns;
	uint64_t requests;
	uint64_t cnt[FIGURES_KIND_CNT];
};

/* A struct engine's progress function; ctx is a struct progress, zeroed at first. */
void report_progress(void *ctx, const struct engine *engine, uint64_t now_ns);
void report_progress_clear(void);

#endif
