/* SPDX-License-Identifier: BSD-2-Clause */
#include "tcp.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"

#define INPUT_FIRST 65536
#define CONNECT_MS 3000
#define RECONNECT_EVERY_NS (50 * NSEC_PER_MSEC)
#define DOWN_MAX_NS (30 * NSEC_PER_SEC)

struct expected {
	uint32_t op_idx;
	enum text_request request;
};

struct buffer {
	uint8_t *bytes;
	size_t at, len, room; /* bytes from at to len are live */
};

struct conn {
	struct loop_source source;
	struct tcp *tcp;
	struct buffer in, out;
	struct expected *expected; /* ring of op_cnt */
	uint32_t expected_at;
	uint32_t expected_cnt;
	bool wants_write;
	bool down; /* to be opened again */
	uint64_t down_since_ns;
	uint64_t try_ns;
};

struct tcp {
	const struct options *options;
	struct loop *loop;
	struct tcp_faces faces;
	uint32_t op_cnt;
	struct conn *conns;
	uint32_t conn_cnt;
};

static int connect_once(const struct sock_addr *server)
{
	int fd = socket(server->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct pollfd wait;
	socklen_t len = sizeof(int);
	int error = 0;
	int one = 1;

	if (fd < 0)
		return -errno;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (const struct sockaddr *)&server->storage, server->len) < 0) {
		error = errno;
		wait = (struct pollfd){ .fd = fd, .events = POLLOUT };
		if (error == EINPROGRESS && poll(&wait, 1, CONNECT_MS) == 1)
			getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
	}
	if (error) {
		close(fd);
		return -error;
	}
	return fd;
}

static int conn_open(struct conn *conn)
{
	int fd = connect_once(&conn->tcp->options->server_tcp);
	int error;

	if (fd < 0)
		return fd;
	conn->source.fd = fd;
	conn->in.at = conn->in.len = 0;
	conn->out.at = conn->out.len = 0;
	conn->wants_write = false;
	error = loop_insert(conn->tcp->loop, &conn->source, LOOP_READ);
	if (error) {
		close(fd);
		conn->source.fd = -1;
	}
	return error;
}

static void conn_close(struct conn *conn)
{
	if (conn->source.fd < 0)
		return;
	loop_remove(conn->tcp->loop, &conn->source);
	close(conn->source.fd);
	conn->source.fd = -1;
}

static int buffer_room(struct buffer *buffer, size_t len)
{
	size_t room = buffer->room ? buffer->room : INPUT_FIRST;
	uint8_t *bytes;

	if (buffer->at) {
		memmove(buffer->bytes, buffer->bytes + buffer->at, buffer->len - buffer->at);
		buffer->len -= buffer->at;
		buffer->at = 0;
	}
	while (room < buffer->len + len)
		room *= 2;
	if (room == buffer->room)
		return 0;
	bytes = alloc_resize(buffer->bytes, room);
	if (!bytes)
		return -ENOMEM;
	buffer->bytes = bytes;
	buffer->room = room;
	return 0;
}

/* What was on its way stays in `expected`, and so does what is still to be sent: tcp_tick. */
static void conn_broken(struct conn *conn, const char *reason)
{
	struct tcp *tcp = conn->tcp;

	conn_close(conn);
	conn->down_since_ns = clock_now_ns(clock_system());
	conn->down = tcp->faces.broken(tcp->faces.ctx, reason);
}

static void conn_resend(struct conn *conn)
{
	struct tcp *tcp = conn->tcp;
	uint32_t cnt = conn->expected_cnt;
	struct expected *lost = alloc_zero(cnt + 1, sizeof(*lost));

	if (!lost) {
		conn_broken(conn, "out of memory");
		return;
	}
	for (uint32_t i = 0; i < cnt; i++)
		lost[i] = conn->expected[(conn->expected_at + i) % tcp->op_cnt];
	conn->expected_cnt = 0;
	for (uint32_t i = 0; i < cnt; i++)
		tcp->faces.resend(tcp->faces.ctx, lost[i].op_idx);
	alloc_free(lost);
}

void tcp_tick(struct tcp *tcp, uint64_t now_ns)
{
	for (uint32_t i = 0; i < tcp->conn_cnt; i++) {
		struct conn *conn = &tcp->conns[i];

		if (!conn->down || now_ns < conn->try_ns)
			continue;
		conn->try_ns = now_ns + RECONNECT_EVERY_NS;
		if (conn_open(conn) == 0) {
			conn->down = false;
			conn_resend(conn);
		} else if (now_ns - conn->down_since_ns > DOWN_MAX_NS) {
			conn->down = false;
			tcp->faces.broken(tcp->faces.ctx, NULL);
		}
	}
}

