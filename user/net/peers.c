/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A link is one connection, a peer the two of them that belong to one other node:
 *
 *   dialed:    CONNECTING -> SHAKING (TLS) -> UP: HELLO, then what is in peer->out
 *   accepted:              SHAKING (TLS) -> UP: nobody's until its HELLO, then peer->in
 *
 * What was sent in part cannot be gone on with on another connection, so that what is in `out` goes
 * with its link. A link that ends is freed in the next turn: the loop may still hold events of it.
 */
#include "net/peers.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "net/stream.h"
#include "net/tls.h"

#define READ_BYTES (64U << 10)
/* A node that has much to say does not keep the others waiting. */
#define READS_A_TURN 16
#define RETRY_MIN_NS (50 * NSEC_PER_MSEC)
#define RETRY_MAX_NS (1000 * NSEC_PER_MSEC)
/* To connect, shake hands and say HELLO. */
#define START_MAX_NS (2 * NSEC_PER_SEC)
/* What was sent and nobody has acknowledged for so long ends the connection. */
#define SILENT_MAX_MS 5000
#define ACCEPTS_A_TURN 16

enum link_state { LINK_CONNECTING, LINK_SHAKING, LINK_UP };

struct link {
	struct loop_source source; /* first */
	struct peers *peers;
	struct link *next; /* peers->strangers or peers->dead */
	struct tls_conn *tls;
	enum link_state state;
	bool dialed;
	bool dead;
	bool known;	 /* dialed, or has said HELLO */
	uint16_t node;	 /* if known */
	uint32_t events; /* that the loop tells of */
	uint64_t start_ns;
	struct sock_addr from; /* accepted */
	uint8_t *in;
	size_t in_len, in_cap;
};

struct peer {
	struct link *dialed, *accepted;
	uint8_t *out;
	size_t out_start, out_len, out_cap;
	uint64_t retry_ns, pause_ns;
	bool told; /* that it cannot be reached */
	struct peers_status status;
};

struct peers {
	struct peers_conf conf;
	struct loop *loop;
	struct loop_source listener; /* with its own home: see accept_ready */
	struct link *strangers;	     /* have not said HELLO yet */
	uint32_t stranger_cnt;
	struct link *dead;
	uint8_t *record;
	uint64_t refused_log_ns;
	struct peer all[];
};

static uint64_t now_of(const struct peers *peers)
{
	return clock_now_ns(peers->conf.clock);
}

/* --- links --- */

static void link_ready(struct loop_source *source, uint32_t events);

static struct link *link_new(struct peers *peers, int fd, bool dialed)
{
	struct link *link = alloc_zero(1, sizeof(*link));

	if (!link)
		return NULL;
	*link = (struct link){ .source = { .fd = fd, .ready = link_ready },
			       .peers = peers,
			       .dialed = dialed,
			       .start_ns = now_of(peers) };
	if (peers->conf.tls)
		link->tls = dialed ? tls_connect(peers->conf.tls, fd, peers->record)
				   : tls_accept(peers->conf.tls, fd, peers->record);
	if (peers->conf.tls && !link->tls) {
		alloc_free(link);
		return NULL;
	}
	return link;
}

static void remove_stranger(struct peers *peers, struct link *link)
{
	struct link **at = &peers->strangers;

	while (*at != link)
		at = &(*at)->next;
	*at = link->next;
	peers->stranger_cnt--;
}

static void link_end(struct link *link)
{
	struct peers *peers = link->peers;
	struct peer *peer = &peers->all[link->node];

	if (link->dead)
		return;
	link->dead = true;
	loop_remove(peers->loop, &link->source);
	if (!link->known)
		remove_stranger(peers, link);
	else if (!link->dialed)
		peer->accepted = NULL;
	link->next = peers->dead;
	peers->dead = link;
	if (!link->dialed)
		return;
	peer->dialed = NULL;
	peer->out_start = peer->out_len = 0;
	peer->retry_ns = now_of(peers) + peer->pause_ns;
	if (peer->pause_ns < RETRY_MAX_NS)
		peer->pause_ns *= 2;
	if (!peer->status.connected)
		return;
	peer->status.connected = false;
	peer->status.lost_cnt++;
	peers->conf.lost(peers->conf.ctx, link->node);
}

static void free_dead(struct peers *peers)
{
	while (peers->dead) {
		struct link *link = peers->dead;

		peers->dead = link->next;
		tls_free(link->tls);
		close(link->source.fd);
		alloc_free(link->in);
		alloc_free(link);
	}
}

