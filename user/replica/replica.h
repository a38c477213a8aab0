/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * replica - one node's part in keeping the copies of every arc alike.
 *
 * Does      as primary: appends writes to the arc's log, hands the log to the other members, says
 *           when a write counts. As another member: pulls the log, or a snapshot where the log does
 *           not reach back, and applies what counts. As primary to be: finds out who knows most,
 *           takes that over, and serves only when no earlier primary can.
 * Shape     one state machine an arc, driven by views, frames and ticks. Who has pulled from a
 *           position has everything before it: a pull is the acknowledgement.
 * Units     ns of a clock that does not jump; bytes.
 * Errors    replica_write: -EAGAIN this node does not lead the arc now, -EMSGSIZE a record that no
 *           frame or log could hold, -ENOBUFS the log is full of writes that do not count yet.
 * Owner     frames and records are borrowed for the call. env.committed may be called before
 *           replica_write returns.
 * Threads   one.
 * Invariant of one arc and epoch one node at most leads. What counts in quorum mode is in the log
 *           of every later primary.
 * Source    docs/replication.md. Ongaro, Ousterhout, "In Search of an Understandable Consensus
 *           Algorithm", USENIX ATC'14, for log matching and which epoch's entries count; Liskov,
 *           Cowling, "Viewstamped Replication Revisited", 2012, for logs in memory alone. Ours
 *           differs: who leads is not voted on but comes from the view, and members pull.
 */
#ifndef XC_REPLICA_REPLICA_H
#define XC_REPLICA_REPLICA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "replica/frame.h"

#define REPLICA_MEMBER_MAX 8
#define REPLICA_NO_NODE UINT16_MAX

/* When a write counts. */
enum replica_ack {
	REPLICA_ASYNC,	/* at once */
	REPLICA_ONE,	/* when one other member has it */
	REPLICA_QUORUM, /* when most members have it */
};

/* What a view says about an arc. */
struct replica_role {
	uint64_t epoch;
	uint16_t primary; /* REPLICA_NO_NODE: none, or a node that has forgotten all since */
	uint16_t member_cnt;
	uint16_t members[REPLICA_MEMBER_MAX];
	bool down[REPLICA_MEMBER_MAX]; /* the member's lease is gone */
};

struct replica_env {
	void *ctx;
	/* May be lost, late, double and out of order. */
	void (*send)(void *ctx, uint16_t to, const struct frame *frame);
	/* Carries out a change that counts; once for each entry, in the order of the log. */
	void (*apply)(void *ctx, uint32_t arc, struct position at, struct span record);
	/* Forgets every item of the arc. */
	void (*clear)(void *ctx, uint32_t arc);
	/* Carries out an item of a snapshot. */
	void (*restore)(void *ctx, uint32_t arc, struct span record);
	/*
	 * Writes items of the arc, as records in frame_add_entry's form, from *cursor on (0: from
	 * the start) and moves it; 0: that was all. An item that is there all the time must come.
	 */
	void (*scan)(void *ctx, uint32_t arc, uint64_t *cursor, uint8_t *body, size_t size,
		     size_t *ret_len);
	/* Writes up to seq, which this node was given in this epoch, count. */
	void (*committed)(void *ctx, uint32_t arc, uint64_t epoch, uint64_t seq);
};

struct replica_options {
	struct replica_env env;
	uint16_t self;
	uint32_t arc_cnt;
	enum replica_ack ack;
	size_t log_bytes;
	uint64_t lease_ns; /* as long as any node serves after it was last told to */
	uint64_t retry_ns; /* what was not answered is asked again */
	uint64_t hold_ns;  /* a pull waits so long for something new; below retry_ns */
};

struct replica_lag {
	uint64_t entry_cnt;
	uint64_t bytes;
	uint64_t ns; /* how long the oldest of them has been waiting */
};

struct replica;

struct replica *replica_new(const struct replica_options *options);
void replica_free(struct replica *r); /* NULL-safe */

/* What a view says of the arc; a lower epoch than known is ignored. */
void replica_set_role(struct replica *r, uint32_t arc, const struct replica_role *role,
		      uint64_t now_ns);
/* The node may serve until then; 0: not at all. */
void replica_set_lease(struct replica *r, uint64_t serve_until_ns);
void replica_receive(struct replica *r, uint16_t from, const struct frame *frame, uint64_t now_ns);
/* To be called every few ms. */
void replica_tick(struct replica *r, uint64_t now_ns);

/* Appends a write, which counts when env.committed says so of its place: ret_at. */
int replica_write(struct replica *r, uint32_t arc, struct span record, uint64_t now_ns,
		  struct position *ret_at);
/* Reads of the arc may be answered here: it has all that counts, and no other node serves. */
bool replica_leads(const struct replica *r, uint32_t arc, uint64_t now_ns);
/* What is here is complete up to some moment: the node need not be waited for any more. */
bool replica_whole(const struct replica *r, uint32_t arc);
struct position replica_last(const struct replica *r, uint32_t arc);
/* How far a member of an arc that this node leads is behind; false: unknown. */
bool replica_lag(const struct replica *r, uint32_t arc, uint16_t member, uint64_t now_ns,
		 struct replica_lag *ret);

#endif
