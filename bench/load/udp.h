/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * udp - the clients' datagrams.
 *
 * Does      sends requests with frame headers over several sockets, puts replies of many datagrams
 *           together, and finds the request that a reply is for.
 * Shape     request ids count up per socket. An id whose request was given up stays out of use
 *           until its late reply has come or UDP_LATE_NS have passed: a late reply is never taken
 *           for another request's.
 * Errors    negative errno; a datagram that cannot be sent now is dropped and counted, since UDP
 *           clients retransmit anyhow.
 * Threads   the loop's.
 * Source    memcached doc/protocol.txt, "UDP protocol".
 */
#ifndef XC_LOAD_UDP_H
#define XC_LOAD_UDP_H

#include "base/loop.h"
#include "options.h"
#include "text.h"

#define UDP_LATE_NS 10000000000ULL
#define UDP_ID_CNT 65536
#define UDP_SEND_BATCH 64
#define UDP_RECV_BATCH 16
#define UDP_DATAGRAM_MAX 65536

struct udp_faces {
	/* A whole reply; reply NULL: it breaks the protocol. */
	void (*reply)(void *ctx, uint32_t op_idx, const struct text_reply *reply, bool from_kernel);
	void *ctx;
};

struct udp_counts {
	uint64_t sent;
	uint64_t send_drops;
	uint64_t late;
	uint64_t late_kernel;
	uint64_t unexpected;  /* a reply to nothing that was asked */
	uint64_t unreachable; /* the network said that nobody listens */
};

struct udp;

int udp_open(const struct options *options, struct loop *loop, const struct udp_faces *faces,
	     uint32_t op_cnt, struct udp **ret);
void udp_close(struct udp *udp); /* NULL-safe */

/* Queues one request; an operation has at most one at a time. */
void udp_send(struct udp *udp, uint32_t op_idx, struct span request);
/* The operation waits no more for its reply. */
void udp_forget(struct udp *udp, uint32_t op_idx);
void udp_flush(struct udp *udp);
const struct udp_counts *udp_counts(const struct udp *udp);

#endif
