/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Replies are copied into the slots of the outgoing batch, so that no datagram borrows from the log
 * and one sendmmsg serves many requests.
 */
#include "net/udp.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "abi/limits.h"
#include "base/alloc.h"
#include "protocol/compose_text.h"
#include "protocol/decimal.h"
#include "protocol/parse_binary.h"
#include "protocol/parse_text.h"
#include "protocol/udp_frame.h"

#define BATCH 32
#define BATCHES_A_TURN 4
#define DATAGRAM_MAX 65536
#define SLOT_CNT 64
#define SLOT_MAX 2048
#define WAITING_BYTES_MAX                                                                          \
	(16ULL << 20) /* of a worker: requests that wait for an origin or a node */
#define MTU_CACHE 64
#define MTU_DEFAULT 1500
#define MTU_KEEP_NS (2 * NSEC_PER_SEC)
#define HEADERS4_LEN 28 /* IPv4 and UDP */
#define HEADERS6_LEN 48

/* The largest reply that the kernel may send as one datagram: gets of the largest key and value. */
#define SINGLE_MAX                                                                                 \
	(UDP_FRAME_LEN + XC_HEAD_LEN + XC_KEY_MAX + XC_SUFFIX_MAX + 1 + DECIMAL_MAX + 2 +          \
	 XC_VALUE_MAX + XC_TAIL_LEN)

_Static_assert(SINGLE_MAX <= UDP_REPLY_MIN, "no limit refuses what is one datagram");
_Static_assert(SINGLE_MAX <= SLOT_MAX && UDP_SPLIT_MAX <= SLOT_MAX, "a datagram fits its slot");

union control {
	char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
	struct cmsghdr align;
};

struct packet {
	struct sockaddr_storage peer;
	struct iovec iov;
	union control control;
};

/* Where a request came to: the reply leaves from there. */
struct origin {
	const struct sockaddr_storage *peer;
	socklen_t peer_len;
	uint32_t ifindex;
	union {
		struct in_pktinfo v4;
		struct in6_pktinfo v6;
	} local;
	bool has_local;
	bool is_v6;
};

struct mtu_entry {
	uint32_t ifindex;
	uint32_t mtu;
	uint64_t read_ns;
};

/*
 * A request that waits for an answer from elsewhere: what its datagram's commands have been
 * answered so far, and those that are left.
 */
struct udp_wait {
	struct command_client client;
	struct worker *worker;
	struct udp_wait *prev, *next; /* io->waits, or io->ready by next alone */
	struct sockaddr_storage peer;
	struct origin from;
	int fd;
	uint16_t request_id;
	uint32_t done_cnt;
	uint64_t size;
	uint64_t reply_len;
	struct span body;
	uint8_t bytes[]; /* the reply so far, then the body */
};

struct udp_io {
	struct mmsghdr in[BATCH];
	struct packet in_packets[BATCH];
	uint8_t *in_bytes; /* BATCH buffers of DATAGRAM_MAX; a page of each is touched as a rule */
	struct mmsghdr out[SLOT_CNT];
	struct packet out_packets[SLOT_CNT];
	uint8_t out_bytes[SLOT_CNT][SLOT_MAX];
	uint32_t out_cnt;
	struct mtu_entry mtus[MTU_CACHE];
	struct response resp;
	struct udp_wait *waits;
	struct udp_wait *ready; /* may go on */
	uint64_t waiting_bytes; /* of all of them */
};

/* Never called: a request that waits moves to a struct udp_wait first. */
static void on_stack(struct command_client *client)
{
	(void)client;
}

int udp_new(struct udp_io **ret)
{
	struct udp_io *io = alloc_zero(1, sizeof(*io));

	if (!io)
		return -ENOMEM;
	io->in_bytes = alloc_zero(BATCH, DATAGRAM_MAX);
	if (!io->in_bytes || response_init(&io->resp, DATAGRAM_MAX, UDP_REPLY_MAX + 1)) {
		alloc_free(io->in_bytes);
		alloc_free(io);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < BATCH; i++) {
		struct packet *p = &io->in_packets[i];

		p->iov = (struct iovec){ io->in_bytes + i * DATAGRAM_MAX, DATAGRAM_MAX };
		io->in[i].msg_hdr.msg_name = &p->peer;
		io->in[i].msg_hdr.msg_iov = &p->iov;
		io->in[i].msg_hdr.msg_iovlen = 1;
		io->in[i].msg_hdr.msg_control = p->control.bytes;
	}
	for (uint32_t i = 0; i < SLOT_CNT; i++) {
		struct packet *p = &io->out_packets[i];

		p->iov.iov_base = io->out_bytes[i];
		io->out[i].msg_hdr.msg_name = &p->peer;
		io->out[i].msg_hdr.msg_iov = &p->iov;
		io->out[i].msg_hdr.msg_iovlen = 1;
		io->out[i].msg_hdr.msg_control = p->control.bytes;
	}
	*ret = io;
	return 0;
}

