/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * top_model - the numbers of xdpcache top.
 *
 * Does      asks the daemon for counters and hot keys, turns two answers into rates, keeps the last
 *           minutes of them, orders keys.
 * Units     rates a second; times in nanoseconds.
 * Errors    top_take: negative errno and a sentence, as client_ask.
 * Owner     a sample owns its JSON objects; top_drop gives them up.
 * Threads   one at a time.
 */
#ifndef XC_XDPCACHE_TOP_MODEL_H
#define XC_XDPCACHE_TOP_MODEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli.h"
#include "client.h"

#define TOP_KEYS_MAX 200
#define TOP_HISTORY 120

struct top_sample {
	json_t *stats; /* NULL: none */
	json_t *keys;
	json_t *limits;
	uint64_t at_ns;
};

enum top_line { TOP_KERNEL, TOP_DAEMON, TOP_MISS, TOP_LINE_CNT };

struct top_rates {
	double gets[TOP_LINE_CNT]; /* who answered: the kernel, the daemon; nobody had it */
	double writes, evicted, expired;
	uint64_t p50_ns, p99_ns; /* of the daemon's turns; 0: there were none */
	bool known;		 /* false: one sample is not enough */
};

struct top_history {
	double gets[TOP_LINE_CNT][TOP_HISTORY]; /* a ring */
	uint32_t cnt;				/* ever */
};

enum top_sort {
	TOP_BY_RATE,
	TOP_BY_KERNEL,
	TOP_BY_DAEMON,
	TOP_BY_WRITES,
	TOP_BY_SIZE,
	TOP_BY_BYTES,
	TOP_BY_KEY,
	TOP_SORT_CNT,
};

int top_take(const struct cli *cli, struct top_sample *ret, char error[CLIENT_ERROR_MAX]);
void top_drop(struct top_sample *sample);
/* Of one daemon: after another has taken over there are no rates until its second sample. */
void top_rates(const struct top_sample *before, const struct top_sample *now,
	       struct top_rates *ret);
void top_remember(struct top_history *history, const struct top_rates *rates);
/* Indices into sample->keys in this order; returns how many. */
uint32_t top_order(const struct top_sample *sample, enum top_sort sort, uint32_t ret[TOP_KEYS_MAX]);
/*
 * Where the key stood in the order by rate of the sample before, against now: positive: it rose so
 * many places; INT32_MAX: it was not there.
 */
int32_t top_moved(const struct top_sample *before, const json_t *row, uint32_t place);
const char *top_sort_name(enum top_sort sort);

uint64_t top_number(const json_t *root, const char *section, const char *name);
/* All of it as one object, for the caller to drop. */
json_t *top_json(const struct top_sample *now, const struct top_rates *rates);

#endif
