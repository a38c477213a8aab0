/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/client.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "abi/wire.h"
#include "base/alloc.h"
#include "base/clock.h"

#define DATAGRAM_MAX 65536
#define DATAGRAM_CNT_MAX 1024
/* The server sits in epoll_wait; that is how long it may take to read what has come. */
#define CUT_PAUSE_US 400

__attribute__((noreturn)) static void die(const char *what, struct span bytes)
{
	fprintf(stderr, "client: %s: %.*s\n", what, (int)(bytes.len < 300 ? bytes.len : 300),
		(const char *)bytes.ptr);
	abort();
}

static int join(const struct addrinfo *at, int type)
{
	const struct timeval wait = { .tv_sec = CLIENT_WAIT_SEC };
	const int on = 1, bytes = 4 << 20;
	int fd = socket(at->ai_family, type | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, at->ai_addr, at->ai_addrlen))
		die(strerror(errno), span_str("cannot connect"));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	if (type == SOCK_STREAM)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	else
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	return fd;
}

void client_open(struct client *client, const char *host, uint16_t port)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
				  .ai_socktype = SOCK_STREAM };
	struct addrinfo *at = NULL;
	char text[8];

	snprintf(text, sizeof(text), "%u", port);
	if (getaddrinfo(host, text, &hints, &at))
		die("not an address", span_str(host));
	*client = (struct client){ .tcp = join(at, SOCK_STREAM), .udp = join(at, SOCK_DGRAM) };
	freeaddrinfo(at);
	client->buf = alloc_zero(1, CLIENT_BUF);
	client->datagrams = alloc_zero(1, CLIENT_BUF);
	if (!client->buf || !client->datagrams)
		abort();
}

void client_close(struct client *client)
{
	close(client->tcp);
	close(client->udp);
	alloc_free(client->buf);
	alloc_free(client->datagrams);
	*client = (struct client){ .tcp = -1, .udp = -1 };
}

/* --- replies as text --- */

static bool starts(struct span bytes, const char *text)
{
	return bytes.len >= strlen(text) && memcmp(bytes.ptr, text, strlen(text)) == 0;
}

/* "VALUE <key> <flags> <bytes>[ <cas>]": the bytes. */
static size_t value_len(struct span line)
{
	size_t at = 6;

	for (int spaces = 0; spaces < 2 && at < line.len; at++)
		spaces += line.ptr[at] == ' ';
	return strtoul((const char *)line.ptr + at, NULL, 10);
}

size_t client_reply_len(struct span bytes)
{
	size_t at = 0;

	while (at < bytes.len) {
		struct span rest = span_of(bytes.ptr + at, bytes.len - at);
		const uint8_t *end = memmem(rest.ptr, rest.len, "\r\n", 2);

		if (!end)
			return 0;
		at += (size_t)(end - rest.ptr) + 2;
		rest.len = (size_t)(end - rest.ptr);
		if (starts(rest, "VALUE ")) {
			at += value_len(rest) + 2;
			continue;
		}
		if (starts(rest, "VA "))
			at += strtoul((const char *)rest.ptr + 3, NULL, 10) + 2;
		if (!starts(rest, "STAT "))
			return at <= bytes.len ? at : 0;
	}
	return 0;
}

/* --- TCP --- */

void client_tcp_send(struct client *client, struct span request)
{
	while (request.len) {
		ssize_t n = send(client->tcp, request.ptr, request.len, MSG_NOSIGNAL);

		if (n < 0)
			die(strerror(errno), request);
		request = span_of(request.ptr + n, request.len - (size_t)n);
	}
}

struct span client_tcp_take(struct client *client)
{
	for (;;) {
		struct span have =
			span_of(client->buf + client->used, client->filled - client->used);
		size_t len = client_reply_len(have);
		ssize_t n;

		if (len) {
			client->used += len;
			return span_of(have.ptr, len);
		}
		if (client->used) {
			memmove(client->buf, have.ptr, have.len);
			client->used = 0;
			client->filled = have.len;
		}
		/* a byte stays free, so that numbers end */
		n = recv(client->tcp, client->buf + client->filled, CLIENT_BUF - client->filled - 1,
			 0);
		if (n <= 0)
			die(n ? strerror(errno) : "the server closed", have);
		client->filled += (size_t)n;
		client->buf[client->filled] = '\0';
	}
}