static void free_waits(struct udp_wait *wait)
{
	while (wait) {
		struct udp_wait *next = wait->next;

		command_leave(&wait->client);
		alloc_free(wait);
		wait = next;
	}
}

void udp_free(struct udp_io *io)
{
	if (!io)
		return;
	free_waits(io->waits);
	free_waits(io->ready);
	response_fini(&io->resp);
	alloc_free(io->in_bytes);
	alloc_free(io);
}

/* --- sending ---------------------------------------------------------------------------------- */

static void send_batch(struct worker *w, int fd)
{
	struct udp_io *io = w->udp;
	uint32_t pos = 0;

	while (pos < io->out_cnt) {
		int n = sendmmsg(fd, io->out + pos, io->out_cnt - pos, MSG_DONTWAIT);
		uint64_t bytes = 0;

		if (n <= 0) {
			/* One that cannot be sent must not take the ones behind it along. */
			command_count(&w->counts->udp_send_dropped, 1);
			n = 1;
		} else {
			for (int i = 0; i < n; i++)
				bytes += io->out[pos + (uint32_t)i].msg_len;
			command_count(&w->counts->bytes_written, bytes);
		}
		pos += (uint32_t)n;
	}
	io->out_cnt = 0;
}

static void set_source(struct msghdr *hdr, const struct origin *from)
{
	struct cmsghdr *cmsg;

	if (!from->has_local) {
		hdr->msg_controllen = 0;
		return;
	}
	hdr->msg_controllen =
		CMSG_SPACE(from->is_v6 ? sizeof(struct in6_pktinfo) : sizeof(struct in_pktinfo));
	cmsg = CMSG_FIRSTHDR(hdr);
	if (from->is_v6) {
		struct in6_pktinfo info = { .ipi6_addr = from->local.v6.ipi6_addr };

		cmsg->cmsg_level = IPPROTO_IPV6;
		cmsg->cmsg_type = IPV6_PKTINFO;
		cmsg->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(cmsg), &info, sizeof(info));
	} else {
		struct in_pktinfo info = { .ipi_spec_dst = from->local.v4.ipi_spec_dst };

		cmsg->cmsg_level = IPPROTO_IP;
		cmsg->cmsg_type = IP_PKTINFO;
		cmsg->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(cmsg), &info, sizeof(info));
	}
}

/* A slot addressed to where `from` came from; the caller fills it and sets its length. */
static struct packet *take_slot(struct worker *w, int fd, const struct origin *from)
{
	struct udp_io *io = w->udp;
	struct packet *p;

	if (io->out_cnt == SLOT_CNT)
		send_batch(w, fd);
	p = &io->out_packets[io->out_cnt];
	memcpy(&p->peer, from->peer, from->peer_len);
	io->out[io->out_cnt].msg_hdr.msg_namelen = from->peer_len;
	set_source(&io->out[io->out_cnt].msg_hdr, from);
	io->out_cnt++;
	return p;
}

/* A place in the reply's iovec. */
struct cursor {
	const struct iovec *iov;
	size_t pos;
};

static void copy_out(struct cursor *at, uint8_t *to, size_t len)
{
	while (len > 0) {
		size_t part = at->iov->iov_len - at->pos;

		if (part > len)
			part = len;
		memcpy(to, (uint8_t *)at->iov->iov_base + at->pos, part);
		to += part;
		len -= part;
		at->pos += part;
		if (at->pos == at->iov->iov_len) {
			at->iov++;
			at->pos = 0;
		}
	}
}

static uint32_t read_mtu(int fd, uint32_t ifindex)
{
	struct ifreq req = { .ifr_ifindex = (int)ifindex };

	if (ioctl(fd, SIOCGIFNAME, &req) < 0 || ioctl(fd, SIOCGIFMTU, &req) < 0 || req.ifr_mtu <= 0)
		return MTU_DEFAULT;
	return (uint32_t)req.ifr_mtu;
}

