/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * forward - commands for keys that another node answers for.
 *
 * Does      is what the commands' room and the node's thread have between them: a request on its
 *           way to another node, and the reply that it brings back.
 * Shape     a request is the bytes that a client could have sent, of one command; its reply is what
 *           the other node would have sent that client.
 * Owner     an ask is its wait's (base/wait.h), its reply the ask's.
 * Threads   the asker's; from struct forward.ask to wait_answer the node's.
 * Invariant a request that was handed over is carried out once, by who answers for its key, or it
 *           fails and nobody can say whether it was carried out: it is never sent twice.
 * Source    docs/cluster.md, "Any node answers".
 */
#ifndef XC_CLUSTER_FORWARD_H
#define XC_CLUSTER_FORWARD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "base/wait.h"

struct forward_ask {
	struct wait_part part; /* first */
	uint16_t to;
	struct span key; /* in the request, if it is one of a list */
	/* The answer. */
	bool answered; /* false: the node was not reached, or did not answer in time */
	uint8_t *reply;
	size_t reply_len;
	/* The node's thread's. */
	uint64_t id;
	uint64_t until_ns;
	struct forward_ask *prev, *next;
	size_t request_len;
	uint8_t request[];
};

/* What the commands' room knows of the cluster. Any thread. */
struct forward {
	void *ctx;
	/* True: this node answers for the key; else *ret_node is who does. */
	bool (*is_here)(void *ctx, struct span key, uint16_t *ret_node);
	/* Takes the ask until it calls wait_answer, at the latest timeout_ms later. */
	void (*ask)(void *ctx, struct forward_ask *ask);
	uint32_t timeout_ms;
	size_t request_max; /* bytes of a request that can be taken there */
};

/* Room for a request of so many bytes. NULL: out of memory. */
struct forward_ask *forward_ask_new(uint16_t to, size_t request_max);
/* As wait_part.free. */
void forward_ask_free(struct wait_part *part);

#endif
