/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two ways through the thread:
 *
 *   worker: forward_ask -> mailbox -> take_asks -> ASK -> the other node -> ANSWER -> wait_answer
 *   other node: ASK -> guest -> command_apply -> ANSWER; one that waits for an origin is applied
 *   again when it may go on
 *
 * An ask under way has a place in `places`, whose number goes with the request: so an answer that
 * comes too late names a place that is another's by then, or nobody's, and is known by the count in
 * its upper half.
 */
#include "net/node.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "protocol/compose_text.h"
#include "protocol/parse_binary.h"
#include "protocol/parse_text.h"

/* Requests of all workers that other nodes have; more are refused at once. */
#define PLACE_MAX 16384
/* Requests of other nodes that wait for an origin. */
#define GUEST_MAX 16384
#define REPLY_ARENA (64U << 10)
/* Deadlines are kept to this. */
#define STEP_NS (20 * NSEC_PER_MSEC)

struct guest {
	struct command_client client; /* first */
	struct node *node;
	struct guest *prev, *next; /* node->waiting, or node->ready by next alone */
	uint16_t from;
	uint64_t id;
	size_t len;
	uint8_t request[];
};

struct node {
	struct node_conf conf;
	struct forward forward;
	struct loop loop;
	struct mailbox asks; /* of workers */
	struct peers *peers;
	int listen_fd;
	struct forward_ask *first, *last; /* under way, in the order in which they end */
	struct forward_ask **places;
	uint32_t *free_places;
	uint32_t free_cnt;
	uint64_t id_last;
	struct command_worker *worker;
	struct response resp;
	uint8_t *flat; /* a reply in one piece */
	size_t flat_cap;
	struct guest *waiting, *ready;
	uint32_t guest_cnt;
	struct node_counts counts;
	pthread_mutex_t lock; /* statuses */
	struct peers_status *statuses;
	pthread_t thread;
	bool started;
	_Atomic bool stop;
};

static uint64_t now_of(const struct node *node)
{
	return clock_now_ns(node->conf.clock);
}

static void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* --- whose key --- */

static bool is_here(void *ctx, struct span key, uint16_t *ret_node)
{
	const struct node *node = ctx;
	const struct ring *ring = node->conf.ring;

	*ret_node = ring->points[ring_arc(ring, ring_hash(ring, key))].node;
	return *ret_node == node->conf.self;
}

/* --- asking other nodes --- */

static void post_ask(void *ctx, struct forward_ask *ask)
{
	struct node *node = ctx;

	mailbox_post(&node->asks, &ask->part.mail);
}

static uint32_t place_of(uint64_t id)
{
	return (uint32_t)id % PLACE_MAX;
}

static void remove_ask(struct node *node, struct forward_ask *ask)
{
	if (ask->prev)
		ask->prev->next = ask->next;
	else
		node->first = ask->next;
	if (ask->next)
		ask->next->prev = ask->prev;
	else
		node->last = ask->prev;
	node->places[place_of(ask->id)] = NULL;
	node->free_places[node->free_cnt++] = place_of(ask->id);
}

static void fail(struct node *node, struct forward_ask *ask)
{
	count(&node->counts.failed);
	ask->answered = false;
	wait_answer(&ask->part);
}

static void send_ask(struct node *node, struct forward_ask *ask)
{
	struct frame frame = { .type = FRAME_ASK, .body = span_of(ask->request, ask->request_len) };

	count(&node->counts.asked);
	if (node->free_cnt == 0 || ask->request_len > FRAME_BODY_MAX) {
		fail(node, ask);
		return;
	}
	/* the count above the place makes numbers differ */
	node->id_last += PLACE_MAX;
	ask->id = node->id_last + node->free_places[node->free_cnt - 1];
	frame.cursor = ask->id;
	if (peers_send(node->peers, ask->to, &frame)) {
		fail(node, ask);
		return;
	}
	node->free_cnt--;
	node->places[place_of(ask->id)] = ask;
	ask->until_ns = now_of(node) + node->conf.timeout_ms * NSEC_PER_MSEC;
	ask->next = NULL;
	ask->prev = node->last;
	if (ask->prev)
		ask->prev->next = ask;
	else
		node->first = ask;
	node->last = ask;
}