/* Largest reply datagram for a request that came in on this interface: the kernel's own rule. */
static uint32_t single_max(struct worker *w, int fd, const struct origin *from)
{
	struct mtu_entry *entry = &w->udp->mtus[from->ifindex % MTU_CACHE];
	uint64_t now_ns = command_now_ns(w->command);
	uint32_t headers_len = from->is_v6 ? HEADERS6_LEN : HEADERS4_LEN;

	if (entry->ifindex != from->ifindex || entry->mtu == 0 ||
	    now_ns - entry->read_ns > MTU_KEEP_NS) {
		entry->ifindex = from->ifindex;
		entry->mtu = from->ifindex ? read_mtu(fd, from->ifindex) : MTU_DEFAULT;
		entry->read_ns = now_ns;
	}
	if (entry->mtu >= SINGLE_MAX + headers_len)
		return SINGLE_MAX;
	return entry->mtu > UDP_SPLIT_MAX + headers_len ? entry->mtu - headers_len : UDP_SPLIT_MAX;
}

static void send_reply(struct worker *w, int fd, const struct origin *from, uint16_t request_id)
{
	const struct response *resp = &w->udp->resp;
	struct cursor at = { .iov = resp->iov };
	struct udp_frame frame = { .request_id = request_id };
	uint32_t datagram_max = UDP_SPLIT_MAX;
	uint64_t left = resp->bytes;

	if (left == 0)
		return;
	if (left + UDP_FRAME_LEN > UDP_SPLIT_MAX && left + UDP_FRAME_LEN <= SINGLE_MAX &&
	    left + UDP_FRAME_LEN <= single_max(w, fd, from))
		datagram_max = SINGLE_MAX;
	frame.total = udp_frame_total(left, datagram_max);
	for (; left > 0; frame.seq++) {
		struct packet *p = take_slot(w, fd, from);
		uint8_t *to = p->iov.iov_base;
		uint64_t len = datagram_max - UDP_FRAME_LEN;

		if (len > left)
			len = left;
		udp_frame_put(to, &frame);
		copy_out(&at, to + UDP_FRAME_LEN, len);
		p->iov.iov_len = UDP_FRAME_LEN + len;
		left -= len;
	}
}

/* --- requests --------------------------------------------------------------------------------- */

/* Takes a storage command's value from behind its line. False: the datagram ends before it. */
static bool take_value(struct span *body, struct request *req)
{
	const uint8_t *end;

	uint64_t room = req->value_len + request_value_end_len(req);

	if (body->len < room)
		return false;
	end = body->ptr + req->value_len;
	req->value = span_of(body->ptr, req->value_len);
	req->value_bad = !req->value_bare && (end[0] != '\r' || end[1] != '\n');
	*body = span_of(body->ptr + room, body->len - room);
	return true;
}

enum served {
	SERVED,	      /* on with the next command */
	SERVED_LAST,  /* the rest of the datagram is of no use */
	SERVED_WAITS, /* the command is as it was, and so is the reply */
};

/* One command of the datagram. */
static enum served serve_one(struct worker *w, struct span *body, struct request *req,
			     uint32_t done_cnt)
{
	struct response *resp = &w->udp->resp;
	bool binary = parse_binary_is_request(*body);
	const struct span before = *body;
	uint64_t reply_before = resp->bytes;
	ssize_t len;

	/*
	 * Perhaps another server's reply, which an answer would keep going for ever: not a word,
	 * and what follows may be a value's bytes.
	 */
	if (!binary && !parse_text_is_command(*body)) {
		command_count(&w->counts->udp_unknown, 1);
		return SERVED_LAST;
	}
	len = binary ? parse_binary(*body, req) : parse_text(*body, 0, req);
	if (len < 0) {
		/* Half a command behind whole ones: those were answered, so the client will see. */
		if (done_cnt == 0)
			command_count(&w->counts->udp_malformed, 1);
		return SERVED_LAST;
	}
	*body = span_of(body->ptr + len, body->len - (size_t)len);
	if (!command_fits_udp(req)) {
		req->compose->status(resp, req, STATUS_UDP_REFUSED);
		return SERVED;
	}
	if (request_has_value(req)) {
		if (!command_admit(w->command, req, resp))
			return take_value(body, req) ? SERVED : SERVED_LAST;
		if (!take_value(body, req)) {
			req->compose->status(resp, req, STATUS_BAD_CHUNK);
			return SERVED_LAST;
		}
	}
	req->raw = span_of(before.ptr, before.len - body->len);
	for (;;) {
		enum command_next next = command_apply(w->command, req, resp);

		if (next == COMMAND_WAITS) {
			response_truncate(resp, reply_before);
			*body = before;
			return SERVED_WAITS;
		}
		if (next != COMMAND_DONE || req->close)
			return SERVED_LAST;
		if (!req->more)
			return SERVED;
		if (req->verb == REQUEST_INVALID)
			return SERVED_LAST;
		len = parse_text_more(*body, 0, req);
		if (len < 0) {
			command_count(&w->counts->udp_malformed, 1);
			response_reset(resp);
			return SERVED_LAST;
		}
		*body = span_of(body->ptr + len, body->len - (size_t)len);
	}
}