static void watch(struct link *link)
{
	const struct peer *peer = &link->peers->all[link->node];
	uint32_t events = LOOP_READ;

	if (link->state == LINK_CONNECTING)
		events = LOOP_WRITE;
	else if (link->tls)
		events = tls_events(link->tls, false);
	if (link->state == LINK_UP && link->dialed && peer->out_len > 0)
		events |= link->tls ? tls_events(link->tls, true) : LOOP_WRITE;
	if (events == link->events)
		return;
	link->events = events;
	if (loop_replace(link->peers->loop, &link->source, events))
		link_end(link);
}

/* --- sending --- */

static bool make_room(struct peer *peer, size_t len)
{
	size_t cap = peer->out_cap ? peer->out_cap : READ_BYTES;
	uint8_t *more;

	if (peer->out_start + peer->out_len + len <= peer->out_cap)
		return true;
	if (peer->out_start > 0 && peer->out_len > 0)
		memmove(peer->out, peer->out + peer->out_start, peer->out_len);
	peer->out_start = 0;
	while (cap < peer->out_len + len)
		cap *= 2;
	if (cap == peer->out_cap)
		return true;
	more = alloc_resize(peer->out, cap);
	if (!more)
		return false;
	peer->out = more;
	peer->out_cap = cap;
	return true;
}

static int put_frame(struct peer *peer, const struct frame *frame)
{
	size_t len = FRAME_HEADER_LEN + frame->body.len;
	uint8_t *to;

	if (peer->out_len + len > PEERS_OUT_MAX || !make_room(peer, len))
		return -ENOBUFS;
	to = peer->out + peer->out_start + peer->out_len;
	frame_compose(frame, to);
	if (frame->body.len)
		memcpy(to + FRAME_HEADER_LEN, frame->body.ptr, frame->body.len);
	peer->out_len += len;
	peer->status.sent_frames++;
	return 0;
}

int peers_send(struct peers *peers, uint16_t to, const struct frame *frame)
{
	struct peer *peer = &peers->all[to];

	assert(to < peers->conf.cnt && frame->body.len <= FRAME_BODY_MAX);
	if (!peer->status.connected)
		return -ENOTCONN;
	return put_frame(peer, frame);
}

static void flush(struct peer *peer)
{
	struct link *link = peer->dialed;
	struct iovec iov = { .iov_base = peer->out + peer->out_start, .iov_len = peer->out_len };
	int64_t n;

	if (!link || link->state != LINK_UP || peer->out_len == 0)
		return;
	n = stream_write(link->source.fd, link->tls, &iov, 1);
	if (n < 0) {
		link_end(link);
		return;
	}
	peer->status.sent_bytes += (uint64_t)n;
	peer->out_start += (size_t)n;
	peer->out_len -= (size_t)n;
	if (peer->out_len == 0)
		peer->out_start = 0;
	watch(link);
}

/* --- receiving --- */

static bool is_welcome(const struct link *link, const struct frame *hello)
{
	const struct peers_conf *conf = &link->peers->conf;

	return hello->type == FRAME_HELLO && hello->epoch == conf->ring_sum &&
	       hello->arc < conf->cnt && hello->arc != conf->self &&
	       (link->tls || sock_same_host(&link->from, &conf->addrs[hello->arc]));
}

/* False: the link has ended. */
static bool take_hello(struct link *link, const struct frame *hello)
{
	struct peers *peers = link->peers;
	char from[SOCK_TEXT_MAX];
	struct peer *peer;

	if (!is_welcome(link, hello)) {
		/* whoever it is may try as often as it likes */
		if (now_of(peers) - peers->refused_log_ns >= NSEC_PER_SEC) {
			peers->refused_log_ns = now_of(peers);
			sock_text(&link->from, from);
			log_line(LOG_WARN, "peers",
				 "%s is no node of this cluster: give all nodes the same list",
				 from);
		}
		link_end(link);
		return false;
	}
	remove_stranger(peers, link);
	link->known = true;
	link->node = (uint16_t)hello->arc;
	peer = &peers->all[link->node];
	/* It has begun anew, and has not told of the end of the last. */
	if (peer->accepted)
		link_end(peer->accepted);
	peer->accepted = link;
	/* Whoever is there to call can be called. */
	peer->retry_ns = 0;
	return true;
}

/* Hands over the frames that are whole. False: the link has ended. */
static bool take_frames(struct link *link)
{
	struct peers *peers = link->peers;
	size_t done = 0;
	struct frame frame;
	ssize_t n;

	while ((n = frame_parse(span_of(link->in + done, link->in_len - done), &frame)) > 0) {
		if (link->known)
			peers->conf.receive(peers->conf.ctx, link->node, &frame);
		else if (!take_hello(link, &frame))
			return false;
		if (link->dead) /* by what came of it */
			return false;
		peers->all[link->node].status.received_frames++;
		done += (size_t)n;
	}
	if (n != -EAGAIN) {
		link_end(link);
		return false;
	}
	if (done > 0)
		memmove(link->in, link->in + done, link->in_len - done);
	link->in_len -= done;
	return true;
}

