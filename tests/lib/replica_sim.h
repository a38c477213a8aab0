/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * replica_sim - a whole cluster in one process, on made-up time and a made-up network.
 *
 * Does      runs real rings, views, frames, logs and replicas of several nodes, a coordinator that
 *           holds leases and the view, and clients that write and read wherever a node believes
 *           that it leads; causes faults; checks what must hold at every step.
 * Shape     one seed is one history, to the byte. First faults, then healing, then everything must
 *           be well again.
 * Units     ns of made-up time.
 * Errors    the first broken promise is kept as text; the run ends there.
 * Threads   one.
 */
#ifndef XC_TESTS_REPLICA_SIM_H
#define XC_TESTS_REPLICA_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "replica/replica.h"

struct sim_options {
	uint64_t seed;
	enum replica_ack ack;
	uint32_t node_cnt; /* 2 to 5; three copies, or two of two */
	bool trace;	   /* what happens, on standard output */
};

struct sim_result {
	char broken[256]; /* the promise that was not kept; empty: all were */
	uint64_t step_cnt;
	uint64_t write_cnt, acked_cnt, read_cnt;
	uint64_t fault_cnt;    /* faults that were caused */
	uint64_t epoch_cnt;    /* changes of a primary that clients saw */
	uint64_t snapshot_cnt; /* snapshots begun */
	uint64_t apply_cnt;
};

/* False: ret->broken says what and when. */
bool replica_sim(const struct sim_options *options, struct sim_result *ret);

#endif