/* What a forged request can fetch goes to another host; this one may have all that there is. */
static uint64_t reply_max(const struct worker *w, const struct origin *from)
{
	uint8_t addr[16];

	if (cidr_addr_of((const struct sockaddr *)from->peer, addr) && cidr_is_loopback(addr))
		return UDP_REPLY_MAX;
	return w->shared->settings->udp_reply_max;
}

static void copy_bytes(const struct response *resp, uint8_t *to)
{
	struct cursor at = { .iov = resp->iov };

	copy_out(&at, to, resp->bytes);
}

static void resume_client(struct command_client *client)
{
	struct udp_wait *wait = (struct udp_wait *)client;
	struct udp_io *io = wait->worker->udp;

	if (wait->prev)
		wait->prev->next = wait->next;
	else
		io->waits = wait->next;
	if (wait->next)
		wait->next->prev = wait->prev;
	wait->next = io->ready;
	io->ready = wait;
}

/* Keeps what is left of the datagram until its answer is there. False: there is no room for it. */
static bool suspend(struct worker *w, int fd, const struct origin *from, struct udp_wait *at)
{
	struct udp_io *io = w->udp;
	uint64_t reply_len = io->resp.bytes;
	uint64_t size = sizeof(struct udp_wait) + reply_len + at->body.len;
	struct udp_wait *wait =
		io->waiting_bytes + size <= WAITING_BYTES_MAX ? alloc_zero(1, size) : NULL;

	if (!wait)
		return false;
	io->waiting_bytes += size;
	wait->size = size;
	wait->client = (struct command_client){ .wait = at->client.wait, .resume = resume_client };
	wait->client.wait->ctx = &wait->client;
	at->client.wait = NULL;
	wait->worker = w;
	wait->peer = *from->peer;
	wait->from = *from;
	wait->from.peer = &wait->peer;
	wait->fd = fd;
	wait->request_id = at->request_id;
	wait->done_cnt = at->done_cnt;
	wait->reply_len = reply_len;
	copy_bytes(&io->resp, wait->bytes);
	memcpy(wait->bytes + reply_len, at->body.ptr, at->body.len);
	wait->body = span_of(wait->bytes + reply_len, at->body.len);
	wait->next = io->waits;
	if (wait->next)
		wait->next->prev = wait;
	io->waits = wait;
	return true;
}

/* Serves commands from at->body on, and sends what they are answered, at once or later. */
static void serve_body(struct worker *w, int fd, const struct origin *from, struct udp_wait *at)
{
	struct response *resp = &w->udp->resp;
	struct request req = { .compose = &compose_text };
	enum served served = SERVED;

	command_set_client(w->command, &at->client);
	at->client.fd = fd;
	while (at->body.len > 0 && served == SERVED) {
		served = serve_one(w, &at->body, &req, at->done_cnt);
		at->done_cnt++;
	}
	if (served == SERVED_WAITS) {
		at->done_cnt--;
		if (suspend(w, fd, from, at)) {
			command_set_client(w->command, NULL);
			response_reset(resp);
			return;
		}
		req.compose->status(resp, &req, STATUS_NO_MEMORY);
	}
	command_leave(&at->client);
	command_set_client(w->command, NULL);
	if (resp->bytes > reply_max(w, from) || resp->failed) {
		response_reset(resp);
		req.noreply = false;
		req.compose->status(resp, &req, STATUS_UDP_TOO_LARGE);
	}
	send_reply(w, fd, from, at->request_id);
	response_reset(resp);
}

void udp_resume(struct worker *w)
{
	struct udp_io *io = w->udp;
	struct udp_wait *wait = io->ready;
	int fd = -1;

	io->ready = NULL;
	while (wait) {
		struct udp_wait *next = wait->next;

		/* One batch goes out through one socket; without sockets the worker stops. */
		if (io->out_cnt > 0 && fd != wait->fd)
			send_batch(w, fd);
		fd = wait->fd;
		response_reset(&io->resp);
		response_put(&io->resp, wait->bytes, wait->reply_len);
		if (w->socket_cnt > 0)
			serve_body(w, fd, &wait->from, wait);
		command_leave(&wait->client);
		io->waiting_bytes -= wait->size;
		alloc_free(wait);
		wait = next;
	}
	if (io->out_cnt > 0)
		send_batch(w, fd);
	response_reset(&io->resp);
}

