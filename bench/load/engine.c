/* SPDX-License-Identifier: BSD-2-Clause */
#include "engine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/rand.h"

#define TURN_MS 5
#define PROGRESS_EVERY_NS (250 * NSEC_PER_MSEC)
#define STATS_EVERY_NS (500 * NSEC_PER_MSEC)
#define NOT_FILLING UINT32_MAX

enum op_state {
	OP_IDLE,
	OP_READ,
	OP_WRITE,
	OP_FILL,
};

struct op {
	enum op_state state;
	struct workload_request request;
	struct oracle_read read;
	struct oracle_write write;
	uint64_t start_ns;
	uint64_t deadline_ns;
	uint32_t attempt;
};

static void op_next(struct engine *engine, uint32_t op_idx);

static uint64_t now(void)
{
	return clock_now_ns(clock_system());
}

static void fail(struct engine *engine, int error)
{
	engine->stopping = true;
	if (!engine->error)
		engine->error = error;
}

/* --- sending ------------------------------------------------------------------------- */

static void read_send(struct engine *engine, uint32_t op_idx)
{
	struct op *op = &engine->ops[op_idx];
	struct span key = keys_text(engine->oracle.keys, op->request.key_idx);
	uint8_t text[TEXT_REQUEST_MAX];
	uint32_t len = text_compose_get(text, key);
	uint64_t at_ns = now();
	uint8_t *to;

	oracle_read_start(&engine->oracle, op->request.key_idx, at_ns, &op->read);
	if (op->attempt == 0)
		op->start_ns = at_ns;
	if (engine->udp) {
		op->deadline_ns = at_ns + ((uint64_t)engine->options->timeout_ms * NSEC_PER_MSEC
					   << op->attempt);
		udp_send(engine->udp, op_idx, span_of(text, len));
		return;
	}
	to = tcp_send(engine->tcp, op_idx, TEXT_GET, len);
	if (to)
		memcpy(to, text, len);
	else
		fail(engine, -ENOMEM);
}

/* Sends the write that op->write describes; again, word for word, after a connection broke. */
static void write_send(struct engine *engine, uint32_t op_idx)
{
	struct op *op = &engine->ops[op_idx];
	uint32_t key_idx = op->request.key_idx;
	struct span key = keys_text(engine->oracle.keys, key_idx);
	uint8_t text[TEXT_REQUEST_MAX];
	struct text_store store;
	uint32_t value_len = 0;
	uint32_t len;
	uint8_t *to;

	if (op->write.remove) {
		len = text_compose_delete(text, key);
		to = tcp_send(engine->tcp, op_idx, TEXT_DELETE, len);
	} else {
		value_len = oracle_value_len(&engine->oracle, key_idx, op->write.version);
		store = (struct text_store){
			.flags = oracle_value_flags(&engine->oracle, key_idx, op->write.version),
			.ttl_sec = op->write.ttl_sec,
			.value_len = value_len,
		};
		len = text_compose_set(text, key, &store);
		to = tcp_send(engine->tcp, op_idx, TEXT_SET, len + value_len + 2);
	}
	if (!to) {
		fail(engine, -ENOMEM);
		return;
	}
	memcpy(to, text, len);
	if (!op->write.remove) {
		oracle_value_compose(&engine->oracle, key_idx, op->write.version, to + len);
		memcpy(to + len + value_len, "\r\n", 2);
	}
}

static void op_send(struct engine *engine, uint32_t op_idx)
{
	if (engine->ops[op_idx].state == OP_READ)
		read_send(engine, op_idx);
	else
		write_send(engine, op_idx);
}

/* --- the life of an operation -------------------------------------------------------- */

static bool request_next(struct engine *engine, struct workload_request *ret)
{
	if (engine->stopping)
		return false;
	if (engine->prefill_at != NOT_FILLING) {
		*ret = (struct workload_request){
			.verb = WORKLOAD_SET,
			.key_idx = engine->prefill_at,
		};
		return engine->prefill_at < engine->oracle.keys->cnt && ++engine->prefill_at;
	}
	if (engine->options->request_max && engine->started == engine->options->request_max)
		return false;
	if (!workload_next(engine->workload, ret))
		return false;
	engine->started++;
	return true;
}

static void op_next(struct engine *engine, uint32_t op_idx)
{
	struct op *op = &engine->ops[op_idx];
	bool remove;

	if (!request_next(engine, &op->request)) {
		op->state = OP_IDLE;
		engine->active_cnt--;
		return;
	}
	remove = op->request.verb == WORKLOAD_DELETE;
	op->attempt = 0;
	op->state = OP_READ;
	if (op->request.verb != WORKLOAD_GET &&
	    oracle_write_start(&engine->oracle, op->request.key_idx, remove, op->request.ttl_sec,
			       &op->write)) {
		op->state = OP_WRITE;
		op->start_ns = now();
	}
	op_send(engine, op_idx);
}

