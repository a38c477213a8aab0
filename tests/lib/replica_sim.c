/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is checked, and when:
 *
 *   at every write and read   no other node serves the arc at this moment
 *   at every write            its place in the log was given to nobody else; in quorum mode it lies
 *                             behind all that was acknowledged or read of the key before
 *   at every read             quorum: the value is not older than one that was acknowledged or read
 *                             before; else the same as long as the epoch lasts
 *   at every entry applied    it is the one after the last
 *   after healing             every node is ready, every arc is led, a write is acknowledged, and
 *                             all members hold what the leader holds; in quorum mode each key's
 *                             history is linearizable (lib/linear.h)
 *
 * In quorum mode a node loses its memory only while all others are whole: more is not promised.
 * Long, because it is one world: in pieces it would need a header as long again.
 */
#include "lib/replica_sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rand.h"
#include "cluster/view.h"
#include "lib/linear.h"

#define MSEC 1000000ULL
#define NODE_MAX 5
#define COORD NODE_MAX /* as an end of a link */
#define ARC_CNT 3
#define KEY_CNT 16
#define TTL_NS (1000 * MSEC)
#define FAULTS_END_NS (7000 * MSEC)
#define END_NS (14000 * MSEC)
#define PENDING_MAX 64
#define EPOCH_MAX 512
#define VIEW_MAX EPOCH_MAX
#define PLACE_MAX 8192
#define HISTORY_MAX 512
#define EVENT_MAX 4096
#define RECORD_LEN 9 /* key, value */
#define LOG_BYTES 6000

enum event_kind {
	EV_FRAME,
	EV_TICK,
	EV_KEEPALIVE, /* at the coordinator */
	EV_REPLY,     /* to it */
	EV_COORD,
	EV_CLIENT,
	EV_FAULT,
};

struct event {
	uint64_t at_ns, order;
	enum event_kind kind;
	uint16_t node, from;
	uint64_t incarnation; /* of the node that a reply is for */
	uint64_t sent_ns;     /* keepalive: by the node's own clock */
	bool caught_up, leaving;
	bool damaged;
	const struct view *view; /* reply */
	size_t len;
	uint8_t *bytes; /* frame */
};

/* What clients saw of one key. */
struct history {
	struct linear_op ops[HISTORY_MAX];
	uint32_t cnt;
};

struct pending {
	uint32_t arc, key;
	uint32_t op; /* its place in the history */
	struct position at;
	uint64_t value;
};

struct node {
	struct sim *sim;
	uint16_t idx;
	bool alive, leaving;
	uint64_t paused_until_ns;
	uint64_t rate; /* of its clock, in thousandths */
	uint64_t incarnation;
	struct replica *r;
	const struct view *view;
	uint64_t store[ARC_CNT][KEY_CNT];
	uint64_t applied[ARC_CNT];
	struct position committed[ARC_CNT];
	struct pending pending[PENDING_MAX];
	uint32_t pending_cnt;
};

struct sim {
	struct sim_options options;
	struct sim_result *result;
	struct rand rand;
	uint64_t now_ns, order;
	struct ring *ring;
	uint32_t arcs[ARC_CNT]; /* of the ring */
	struct node nodes[NODE_MAX];
	bool cut[NODE_MAX + 1][NODE_MAX + 1];		/* from, to */
	uint32_t drop_pm, twice_pm, late_pm, damage_pm; /* in thousandths */
	/* the coordinator */
	bool coord_down;
	const struct view *view;
	struct view *views[VIEW_MAX];
	struct view_seen seen[NODE_MAX];
	uint64_t lease_ns[NODE_MAX];
	/* what clients know */
	uint64_t value_next;
	struct position places[PLACE_MAX]; /* of each value */
	struct position floor[ARC_CNT][KEY_CNT];
	struct history histories[ARC_CNT][KEY_CNT];
	uint16_t leader[ARC_CNT][EPOCH_MAX]; /* 1 + node, as seen by clients */
	uint64_t seq_seen[ARC_CNT][EPOCH_MAX];
	bool quiet; /* clients rest */
	uint64_t acked_at_healing;
	struct event *heap[EVENT_MAX];
	uint32_t heap_cnt;
};

