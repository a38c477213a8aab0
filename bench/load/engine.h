/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * engine - clients that ask, load what is missing, write, and check.
 *
 * Does      keeps a fixed number of operations going. An operation takes the workload's next
 *           request: a read that misses is followed by the set that fills it (cache-aside); a
 *           write of a key that has a write on its way becomes a read. Each reply goes through the
 *           oracle.
 * Shape     closed loop: an operation starts its next request when the last one is done. Reads go
 *           over UDP with bounded retransmission, or over TCP; writes over TCP.
 * Errors    negative errno when the run could not go on; wrong replies are figures, not errors.
 * Threads   one.
 */
#ifndef XC_LOAD_ENGINE_H
#define XC_LOAD_ENGINE_H

#include "base/loop.h"
#include "figures.h"
#include "oracle.h"
#include "stats.h"
#include "tcp.h"
#include "udp.h"
#include "workload.h"

struct op;

struct engine {
	const struct options *options;
	struct workload *workload;
	struct figures *figures;
	struct stats *stats;
	struct loop *loop;
	struct oracle oracle;
	struct udp *udp; /* NULL: reads go over TCP */
	struct tcp *tcp;
	struct op *ops;
	uint32_t op_cnt;
	uint32_t active_cnt;
	uint64_t stats_before_cnt; /* answers of *stats from before the run */
	uint64_t started;	   /* requests taken from the workload */
	uint32_t prefill_at;	   /* next key; UINT32_MAX: not filling */
	bool stopping;
	int error;
	/* Told every 250 ms; NULL: nobody. */
	void (*progress)(void *ctx, const struct engine *engine, uint64_t now_ns);
	void *progress_ctx;
};

int engine_init(struct engine *engine, const struct options *options, struct workload *workload,
		struct figures *figures, struct stats *stats);
void engine_fini(struct engine *engine);
/* Sets every key once. */
int engine_prefill(struct engine *engine);
/* Until duration, count or trace end; then waits for what is on its way. */
int engine_run(struct engine *engine);
/* Ends the run soon; callable from a signal handler. */
void engine_stop(struct engine *engine);

#endif