static void take_asks(struct node *node)
{
	struct mail *mail = mailbox_take(&node->asks);

	while (mail) {
		struct mail *next = mail->next;

		send_ask(node, (struct forward_ask *)mail);
		mail = next;
	}
}

static void end_overdue(struct node *node, uint64_t now_ns)
{
	while (node->first && node->first->until_ns <= now_ns) {
		struct forward_ask *ask = node->first;

		remove_ask(node, ask);
		fail(node, ask);
	}
}

static void take_answer(struct node *node, uint16_t from, const struct frame *frame)
{
	struct forward_ask *ask = node->places[place_of(frame->cursor)];

	if (!ask || ask->id != frame->cursor || ask->to != from)
		return;
	remove_ask(node, ask);
	ask->reply = alloc_zero(1, frame->body.len ? frame->body.len : 1);
	if (!ask->reply) {
		fail(node, ask);
		return;
	}
	if (frame->body.len)
		memcpy(ask->reply, frame->body.ptr, frame->body.len);
	ask->reply_len = frame->body.len;
	ask->answered = true;
	count(&node->counts.answered);
	wait_answer(&ask->part);
}

/* It may have been carried out or not: whoever asked is told that nobody knows. */
static void on_lost(void *ctx, uint16_t to)
{
	struct node *node = ctx;

	for (struct forward_ask *ask = node->first, *next; ask; ask = next) {
		next = ask->next;
		if (ask->to != to)
			continue;
		remove_ask(node, ask);
		fail(node, ask);
	}
}

/* --- carrying out what others ask --- */

static struct span flatten(struct node *node)
{
	const struct response *resp = &node->resp;
	size_t len = 0;

	if (resp->bytes > node->flat_cap) {
		uint8_t *more = alloc_resize(node->flat, resp->bytes);

		if (!more)
			return span_of(NULL, 0);
		node->flat = more;
		node->flat_cap = resp->bytes;
	}
	for (uint32_t i = 0; i < resp->iov_cnt; i++) {
		memcpy(node->flat + len, resp->iov[i].iov_base, resp->iov[i].iov_len);
		len += resp->iov[i].iov_len;
	}
	return span_of(node->flat, len);
}

static void send_reply(struct node *node, uint16_t to, uint64_t id)
{
	struct request none = { .compose = &compose_text };
	struct frame frame = { .type = FRAME_ANSWER, .cursor = id };

	if (node->resp.failed || node->resp.bytes > FRAME_BODY_MAX) {
		response_reset(&node->resp);
		none.compose->status(&node->resp, &none, STATUS_NO_MEMORY);
	}
	frame.body = flatten(node);
	/* an answer that cannot be sent is missed by its deadline */
	peers_send(node->peers, to, &frame);
	response_reset(&node->resp);
}

/* The command with its value, whole and alone. */
static bool parse(struct span bytes, struct request *req)
{
	bool binary = parse_binary_is_request(bytes);
	ssize_t len = binary ? parse_binary(bytes, req) : parse_text(bytes, 0, req);
	const uint8_t *end;
	uint64_t room;

	if (len <= 0)
		return false;
	bytes = span_of(bytes.ptr + len, bytes.len - (size_t)len);
	if (!request_has_value(req))
		return bytes.len == 0;
	room = req->value_len + request_value_end_len(req);
	if (bytes.len != room)
		return false;
	end = bytes.ptr + req->value_len;
	req->value = span_of(bytes.ptr, req->value_len);
	req->value_bad = !req->value_bare && (end[0] != '\r' || end[1] != '\n');
	return true;
}

/* False: it waits for an answer from elsewhere. */
static bool carry_out(struct node *node, struct command_client *client, struct span bytes)
{
	struct request req = { .compose = &compose_text };
	enum command_next next = COMMAND_DONE;

	response_reset(&node->resp);
	if (!parse(bytes, &req)) {
		req.noreply = false;
		req.compose->status(&node->resp, &req, STATUS_BAD_FORMAT);
		return true;
	}
	command_set_client(node->worker, client);
	if (!request_has_value(&req) || command_admit(node->worker, &req, &node->resp))
		next = command_apply(node->worker, &req, &node->resp);
	command_set_client(node->worker, NULL);
	return next != COMMAND_WAITS;
}

