/* SPDX-License-Identifier: BSD-2-Clause */
#include "udp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "abi/wire.h"
#include "base/alloc.h"
#include "base/clock.h"

#define FRAME_LEN sizeof(struct xc_udp_frame)
#define REQUEST_MAX (FRAME_LEN + TEXT_REQUEST_MAX)
#define SOCKET_BUFFER (8 << 20)
#define ID_FREE 0
#define ID_LATE UINT32_MAX /* else operation number + 1 */

struct id {
	uint32_t owner;
	uint32_t given_up_ms;
	uint16_t late_got; /* datagrams of the reply that nobody waits for any more */
};

struct socket {
	struct loop_source source;
	struct udp *udp;
	uint16_t id_next;
	uint32_t queued;
	uint8_t queue[UDP_SEND_BATCH][REQUEST_MAX];
	uint32_t queue_len[UDP_SEND_BATCH];
	struct id ids[UDP_ID_CNT];
};

/* A reply of several datagrams, as far as it has come. */
struct parts {
	uint16_t total; /* 0: none yet */
	uint16_t got;
	bool from_kernel;
	struct span *list;
};

struct waiting {
	bool active;
	uint16_t id;
	struct parts parts;
};

struct udp {
	const struct options *options;
	struct loop *loop;
	struct udp_faces faces;
	struct udp_counts counts;
	uint32_t op_cnt;
	struct waiting *waiting; /* by operation */
	struct socket *sockets;
	uint32_t socket_cnt;
	uint8_t *buffers; /* UDP_RECV_BATCH of UDP_DATAGRAM_MAX */
};

static struct socket *socket_of(struct udp *udp, uint32_t op_idx)
{
	return &udp->sockets[op_idx % udp->socket_cnt];
}

static void parts_free(struct parts *parts)
{
	for (uint32_t i = 0; i < parts->total; i++)
		alloc_free((void *)parts->list[i].ptr);
	alloc_free(parts->list);
	memset(parts, 0, sizeof(*parts));
}

/* Without privilege the kernel grants what net.core.[rw]mem_max allows. */
static void buffer_set(int fd, int forced, int asked)
{
	int bytes = SOCKET_BUFFER;

	if (setsockopt(fd, SOL_SOCKET, forced, &bytes, sizeof(bytes)) < 0)
		setsockopt(fd, SOL_SOCKET, asked, &bytes, sizeof(bytes));
}

static int socket_open(const struct sock_addr *server)
{
	bool v6 = server->storage.ss_family == AF_INET6;
	int fd = socket(server->storage.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = 1;

	if (fd < 0)
		return -errno;
	buffer_set(fd, SO_RCVBUFFORCE, SO_RCVBUF);
	buffer_set(fd, SO_SNDBUFFORCE, SO_SNDBUF);
	if (setsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_RECVHOPLIMIT : IP_RECVTTL,
		       &one, sizeof(one)) < 0 ||
	    connect(fd, (const struct sockaddr *)&server->storage, server->len) < 0) {
		int error = -errno;

		close(fd);
		return error;
	}
	return fd;
}

static uint32_t ttl_of(struct msghdr *message)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		bool v4 = c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL;
		bool v6 = c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT;
		int ttl;

		if (!v4 && !v6)
			continue;
		memcpy(&ttl, CMSG_DATA(c), sizeof(ttl));
		return (uint32_t)ttl;
	}
	return 0;
}

static void deliver(struct udp *udp, uint32_t op_idx, struct span text, bool from_kernel)
{
	struct text_reply reply;
	int64_t used = text_parse(TEXT_GET, text, &reply);
	bool whole = used == (int64_t)text.len;

	udp->faces.reply(udp->faces.ctx, op_idx, whole ? &reply : NULL, from_kernel);
}

/* Joins the parts and delivers. */
static void parts_deliver(struct udp *udp, uint32_t op_idx, struct parts *parts)
{
	bool from_kernel = parts->from_kernel;
	size_t len = 0;
	uint8_t *text;

	for (uint32_t i = 0; i < parts->total; i++)
		len += parts->list[i].len;
	text = alloc_zero(1, len + 1);
	len = 0;
	for (uint32_t i = 0; text && i < parts->total; i++) {
		memcpy(text + len, parts->list[i].ptr, parts->list[i].len);
		len += parts->list[i].len;
	}
	/* Before the call, in which the operation goes on to its next request. */
	parts_free(parts);
	if (text)
		deliver(udp, op_idx, span_of(text, len), from_kernel);
	else
		udp->faces.reply(udp->faces.ctx, op_idx, NULL, from_kernel);
	alloc_free(text);
}

/*
 * Keeps one part of a reply, unless it is all of it; 1 once all are there. A part that contradicts
 * the others or comes twice breaks the protocol: -EBADMSG.
 */
