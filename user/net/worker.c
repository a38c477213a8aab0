/* SPDX-License-Identifier: BSD-2-Clause */
#include "net/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "net/backlog.h"
#include "net/conn.h"
#include "net/listener.h"
#include "net/udp.h"

/* A full reply is sent at this size; text never outgrows the arena before. */
#define REPLY_FULL (56U << 10)
#define REPLY_ARENA (64U << 10)
#define IDLE_CHECK_NS NSEC_PER_SEC
#define DRAIN_MAX_NS (2 * NSEC_PER_SEC)
#define DRAIN_STEP_MS 20
#define PARK_STEP_NS (4 * NSEC_PER_MSEC)
/* What happens is told at the latest after this. */
#define WATCH_STEP_NS (20 * NSEC_PER_MSEC)

int worker_init(struct worker *w, struct worker_shared *shared, struct command *command,
		uint32_t idx)
{
	int error;

	memset(w, 0, sizeof(*w));
	w->shared = shared;
	w->idx = idx;
	atomic_init(&w->stop, false);
	error = loop_init(&w->loop);
	if (error)
		return error;
	error = response_init(&w->resp, REPLY_ARENA, REPLY_FULL);
	if (error)
		goto err_loop;
	if (!pool_take(&w->pool, BUFFER_LARGE, &w->scratch)) {
		error = -ENOMEM;
		goto err_resp;
	}
	if (shared->settings->tls.enabled) {
		w->tls_record = alloc_resize(NULL, shared->settings->tls.wbuf_kib << 10);
		if (!w->tls_record) {
			error = -ENOMEM;
			goto err_pool;
		}
	}
	error = command_worker_new(command, idx, &w->command);
	if (error)
		goto err_pool;
	/* Offline until its thread runs: reclaim must not wait for a thread that is not there. */
	command_sleep(w->command);
	command_set_let_go(w->command, backlog_copy_all, w);
	command_use_loop(w->command, &w->loop);
	w->counts = command_counts(w->command);
	w->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	pthread_mutex_init(&w->lock, NULL);
	return 0;

err_pool:
	alloc_free(w->tls_record);
	pool_give(&w->pool, &w->scratch);
	pool_fini(&w->pool);
err_resp:
	response_fini(&w->resp);
err_loop:
	loop_fini(&w->loop);
	return error;
}

static void close_sockets(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	for (uint32_t i = 0; i < w->socket_cnt; i++) {
		loop_remove(&w->loop, &w->sockets[i].source);
		close(w->sockets[i].source.fd);
	}
	w->socket_cnt = 0;
	pthread_mutex_unlock(&w->lock);
}

void worker_fini(struct worker *w)
{
	close_sockets(w);
	while (w->spare) {
		struct conn *next = w->spare->link;

		alloc_free(w->spare);
		w->spare = next;
	}
	udp_free(w->udp);
	if (w->spare_fd >= 0)
		close(w->spare_fd);
	command_worker_free(w->command);
	alloc_free(w->tls_record);
	pool_give(&w->pool, &w->scratch);
	pool_fini(&w->pool);
	response_fini(&w->resp);
	loop_fini(&w->loop);
	pthread_mutex_destroy(&w->lock);
}

int worker_add_socket(struct worker *w, int fd, enum worker_socket_kind kind, bool tls,
		      const struct sock_addr *addr)
{
	struct worker_socket *socket = &w->sockets[w->socket_cnt];
	int error = 0;

	if (w->socket_cnt == WORKER_SOCKET_MAX) {
		close(fd);
		return -E2BIG;
	}
	if (kind == WORKER_UDP && !w->udp)
		error = udp_new(&w->udp);
	socket->source.fd = fd;
	socket->source.ready = kind == WORKER_UDP ? udp_ready : listener_ready;
	socket->worker = w;
	socket->kind = kind;
	socket->tls = tls;
	socket->addr = *addr;
	/* The unix socket is in every worker's loop: wake one of them for a connection, not all. */
	if (!error)
		error = loop_insert(&w->loop, &socket->source,
				    LOOP_READ | (kind == WORKER_UNIX ? LOOP_EXCLUSIVE : 0));
	if (error) {
		close(fd);
		return error;
	}
	w->socket_cnt++;
	return 0;
}

