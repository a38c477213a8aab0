/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * etcd - who is there and who leads, by way of etcd.
 *
 * Does      holds a lease for this node and says beside it what the others have to know of the
 *           node; reads the view; tells until when the node may serve. Takes part in the election
 *           of one node that writes the next view from what it sees of all of them.
 * Shape     keys below a prefix: control/view, the one document; control/leader, of the lease of
 *           who writes it; nodes/NAME, of each node's lease. A round every quarter of the lease:
 *           renew, say what is new, read, and as leader write. A watch of what is read rings when
 *           it changes, and the next round is at once.
 * Units     ns of the clock, which does not jump; leases in seconds.
 * Errors    etcd_new: -ENOMEM, -EINVAL a prefix that does not begin and end with '/'. What goes
 *           wrong later is tried again, at the next of the endpoints; etcd_status says why.
 * Owner     conf's pointers are borrowed. Views are given for the call.
 * Threads   the loop's.
 * Invariant serve_until_ns = (the moment before the last renewal that succeeded was sent) + the
 *           lease - a tenth of it, and only after the view was read behind that renewal. A document
 *           is written over the one it was made from or not at all, by who leads or by nobody.
 * Source    docs/cluster.md, "With etcd"; docs/replication.md, "Who leads".
 */
#ifndef XC_CLUSTER_ETCD_H
#define XC_CLUSTER_ETCD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/loop.h"
#include "cluster/view.h"

#define ETCD_ENDPOINT_MAX 16
/* The least that etcd with its own defaults grants. */
#define ETCD_TTL_MIN_SEC 2
#define ETCD_WHY_MAX 256

struct etcd;

struct etcd_conf {
	const char *const *endpoints; /* "http://10.0.0.1:2379" */
	uint32_t endpoint_cnt;
	const char *prefix; /* "/xdpcache/": one for each cluster */
	const struct ring *ring;
	uint32_t copies;
	uint16_t self;	      /* which of the ring's nodes */
	uint64_t incarnation; /* drawn when the node started with nothing in memory; 63 bits */
	uint32_t ttl_sec;
	const struct clock *clock;
	void *ctx;
	/* A newer document, complete in itself, until the next. */
	void (*on_view)(void *ctx, const struct view *view);
	/* Follows on_view; later each time. */
	void (*on_lease)(void *ctx, uint64_t serve_until_ns);
};

struct etcd_status {
	bool leads; /* writes the documents */
	uint64_t serve_until_ns;
	uint64_t revision;	/* of the view; 0: none is known */
	const char *endpoint;	/* that is asked now */
	char why[ETCD_WHY_MAX]; /* what the last round failed for; empty: it did not */
};

int etcd_new(const struct etcd_conf *conf, struct loop *loop, struct etcd **ret);
/* As if the node had died: its lease runs out. NULL-safe. */
void etcd_free(struct etcd *etcd);
void etcd_turn(struct etcd *etcd);
/* When to call it at the latest. */
uint64_t etcd_next_ns(const struct etcd *etcd);

/* What the others have to know. */
void etcd_set_state(struct etcd *etcd, bool caught_up, bool leaving);
/* The node serves no more: gives the lease back, so that nobody waits for its end. */
void etcd_release(struct etcd *etcd);
/* The lease is given back, or could not be. */
bool etcd_is_released(const struct etcd *etcd);
void etcd_status(const struct etcd *etcd, struct etcd_status *ret);

#endif