static int parts_insert(struct parts *parts, uint16_t seq, uint16_t total, struct span body,
			bool from_kernel)
{
	uint8_t *copy;

	if (!parts->total) {
		if (total == 1)
			return 1;
		parts->list = alloc_zero(total, sizeof(*parts->list));
		if (!parts->list)
			return -ENOMEM;
		parts->total = total;
	}
	if (total != parts->total || parts->list[seq].ptr)
		return -EBADMSG;
	copy = alloc_zero(1, body.len + 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, body.ptr, body.len);
	parts->list[seq] = span_of(copy, body.len);
	parts->from_kernel |= from_kernel;
	parts->got++;
	return parts->got == parts->total;
}

/* Until the last datagram has come, the id must not be another request's. */
static void late_part(struct udp *udp, struct id *id, uint16_t total, bool from_kernel)
{
	if (++id->late_got < total)
		return;
	id->owner = ID_FREE;
	udp->counts.late++;
	udp->counts.late_kernel += from_kernel;
}

static void socket_reply(struct socket *socket, struct span datagram, bool from_kernel)
{
	struct udp *udp = socket->udp;
	struct xc_udp_frame frame;
	struct span body;
	struct waiting *waiting;
	uint16_t seq, total;
	struct id *id;
	uint32_t op_idx;
	int got;

	if (datagram.len < FRAME_LEN) {
		udp->counts.unexpected++;
		return;
	}
	memcpy(&frame, datagram.ptr, sizeof(frame));
	body = span_of(datagram.ptr + FRAME_LEN, datagram.len - FRAME_LEN);
	id = &socket->ids[ntohs(frame.request_id)];
	if (id->owner == ID_FREE) {
		udp->counts.unexpected++;
		return;
	}
	seq = ntohs(frame.seq);
	total = ntohs(frame.total);
	if (id->owner == ID_LATE) {
		late_part(udp, id, total, from_kernel);
		return;
	}
	op_idx = id->owner - 1;
	waiting = &udp->waiting[op_idx];
	got = -EBADMSG;
	if (frame.reserved == 0 && seq < total)
		got = parts_insert(&waiting->parts, seq, total, body, from_kernel);
	if (got == 0)
		return;
	if (got < 0) {
		/* What else comes of it is late. */
		udp_forget(udp, op_idx);
		udp->faces.reply(udp->faces.ctx, op_idx, NULL, from_kernel);
		return;
	}
	id->owner = ID_FREE;
	waiting->active = false;
	if (total == 1)
		deliver(udp, op_idx, body, from_kernel);
	else
		parts_deliver(udp, op_idx, &waiting->parts);
}

static int socket_receive(struct socket *socket)
{
	struct mmsghdr messages[UDP_RECV_BATCH] = { 0 };
	struct iovec iovs[UDP_RECV_BATCH];
	uint8_t control[UDP_RECV_BATCH][CMSG_SPACE(sizeof(int)) + 32];
	struct udp *udp = socket->udp;
	int got;

	for (uint32_t i = 0; i < UDP_RECV_BATCH; i++) {
		iovs[i].iov_base = udp->buffers + (size_t)i * UDP_DATAGRAM_MAX;
		iovs[i].iov_len = UDP_DATAGRAM_MAX;
		messages[i].msg_hdr = (struct msghdr){
			.msg_iov = &iovs[i],
			.msg_iovlen = 1,
			.msg_control = control[i],
			.msg_controllen = sizeof(control[i]),
		};
	}
	got = recvmmsg(socket->source.fd, messages, UDP_RECV_BATCH, 0, NULL);
	if (got < 0) {
		if (errno == ECONNREFUSED || errno == EHOSTUNREACH)
			udp->counts.unreachable++;
		return -errno;
	}
	for (int i = 0; i < got; i++) {
		uint32_t ttl = ttl_of(&messages[i].msg_hdr);

		socket_reply(socket, span_of(iovs[i].iov_base, messages[i].msg_len),
			     udp->options->kernel_ttl && ttl == udp->options->kernel_ttl);
	}
	return got;
}

