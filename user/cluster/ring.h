/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ring - which nodes a key belongs to.
 *
 * Does      places nodes on the ring that libmemcached's clients build, point for point, and picks
 *           a key's nodes from it: the owner is the node that such a client asks, the further
 *           copies lie on the next distinct nodes clockwise, each in a zone of its own while there
 *           are zones left.
 * Shape     points sorted by value. Point i ends arc i: the keys whose hash lies behind point i - 1
 *           and not behind point i. Arcs are what is owned, replicated and moved.
 * Units     hashes and points are 32 bits, host order.
 * Errors    ring_new: -EINVAL no node, or one without a name, a proper ring_name or a weight;
 *           -EEXIST two nodes with the same ring_name; -E2BIG more than RING_NODE_MAX;
 *           -ENOTSUP OpenSSL gives no MD5 here; -ENOMEM.
 * Owner     a ring borrows its nodes: they stay as they are until ring_free.
 * Threads   never changes once made: any.
 * Invariant with nodes of equal weight the node that a client turns to when it has ejected the
 *           owner is the next distinct one clockwise, as long as the number of points a node gets
 *           stays the same without it (docs/cluster.md has the exceptions).
 * Source    libmemcached 1.1.4, MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED: its rings are compared with
 *           ours in tests/unit/test_cluster_ring.c. Karger et al., "Consistent Hashing and Random
 *           Trees", STOC'97.
 */
#ifndef XC_CLUSTER_RING_H
#define XC_CLUSTER_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

#define RING_NODE_MAX 1024
#define RING_COPY_MAX 8
#define RING_NAME_MAX 255
#define RING_WEIGHT_MAX 10000
/* On average; a node has its share by weight, in steps of RING_POINTS_STEP. */
#define RING_POINTS_PER_NODE 160
#define RING_POINTS_STEP 4
#define RING_PORT_DEFAULT 11211
#define RING_NO_NODE UINT16_MAX

struct ring_node {
	const char *name; /* the operator's */
	/* As the clients' list of servers has it: host, host:port, [v6] or [v6]:port. */
	const char *ring_name;
	const char *zone; /* NULL: none */
	uint32_t weight;  /* 1 unless the clients are told otherwise */
};

struct ring_point {
	uint32_t value;
	uint32_t number; /* which of its node's points, from 0 */
	uint16_t node;	 /* index into the ring's nodes */
	uint16_t unused;
};

struct ring {
	const struct ring_node *nodes;
	struct ring_point *points;
	uint16_t *zones; /* of each node: a number for its zone */
	uint32_t node_cnt;
	uint32_t point_cnt;
	uint32_t zone_cnt;
	struct evp_md_st *md5;
};

struct ring_copy {
	uint16_t node;
	/*
	 * How many other nodes lie between the key and this one. As many as there are copies before
	 * it: it is simply the next node. More: nearer ones were passed over, for its zone.
	 */
	uint16_t rank;
	uint32_t point; /* index of its first point at or behind the key's hash */
};

int ring_new(const struct ring_node *nodes, uint32_t cnt, struct ring **ret);
void ring_free(struct ring *ring); /* NULL-safe */

/* Where the key lies on every ring. */
uint32_t ring_hash(const struct ring *ring, struct span key);
/* The arc that a hash is in. */
uint32_t ring_arc(const struct ring *ring, uint32_t hash);
/* How many hashes an arc holds; 0 where two points have one value. All together hold 2^32. */
uint64_t ring_arc_width(const struct ring *ring, uint32_t arc);

/*
 * The nodes of an arc, first choice first: `copies` of them (ret has room for that many), but
 * RING_COPY_MAX at most and no more than there are nodes. Returns their number.
 */
uint32_t ring_pick(const struct ring *ring, uint32_t arc, uint32_t copies, struct ring_copy *ret);

uint32_t ring_point_cnt(const struct ring *ring, uint16_t node);

/* Two nodes that clients cannot tell apart; false: there are none. */
bool ring_find_twins(const struct ring_node *nodes, uint32_t cnt, uint32_t *ret_one,
		     uint32_t *ret_other);
/*
 * Host and port of a ring_name, as clients put them into points; the host's bytes lie in the name.
 * False: it is no name of a server.
 */
bool ring_name_parse(const char *ring_name, struct span *ret_host, uint16_t *ret_port);

#endif