/* Never called: a request that waits moves to a struct guest first. */
static void on_stack(struct command_client *client)
{
	(void)client;
}

static void resume_guest(struct command_client *client)
{
	struct guest *guest = (struct guest *)client;
	struct node *node = guest->node;

	if (guest->prev)
		guest->prev->next = guest->next;
	else
		node->waiting = guest->next;
	if (guest->next)
		guest->next->prev = guest->prev;
	guest->next = node->ready;
	node->ready = guest;
}

static void wait_for(struct node *node, struct guest *guest)
{
	guest->prev = NULL;
	guest->next = node->waiting;
	if (guest->next)
		guest->next->prev = guest;
	node->waiting = guest;
}

/* Keeps the request until its answer is there. */
static void suspend(struct node *node, struct command_client *client, uint16_t from,
		    const struct frame *frame)
{
	struct request none = { .compose = &compose_text };
	struct guest *guest = node->guest_cnt < GUEST_MAX
				      ? alloc_zero(1, sizeof(*guest) + frame->body.len)
				      : NULL;

	response_reset(&node->resp);
	if (!guest) {
		command_leave(client);
		none.compose->status(&node->resp, &none, STATUS_NO_MEMORY);
		send_reply(node, from, frame->cursor);
		return;
	}
	guest->client = *client;
	guest->client.resume = resume_guest;
	guest->client.wait->ctx = &guest->client;
	guest->node = node;
	guest->from = from;
	guest->id = frame->cursor;
	guest->len = frame->body.len;
	memcpy(guest->request, frame->body.ptr, frame->body.len);
	node->guest_cnt++;
	wait_for(node, guest);
}

static void take_request(struct node *node, uint16_t from, const struct frame *frame)
{
	struct command_client client = { .fd = -1, .resume = on_stack, .is_node = true };

	if (carry_out(node, &client, frame->body)) {
		command_leave(&client);
		send_reply(node, from, frame->cursor);
	} else {
		suspend(node, &client, from, frame);
	}
	count(&node->counts.guests);
}

static void free_guest(struct node *node, struct guest *guest)
{
	command_leave(&guest->client);
	node->guest_cnt--;
	alloc_free(guest);
}

static void run_ready(struct node *node)
{
	struct guest *guest = node->ready;

	node->ready = NULL;
	while (guest) {
		struct guest *next = guest->next;

		if (carry_out(node, &guest->client, span_of(guest->request, guest->len))) {
			send_reply(node, guest->from, guest->id);
			free_guest(node, guest);
		} else {
			response_reset(&node->resp);
			wait_for(node, guest);
		}
		guest = next;
	}
}

/* --- the thread --- */

static void on_frame(void *ctx, uint16_t from, const struct frame *frame)
{
	struct node *node = ctx;

	if (frame->type == FRAME_ASK)
		take_request(node, from, frame);
	else if (frame->type == FRAME_ANSWER)
		take_answer(node, from, frame);
}