/* Connections that were not done at the end of their last turn; new ones may join meanwhile. */
static void run_ready(struct worker *w)
{
	struct conn *c = w->ready_first;

	w->ready_first = NULL;
	w->ready_last = NULL;
	while (c) {
		struct conn *next = c->link;

		c->queued = false;
		if (c->dead) {
			c->link = w->dead;
			w->dead = c;
		} else {
			conn_resume(c);
		}
		c = next;
	}
}

/* Each tries again, and parks again if it must. */
static void unpark(struct worker *w)
{
	while (w->parked) {
		struct conn *c = w->parked;

		w->parked = c->link;
		c->link = w->ready_first;
		w->ready_first = c;
		if (!w->ready_last)
			w->ready_last = c;
	}
}

static void send_events(struct worker *w)
{
	for (struct conn *c = w->watchers, *next; c; c = next) {
		next = c->watch_next;
		conn_send_events(c);
	}
}

static bool has_deadlines(const struct worker *w)
{
	return w->linger_cnt > 0 || w->upload_cnt > 0 || w->handshake_cnt > 0 ||
	       (w->shared->settings->idle_timeout_sec && w->conns);
}

static void close_overdue(struct worker *w)
{
	uint64_t now_ns = command_now_ns(w->command);

	if (!has_deadlines(w) || now_ns - w->idle_check_ns < IDLE_CHECK_NS)
		return;
	w->idle_check_ns = now_ns;
	for (struct conn *c = w->conns, *next; c; c = next) {
		next = c->next;
		conn_close_overdue(c, now_ns);
	}
}

/* No longer than until then. */
static uint64_t least(const struct worker *w, uint64_t wait, uint64_t then_ns)
{
	uint64_t now_ns = command_now_ns(w->command);
	uint64_t left = then_ns > now_ns ? then_ns - now_ns : 0;

	return left < wait ? left : wait;
}