static void socket_flush(struct socket *socket)
{
	struct mmsghdr messages[UDP_SEND_BATCH] = { 0 };
	struct iovec iovs[UDP_SEND_BATCH];
	uint32_t done = 0;
	uint32_t tries = 0;

	for (uint32_t i = 0; i < socket->queued; i++) {
		iovs[i] = (struct iovec){ socket->queue[i], socket->queue_len[i] };
		messages[i].msg_hdr.msg_iov = &iovs[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	while (done < socket->queued) {
		int n = sendmmsg(socket->source.fd, messages + done, socket->queued - done, 0);

		if (n > 0) {
			done += (uint32_t)n;
			continue;
		}
		/* An ICMP error of an earlier datagram is reported once, here. */
		if (errno == ECONNREFUSED && tries++ < UDP_SEND_BATCH) {
			socket->udp->counts.unreachable++;
			continue;
		}
		if (errno != EINTR)
			break;
	}
	socket->udp->counts.sent += done;
	socket->udp->counts.send_drops += socket->queued - done;
	socket->queued = 0;
}

static void socket_ready(struct loop_source *source, uint32_t events)
{
	struct socket *socket = (struct socket *)source;

	(void)events;
	/* Level triggered: what is left is told again, after the other sources' turn. */
	socket_receive(socket);
	socket_flush(socket);
}

static uint16_t id_take(struct socket *socket, uint32_t op_idx)
{
	uint32_t now_ms = (uint32_t)(clock_now_ns(clock_system()) / NSEC_PER_MSEC);
	uint32_t late_ms = UDP_LATE_NS / NSEC_PER_MSEC;

	/* Operations are far fewer than ids, so a free one comes soon; ids that wait for a late
	 * reply are a last resort before their time. */
	for (uint32_t i = 0; i < UDP_ID_CNT; i++) {
		struct id *id = &socket->ids[++socket->id_next];

		if (id->owner == ID_FREE ||
		    (id->owner == ID_LATE && now_ms - id->given_up_ms > late_ms)) {
			id->owner = op_idx + 1;
			return socket->id_next;
		}
	}
	while (socket->ids[++socket->id_next].owner != ID_LATE)
		;
	socket->ids[socket->id_next].owner = op_idx + 1;
	return socket->id_next;
}

void udp_send(struct udp *udp, uint32_t op_idx, struct span request)
{
	struct socket *socket = socket_of(udp, op_idx);
	struct waiting *waiting = &udp->waiting[op_idx];
	struct xc_udp_frame frame = { .total = htons(1) };
	uint8_t *to;

	if (socket->queued == UDP_SEND_BATCH)
		socket_flush(socket);
	waiting->active = true;
	waiting->id = id_take(socket, op_idx);
	frame.request_id = htons(waiting->id);
	to = socket->queue[socket->queued];
	memcpy(to, &frame, sizeof(frame));
	memcpy(to + sizeof(frame), request.ptr, request.len);
	socket->queue_len[socket->queued++] = (uint32_t)(sizeof(frame) + request.len);
}

void udp_forget(struct udp *udp, uint32_t op_idx)
{
	struct waiting *waiting = &udp->waiting[op_idx];
	struct id *id = &socket_of(udp, op_idx)->ids[waiting->id];

	if (!waiting->active)
		return;
	id->owner = ID_LATE;
	id->late_got = waiting->parts.got;
	id->given_up_ms = (uint32_t)(clock_now_ns(clock_system()) / NSEC_PER_MSEC);
	waiting->active = false;
	parts_free(&waiting->parts);
}

void udp_flush(struct udp *udp)
{
	for (uint32_t i = 0; i < udp->socket_cnt; i++) {
		if (udp->sockets[i].queued)
			socket_flush(&udp->sockets[i]);
	}
}

const struct udp_counts *udp_counts(const struct udp *udp)
{
	return &udp->counts;
}

int udp_open(const struct options *options, struct loop *loop, const struct udp_faces *faces,
	     uint32_t op_cnt, struct udp **ret)
{
	struct udp *udp = alloc_zero(1, sizeof(*udp));
	int error = -ENOMEM;

	if (!udp)
		return -ENOMEM;
	udp->options = options;
	udp->loop = loop;
	udp->faces = *faces;
	udp->op_cnt = op_cnt;
	udp->waiting = alloc_zero(op_cnt, sizeof(*udp->waiting));
	udp->sockets = alloc_zero(options->socket_cnt, sizeof(*udp->sockets));
	udp->buffers = alloc_zero(UDP_RECV_BATCH, UDP_DATAGRAM_MAX);
	if (!udp->waiting || !udp->sockets || !udp->buffers)
		goto err_close;
	for (uint32_t i = 0; i < options->socket_cnt; i++) {
		struct socket *socket = &udp->sockets[i];

		socket->udp = udp;
		socket->source.ready = socket_ready;
		socket->source.fd = socket_open(&options->server_udp);
		error = socket->source.fd < 0 ? socket->source.fd : 0;
		if (error)
			goto err_close;
		udp->socket_cnt++;
		error = loop_insert(loop, &socket->source, LOOP_READ);
		if (error)
			goto err_close;
	}
	*ret = udp;
	return 0;

err_close:
	udp_close(udp);
	return error;
}

void udp_close(struct udp *udp)
{
	if (!udp)
		return;
	for (uint32_t i = 0; i < udp->socket_cnt; i++) {
		loop_remove(udp->loop, &udp->sockets[i].source);
		close(udp->sockets[i].source.fd);
	}
	for (uint32_t i = 0; udp->waiting && i < udp->op_cnt; i++)
		parts_free(&udp->waiting[i].parts);
	alloc_free(udp->waiting);
	alloc_free(udp->sockets);
	alloc_free(udp->buffers);
	alloc_free(udp);
}