static void serve(struct worker *w, int fd, const struct origin *from, struct span datagram)
{
	struct response *resp = &w->udp->resp;
	struct request req = { .compose = &compose_text };
	struct udp_wait at = { .client = { .resume = on_stack } };
	struct udp_frame frame;
	struct span body;
	int error = udp_frame_parse(datagram, &frame, &body);

	if (error == -EBADMSG) {
		command_count(&w->counts->udp_malformed, 1);
		return;
	}
	response_reset(resp);
	at.request_id = frame.request_id;
	if (error) {
		/* One answer for a request of several datagrams, not one for each. */
		command_count(&w->counts->udp_multi_packet, 1);
		if (frame.seq == 0 && parse_text_is_command(body))
			req.compose->status(resp, &req, STATUS_UDP_MULTI_PACKET);
	} else {
		command_count(&w->counts->udp_requests, 1);
		at.body = body;
	}
	serve_body(w, fd, from, &at);
}

static void read_origin(struct msghdr *hdr, const struct packet *packet, struct origin *ret)
{
	*ret = (struct origin){
		.peer = &packet->peer,
		.peer_len = hdr->msg_namelen,
		.is_v6 = packet->peer.ss_family == AF_INET6,
	};
	for (struct cmsghdr *c = CMSG_FIRSTHDR(hdr); c; c = CMSG_NXTHDR(hdr, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			memcpy(&ret->local.v4, CMSG_DATA(c), sizeof(ret->local.v4));
			ret->ifindex = (uint32_t)ret->local.v4.ipi_ifindex;
			ret->has_local = true;
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			memcpy(&ret->local.v6, CMSG_DATA(c), sizeof(ret->local.v6));
			ret->ifindex = ret->local.v6.ipi6_ifindex;
			ret->has_local = !IN6_IS_ADDR_MULTICAST(&ret->local.v6.ipi6_addr);
		}
	}
}

/*
 * Only whom the operator named, and only from a port that a client has: a forged request that seems
 * to come from a server's port would make two servers answer each other's errors for ever.
 */
static bool is_allowed(const struct worker *w, const struct packet *packet)
{
	const struct worker_shared *shared = w->shared;
	const struct sock_addr peer = { .storage = packet->peer };
	uint16_t port = sock_port(&peer);
	uint8_t addr[16];

	if (port == 0 || port == shared->udp_port ||
	    !cidr_addr_of((const struct sockaddr *)&packet->peer, addr))
		return false;
	for (uint32_t i = 0; i < shared->allow_cnt; i++) {
		if (cidr_contains(&shared->allow[i], addr))
			return true;
	}
	return false;
}

static void serve_batch(struct worker *w, int fd, uint32_t cnt)
{
	struct udp_io *io = w->udp;

	for (uint32_t i = 0; i < cnt; i++) {
		struct msghdr *hdr = &io->in[i].msg_hdr;
		struct packet *packet = &io->in_packets[i];
		struct origin from;

		command_count(&w->counts->bytes_read, io->in[i].msg_len);
		if (!is_allowed(w, packet)) {
			command_count(&w->counts->udp_refused, 1);
			continue;
		}
		if (hdr->msg_flags & MSG_TRUNC) {
			command_count(&w->counts->udp_malformed, 1);
			continue;
		}
		read_origin(hdr, packet, &from);
		serve(w, fd, &from, span_of(packet->iov.iov_base, io->in[i].msg_len));
	}
	if (io->out_cnt > 0)
		send_batch(w, fd);
	command_replied(w->command);
}

void udp_ready(struct loop_source *source, uint32_t events)
{
	struct worker *w = ((struct worker_socket *)source)->worker;
	struct udp_io *io = w->udp;

	(void)events;
	for (uint32_t turn = 0; turn < BATCHES_A_TURN; turn++) {
		int n;

		for (uint32_t i = 0; i < BATCH; i++) {
			io->in[i].msg_hdr.msg_namelen = sizeof(io->in_packets[i].peer);
			io->in[i].msg_hdr.msg_controllen = sizeof(io->in_packets[i].control);
		}
		n = recvmmsg(source->fd, io->in, BATCH, MSG_DONTWAIT, NULL);
		if (n <= 0)
			return; /* EAGAIN, or an ICMP error of an earlier reply */
		serve_batch(w, source->fd, (uint32_t)n);
		if (n < BATCH)
			return;
	}
}