struct span client_tcp(struct client *client, struct span request)
{
	client_tcp_send(client, request);
	return client_tcp_take(client);
}

struct span client_tcp_cut(struct client *client, struct span request, size_t cut)
{
	client_tcp_send(client, span_of(request.ptr, cut));
	usleep(CUT_PAUSE_US);
	client_tcp_send(client, span_of(request.ptr + cut, request.len - cut));
	return client_tcp_take(client);
}

/* --- UDP --- */

static size_t udp_take(struct client *client, uint8_t *ret, int wait_ms)
{
	struct pollfd wait = { .fd = client->udp, .events = POLLIN };
	ssize_t n;

	if (poll(&wait, 1, wait_ms) <= 0)
		return 0;
	n = recv(client->udp, ret, DATAGRAM_MAX, 0);
	return n > 0 ? (size_t)n : 0;
}

/* Every datagram once, in any order; true when the reply is whole. */
static bool udp_join(struct client *client, uint64_t until_ns, size_t *ret_len)
{
	static __thread uint8_t datagram[DATAGRAM_MAX];
	static __thread struct span parts[DATAGRAM_CNT_MAX];
	uint32_t total = 0, got = 0;
	size_t len = 0;

	memset(parts, 0, sizeof(parts));
	do {
		uint64_t now = clock_now_ns(clock_system());
		int wait_ms = now < until_ns ? (int)((until_ns - now) / NSEC_PER_MSEC) + 1 : 0;
		size_t n = udp_take(client, datagram, wait_ms);
		struct xc_udp_frame frame;
		uint32_t seq;

		if (n == 0)
			return false;
		memcpy(&frame, datagram, sizeof(frame));
		if (n < sizeof(frame) || be16toh(frame.request_id) != client->id)
			continue; /* of an earlier request that was given up */
		seq = be16toh(frame.seq);
		total = be16toh(frame.total);
		if (frame.reserved || seq >= total || total > DATAGRAM_CNT_MAX || parts[seq].ptr)
			die("bad frame header in a reply", span_of(datagram + 8, n - 8));
		/* collected behind the reply's own place */
		parts[seq].ptr = client->datagrams + CLIENT_BUF / 2 + len;
		parts[seq].len = n - 8;
		memcpy(client->datagrams + CLIENT_BUF / 2 + len, datagram + 8, n - 8);
		len += n - 8;
		got++;
	} while (got == 0 || got < total);
	len = 0;
	for (uint32_t i = 0; i < total; i++) {
		memcpy(client->datagrams + len, parts[i].ptr, parts[i].len);
		len += parts[i].len;
	}
	*ret_len = len;
	return true;
}

bool client_udp_try(struct client *client, struct span text, int wait_ms, struct span *ret)
{
	uint64_t until_ns = clock_now_ns(clock_system()) + (uint64_t)wait_ms * NSEC_PER_MSEC;
	struct xc_udp_frame frame = { .request_id = htobe16(++client->id), .total = htobe16(1) };
	struct iovec iov[2] = { { &frame, sizeof(frame) }, { (void *)text.ptr, text.len } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	size_t len;

	if (sendmsg(client->udp, &msg, 0) < 0 && errno != ECONNREFUSED)
		die(strerror(errno), text);
	if (!udp_join(client, until_ns, &len))
		return false;
	*ret = span_of(client->datagrams, len);
	return true;
}

struct span client_udp(struct client *client, struct span text)
{
	struct span reply;

	if (!client_udp_try(client, text, CLIENT_WAIT_SEC * 1000, &reply))
		die("no reply over UDP", text);
	if (client_reply_len(reply) != reply.len)
		die("not one whole reply over UDP", reply);
	return reply;
}

struct span client_udp_raw(struct client *client, struct span datagram)
{
	size_t len;

	if (send(client->udp, datagram.ptr, datagram.len, 0) < 0)
		die(strerror(errno), datagram);
	len = udp_take(client, client->datagrams, CLIENT_WAIT_SEC * 1000);
	if (len == 0)
		die("no reply over UDP", span_of(datagram.ptr + 8, datagram.len - 8));
	return span_of(client->datagrams, len);
}