/* The loader: what a miss costs an application is its database; here the value is computed. */
static void op_fill(struct engine *engine, uint32_t op_idx)
{
	struct op *op = &engine->ops[op_idx];

	if (!oracle_write_start(&engine->oracle, op->request.key_idx, false, op->request.ttl_sec,
				&op->write)) {
		/* Someone is writing it this moment. */
		op_next(engine, op_idx);
		return;
	}
	op->state = OP_FILL;
	op->start_ns = now();
	write_send(engine, op_idx);
}

static void wrong_list(struct engine *engine, const struct op *op, const char *what,
		       uint32_t version, const struct text_reply *reply, const char *from)
{
	struct span text = keys_text(engine->oracle.keys, op->request.key_idx);
	const struct key *key = keys_at(engine->oracle.keys, op->request.key_idx);

	figures_list(engine->figures,
		     "%s: key %.*s, %.6f s into the run, from %s: version %u (right: %u to %u), "
		     "flags %u, %zu bytes",
		     what, (int)text.len, text.ptr,
		     (double)(now() - engine->figures->start_ns) / (double)NSEC_PER_SEC, from,
		     version, op->read.floor, key->issued, reply ? reply->flags : 0,
		     reply ? reply->value.len : 0);
}

/* A reply that no version of the key could explain, whatever it is. */
static void reply_refuse(struct engine *engine, uint32_t op_idx, const struct text_reply *reply)
{
	struct op *op = &engine->ops[op_idx];
	struct span key = keys_text(engine->oracle.keys, op->request.key_idx);
	bool refused = reply && reply->kind == TEXT_REFUSED;

	if (refused)
		engine->figures->refused++;
	else
		engine->figures->broken++;
	figures_list(engine->figures, "%s: key %.*s: %.*s",
		     refused ? "refused" : "breaks the protocol", (int)key.len, key.ptr,
		     refused ? (int)reply->value.len : 0,
		     refused ? (const char *)reply->value.ptr : "");
}

static void read_reply(struct engine *engine, uint32_t op_idx, const struct text_reply *reply,
		       bool from_kernel)
{
	struct op *op = &engine->ops[op_idx];
	enum oracle_verdict verdict;
	enum figures_kind kind = from_kernel ? FIGURES_KERNEL : FIGURES_DAEMON;
	uint32_t version;

	engine->figures->kernel_replies += from_kernel;
	if (!reply || (reply->kind != TEXT_VALUE && reply->kind != TEXT_MISS)) {
		reply_refuse(engine, op_idx, reply);
		op_next(engine, op_idx);
		return;
	}
	verdict = oracle_read_end(&engine->oracle, op->request.key_idx, &op->read, reply, &version);
	engine->figures->verdicts[verdict]++;
	if (verdict >= ORACLE_WRONG_FIRST)
		wrong_list(engine, op, oracle_names[verdict], version, reply,
			   from_kernel ? "the fast path" : "the server");
	if (reply->kind == TEXT_MISS)
		kind = FIGURES_MISS;
	figures_insert(engine->figures, kind, now() - op->start_ns);
	engine->figures->value_bytes += reply->kind == TEXT_VALUE ? reply->value.len : 0;
	if (reply->kind == TEXT_MISS)
		op_fill(engine, op_idx);
	else
		op_next(engine, op_idx);
}

static void write_reply(struct engine *engine, uint32_t op_idx, const struct text_reply *reply)
{
	struct op *op = &engine->ops[op_idx];
	/* Deleting what is not there leaves what was asked for. */
	bool done = reply->kind == TEXT_DONE || (op->write.remove && reply->kind == TEXT_NOT_DONE);
	uint64_t at_ns = now();

	oracle_write_end(&engine->oracle, op->request.key_idx, &op->write, done, at_ns);
	if (!done)
		reply_refuse(engine, op_idx, reply);
	else if (engine->prefill_at == NOT_FILLING)
		figures_insert(engine->figures, op->state == OP_FILL ? FIGURES_FILL : FIGURES_WRITE,
			       at_ns - op->start_ns);
	op_next(engine, op_idx);
}

/* --- what the connections and sockets say -------------------------------------------- */

static void udp_reply(void *ctx, uint32_t op_idx, const struct text_reply *reply, bool from_kernel)
{
	read_reply(ctx, op_idx, reply, from_kernel);
}

static void tcp_reply(void *ctx, uint32_t op_idx, const struct text_reply *reply)
{
	struct engine *engine = ctx;

	if (engine->ops[op_idx].state == OP_READ)
		read_reply(engine, op_idx, reply, false);
	else
		write_reply(engine, op_idx, reply);
}

static bool tcp_broken(void *ctx, const char *reason)
{
	struct engine *engine = ctx;

	/* After the run only the figures matter. */
	if (engine->active_cnt == 0)
		return false;
	if (reason && engine->figures->reconnects < engine->options->reconnect_max) {
		engine->figures->reconnects++;
		return true;
	}
	fprintf(stderr, "load: a TCP connection broke: %s\n",
		reason ? reason : "the server has not come back in 30 s");
	fail(engine, -ECONNRESET);
	return false;
}

