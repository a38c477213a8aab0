/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * impl - what the files of replica share.
 *
 * Does      replica.c is the face and knows roles; take.c leads a primary to be to its role; pull.c
 *           receives a log; supply.c sends one.
 * Owner     replica.c.
 * Threads   one.
 */
#ifndef XC_REPLICA_IMPL_H
#define XC_REPLICA_IMPL_H

#include "replica/oplog.h"
#include "replica/replica.h"

enum part {
	PART_MEMBER,
	PART_TAKING, /* the view's primary, but not serving yet */
	PART_LEADING,
};

/* What the node knows of another member; all of it for the present epoch. */
struct member {
	/* while leading */
	bool heard;	   /* acked is known */
	uint64_t acked;	   /* it has everything up to here */
	bool held;	   /* a pull of it waits for something new */
	struct frame pull; /* that one */
	uint64_t held_ns;
	/* while taking */
	bool answered;
	bool whole;
	struct position at;
};

struct arc {
	uint64_t epoch; /* nothing of a lower one is taken from anybody */
	enum part part;
	struct replica_role role;
	uint64_t role_ns; /* when the epoch became known */
	uint64_t commit, applied;
	bool whole;
	struct member members[REPLICA_MEMBER_MAX]; /* as in role */

	/* pulling */
	uint16_t source; /* REPLICA_NO_NODE: from nobody */
	uint64_t asked_ns;
	uint64_t nonce; /* of the pull that an answer must be to */
	bool in_snapshot;
	bool partial;	      /* some items of a snapshot are here, not all */
	struct position base; /* of the snapshot */
	uint64_t cursor;
	uint64_t settled; /* before it the snapshot's items may be newer than the log */

	uint64_t opened; /* leading: the entry that opened the epoch; serves when it counts */

	/* taking */
	uint64_t taking_ns; /* since when answers are being gathered */
	uint64_t probed_ns;
	uint64_t progress_ns;
};

struct replica {
	struct replica_options options;
	struct oplog *log;
	struct arc *arcs;
	uint64_t serve_until_ns;
	uint8_t *body; /* for what is being sent */
	size_t body_len;
};

static inline uint32_t arc_idx(const struct replica *r, const struct arc *arc)
{
	return (uint32_t)(arc - r->arcs);
}

/* A frame of the arc's epoch, for the caller to fill in. */
static inline struct frame frame_of(const struct replica *r, const struct arc *arc,
				    enum frame_type type)
{
	return (struct frame){ .type = type, .arc = arc_idx(r, arc), .epoch = arc->epoch };
}

static inline void send_to(struct replica *r, uint16_t to, const struct frame *frame)
{
	r->options.env.send(r->options.env.ctx, to, frame);
}

/* NULL: the node is no member. */
struct member *arc_member(struct arc *arc, uint16_t node);
/* Nothing of a lower epoch counts from here; the node is a plain member until a view says more. */
void arc_adopt(struct arc *arc, uint64_t epoch, uint64_t now_ns);
/* Applies what counts. */
void arc_apply(struct replica *r, struct arc *arc);

/* take.c */
void take_start(struct replica *r, struct arc *arc, uint64_t now_ns);
void take_tick(struct replica *r, struct arc *arc, uint64_t now_ns);
void take_position(struct replica *r, struct arc *arc, struct member *member,
		   const struct frame *frame, uint64_t now_ns);

/* pull.c */
void pull_from(struct replica *r, struct arc *arc, uint16_t source, uint64_t now_ns);
void pull_tick(struct replica *r, struct arc *arc, uint64_t now_ns);
/* SUPPLY, DIVERGED or SNAPSHOT from the arc's source, at its epoch. */
void pull_answer(struct replica *r, struct arc *arc, const struct frame *frame, uint64_t now_ns);

/* supply.c */
void supply_pull(struct replica *r, struct arc *arc, uint16_t to, const struct frame *pull,
		 uint64_t now_ns);
void supply_tick(struct replica *r, struct arc *arc, uint64_t now_ns);
/* There are new entries. */
void supply_held(struct replica *r, struct arc *arc);
/* Finds what counts by now, applies it and says so. */
void supply_commit(struct replica *r, struct arc *arc);

#endif
