/* SPDX-License-Identifier: BSD-2-Clause */
#include "net/backlog.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "net/conn.h"

/* Under pressure, who takes less than this after that long loses what is kept for it. */
#define STUCK_MIN_NS (2 * NSEC_PER_SEC)
#define STUCK_BYTES_PER_SEC (64U << 10)
/* A turn copies about as much as it takes a core half a millisecond to. */
#define COPY_TURN (1U << 20)
/* With the reclaimer waiting, other clients' writes may be, too. */
#define COPY_TURN_URGENT (16U << 20)
/* Shorter runs are not worth coming back for. */
#define COPY_RUN_MIN (64U << 10)

struct backlog_run {
	const uint8_t *from; /* borrowed */
	uint64_t len;
	uint64_t at; /* in the connection's `out` */
};

struct backlog_copy {
	struct conn *conn;
	struct backlog_copy *next; /* worker->copies, oldest first */
	uint32_t cnt;
	uint32_t idx;	/* the run that is being copied */
	uint64_t whole; /* out.end when all is */
	struct backlog_run runs[];
};

static bool take_out(struct conn *c, uint64_t len)
{
	struct worker *w = c->worker;

	assert(!c->out.bytes);
	if (!pool_take(&w->pool, len, &c->out))
		return false;
	w->backlog_bytes += c->out.cap;
	c->out_ns = command_now_ns(w->command);
	c->out_next = NULL;
	c->out_prev = w->writers_last;
	if (w->writers_last)
		w->writers_last->out_next = c;
	else
		w->writers = c;
	w->writers_last = c;
	return true;
}

static void drop_copy(struct conn *c)
{
	struct worker *w = c->worker;
	struct backlog_copy **at = &w->copies;

	if (!c->copy)
		return;
	while (*at != c->copy)
		at = &(*at)->next;
	*at = c->copy->next;
	alloc_free(c->copy);
	c->copy = NULL;
	if (!w->copies)
		command_let_go(w->command);
}

void backlog_drop(struct conn *c)
{
	struct worker *w = c->worker;

	drop_copy(c);
	if (!c->out.bytes)
		return;
	if (c->out_prev)
		c->out_prev->out_next = c->out_next;
	else
		w->writers = c->out_next;
	if (c->out_next)
		c->out_next->out_prev = c->out_prev;
	else
		w->writers_last = c->out_prev;
	w->backlog_bytes -= c->out.cap;
	pool_give(&w->pool, &c->out);
}

/* It has had time, and has hardly taken anything. */
static bool is_stuck(const struct conn *c, uint64_t now_ns)
{
	uint64_t age_ns = now_ns - c->out_ns;

	return age_ns > STUCK_MIN_NS &&
	       c->out.start / (age_ns / NSEC_PER_SEC) < STUCK_BYTES_PER_SEC;
}

/* Room for `left` bytes more, which those make who have let us wait for longest. */
static bool make_room(struct worker *w, uint64_t left)
{
	uint64_t now_ns = command_now_ns(w->command);

	for (struct conn *c = w->writers, *next; c; c = next) {
		if (w->backlog_bytes + left <= w->shared->backlog_max ||
		    now_ns - c->out_ns <= STUCK_MIN_NS)
			break;
		next = c->out_next;
		if (!is_stuck(c, now_ns))
			continue;
		command_count(&w->counts->conn_no_memory, 1);
		conn_close(c);
	}
	return w->backlog_bytes + left <= w->shared->backlog_max;
}

/* A place to note the runs that are copied later; NULL: all are copied now. */
static struct backlog_copy *plan(struct conn *c, uint64_t left)
{
	struct worker *w = c->worker;
	struct backlog_copy *copy;

	/* Who waits for what is held already must not wait for this as well. */
	if (left <= COPY_TURN || (w->copies && command_hold_is_waited_for(w->command)))
		return NULL;
	copy = alloc_resize(NULL, sizeof(*copy) + w->resp.iov_cnt * sizeof(copy->runs[0]));
	if (copy)
		*copy = (struct backlog_copy){ .conn = c };
	return copy;
}

static void begin_copy(struct conn *c, struct backlog_copy *copy)
{
	struct backlog_copy **last = &c->worker->copies;

	while (*last)
		last = &(*last)->next;
	*last = copy;
	c->copy = copy;
	copy->whole = c->out.end;
	c->out.end = copy->runs[0].at;
	command_hold(c->worker->command);
}

bool backlog_keep(struct conn *c, uint64_t sent)
{
	struct worker *w = c->worker;
	struct response *resp = &w->resp;
	uint64_t left = resp->bytes - sent;
	struct backlog_copy *copy;

	if (!make_room(w, left) || !take_out(c, left)) {
		command_count(&w->counts->conn_no_memory, 1);
		return false;
	}
	copy = plan(c, left);
	for (uint32_t i = 0; i < resp->iov_cnt; i++) {
		const uint8_t *from = resp->iov[i].iov_base;
		uint64_t len = resp->iov[i].iov_len;

		if (sent >= len) {
			sent -= len;
			continue;
		}
		from += sent;
		len -= sent;
		sent = 0;
		if (copy && len >= COPY_RUN_MIN && response_lends(resp, i))
			copy->runs[copy->cnt++] =
				(struct backlog_run){ .from = from, .len = len, .at = c->out.end };
		else
			memcpy(c->out.bytes + c->out.end, from, len);
		c->out.end += len;
	}
	if (copy && copy->cnt > 0)
		begin_copy(c, copy);
	else
		alloc_free(copy);
	return true;
}

bool backlog_grows(const struct conn *c)
{
	return c->copy != NULL;
}

/* At most max bytes; how many. */
static uint64_t copy_part(struct backlog_copy *copy, uint64_t max)
{
	struct buffer *out = &copy->conn->out;
	struct backlog_run *run = &copy->runs[copy->idx];
	uint64_t len = run->len < max ? run->len : max;

	memcpy(out->bytes + run->at, run->from, len);
	run->from += len;
	run->at += len;
	run->len -= len;
	out->end = run->at;
	if (run->len > 0)
		return len;
	if (++copy->idx < copy->cnt) {
		out->end = copy->runs[copy->idx].at;
	} else {
		out->end = copy->whole;
		drop_copy(copy->conn);
	}
	return len;
}

void backlog_copy(struct worker *w)
{
	uint64_t left = COPY_TURN;

	if (w->copies && command_hold_is_waited_for(w->command))
		left = COPY_TURN_URGENT;
	while (w->copies && left > 0)
		left -= copy_part(w->copies, left);
}

void backlog_copy_all(void *ctx)
{
	struct worker *w = ctx;

	while (w->copies)
		copy_part(w->copies, UINT64_MAX);
}