static void tcp_resend(void *ctx, uint32_t op_idx)
{
	op_send(ctx, op_idx);
}

static void timeouts_check(struct engine *engine, uint64_t now_ns)
{
	for (uint32_t i = 0; engine->udp && i < engine->op_cnt; i++) {
		struct op *op = &engine->ops[i];

		if (op->state != OP_READ || now_ns < op->deadline_ns)
			continue;
		udp_forget(engine->udp, i);
		if (op->attempt < engine->options->retry_max) {
			op->attempt++;
			engine->figures->retried++;
			read_send(engine, i);
			continue;
		}
		engine->figures->lost++;
		engine->figures->requests++;
		op_next(engine, i);
	}
}

/* --- the run ------------------------------------------------------------------------- */

int engine_init(struct engine *engine, const struct options *options, struct workload *workload,
		struct figures *figures, struct stats *stats)
{
	const struct tcp_faces tcp_faces = {
		.reply = tcp_reply,
		.broken = tcp_broken,
		.resend = tcp_resend,
		.ctx = engine,
	};
	const struct udp_faces udp_faces = { .reply = udp_reply, .ctx = engine };
	bool over_udp = options->server_udp.len != 0;
	int error;

	memset(engine, 0, sizeof(*engine));
	engine->options = options;
	engine->workload = workload;
	engine->figures = figures;
	engine->stats = stats;
	engine->loop = stats->loop;
	engine->prefill_at = NOT_FILLING;
	engine->oracle.keys = workload->keys;
	engine->oracle.value_max = options->value_max;
	error = rand_secret(&engine->oracle.run, sizeof(engine->oracle.run));
	if (error)
		return error;
	engine->op_cnt = options->outstanding * (over_udp ? 1 : options->conn_cnt);
	engine->ops = alloc_zero(engine->op_cnt, sizeof(*engine->ops));
	if (!engine->ops)
		return -ENOMEM;
	error = tcp_open(options, engine->loop, &tcp_faces, engine->op_cnt, &engine->tcp);
	if (!error && over_udp)
		error = udp_open(options, engine->loop, &udp_faces, engine->op_cnt, &engine->udp);
	if (error)
		engine_fini(engine);
	return error;
}

void engine_fini(struct engine *engine)
{
	udp_close(engine->udp);
	tcp_close(engine->tcp);
	alloc_free(engine->ops);
	engine->udp = NULL;
	engine->tcp = NULL;
	engine->ops = NULL;
}

static void turn(struct engine *engine)
{
	if (engine->udp)
		udp_flush(engine->udp);
	tcp_flush(engine->tcp);
	if (loop_wait(engine->loop, TURN_MS) > 0)
		loop_drain(engine->loop);
}

static void all_start(struct engine *engine)
{
	engine->active_cnt = engine->op_cnt;
	for (uint32_t i = 0; i < engine->op_cnt; i++)
		op_next(engine, i);
}

int engine_prefill(struct engine *engine)
{
	engine->prefill_at = 0;
	all_start(engine);
	while (engine->active_cnt && !engine->error) {
		turn(engine);
		tcp_tick(engine->tcp, now());
	}
	engine->prefill_at = NOT_FILLING;
	return engine->error;
}

int engine_run(struct engine *engine)
{
	uint64_t start_ns = now();
	uint64_t end_ns = UINT64_MAX;
	uint64_t check_ns = start_ns, progress_ns = start_ns, stats_ns = start_ns;
	uint64_t now_ns = start_ns;

	if (engine->options->duration_sec > 0)
		end_ns = start_ns + (uint64_t)(engine->options->duration_sec * NSEC_PER_SEC);
	engine->figures->start_ns = start_ns;
	engine->stats_before_cnt = engine->stats->answer_cnt;
	all_start(engine);
	while (engine->active_cnt && !engine->error) {
		turn(engine);
		now_ns = now();
		if (now_ns >= end_ns)
			engine->stopping = true;
		if (now_ns >= check_ns) {
			check_ns = now_ns + TURN_MS * NSEC_PER_MSEC;
			timeouts_check(engine, now_ns);
			tcp_tick(engine->tcp, now_ns);
		}
		if (now_ns >= stats_ns) {
			stats_ns = now_ns + STATS_EVERY_NS;
			stats_start(engine->stats);
		}
		if (engine->progress && now_ns >= progress_ns) {
			progress_ns = now_ns + PROGRESS_EVERY_NS;
			engine->progress(engine->progress_ctx, engine, now_ns);
		}
	}
	engine->figures->end_ns = now_ns;
	return engine->error;
}

void engine_stop(struct engine *engine)
{
	engine->stopping = true;
}