static int wait_ms(const struct worker *w)
{
	uint64_t flush_ns = command_flush_at_ns(w->command);
	/* Also without deadlines: the reclaimer may want what this thread's segments hold. */
	uint64_t wait = IDLE_CHECK_NS;

	if (w->ready_first || w->copies)
		return 0;
	if (w->watchers)
		wait = WATCH_STEP_NS;
	if (w->parked)
		wait = PARK_STEP_NS;
	if (flush_ns)
		wait = least(w, wait, flush_ns);
	wait = least(w, wait, command_waits_next_ns(w->command));
	/* Rounded up: waking before the time would only spin until it comes. */
	return (int)((wait + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC);
}

uint64_t worker_time_end_ns(uint32_t bucket)
{
	uint64_t end_ns = 1000ULL << (bucket / 2);

	return bucket % 2 ? end_ns + end_ns * 414 / 1000 : end_ns;
}

/* From the wake-up to the last reply: what the clients of this turn waited here at most. */
static void note_time(struct worker *w)
{
	uint64_t took_ns = command_turn_took_ns(w->command);
	uint32_t bucket = 0;

	if (took_ns == 0)
		return; /* nobody was answered */
	while (bucket + 1 < WORKER_TIME_CNT && took_ns > worker_time_end_ns(bucket))
		bucket++;
	/* One writer: no locked instruction. */
	atomic_store_explicit(&w->times[bucket],
			      atomic_load_explicit(&w->times[bucket], memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

static void run_turn(struct worker *w, int timeout_ms)
{
	int n;

	if (timeout_ms != 0)
		command_sleep(w->command);
	n = loop_wait(&w->loop, timeout_ms);
	if (timeout_ms != 0)
		command_wake(w->command);
	command_turn(w->command);
	w->handshake_steps = 0;
	if (n > 0)
		loop_drain(&w->loop);
	/* When the others are served, at the latest after a step: not in a loop of its own. */
	if (w->parked && command_now_ns(w->command) - w->unpark_ns >= PARK_STEP_NS) {
		w->unpark_ns = command_now_ns(w->command);
		unpark(w);
	}
	run_ready(w);
	backlog_copy(w);
	if (w->udp)
		udp_resume(w);
	if (n > 0)
		note_time(w);
	send_events(w);
	close_overdue(w);
	conn_reap(w);
}

/*
 * What was sent to us before the stop is answered; who does not take the answer is not waited for.
 */
static void drain(struct worker *w)
{
	uint64_t until_ns;

	command_turn(w->command);
	until_ns = command_now_ns(w->command) + DRAIN_MAX_NS;
	/* A connection that is not accepted yet is better off with the process that goes on. */
	for (uint32_t i = 0; i < w->socket_cnt; i++) {
		if (w->sockets[i].kind == WORKER_UDP)
			udp_ready(&w->sockets[i].source, LOOP_READ);
		else if (!w->shared->goes_on)
			listener_drain(&w->sockets[i]);
	}
	close_sockets(w);
	while (w->conns && command_now_ns(w->command) < until_ns) {
		for (struct conn *c = w->conns, *next; c; c = next) {
			next = c->next;
			c->end_reason = "shutdown";
			if (conn_drain(c))
				conn_close(c);
		}
		conn_reap(w);
		if (w->conns)
			run_turn(w, w->ready_first || w->copies ? 0 : DRAIN_STEP_MS);
	}
	while (w->conns)
		conn_close(w->conns);
	unpark(w);
	run_ready(w);
	conn_reap(w);
}

static void *run(void *arg)
{
	struct worker *w = arg;

	command_wake(w->command);
	command_turn(w->command);
	/* Acquire: what was settled before the stop, such as goes_on, is seen behind it. */
	while (!atomic_load_explicit(&w->stop, memory_order_acquire))
		run_turn(w, wait_ms(w));
	drain(w);
	command_sleep(w->command);
	return NULL;
}

int worker_start(struct worker *w)
{
	sigset_t all;
	sigset_t old;
	char name[16];
	int error;

	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	error = -pthread_create(&w->thread, NULL, run, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (error)
		return error;
	w->started = true;
	snprintf(name, sizeof(name), "xc-worker-%u", w->idx);
	pthread_setname_np(w->thread, name);
	return 0;
}

void worker_stop(struct worker *w)
{
	atomic_store(&w->stop, true);
	loop_kick(&w->loop);
}

void worker_join(struct worker *w)
{
	if (w->started)
		pthread_join(w->thread, NULL);
	w->started = false;
}

/* --- stats conns ------------------------------------------------------------------------------ */

static const char *transport(const struct worker_socket *s)
{
	bool v6 = s->addr.storage.ss_family == AF_INET6;

	switch (s->kind) {
	case WORKER_TCP:
		return v6 ? "tcp6" : "tcp";
	case WORKER_UDP:
		return v6 ? "udp6" : "udp";
	default:
		return "unix";
	}
}

static void emit_socket(struct worker_socket *s, void (*emit)(void *, const struct command_conn *),
			void *ctx)
{
	char addr[SOCK_TEXT_MAX];
	struct command_conn conn = {
		.fd = s->source.fd,
		.transport = transport(s),
		.addr = addr,
		.state = s->kind == WORKER_UDP ? "conn_read" : "conn_listening",
	};

	sock_text(&s->addr, addr);
	emit(ctx, &conn);
}

static void emit_conn(struct conn *c, uint64_t now_ns,
		      void (*emit)(void *, const struct command_conn *), void *ctx)
{
	struct sock_addr peer = { .len = sizeof(peer.storage) };
	uint64_t last_ns = __atomic_load_n(&c->last_ns, __ATOMIC_RELAXED);
	char addr[SOCK_TEXT_MAX];
	char listen_addr[SOCK_TEXT_MAX];
	struct command_conn conn = {
		.fd = c->source.fd,
		.transport = transport(c->from),
		.addr = addr,
		.listen_addr = listen_addr,
		.state = conn_state(c),
		.idle_sec = now_ns > last_ns ? (now_ns - last_ns) / NSEC_PER_SEC : 0,
	};

	if (getpeername(c->source.fd, (struct sockaddr *)&peer.storage, &peer.len) < 0)
		return; /* gone in this moment */
	sock_text(&peer, addr);
	sock_text(&c->from->addr, listen_addr);
	emit(ctx, &conn);
}

void worker_walk_sockets(struct worker *w, void (*emit)(void *ctx, const struct command_conn *conn),
			 void *ctx)
{
	pthread_mutex_lock(&w->lock);
	for (uint32_t i = 0; i < w->socket_cnt; i++)
		emit_socket(&w->sockets[i], emit, ctx);
	pthread_mutex_unlock(&w->lock);
}

void worker_walk_conns(struct worker *w, uint64_t now_ns,
		       void (*emit)(void *ctx, const struct command_conn *conn), void *ctx)
{
	struct conn *c;

	pthread_mutex_lock(&w->lock);
	for (c = w->conns; c && c->next; c = c->next)
		; /* the oldest first */
	for (; c; c = c->prev)
		emit_conn(c, now_ns, emit, ctx);
	pthread_mutex_unlock(&w->lock);
}
