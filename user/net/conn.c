/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A reply is composed in the worker's struct response and sent in one system call at the end of the
 * connection's turn, or earlier when it is full. What the socket does not take is kept in `out`
 * (backlog.h). While `out` is there nothing more is read from the client.
 */
#include "net/conn.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/backlog.h"
#include "net/serve.h"
#include "net/stream.h"
#include "net/tls.h"

/* Reads a turn: large values and deep pipelines want more than one. */
#define READS_A_TURN 4
/* A handshake costs more than hundreds of requests: who is connected is served in between. */
#define HANDSHAKE_STEPS_A_TURN 4
/* For a refused client to read why. */
#define LINGER_NS (2 * NSEC_PER_SEC)
#define SPARE_MAX 256
/* Of a watcher's lines, a turn. */
#define EVENTS_TURN_MAX 32768

enum conn_state { STATE_READ, STATE_NREAD, STATE_SWALLOW, STATE_MWRITE, STATE_PARSE, STATE_WATCH };

/* As `stats conns` of memcached calls them. */
static const char *const conn_states[] = {
	[STATE_READ] = "conn_read",	  [STATE_NREAD] = "conn_nread",
	[STATE_SWALLOW] = "conn_swallow", [STATE_MWRITE] = "conn_mwrite",
	[STATE_PARSE] = "conn_parse_cmd", [STATE_WATCH] = "conn_watch",
};

const char *conn_state(const struct conn *c)
{
	return conn_states[__atomic_load_n(&c->state, __ATOMIC_RELAXED)];
}

static void note_state(struct conn *c)
{
	enum conn_state state = STATE_READ;

	if (c->events)
		state = STATE_WATCH;
	else if (c->out.bytes)
		state = STATE_MWRITE;
	else if (c->skip || c->skip_line)
		state = STATE_SWALLOW;
	else if (c->upload || c->need)
		state = STATE_NREAD;
	__atomic_store_n(&c->state, (uint8_t)state, __ATOMIC_RELAXED);
	__atomic_store_n(&c->last_ns, command_now_ns(c->worker->command), __ATOMIC_RELAXED);
}

/* --- life ------------------------------------------------------------------------------------- */

static void enqueue(struct conn *c)
{
	struct worker *w = c->worker;

	if (c->queued)
		return;
	c->queued = true;
	c->link = NULL;
	if (w->ready_last)
		w->ready_last->link = c;
	else
		w->ready_first = c;
	w->ready_last = c;
}

void conn_watch(struct conn *c, struct eventlog_stream *events)
{
	struct worker *w = c->worker;

	c->events = events;
	c->watch_prev = NULL;
	c->watch_next = w->watchers;
	if (c->watch_next)
		c->watch_next->watch_prev = c;
	w->watchers = c;
}

static void stop_watching(struct conn *c)
{
	if (!c->events)
		return;
	if (c->watch_prev)
		c->watch_prev->watch_next = c->watch_next;
	else
		c->worker->watchers = c->watch_next;
	if (c->watch_next)
		c->watch_next->watch_prev = c->watch_prev;
	eventlog_close(c->worker->shared->events, c->events);
	c->events = NULL;
}

static void log_event(const struct conn *c, const char *type)
{
	struct eventlog *events = c->worker->shared->events;
	struct sock_addr peer = { .len = sizeof(peer.storage) };
	char host[SOCK_TEXT_MAX] = "null";
	uint32_t port = 0;

	if (!eventlog_wants(events, EVENTLOG_CONNEVENTS))
		return;
	if (c->from->kind == WORKER_TCP &&
	    getpeername(c->source.fd, (struct sockaddr *)&peer.storage, &peer.len) == 0) {
		sock_host_text(&peer, host);
		port = sock_port(&peer);
	}
	eventlog_write(events, EVENTLOG_CONNEVENTS, type, span_of(NULL, 0),
		       "rip=%s rport=%u transport=%s%s%s cfd=%d", host, port,
		       c->from->kind == WORKER_TCP ? "tcp" : "local", c->dead ? " reason=" : "",
		       c->dead ? c->end_reason : "", c->source.fd);
}

void conn_close(struct conn *c)
{
	struct worker *w = c->worker;

	if (c->dead)
		return;
	c->dead = true;
	stop_watching(c);
	log_event(c, "conn_close");
	if (c->tls && !c->out.bytes)
		tls_say_end(c->tls);
	tls_free(c->tls);
	c->tls = NULL;
	loop_remove(&w->loop, &c->source);
	pthread_mutex_lock(&w->lock);
	if (c->prev)
		c->prev->next = c->next;
	else
		w->conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
	/* Under the lock: who walks the list asks the descriptor for its addresses. */
	close(c->source.fd);
	pthread_mutex_unlock(&w->lock);
	serve_drop_upload(c);
	command_leave(&c->client);
	pool_give(&w->pool, &c->in);
	backlog_drop(c);
	w->linger_cnt -= c->lingering;
	w->handshake_cnt -= c->handshaking;
	atomic_fetch_sub(&w->shared->conn_cnt, 1);
	command_count(&w->counts->conn_closed, 1);
	/* A queued one is found dead by the worker, which puts it here then. */
	if (!c->queued) {
		c->link = w->dead;
		w->dead = c;
	}
}