static const struct ring_node ring_nodes[NODE_MAX] = {
	{ "a", "10.0.0.1", NULL, 1 }, { "b", "10.0.0.2", NULL, 1 }, { "c", "10.0.0.3", NULL, 1 },
	{ "d", "10.0.0.4", NULL, 1 }, { "e", "10.0.0.5", NULL, 1 },
};

__attribute__((format(printf, 2, 3))) static void broken(struct sim *sim, const char *fmt, ...)
{
	char *to = sim->result->broken;
	va_list args;

	if (*to)
		return;
	va_start(args, fmt);
	vsnprintf(to, 200, fmt, args);
	va_end(args);
	snprintf(to + strlen(to), 50, ", at %llu ms", (unsigned long long)(sim->now_ns / MSEC));
}

__attribute__((format(printf, 2, 3))) static void trace(const struct sim *sim, const char *fmt, ...)
{
	va_list args;

	if (!sim->options.trace)
		return;
	printf("%8.3f ", (double)sim->now_ns / 1e9);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
}

static uint64_t node_now(const struct node *node)
{
	return node->sim->now_ns / 1000 * node->rate;
}

/* --- events --- */

static bool earlier(const struct event *a, const struct event *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static struct event *add_event(struct sim *sim, uint64_t after_ns, enum event_kind kind,
			       uint16_t node)
{
	struct event *event = calloc(1, sizeof(*event));
	uint32_t i = sim->heap_cnt++;

	if (!event || sim->heap_cnt > EVENT_MAX)
		abort();
	*event = (struct event){
		.at_ns = sim->now_ns + after_ns, .order = sim->order++, .kind = kind, .node = node
	};
	for (; i > 0 && earlier(event, sim->heap[(i - 1) / 2]); i = (i - 1) / 2)
		sim->heap[i] = sim->heap[(i - 1) / 2];
	sim->heap[i] = event;
	return event;
}

static struct event *take_event(struct sim *sim)
{
	struct event *first = sim->heap[0], *last = sim->heap[--sim->heap_cnt];
	uint32_t i = 0, child;

	while ((child = 2 * i + 1) < sim->heap_cnt) {
		if (child + 1 < sim->heap_cnt && earlier(sim->heap[child + 1], sim->heap[child]))
			child++;
		if (earlier(last, sim->heap[child]))
			break;
		sim->heap[i] = sim->heap[child];
		i = child;
	}
	sim->heap[i] = last;
	return first;
}

static void free_event(struct event *event)
{
	free(event->bytes);
	free(event);
}

/* --- the network --- */

static bool happens(struct sim *sim, uint32_t per_mille)
{
	return rand_below(&sim->rand, 1000) < per_mille;
}

static uint64_t delay_of(struct sim *sim)
{
	if (happens(sim, sim->late_pm))
		return rand_below(&sim->rand, 600 * MSEC);
	return MSEC / 10 + rand_below(&sim->rand, 2 * MSEC);
}

static bool is_lost(struct sim *sim, uint16_t from, uint16_t to)
{
	return sim->cut[from][to] || happens(sim, sim->drop_pm);
}

static void node_send(void *ctx, uint16_t to, const struct frame *frame)
{
	struct node *node = ctx;
	struct sim *sim = node->sim;
	uint32_t copies = happens(sim, sim->twice_pm) ? 2 : 1;

	for (uint32_t i = 0; i < copies; i++) {
		struct event *event;

		if (is_lost(sim, node->idx, to))
			continue;
		event = add_event(sim, delay_of(sim), EV_FRAME, to);
		event->from = node->idx;
		event->len = FRAME_HEADER_LEN + frame->body.len;
		event->bytes = malloc(event->len);
		frame_compose(frame, event->bytes);
		if (frame->body.len)
			memcpy(event->bytes + FRAME_HEADER_LEN, frame->body.ptr, frame->body.len);
		event->damaged = happens(sim, sim->damage_pm);
		if (event->damaged)
			event->bytes[rand_below(&sim->rand, event->len)] ^=
				(uint8_t)(1 + rand_below(&sim->rand, 255));
	}
}

/* --- the store of a node --- */

static void node_apply(void *ctx, uint32_t arc, struct position at, struct span record)
{
	struct node *node = ctx;
	uint64_t value;

	if (at.seq <= node->applied[arc])
		broken(node->sim, "node %u applied entry %llu of arc %u after %llu", node->idx,
		       (unsigned long long)at.seq, arc, (unsigned long long)node->applied[arc]);
	node->applied[arc] = at.seq;
	node->sim->result->apply_cnt++;
	memcpy(&value, record.ptr + 1, sizeof(value));
	node->store[arc][record.ptr[0]] = value;
}

static void node_clear(void *ctx, uint32_t arc)
{
	struct node *node = ctx;

	memset(node->store[arc], 0, sizeof(node->store[arc]));
	node->applied[arc] = 0;
	node->sim->result->snapshot_cnt++;
}

static void node_restore(void *ctx, uint32_t arc, struct span record)
{
	struct node *node = ctx;
	uint64_t value;

	memcpy(&value, record.ptr + 1, sizeof(value));
	node->store[arc][record.ptr[0]] = value;
}

/* One key a part, so that much happens in between. */
static void node_scan(void *ctx, uint32_t arc, uint64_t *cursor, uint8_t *body, size_t size,
		      size_t *ret_len)
{
	struct node *node = ctx;
	uint8_t record[RECORD_LEN] = { (uint8_t)*cursor };

	*ret_len = 0;
	memcpy(record + 1, &node->store[arc][*cursor], 8);
	if (node->store[arc][*cursor])
		frame_add_entry(body, size, ret_len, 0, span_of(record, sizeof(record)));
	*cursor = *cursor + 1 < KEY_CNT ? *cursor + 1 : 0;
}

static void raise_floor(struct sim *sim, uint32_t arc, uint32_t key, struct position at)
{
	if (position_before(sim->floor[arc][key], at))
		sim->floor[arc][key] = at;
}

static void settle(struct node *node)
{
	struct sim *sim = node->sim;
	uint32_t kept = 0;

	for (uint32_t i = 0; i < node->pending_cnt; i++) {
		struct pending *p = &node->pending[i];
		struct position done = node->committed[p->arc];

		if (p->at.epoch == done.epoch && p->at.seq <= done.seq) {
			sim->result->acked_cnt++;
			sim->histories[p->arc][p->key].ops[p->op].end = sim->now_ns;
			raise_floor(sim, p->arc, p->key, p->at);
		} else if (p->at.epoch >= done.epoch) {
			node->pending[kept++] = *p;
		}
	}
	node->pending_cnt = kept;
}

static void node_committed(void *ctx, uint32_t arc, uint64_t epoch, uint64_t seq)
{
	struct node *node = ctx;

	node->committed[arc] = (struct position){ epoch, seq };
	settle(node);
}

/* --- nodes --- */

static void node_start(struct sim *sim, uint16_t idx)
{
	struct node *node = &sim->nodes[idx];
	const struct replica_options options = {
		.env = { .ctx = node,
			 .send = node_send,
			 .apply = node_apply,
			 .clear = node_clear,
			 .restore = node_restore,
			 .scan = node_scan,
			 .committed = node_committed },
		.self = idx,
		.arc_cnt = ARC_CNT,
		.ack = sim->options.ack,
		.log_bytes = LOG_BYTES,
		/* both clocks may be off by two in a hundred */
		.lease_ns = TTL_NS + TTL_NS / 20,
		.retry_ns = 250 * MSEC,
		.hold_ns = 100 * MSEC,
	};

	*node = (struct node){ .sim = sim, .idx = idx, .alive = true };
	node->rate = 980 + rand_below(&sim->rand, 41);
	node->incarnation = 1 + sim->order;
	node->r = replica_new(&options);
	if (!node->r)
		abort();
	trace(sim, "node %u starts", idx);
}

static void node_stop(struct node *node)
{
	replica_free(node->r);
	node->r = NULL;
	node->view = NULL;
	node->alive = false;
	node->pending_cnt = 0;
}

static bool is_member(const struct view_arc *arc, uint16_t node)
{
	for (uint16_t i = 0; i < arc->member_cnt; i++) {
		if (arc->members[i] == node)
			return true;
	}
	return false;
}

/* Nothing is missing here that could be had from somebody. */
static bool caught_up(const struct node *node)
{
	struct view_arc arc;

	if (!node->view)
		return false;
	for (uint32_t i = 0; i < ARC_CNT; i++) {
		view_find_arc(node->view, node->sim->ring, node->sim->arcs[i], &arc);
		if (is_member(&arc, node->idx) && arc.primary != RING_NO_NODE &&
		    arc.primary != node->idx && !replica_whole(node->r, i))
			return false;
	}
	return true;
}

static void node_keepalive(struct node *node)
{
	struct sim *sim = node->sim;
	struct event *event;

	if (is_lost(sim, node->idx, COORD))
		return;
	event = add_event(sim, delay_of(sim), EV_KEEPALIVE, node->idx);
	event->incarnation = node->incarnation;
	event->sent_ns = node_now(node);
	event->caught_up = caught_up(node);
	event->leaving = node->leaving;
}

static void node_set_view(struct node *node, const struct view *view)
{
	struct sim *sim = node->sim;
	struct view_arc arc;

	node->view = view;
	for (uint32_t i = 0; i < ARC_CNT; i++) {
		struct replica_role role;

		view_find_arc(view, sim->ring, sim->arcs[i], &arc);
		if (!is_member(&arc, node->idx))
			continue;
		role = (struct replica_role){ .epoch = arc.epoch,
					      .primary = arc.primary,
					      .member_cnt = arc.member_cnt };
		for (uint16_t j = 0; j < arc.member_cnt; j++) {
			role.members[j] = arc.members[j];
			role.down[j] = view->nodes[arc.members[j]].state == VIEW_DOWN;
		}
		if (arc.primary == node->idx &&
		    view->nodes[node->idx].incarnation != node->incarnation)
			role.primary = REPLICA_NO_NODE;
		replica_set_role(node->r, i, &role, node_now(node));
	}
}

/* The lease is renewed only together with what the view says now. */
static void node_reply(struct node *node, struct event *event)
{
	if (event->incarnation != node->incarnation)
		return;
	if (!node->view || event->view->revision >= node->view->revision) {
		node_set_view(node, event->view);
		replica_set_lease(node->r, event->sent_ns + TTL_NS - TTL_NS / 10);
	}
}

/* --- the coordinator --- */

/* What the nodes get is what was written and read back. All documents stay until the end. */
static void publish(struct sim *sim, struct view *view)
{
	char *text = view_compose(view);
	struct view *read = NULL;

	if (!text || view->revision >= VIEW_MAX ||
	    view_parse(text, strlen(text), sim->ring, view->copies, &read))
		abort();
	free(text);
	view_free(view);
	sim->views[read->revision] = read;
	sim->view = read;
}

static void coord_keepalive(struct sim *sim, const struct event *event)
{
	struct event *reply;

	if (sim->coord_down)
		return;
	sim->seen[event->node] = (struct view_seen){ .alive = true,
						     .caught_up = event->caught_up,
						     .leaving = event->leaving,
						     .incarnation = event->incarnation };
	sim->lease_ns[event->node] = sim->now_ns + TTL_NS;
	if (is_lost(sim, COORD, event->node))
		return;
	reply = add_event(sim, delay_of(sim), EV_REPLY, event->node);
	reply->incarnation = event->incarnation;
	reply->sent_ns = event->sent_ns;
	reply->view = sim->view;
}

static void coord_tick(struct sim *sim)
{
	struct view *next = NULL;

	add_event(sim, 50 * MSEC, EV_COORD, 0);
	for (uint32_t i = 0; i < sim->options.node_cnt; i++) {
		/* without a coordinator nobody counts the time of leases */
		if (sim->coord_down)
			sim->lease_ns[i] = sim->now_ns + TTL_NS;
		if (sim->lease_ns[i] < sim->now_ns)
			sim->seen[i].alive = false;
	}
	if (sim->coord_down)
		return;
	if (view_next(sim->view, sim->seen, &next))
		abort();
	if (!next)
		return;
	publish(sim, next);
	for (uint32_t i = 0; i < sim->options.node_cnt; i++)
		trace(sim, "view %llu: node %u state %d", (unsigned long long)sim->view->revision,
		      i, sim->view->nodes[i].state);
}

/* --- clients --- */

static bool works(const struct node *node)
{
	return node->alive && node->paused_until_ns <= node->sim->now_ns;
}

static uint32_t note(struct sim *sim, uint32_t arc, uint32_t key, const struct linear_op *op)
{
	struct history *history = &sim->histories[arc][key];

	if (history->cnt == HISTORY_MAX)
		abort();
	history->ops[history->cnt] = *op;
	return history->cnt++;
}

static void check_alone(struct sim *sim, const struct node *node, uint32_t arc)
{
	for (uint32_t i = 0; i < sim->options.node_cnt; i++) {
		const struct node *other = &sim->nodes[i];

		/* one that is paused may believe what it likes: it serves nobody */
		if (other != node && works(other) && replica_leads(other->r, arc, node_now(other)))
			broken(sim, "arc %u is served by node %u and node %u", arc, node->idx, i);
	}
}

static void client_write(struct sim *sim, struct node *node, uint32_t arc, uint32_t key)
{
	struct pending *p;
	uint64_t value = sim->value_next;
	uint8_t record[RECORD_LEN] = { (uint8_t)key };
	struct position at = { 0, 0 };

	if (value == PLACE_MAX)
		return;
	/* the client that has waited longest gives up */
	if (node->pending_cnt == PENDING_MAX)
		memmove(node->pending, node->pending + 1, --node->pending_cnt * sizeof(*p));
	p = &node->pending[node->pending_cnt];
	memcpy(record + 1, &value, sizeof(value));
	if (replica_write(node->r, arc, span_of(record, sizeof(record)), node_now(node), &at))
		return;
	sim->value_next++;
	sim->places[value] = at;
	sim->result->write_cnt++;
	if (at.epoch >= EPOCH_MAX)
		abort();
	if (sim->leader[arc][at.epoch] && sim->leader[arc][at.epoch] != node->idx + 1)
		broken(sim, "epoch %llu of arc %u has two primaries, %u and %u",
		       (unsigned long long)at.epoch, arc, sim->leader[arc][at.epoch] - 1,
		       node->idx);
	if (at.seq <= sim->seq_seen[arc][at.epoch])
		broken(sim, "entry %llu of arc %u is written twice", (unsigned long long)at.seq,
		       arc);
	if (sim->options.ack == REPLICA_QUORUM && !position_before(sim->floor[arc][key], at))
		broken(sim, "a write of arc %u goes before what was acknowledged", arc);
	sim->result->epoch_cnt += !sim->leader[arc][at.epoch];
	sim->leader[arc][at.epoch] = node->idx + 1;
	sim->seq_seen[arc][at.epoch] = at.seq;
	*p = (struct pending){ .arc = arc, .key = key, .at = at, .value = value };
	p->op = note(sim, arc, key, &(struct linear_op){ sim->now_ns, LINEAR_NEVER, value, true });
	node->pending_cnt++;
	settle(node);
}

static void client_read(struct sim *sim, const struct node *node, uint32_t arc, uint32_t key)
{
	struct position at = sim->places[node->store[arc][key]];
	struct position *floor = &sim->floor[arc][key];

	sim->result->read_cnt++;
	note(sim, arc, key,
	     &(struct linear_op){ sim->now_ns, sim->now_ns, node->store[arc][key], false });
	if (sim->options.ack == REPLICA_QUORUM && position_before(at, *floor))
		broken(sim,
		       "node %u reads %llu/%llu of arc %u key %u after %llu/%llu was acknowledged "
		       "or read",
		       node->idx, (unsigned long long)at.epoch, (unsigned long long)at.seq, arc,
		       key, (unsigned long long)floor->epoch, (unsigned long long)floor->seq);
	raise_floor(sim, arc, key, at);
}

static void client_turn(struct sim *sim)
{
	uint32_t first = (uint32_t)rand_below(&sim->rand, sim->options.node_cnt);
	uint32_t arc = (uint32_t)rand_below(&sim->rand, ARC_CNT);
	/* some keys are written often, some hardly ever */
	uint32_t key = (uint32_t)rand_below(&sim->rand, 1 + rand_below(&sim->rand, KEY_CNT));

	add_event(sim, rand_below(&sim->rand, 30 * MSEC), EV_CLIENT, 0);
	for (uint32_t i = 0; i < sim->options.node_cnt; i++) {
		struct node *node = &sim->nodes[(first + i) % sim->options.node_cnt];

		if (!works(node) || !replica_leads(node->r, arc, node_now(node)))
			continue;
		check_alone(sim, node, arc);
		if (rand_below(&sim->rand, 3))
			client_write(sim, node, arc, key);
		else
			client_read(sim, node, arc, key);
		return;
	}
}

/* --- faults --- */

static bool may_forget(const struct sim *sim, uint16_t idx)
{
	if (sim->options.ack != REPLICA_QUORUM)
		return true;
	for (uint16_t i = 0; i < sim->options.node_cnt; i++) {
		if (i == idx)
			continue;
		if (!sim->nodes[i].alive)
			return false;
		for (uint32_t arc = 0; arc < ARC_CNT; arc++) {
			struct view_arc now;

			view_find_arc(sim->view, sim->ring, sim->arcs[arc], &now);
			if (is_member(&now, i) && !replica_whole(sim->nodes[i].r, arc))
				return false;
		}
	}
	return true;
}

static void cut_links(struct sim *sim)
{
	uint32_t ends = sim->options.node_cnt + 1;
	uint16_t from = (uint16_t)rand_below(&sim->rand, ends);
	uint16_t to = (uint16_t)rand_below(&sim->rand, ends);
	bool all = happens(sim, 400), both = happens(sim, 500);

	from = from == sim->options.node_cnt ? COORD : from;
	to = to == sim->options.node_cnt ? COORD : to;
	for (uint16_t i = 0; i <= NODE_MAX; i++) {
		if (i != to && !all)
			continue;
		sim->cut[from][i] = true;
		if (both)
			sim->cut[i][from] = true;
	}
	trace(sim, "cut: %u to %u%s%s", from, to, all ? " and all" : "", both ? " both ways" : "");
}

static void set_weather(struct sim *sim, bool bad)
{
	sim->drop_pm = bad ? (uint32_t)rand_below(&sim->rand, 200) : 0;
	sim->twice_pm = bad ? (uint32_t)rand_below(&sim->rand, 200) : 0;
	sim->late_pm = bad ? (uint32_t)rand_below(&sim->rand, 200) : 0;
	sim->damage_pm = bad ? (uint32_t)rand_below(&sim->rand, 30) : 0;
}

static void heal(struct sim *sim)
{
	trace(sim, "all is well again");
	sim->acked_at_healing = sim->result->acked_cnt;
	memset(sim->cut, 0, sizeof(sim->cut));
	set_weather(sim, false);
	sim->coord_down = false;
	for (uint16_t i = 0; i < sim->options.node_cnt; i++) {
		if (!sim->nodes[i].alive)
			node_start(sim, i);
		sim->nodes[i].leaving = false;
		sim->nodes[i].paused_until_ns = 0;
	}
}

static void fault_of_node(struct sim *sim, struct node *node, uint64_t kind)
{
	if (!node->alive) {
		node_start(sim, node->idx);
	} else if (kind == 0 && may_forget(sim, node->idx)) {
		trace(sim, "node %u dies", node->idx);
		node_stop(node);
		if (happens(sim, 300)) /* back before anybody has seen it */
			node_start(sim, node->idx);
	} else if (kind == 1) {
		node->paused_until_ns = sim->now_ns + rand_below(&sim->rand, 3 * TTL_NS);
		trace(sim, "node %u pauses until %.3f", node->idx,
		      (double)node->paused_until_ns / 1e9);
	} else if (kind == 2) {
		node->leaving = !node->leaving;
		trace(sim, "node %u leaving: %d", node->idx, node->leaving);
	}
}

static void cause_fault(struct sim *sim)
{
	uint64_t kind = rand_below(&sim->rand, 8);

	if (sim->now_ns >= FAULTS_END_NS) {
		heal(sim);
		return;
	}
	sim->result->fault_cnt++;
	add_event(sim, 50 * MSEC + rand_below(&sim->rand, 900 * MSEC), EV_FAULT, 0);
	switch (kind) {
	case 3:
		cut_links(sim);
		break;
	case 4:
		memset(sim->cut, 0, sizeof(sim->cut));
		trace(sim, "links are whole");
		break;
	case 5:
		set_weather(sim, true);
		break;
	case 6:
		set_weather(sim, false);
		break;
	case 7:
		sim->coord_down = !sim->coord_down;
		trace(sim, "coordinator down: %d", sim->coord_down);
		break;
	default:
		fault_of_node(sim, &sim->nodes[rand_below(&sim->rand, sim->options.node_cnt)],
			      kind);
	}
}

/* --- the run --- */

static void node_frame(struct node *node, const struct event *event)
{
	struct frame frame;
	ssize_t len = frame_parse(span_of(event->bytes, event->len), &frame);

	/* a damaged one ends its link: what that comes to is a loss */
	if (len == (ssize_t)event->len)
		replica_receive(node->r, event->from, &frame, node_now(node));
	else if (!event->damaged)
		broken(node->sim, "a frame of node %u cannot be read: %zd", event->from, len);
}

/* True: the event is kept for later, or is not for anybody any more. */
static bool put_off(struct sim *sim, struct event *event)
{
	struct node *node = &sim->nodes[event->node];
	struct event *later;

	if (event->kind != EV_FRAME && event->kind != EV_TICK && event->kind != EV_REPLY)
		return false;
	if (node->alive && node->paused_until_ns > sim->now_ns) {
		uint64_t order;

		later = add_event(sim, node->paused_until_ns - sim->now_ns, event->kind,
				  event->node);
		order = later->order;
		event->at_ns = later->at_ns;
		event->order = order;
		*later = *event;
		event->bytes = NULL;
		return true;
	}
	if (!node->alive && event->kind == EV_TICK)
		add_event(sim, 20 * MSEC, EV_TICK, event->node);
	return !node->alive;
}

static void carry_out(struct sim *sim, struct event *event)
{
	struct node *node = &sim->nodes[event->node];

	switch (event->kind) {
	case EV_FRAME:
		node_frame(node, event);
		break;
	case EV_TICK:
		add_event(sim, 20 * MSEC, EV_TICK, event->node);
		replica_tick(node->r, node_now(node));
		if (sim->now_ns / MSEC / 20 % 10 == event->node)
			node_keepalive(node);
		break;
	case EV_KEEPALIVE:
		coord_keepalive(sim, event);
		break;
	case EV_REPLY:
		node_reply(node, event);
		break;
	case EV_COORD:
		coord_tick(sim);
		break;
	case EV_CLIENT:
		client_turn(sim);
		break;
	case EV_FAULT:
		cause_fault(sim);
		break;
	}
}

static void check_arc_well(struct sim *sim, uint32_t arc)
{
	struct view_arc now;
	const struct node *leader;

	view_find_arc(sim->view, sim->ring, sim->arcs[arc], &now);
	if (now.primary == RING_NO_NODE ||
	    !replica_leads(sim->nodes[now.primary].r, arc, node_now(&sim->nodes[now.primary]))) {
		broken(sim, "nobody leads arc %u after healing", arc);
		return;
	}
	leader = &sim->nodes[now.primary];
	for (uint32_t key = 0; key < KEY_CNT; key++)
		client_read(sim, leader, arc, key);
	for (uint16_t i = 0; i < now.member_cnt; i++) {
		const struct node *member = &sim->nodes[now.members[i]];

		if (memcmp(member->store[arc], leader->store[arc], sizeof(leader->store[arc])))
			broken(sim, "node %u holds other items of arc %u than node %u", member->idx,
			       arc, leader->idx);
	}
}

/* The same promise as the floor of each key keeps, judged again from what clients saw alone. */
static void check_histories(struct sim *sim)
{
	uint64_t value = 0;

	for (uint32_t arc = 0; arc < ARC_CNT; arc++) {
		for (uint32_t key = 0; key < KEY_CNT; key++) {
			struct history *history = &sim->histories[arc][key];

			if (!linear_check(history->ops, history->cnt, &value))
				broken(sim, "no order explains value %llu of arc %u key %u",
				       (unsigned long long)value, arc, key);
		}
	}
}

static void check_well(struct sim *sim)
{
	if (sim->result->acked_cnt == sim->acked_at_healing)
		broken(sim, "no write was acknowledged after healing");
	for (uint32_t i = 0; i < sim->options.node_cnt; i++) {
		if (sim->view->nodes[i].state != VIEW_READY)
			broken(sim, "node %u is not ready after healing but %d", i,
			       sim->view->nodes[i].state);
	}
	for (uint32_t arc = 0; arc < ARC_CNT; arc++)
		check_arc_well(sim, arc);
	if (sim->options.ack == REPLICA_QUORUM)
		check_histories(sim);
}

static void sim_start(struct sim *sim)
{
	uint32_t copies = sim->options.node_cnt < 3 ? 2 : 3;
	struct view *view = NULL;

	rand_init(&sim->rand, sim->options.seed);
	if (ring_new(ring_nodes, sim->options.node_cnt, &sim->ring))
		abort();
	sim->value_next = 1;
	for (uint32_t i = 0; i < ARC_CNT; i++)
		sim->arcs[i] = (uint32_t)rand_below(&sim->rand, sim->ring->point_cnt);
	for (uint16_t i = 0; i < sim->options.node_cnt; i++) {
		node_start(sim, i);
		sim->order++; /* incarnations differ */
		sim->seen[i] = (struct view_seen){ .alive = true,
						   .incarnation = sim->nodes[i].incarnation };
		sim->lease_ns[i] = TTL_NS;
		add_event(sim, rand_below(&sim->rand, 20 * MSEC), EV_TICK, i);
	}
	if (view_new(sim->ring, copies, sim->seen, &view))
		abort();
	publish(sim, view);
	add_event(sim, 0, EV_COORD, 0);
	add_event(sim, 100 * MSEC, EV_CLIENT, 0);
	add_event(sim, 1000 * MSEC, EV_FAULT, 0);
}

static void sim_end(struct sim *sim)
{
	for (uint16_t i = 0; i < sim->options.node_cnt; i++)
		node_stop(&sim->nodes[i]);
	while (sim->heap_cnt > 0)
		free_event(take_event(sim));
	for (uint32_t i = 0; i < VIEW_MAX; i++)
		view_free(sim->views[i]);
	ring_free(sim->ring);
	free(sim);
}

bool replica_sim(const struct sim_options *options, struct sim_result *ret)
{
	struct sim *sim = calloc(1, sizeof(*sim));

	if (!sim)
		abort();
	*ret = (struct sim_result){ .broken = "" };
	sim->options = *options;
	sim->result = ret;
	sim_start(sim);
	while (sim->now_ns < END_NS && !ret->broken[0]) {
		struct event *event = take_event(sim);

		sim->now_ns = event->at_ns;
		ret->step_cnt++;
		/* the last writes come to rest before stores are compared */
		if (event->kind == EV_CLIENT && sim->now_ns > END_NS - TTL_NS)
			sim->quiet = true;
		else if (!put_off(sim, event))
			carry_out(sim, event);
		free_event(event);
	}
	if (!ret->broken[0])
		check_well(sim);
	sim_end(sim);
	return !ret->broken[0];
}