/* A frame's whole length fits at the most; strangers have nothing long to say. */
static bool make_in_room(struct link *link)
{
	size_t most = link->known ? FRAME_HEADER_LEN + FRAME_BODY_MAX : FRAME_HEADER_LEN;
	size_t want = link->in_len + READ_BYTES, cap = link->in_cap ? link->in_cap : READ_BYTES;
	uint8_t *more;

	if (link->in_len >= most)
		return false;
	while (cap < want)
		cap *= 2;
	if (cap == link->in_cap)
		return true;
	more = alloc_resize(link->in, cap);
	if (!more)
		return false;
	link->in = more;
	link->in_cap = cap;
	return true;
}

static void link_read(struct link *link)
{
	for (uint32_t i = 0; i < READS_A_TURN || (link->tls && tls_has_input(link->tls)); i++) {
		int64_t n = -ENOMEM;

		if (make_in_room(link))
			n = stream_read(link->source.fd, link->tls, link->in + link->in_len,
					READ_BYTES);
		if (n == -EAGAIN)
			return;
		/* Nobody answers on a connection of ours. */
		if (n <= 0 || link->dialed) {
			link_end(link);
			return;
		}
		link->in_len += (size_t)n;
		if (link->known)
			link->peers->all[link->node].status.received_bytes += (uint64_t)n;
		if (!take_frames(link))
			return;
	}
}

/* --- beginnings --- */

static void link_up(struct link *link)
{
	struct peers *peers = link->peers;
	struct peer *peer = &peers->all[link->node];
	struct frame hello = { .type = FRAME_HELLO,
			       .arc = peers->conf.self,
			       .epoch = peers->conf.ring_sum };

	link->state = LINK_UP;
	if (!link->dialed)
		return;
	if (put_frame(peer, &hello)) {
		link_end(link);
		return;
	}
	if (peer->told) {
		peer->told = false;
		log_line(LOG_INFO, "peers", "node %u is reached again", link->node);
	}
	peer->pause_ns = RETRY_MIN_NS;
	peer->status.connected = true;
}

static void tell_unreached(struct peers *peers, uint16_t node, int error)
{
	struct peer *peer = &peers->all[node];
	char text[SOCK_TEXT_MAX];

	if (peer->told)
		return;
	peer->told = true;
	sock_text(&peers->conf.addrs[node], text);
	log_line(LOG_WARN, "peers", "node %u at %s is not reached: %s", node, text,
		 strerror(-error));
}

static void shake(struct link *link)
{
	int error = link->tls ? tls_handshake(link->tls) : 0;

	if (!error)
		link_up(link);
	else if (error != -EAGAIN) {
		if (link->dialed)
			tell_unreached(link->peers, link->node, error);
		link_end(link);
	}
}

static int connect_error(const struct link *link)
{
	socklen_t len = sizeof(int);
	int error = 0;

	return getsockopt(link->source.fd, SOL_SOCKET, SO_ERROR, &error, &len) ? -errno : -error;
}

static void link_ready(struct loop_source *source, uint32_t events)
{
	struct link *link = (struct link *)source;

	if (link->state == LINK_CONNECTING) {
		int error = connect_error(link);

		if (error) {
			tell_unreached(link->peers, link->node, error);
			link_end(link);
			return;
		}
		link->state = LINK_SHAKING;
	}
	if (link->state == LINK_SHAKING)
		shake(link);
	/* a TLS connection may have to be read in order to be written to */
	if (!link->dead && link->state == LINK_UP && (events & (LOOP_READ | LOOP_HANGUP)))
		link_read(link);
	if (!link->dead && link->dialed)
		flush(&link->peers->all[link->node]);
	if (!link->dead)
		watch(link);
}

static void dial(struct peers *peers, uint16_t node)
{
	struct peer *peer = &peers->all[node];
	unsigned int silent_ms = SILENT_MAX_MS;
	int fd = sock_connect_tcp(&peers->conf.addrs[node], &peers->conf.addrs[peers->conf.self]);
	struct link *link = fd >= 0 ? link_new(peers, fd, true) : NULL;

	peer->retry_ns = now_of(peers) + peer->pause_ns;
	if (!link) {
		tell_unreached(peers, node, fd < 0 ? fd : -ENOMEM);
		if (fd >= 0)
			close(fd);
		return;
	}
	/* one that cannot be set only means that the system's own patience counts */
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silent_ms, sizeof(silent_ms));
	link->known = true;
	link->node = node;
	peer->dialed = link;
	link->events = LOOP_WRITE;
	if (loop_insert(peers->loop, &link->source, LOOP_WRITE))
		link_end(link);
}