void conn_reap(struct worker *w)
{
	while (w->dead) {
		struct conn *c = w->dead;

		w->dead = c->link;
		if (w->spare_cnt < SPARE_MAX) {
			c->link = w->spare;
			w->spare = c;
			w->spare_cnt++;
		} else {
			alloc_free(c);
		}
	}
}

/* --- sending ---------------------------------------------------------------------------------- */

/* Bytes have come that are no event of the socket's any more. */
static bool has_input(const struct conn *c)
{
	return c->tls && tls_has_input(c->tls);
}

static void watch(struct conn *c, bool writing)
{
	uint32_t events = writing ? LOOP_WRITE : LOOP_READ;

	c->writing = writing;
	/* TLS may have to write in order to read, and the other way round. */
	if (c->tls)
		events = tls_events(c->tls, writing);
	/* A parked one's bytes stay in the socket, and would wake us again and again. */
	if ((c->parked_ns && c->queued && !writing) ||
	    (command_client_waits(&c->client) && !writing))
		events = 0;
	if (events == c->waits_for)
		return;
	c->waits_for = events;
	if (loop_replace(&c->worker->loop, &c->source, events))
		conn_close(c);
}

static void count_broken(struct conn *c, int64_t error)
{
	if (c->tls && error == -EPROTO)
		command_count(&c->worker->counts->ssl_proto_errors, 1);
}

/* Sends the reply, or keeps the rest of it. False: the connection was closed. */
static bool flush(struct conn *c)
{
	struct worker *w = c->worker;
	struct response *resp = &w->resp;
	int64_t sent;

	if (resp->bytes == 0 && !resp->failed) {
		command_replied(w->command); /* without a word: that was asked for */
		return true;
	}
	sent = resp->failed ? -ENOMEM
			    : stream_write(c->source.fd, c->tls, resp->iov, resp->iov_cnt);
	if (sent > 0)
		command_count(&w->counts->bytes_written, (uint64_t)sent);
	count_broken(c, sent);
	command_replied(w->command);
	if (sent < 0 || ((uint64_t)sent < resp->bytes && !backlog_keep(c, (uint64_t)sent))) {
		response_reset(resp);
		conn_close(c);
		return false;
	}
	response_reset(resp);
	return true;
}

/* The socket takes bytes again. False: closed, or it did not take all. */
static bool flush_rest(struct conn *c)
{
	struct iovec left = { .iov_base = c->out.bytes + c->out.start,
			      .iov_len = buffer_len(&c->out) };
	int64_t n = 0;

	if (left.iov_len > 0)
		n = stream_write(c->source.fd, c->tls, &left, 1);
	if (n < 0) {
		count_broken(c, n);
		conn_close(c);
		return false;
	}
	command_count(&c->worker->counts->bytes_written, (uint64_t)n);
	c->out.start += (uint64_t)n;
	if (buffer_len(&c->out) == 0 && !backlog_grows(c))
		backlog_drop(c);
	if (n > 0)
		note_state(c);
	if (c->out.bytes)
		watch(c, true);
	return !c->out.bytes;
}

