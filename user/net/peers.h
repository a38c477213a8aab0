/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * peers - connections to the other nodes of a cluster.
 *
 * Does      carries frames to and from every other node, plain or under TLS; connects again when a
 *           connection has ended.
 * Shape     each node opens one connection to each other and sends on it alone, so that nobody has
 *           to agree on which one counts. A connection begins with a HELLO: whose it is (arc), and
 *           of which ring (epoch). Frames of one turn go out together.
 * Units     bytes; ns of the clock.
 * Errors    peers_send: -ENOTCONN, -ENOBUFS the node has not read what it was sent before.
 * Owner     the caller's listening descriptor; frames are borrowed for the call.
 * Threads   the loop's.
 * Invariant frames of one node come in the order in which it sent them, each once, but after a
 *           connection has ended some may be missing. Nothing is taken from who is not in the list:
 *           a node connects from the address that the list has for it or, under TLS, shows a
 *           certificate of the cluster's.
 * Source    docs/replication.md, "Bytes" and "Connections".
 */
#ifndef XC_NET_PEERS_H
#define XC_NET_PEERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/loop.h"
#include "base/sock.h"
#include "replica/frame.h"

/* Of frames for one node that it has not taken yet. */
#define PEERS_OUT_MAX (8U << 20)

struct peers;
struct tls;

struct peers_conf {
	uint16_t self; /* which of the nodes */
	uint16_t cnt;
	const struct sock_addr *addrs; /* of each node; borrowed */
	uint64_t ring_sum;	       /* nodes of another ring are none */
	struct tls *tls;	       /* NULL: plain */
	uint32_t record_bytes;	       /* of TLS: tls_accept */
	const struct clock *clock;
	void *ctx;
	void (*receive)(void *ctx, uint16_t from, const struct frame *frame);
	/* Frames that were sent to it last may be lost. */
	void (*lost)(void *ctx, uint16_t to);
};

struct peers_status {
	bool connected; /* what is sent goes out */
	bool heard;	/* its own connection is here */
	uint64_t sent_frames, received_frames;
	uint64_t sent_bytes, received_bytes;
	uint64_t waiting_bytes;
	uint64_t lost_cnt; /* connections to it that ended */
};

/* listen_fd: listens on this node's address. */
int peers_new(const struct peers_conf *conf, int listen_fd, struct loop *loop, struct peers **ret);
/* Does not close listen_fd. NULL-safe. */
void peers_free(struct peers *peers);
/* Sends what there is, connects where there is no connection. Once a turn of the loop. */
void peers_turn(struct peers *peers);
/* When to call it again at the latest. */
uint64_t peers_next_ns(const struct peers *peers);

int peers_send(struct peers *peers, uint16_t to, const struct frame *frame);
void peers_status(const struct peers *peers, uint16_t node, struct peers_status *ret);

#endif