static void conn_flush(struct conn *conn)
{
	struct buffer *out = &conn->out;
	bool wants_write;

	while (conn->source.fd >= 0 && out->at < out->len) {
		ssize_t n = send(conn->source.fd, out->bytes + out->at, out->len - out->at,
				 MSG_NOSIGNAL);

		if (n > 0) {
			out->at += (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		/* A dead peer shows when its end is read, where what it still said comes first. */
		break;
	}
	if (out->at == out->len)
		out->at = out->len = 0;
	wants_write = out->len > 0;
	if (conn->source.fd >= 0 && wants_write != conn->wants_write) {
		loop_replace(conn->tcp->loop, &conn->source,
			     LOOP_READ | (wants_write ? LOOP_WRITE : 0));
		conn->wants_write = wants_write;
	}
}

/* Hands out every whole reply. */
static int conn_parse(struct conn *conn)
{
	struct tcp *tcp = conn->tcp;
	struct buffer *in = &conn->in;

	while (in->at < in->len) {
		struct expected expected;
		struct text_reply reply;
		int64_t used;

		if (conn->expected_cnt == 0)
			return -EBADMSG;
		expected = conn->expected[conn->expected_at];
		used = text_parse(expected.request, span_of(in->bytes + in->at, in->len - in->at),
				  &reply);
		if (used == -EAGAIN)
			return 0;
		if (used < 0)
			return (int)used;
		conn->expected_at = (conn->expected_at + 1) % tcp->op_cnt;
		conn->expected_cnt--;
		in->at += (size_t)used;
		tcp->faces.reply(tcp->faces.ctx, expected.op_idx, &reply);
	}
	in->at = in->len = 0;
	return 0;
}

static void conn_ready(struct loop_source *source, uint32_t events)
{
	struct conn *conn = (struct conn *)source;
	struct buffer *in = &conn->in;
	ssize_t n;

	if (events & LOOP_WRITE)
		conn_flush(conn);
	if (!(events & (LOOP_READ | LOOP_HANGUP)))
		return;
	if (buffer_room(in, INPUT_FIRST / 2)) {
		conn_broken(conn, "out of memory");
		return;
	}
	n = recv(source->fd, in->bytes + in->len, in->room - in->len, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		conn_broken(conn, n < 0 ? strerror(errno) : "closed by the server");
		return;
	}
	in->len += (size_t)n;
	if (conn_parse(conn))
		conn_broken(conn, "a reply that breaks the protocol");
	else
		conn_flush(conn);
}

uint8_t *tcp_send(struct tcp *tcp, uint32_t op_idx, enum text_request request, uint32_t len)
{
	struct conn *conn = &tcp->conns[op_idx % tcp->conn_cnt];
	uint32_t last = (conn->expected_at + conn->expected_cnt) % tcp->op_cnt;

	assert(conn->expected_cnt < tcp->op_cnt);
	if (buffer_room(&conn->out, len))
		return NULL;
	conn->expected[last] = (struct expected){ op_idx, request };
	conn->expected_cnt++;
	conn->out.len += len;
	return conn->out.bytes + conn->out.len - len;
}

void tcp_flush(struct tcp *tcp)
{
	for (uint32_t i = 0; i < tcp->conn_cnt; i++) {
		if (tcp->conns[i].out.len && !tcp->conns[i].wants_write)
			conn_flush(&tcp->conns[i]);
	}
}

int tcp_open(const struct options *options, struct loop *loop, const struct tcp_faces *faces,
	     uint32_t op_cnt, struct tcp **ret)
{
	struct tcp *tcp = alloc_zero(1, sizeof(*tcp));
	int error = -ENOMEM;

	if (!tcp)
		return -ENOMEM;
	tcp->options = options;
	tcp->loop = loop;
	tcp->faces = *faces;
	tcp->op_cnt = op_cnt;
	tcp->conns = alloc_zero(options->conn_cnt, sizeof(*tcp->conns));
	if (!tcp->conns)
		goto err_close;
	for (uint32_t i = 0; i < options->conn_cnt; i++) {
		struct conn *conn = &tcp->conns[i];

		conn->tcp = tcp;
		conn->source.fd = -1;
		conn->source.ready = conn_ready;
		conn->expected = alloc_zero(op_cnt, sizeof(*conn->expected));
		tcp->conn_cnt++;
		error = conn->expected ? conn_open(conn) : -ENOMEM;
		if (error)
			goto err_close;
	}
	*ret = tcp;
	return 0;

err_close:
	tcp_close(tcp);
	return error;
}

void tcp_close(struct tcp *tcp)
{
	if (!tcp)
		return;
	for (uint32_t i = 0; i < tcp->conn_cnt; i++) {
		struct conn *conn = &tcp->conns[i];

		conn_close(conn);
		alloc_free(conn->expected);
		alloc_free(conn->in.bytes);
		alloc_free(conn->out.bytes);
	}
	alloc_free(tcp->conns);
	alloc_free(tcp);
}