static void accept_ready(struct loop_source *source, uint32_t events)
{
	struct peers *peers = (struct peers *)((char *)source - offsetof(struct peers, listener));

	(void)events;
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		struct sock_addr from = { .len = sizeof(from.storage) };
		int fd = accept4(source->fd, (struct sockaddr *)&from.storage, &from.len,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct link *link;

		if (fd < 0)
			return;
		/* More than all nodes twice are none of them. */
		link = peers->stranger_cnt < 2U * peers->conf.cnt ? link_new(peers, fd, false)
								  : NULL;
		if (!link) {
			close(fd);
			continue;
		}
		link->from = from;
		link->state = LINK_SHAKING;
		link->next = peers->strangers;
		peers->strangers = link;
		peers->stranger_cnt++;
		link->events = LOOP_READ;
		if (loop_insert(peers->loop, &link->source, LOOP_READ))
			link_end(link);
		else if (!link->tls)
			link_up(link);
	}
}

/* --- the face --- */

static void end_slow_strangers(struct peers *peers, uint64_t now_ns)
{
	for (struct link *link = peers->strangers, *next; link; link = next) {
		next = link->next;
		if (now_ns - link->start_ns >= START_MAX_NS)
			link_end(link);
	}
}

void peers_turn(struct peers *peers)
{
	uint64_t now_ns = now_of(peers);

	free_dead(peers);
	end_slow_strangers(peers, now_ns);
	for (uint16_t i = 0; i < peers->conf.cnt; i++) {
		struct peer *peer = &peers->all[i];

		if (i == peers->conf.self)
			continue;
		if (peer->dialed && peer->dialed->state != LINK_UP &&
		    now_ns - peer->dialed->start_ns >= START_MAX_NS) {
			tell_unreached(peers, i, -ETIMEDOUT);
			link_end(peer->dialed);
		}
		if (!peer->dialed && now_ns >= peer->retry_ns)
			dial(peers, i);
		flush(peer);
	}
}

uint64_t peers_next_ns(const struct peers *peers)
{
	uint64_t next_ns = UINT64_MAX;

	if (peers->dead)
		return 0;
	for (const struct link *link = peers->strangers; link; link = link->next) {
		if (link->start_ns + START_MAX_NS < next_ns)
			next_ns = link->start_ns + START_MAX_NS;
	}
	for (uint16_t i = 0; i < peers->conf.cnt; i++) {
		const struct peer *peer = &peers->all[i];
		uint64_t at_ns = UINT64_MAX;

		if (i == peers->conf.self)
			continue;
		if (!peer->dialed)
			at_ns = peer->retry_ns;
		else if (peer->dialed->state != LINK_UP)
			at_ns = peer->dialed->start_ns + START_MAX_NS;
		if (at_ns < next_ns)
			next_ns = at_ns;
	}
	return next_ns;
}

void peers_status(const struct peers *peers, uint16_t node, struct peers_status *ret)
{
	*ret = peers->all[node].status;
	ret->heard = peers->all[node].accepted;
	ret->waiting_bytes = peers->all[node].out_len;
}

int peers_new(const struct peers_conf *conf, int listen_fd, struct loop *loop, struct peers **ret)
{
	struct peers *peers = alloc_zero(1, sizeof(*peers) + conf->cnt * sizeof(struct peer));
	int error;

	if (!peers)
		return -ENOMEM;
	peers->conf = *conf;
	peers->loop = loop;
	peers->listener = (struct loop_source){ .fd = listen_fd, .ready = accept_ready };
	for (uint16_t i = 0; i < conf->cnt; i++)
		peers->all[i].pause_ns = RETRY_MIN_NS;
	if (conf->tls) {
		peers->record = alloc_zero(1, conf->record_bytes);
		if (!peers->record) {
			alloc_free(peers);
			return -ENOMEM;
		}
	}
	error = loop_insert(loop, &peers->listener, LOOP_READ);
	if (error) {
		alloc_free(peers->record);
		alloc_free(peers);
		return error;
	}
	*ret = peers;
	return 0;
}

void peers_free(struct peers *peers)
{
	if (!peers)
		return;
	loop_remove(peers->loop, &peers->listener);
	for (uint16_t i = 0; i < peers->conf.cnt; i++) {
		struct peer *peer = &peers->all[i];

		/* nobody is told any more */
		peer->status.connected = false;
		if (peer->dialed)
			link_end(peer->dialed);
		if (peer->accepted)
			link_end(peer->accepted);
		alloc_free(peer->out);
	}
	while (peers->strangers)
		link_end(peers->strangers);
	free_dead(peers);
	alloc_free(peers->record);
	alloc_free(peers);
}
