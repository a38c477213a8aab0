/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * workload - what the clients ask for next.
 *
 * Does      gives one request after another: from a trace, or drawn from distributions over
 *           generated keys. Turns a share of them into writes.
 * Owner     the caller's keys; requests are values.
 * Source    ETC: etc.h.
 */
#ifndef XC_LOAD_WORKLOAD_H
#define XC_LOAD_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rand.h"
#include "keys.h"
#include "options.h"
#include "trace.h"
#include "zipf.h"

enum workload_verb {
	WORKLOAD_GET,
	WORKLOAD_SET,
	WORKLOAD_DELETE,
};

struct workload_request {
	enum workload_verb verb;
	uint32_t key_idx;
	uint32_t ttl_sec;
};

struct workload {
	const struct options *options;
	struct keys *keys;
	struct trace trace;
	struct zipf zipf;
	struct rand rand;
	uint32_t trace_at;
	uint32_t lap_cnt; /* whole passes over the trace */
};

/* Reads the trace or makes the keys. */
int workload_init(struct workload *workload, const struct options *options, struct keys *keys);
void workload_fini(struct workload *workload);
/* False: the trace has ended and is not to be repeated. */
bool workload_next(struct workload *workload, struct workload_request *ret);
/* A short description for people: "trace FILE" or the distribution's parameters. */
void workload_describe(const struct workload *workload, char *to, uint32_t room);

#endif