/* Serves what the buffer holds. False: closed, or about to be. */
static bool serve(struct conn *c, struct buffer *in, uint32_t *budget)
{
	struct worker *w = c->worker;

	while ((buffer_len(in) > 0 && buffer_len(in) >= c->need) || serve_upload_is_whole(c)) {
		enum serve_step s;

		if (*budget == 0) {
			command_count(&w->counts->conn_yields, 1);
			enqueue(c);
			return true;
		}
		s = serve_step(c, in);
		if (s == SERVE_WAIT || s == SERVE_PARK)
			return true;
		if (s == SERVE_CLOSE) {
			c->closing = true;
			return false;
		}
		(*budget)--;
		if (s == SERVE_SEND || response_full(&w->resp)) {
			if (!flush(c))
				return false;
			if (c->out.bytes)
				return true;
		}
	}
	return true;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* Room behind what the buffer holds; a buffer of the connection's own grows when it is full. */
static bool make_room(struct conn *c, struct buffer *in)
{
	struct buffer larger;

	if (in->start > 0) {
		memmove(in->bytes, in->bytes + in->start, buffer_len(in));
		in->end -= in->start;
		in->start = 0;
	}
	if (in->end < in->cap && c->need <= in->cap)
		return true;
	assert(in->cap < BUFFER_LARGE);
	if (!pool_take(&c->worker->pool, BUFFER_LARGE, &larger))
		return false;
	memcpy(larger.bytes, in->bytes, in->end);
	larger.end = in->end;
	pool_give(&c->worker->pool, in);
	*in = larger;
	return true;
}

/* Bytes read, 0 when there are none now, negative errno when the connection is of no more use. */
static int64_t fill(struct conn *c, struct buffer *in)
{
	int64_t n;

	if (!make_room(c, in))
		return -ENOMEM;
	n = stream_read(c->source.fd, c->tls, in->bytes + in->end, in->cap - in->end);
	if (n == 0) {
		/* The client may still read: what it asked for before is sent first. */
		c->closing = true;
		c->end_reason = "normal";
		return 0;
	}
	if (n < 0) {
		count_broken(c, n);
		return n == -EAGAIN ? 0 : n;
	}
	in->end += (uint64_t)n;
	command_count(&c->worker->counts->bytes_read, (uint64_t)n);
	return n;
}

/* Input that is not done with moves out of the worker's buffer, or lets go of its own. */
static bool keep_input(struct conn *c, struct buffer *in)
{
	struct worker *w = c->worker;
	struct buffer fresh;
	uint64_t len = buffer_len(in);

	if (in == &c->in) {
		if (len == 0)
			pool_give(&w->pool, in);
		return true;
	}
	if (len == 0) {
		in->start = 0;
		in->end = 0;
		return true;
	}
	if (len > BUFFER_SMALL / 2) {
		/* Swapping is cheaper than copying, and gives the connection room to read on. */
		if (!pool_take(&w->pool, BUFFER_LARGE, &fresh))
			return false;
		c->in = *in;
		*in = fresh;
		return true;
	}
	if (!pool_take(&w->pool, BUFFER_SMALL, &c->in))
		return false;
	memcpy(c->in.bytes, in->bytes + in->start, len);
	c->in.end = len;
	in->start = 0;
	in->end = 0;
	return true;
}

/* Everything is said. */
static void end(struct conn *c)
{
	if (c->tls)
		tls_say_end(c->tls);
	if (!c->refused || shutdown(c->source.fd, SHUT_WR) < 0) {
		conn_close(c);
		return;
	}
	c->lingering = true;
	c->worker->linger_cnt++;
	pool_give(&c->worker->pool, &c->in);
	note_state(c);
	watch(c, false);
}

void conn_send_events(struct conn *c)
{
	struct worker *w = c->worker;
	uint8_t *room;

	if (c->out.bytes || c->dead)
		return;
	room = response_reserve(&w->resp, EVENTS_TURN_MAX);
	if (room)
		response_commit(&w->resp, (uint32_t)eventlog_take(w->shared->events, c->events,
								  room, EVENTS_TURN_MAX));
	if (flush(c))
		watch(c, c->out.bytes != NULL);
}

/* One turn of a connection. */
static void turn(struct conn *c, bool readable)
{
	struct worker *w = c->worker;
	struct buffer *in = c->in.bytes ? &c->in : &w->scratch;
	uint32_t budget = w->shared->settings->requests_per_event;
	bool open = true;
	int64_t n = 0;

	command_set_client(w->command, &c->client);
	__atomic_store_n(&c->state, STATE_PARSE, __ATOMIC_RELAXED);
	assert(in != &w->scratch || (in->start == 0 && in->end == 0));
	if (!readable) {
		open = serve(c, in, &budget);
		readable = !c->queued && !command_client_waits(&c->client) && !c->out.bytes &&
			   has_input(c);
	}
	for (uint32_t i = 0; open && readable && i < READS_A_TURN; i++) {
		uint64_t room;

		n = fill(c, in);
		room = in->cap - in->end;
		if (n <= 0)
			break;
		open = serve(c, in, &budget);
		if (c->queued || command_client_waits(&c->client) || c->out.bytes || room > 0)
			break;
	}
	if (c->dead) {
		in = &w->scratch;
		in->start = 0;
		in->end = 0;
		return;
	}
	if (!flush(c) || n < 0 || !keep_input(c, in)) {
		w->scratch.start = 0;
		w->scratch.end = 0;
		conn_close(c);
		return;
	}
	if (c->closing && !c->out.bytes) {
		end(c);
		return;
	}
	note_state(c);
	watch(c, c->out.bytes != NULL);
	if (!c->dead && !c->writing && !command_client_waits(&c->client) && has_input(c))
		enqueue(c);
}

/* Takes what a refused client still sends: closing with it unread would cancel our last words. */
static void linger(struct conn *c)
{
	struct buffer *scratch = &c->worker->scratch;
	ssize_t n = recv(c->source.fd, scratch->bytes, scratch->cap, 0);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		conn_close(c);
}

void conn_close_overdue(struct conn *c, uint64_t now_ns)
{
	struct worker *w = c->worker;
	uint64_t limit_ns = w->shared->settings->idle_timeout_sec * NSEC_PER_SEC;
	uint64_t idle_ns = now_ns - c->last_ns;

	if (c->lingering && idle_ns > LINGER_NS) {
		conn_close(c);
	} else if (c->handshaking) {
		limit_ns = w->shared->settings->tls.handshake_timeout_sec * NSEC_PER_SEC;
		if (idle_ns < limit_ns)
			return;
		command_count(&w->counts->ssl_handshake_timeouts, 1);
		conn_close(c);
	} else if (c->upload && command_upload_is_overdue(w->command, c->upload, c->last_ns)) {
		command_count(&w->counts->upload_stalled, 1);
		conn_close(c);
	} else if (!c->lingering && !c->events && !command_client_waits(&c->client) && limit_ns &&
		   idle_ns > limit_ns) {
		command_count(&w->counts->idle_kicks, 1);
		c->end_reason = "idle_timeout";
		conn_close(c);
	}
}

/* True: TLS is up, and a request may have come with the handshake's last bytes. */
static bool shake_hands(struct conn *c)
{
	struct worker *w = c->worker;
	int error;

	if (w->handshake_steps == HANDSHAKE_STEPS_A_TURN)
		return false; /* told again in the next turn */
	w->handshake_steps++;
	error = tls_handshake(c->tls);
	if (error == -EAGAIN) {
		watch(c, false);
		return false;
	}
	if (error) {
		command_count(&w->counts->ssl_handshake_errors, 1);
		conn_close(c);
		return false;
	}
	c->handshaking = false;
	w->handshake_cnt--;
	return true;
}

static void conn_ready(struct loop_source *source, uint32_t events)
{
	struct conn *c = (struct conn *)source;

	if (c->handshaking && !shake_hands(c))
		return;
	if (c->writing) {
		if (!(events & (c->waits_for | LOOP_HANGUP)) || !flush_rest(c))
			return;
		if (c->closing) {
			end(c);
			return;
		}
		/* Requests may have waited behind the reply. */
		watch(c, false);
		if (!c->dead && (c->in.bytes || has_input(c)))
			enqueue(c);
		return;
	}
	if ((c->parked_ns || command_client_waits(&c->client)) && (events & LOOP_HANGUP)) {
		conn_close(c);
		return;
	}
	/* Such a connection has requests to finish before it may read more, or see its end. */
	if (c->queued || command_client_waits(&c->client))
		return;
	if (c->lingering)
		linger(c);
	else
		turn(c, true);
}

void conn_resume(struct conn *c)
{
	watch(c, c->writing); /* a parked one is out of the loop */
	if (c->dead)
		return;
	/* Not before its last reply is out; then it is queued again. */
	if (!c->writing)
		turn(c, false);
}

bool conn_drain(struct conn *c)
{
	if (c->dead) /* it made room for the one before it */
		return true;
	if (command_client_waits(&c->client))
		return false;
	if (!c->queued && !c->writing && !c->lingering && !c->handshaking)
		turn(c, true);
	return c->dead || (!c->queued && !c->writing && !command_client_waits(&c->client));
}

/* Its request has its answers: out of a turn of the connection's own. */
static void resume_client(struct command_client *client)
{
	struct conn *c = (struct conn *)((char *)client - offsetof(struct conn, client));

	enqueue(c);
}

void conn_open(struct worker *w, const struct worker_socket *from, int fd)
{
	struct conn *c = w->spare;

	if (c) {
		w->spare = c->link;
		w->spare_cnt--;
		memset(c, 0, sizeof(*c));
	} else {
		c = alloc_zero(1, sizeof(*c));
	}
	if (!c) {
		close(fd);
		atomic_fetch_sub(&w->shared->conn_cnt, 1);
		return;
	}
	c->source.fd = fd;
	c->source.ready = conn_ready;
	c->client = (struct command_client){ .fd = fd, .resume = resume_client };
	c->worker = w;
	c->from = from;
	c->protocol = w->shared->settings->protocol;
	c->waits_for = LOOP_READ;
	note_state(c);
	pthread_mutex_lock(&w->lock);
	c->next = w->conns;
	if (c->next)
		c->next->prev = c;
	w->conns = c;
	pthread_mutex_unlock(&w->lock);
	command_count(&w->counts->conn_opened, 1);
	c->end_reason = "error";
	log_event(c, "conn_new");
	if (from->tls) {
		c->tls = tls_accept(w->shared->tls, fd, w->tls_record);
		c->handshaking = true;
		w->handshake_cnt++;
	}
	if ((from->tls && !c->tls) || loop_insert(&w->loop, &c->source, LOOP_READ))
		conn_close(c);
}
