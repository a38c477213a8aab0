/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * figures - what a run has come to.
 *
 * Does      counts requests by outcome and keeps their durations; remembers the first wrong
 *           replies in words.
 * Units     nanoseconds, from the request's first sending to its reply.
 * Threads   one.
 */
#ifndef XC_LOAD_FIGURES_H
#define XC_LOAD_FIGURES_H

#include "base/histogram.h"
#include "oracle.h"

#define FIGURES_WRONG_LIST_MAX 10
#define FIGURES_WRONG_TEXT_MAX 512

/* Kinds of request, as the summary lists them. */
enum figures_kind {
	FIGURES_KERNEL, /* hits that the fast path answered, when told apart */
	FIGURES_DAEMON, /* other hits */
	FIGURES_MISS,
	FIGURES_WRITE, /* set and delete that the workload asked for */
	FIGURES_FILL,  /* set after a miss */
	FIGURES_KIND_CNT,
};

struct figures {
	struct histogram times[FIGURES_KIND_CNT];
	struct histogram window; /* reads since the last progress line */
	uint64_t verdicts[ORACLE_VERDICT_CNT];
	uint64_t requests;	 /* done, of the workload: all kinds but fills */
	uint64_t kernel_replies; /* datagrams' worth of requests that the fast path answered */
	uint64_t broken;	 /* replies that break the protocol */
	uint64_t refused;	 /* ERROR, CLIENT_ERROR, SERVER_ERROR */
	uint64_t retried;
	uint64_t lost;
	uint64_t reconnects;
	uint64_t value_bytes; /* verified */
	uint64_t start_ns;
	uint64_t end_ns;
	uint32_t wrong_listed;
	char wrong_list[FIGURES_WRONG_LIST_MAX][FIGURES_WRONG_TEXT_MAX];
};

void figures_init(struct figures *figures, uint64_t now_ns);
void figures_insert(struct figures *figures, enum figures_kind kind, uint64_t took_ns);
__attribute__((format(printf, 2, 3))) void figures_list(struct figures *figures, const char *fmt,
							...);
/* Verdicts that are wrong, broken and refused replies. */
uint64_t figures_wrong(const struct figures *figures);
uint64_t figures_reads(const struct figures *figures);

#endif
