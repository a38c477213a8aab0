/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * node - this daemon as one node of a cluster.
 *
 * Does      says which keys are this node's; takes requests for others' keys to the node whose they
 *           are, and brings the reply back; carries out what other nodes ask of this one.
 * Shape     one thread beside the workers, with a loop, connections to all nodes (net/peers.h) and
 *           a command worker of its own.
 * Units     ns of the clock.
 * Errors    negative errno.
 * Owner     what conf points to is borrowed. listen_fd is the node's from node_new on, also on
 *           failure.
 * Threads   node_forward's functions: any. All else: main.
 * Invariant a request is passed on once: who is asked carries it out or says that it cannot. So
 *           nodes that do not agree on whose a key is cannot send it round.
 * Source    docs/cluster.md.
 */
#ifndef XC_NET_NODE_H
#define XC_NET_NODE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "cluster/forward.h"
#include "cluster/ring.h"
#include "command/command.h"
#include "net/peers.h"

struct node;

struct node_conf {
	const struct ring *ring;
	uint64_t ring_sum;
	const struct sock_addr *addrs; /* of each of the ring's nodes, for the others */
	uint16_t self;
	uint32_t timeout_ms; /* of a request that another node carries out */
	struct tls *tls;     /* between nodes; NULL: plain */
	uint32_t record_bytes;
	const struct clock *clock;
};

/* Numbers of requests since the start. X(field) */
#define NODE_COUNTS(X)                                                                             \
	X(asked)    /* of this node's clients, put to other nodes */                               \
	X(answered) /* of those */                                                                 \
	X(failed)   /* of those: not reached, or no answer in time */                              \
	X(guests)   /* of other nodes' clients, carried out here */

struct node_counts {
#define X(field) _Atomic uint64_t field;
	NODE_COUNTS(X)
#undef X
};

int node_new(const struct node_conf *conf, int listen_fd, struct node **ret);
void node_free(struct node *node); /* NULL-safe */
/* For the workers; as long as the node is there. */
const struct forward *node_forward(const struct node *node);
/* worker_idx: of the command worker that the thread takes. */
int node_start(struct node *node, struct command *command, uint32_t worker_idx);
/* What is under way fails. Before the command's end. */
void node_stop(struct node *node);
const struct node_counts *node_counts(const struct node *node);
/* Of one of the others; as of the last turn. Any thread. */
void node_peer(const struct node *node, uint16_t idx, struct peers_status *ret);

#endif