static int wait_ms(const struct node *node)
{
	uint64_t now_ns = now_of(node), next_ns = peers_next_ns(node->peers);
	uint64_t waits_ns = command_waits_next_ns(node->worker);
	uint64_t left_ns;

	if (waits_ns < next_ns)
		next_ns = waits_ns;
	left_ns = next_ns > now_ns ? next_ns - now_ns : 0;
	if (left_ns > STEP_NS)
		left_ns = STEP_NS;
	return (int)((left_ns + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC);
}

static void note_statuses(struct node *node)
{
	pthread_mutex_lock(&node->lock);
	for (uint16_t i = 0; i < node->conf.ring->node_cnt; i++)
		peers_status(node->peers, i, &node->statuses[i]);
	pthread_mutex_unlock(&node->lock);
}

static void run_turn(struct node *node)
{
	int timeout_ms = wait_ms(node);

	command_sleep(node->worker);
	loop_wait(&node->loop, timeout_ms);
	command_wake(node->worker);
	command_turn(node->worker);
	loop_drain(&node->loop);
	take_asks(node);
	run_ready(node);
	end_overdue(node, now_of(node));
	peers_turn(node->peers);
	note_statuses(node);
}

static void *run(void *arg)
{
	struct node *node = arg;

	command_wake(node->worker);
	command_turn(node->worker);
	while (!atomic_load_explicit(&node->stop, memory_order_acquire))
		run_turn(node);
	command_sleep(node->worker);
	return NULL;
}

int node_start(struct node *node, struct command *command, uint32_t worker_idx)
{
	struct peers_conf conf = { .self = node->conf.self,
				   .cnt = (uint16_t)node->conf.ring->node_cnt,
				   .addrs = node->conf.addrs,
				   .ring_sum = node->conf.ring_sum,
				   .tls = node->conf.tls,
				   .record_bytes = node->conf.record_bytes,
				   .clock = node->conf.clock,
				   .ctx = node,
				   .receive = on_frame,
				   .lost = on_lost };
	int error = peers_new(&conf, node->listen_fd, &node->loop, &node->peers);
	sigset_t all, old;

	if (!error)
		error = command_worker_new(command, worker_idx, &node->worker);
	if (error)
		return error;
	command_use_loop(node->worker, &node->loop);
	command_sleep(node->worker);
	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	error = -pthread_create(&node->thread, NULL, run, node);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (error)
		return error;
	node->started = true;
	pthread_setname_np(node->thread, "xc-node");
	return 0;
}

static void drop_guests(struct node *node, struct guest *guest)
{
	while (guest) {
		struct guest *next = guest->next;

		free_guest(node, guest);
		guest = next;
	}
}

void node_stop(struct node *node)
{
	if (!node)
		return;
	atomic_store(&node->stop, true);
	loop_kick(&node->loop);
	if (node->started)
		pthread_join(node->thread, NULL);
	node->started = false;
	take_asks(node);
	end_overdue(node, UINT64_MAX);
	drop_guests(node, node->waiting);
	drop_guests(node, node->ready);
	node->waiting = node->ready = NULL;
	peers_free(node->peers);
	node->peers = NULL;
	command_worker_free(node->worker);
	node->worker = NULL;
}

int node_new(const struct node_conf *conf, int listen_fd, struct node **ret)
{
	struct node *node = alloc_zero(1, sizeof(*node));
	int error = -ENOMEM;

	if (!node) {
		close(listen_fd);
		return -ENOMEM;
	}
	node->conf = *conf;
	node->listen_fd = listen_fd;
	node->forward = (struct forward){ .ctx = node,
					  .is_here = is_here,
					  .ask = post_ask,
					  .timeout_ms = conf->timeout_ms,
					  .request_max = FRAME_BODY_MAX };
	pthread_mutex_init(&node->lock, NULL);
	node->places = alloc_zero(PLACE_MAX, sizeof(struct forward_ask *));
	node->free_places = alloc_zero(PLACE_MAX, sizeof(*node->free_places));
	node->statuses = alloc_zero(conf->ring->node_cnt, sizeof(*node->statuses));
	if (node->places && node->free_places && node->statuses)
		error = response_init(&node->resp, REPLY_ARENA, UINT64_MAX);
	if (!error)
		error = loop_init(&node->loop);
	if (error) {
		node_free(node);
		return error;
	}
	mailbox_init(&node->asks, &node->loop);
	while (node->free_cnt < PLACE_MAX) {
		node->free_places[node->free_cnt] = node->free_cnt;
		node->free_cnt++;
	}
	*ret = node;
	return 0;
}

void node_free(struct node *node)
{
	if (!node)
		return;
	close(node->listen_fd);
	loop_fini(&node->loop);
	response_fini(&node->resp);
	alloc_free(node->places);
	alloc_free(node->free_places);
	alloc_free(node->statuses);
	alloc_free(node->flat);
	pthread_mutex_destroy(&node->lock);
	alloc_free(node);
}

const struct forward *node_forward(const struct node *node)
{
	return &node->forward;
}

const struct node_counts *node_counts(const struct node *node)
{
	return &node->counts;
}

void node_peer(const struct node *node, uint16_t idx, struct peers_status *ret)
{
	struct node *n = (struct node *)node; /* the lock alone changes */

	pthread_mutex_lock(&n->lock);
	*ret = node->statuses[idx];
	pthread_mutex_unlock(&n->lock);
}
