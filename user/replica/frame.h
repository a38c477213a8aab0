/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * frame - what nodes say to each other about one arc.
 *
 * Does      turns a frame into bytes and bytes into a frame; packs log entries into a frame's body
 *           and takes them out again.
 * Shape     a header of FRAME_HEADER_LEN bytes, little endian, then the body. docs/replication.md
 *           draws both and says what each type means.
 * Units     lengths in bytes.
 * Errors    frame_parse: > 0 bytes consumed; -EAGAIN more are needed; -EBADMSG no frame, or a
 *           damaged one; -EPROTO one of another version; -EMSGSIZE a body over FRAME_BODY_MAX.
 *           After any but -EAGAIN nothing that follows can be read: the link has to go.
 * Owner     what is parsed points into the bytes it came from.
 * Threads   any; no state.
 */
#ifndef XC_REPLICA_FRAME_H
#define XC_REPLICA_FRAME_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/span.h"

#define FRAME_VERSION 1
#define FRAME_HEADER_LEN 72
#define FRAME_BODY_MAX (2U << 20)
#define FRAME_ENTRY_HEADER_LEN 12
/* The largest record that a frame can carry. */
#define FRAME_RECORD_MAX (FRAME_BODY_MAX - FRAME_ENTRY_HEADER_LEN)

enum frame_type {
	FRAME_PULL = 1, /* the sender's log ends at `at`: send what follows */
	FRAME_SUPPLY,	/* entries that follow `at` */
	FRAME_DIVERGED, /* the log here has no `end`-th entry like that; try from `at` */
	FRAME_SNAPSHOT, /* items of the arc, as of `at` or later */
	FRAME_PROBE,	/* who leads at this epoch asks where a log ends */
	FRAME_POSITION, /* it ends at `at` */
	FRAME_REFUSED,	/* a higher epoch is known here */
	FRAME_HELLO,	/* first on a connection: whose it is (net/peers.c) */
	FRAME_ASK,	/* a client's command, `cursor` its number (net/node.c) */
	FRAME_ANSWER,	/* what that command came to, with the same number */
	FRAME_TYPE_END,
};

#define FRAME_WHOLE 0x1	   /* what the sender holds is complete up to the end of its log */
#define FRAME_TAKEOVER 0x2 /* a pull by who is about to lead: any member answers */
#define FRAME_CHUNK 0x4	   /* a pull of a snapshot's next part, from `cursor` */
#define FRAME_FLAGS 0x7

/* Where a log ends: the entry's epoch and sequence; 0, 0 before the first. */
struct position {
	uint64_t epoch;
	uint64_t seq;
};

struct frame {
	enum frame_type type;
	uint16_t flags;
	uint32_t arc;
	uint64_t epoch; /* of the arc, as the sender knows it */
	struct position at;
	uint64_t commit; /* entries up to here count */
	uint64_t end;
	uint64_t cursor;
	struct span body;
};

/* Later in the log of one arc. */
static inline bool position_before(struct position a, struct position b)
{
	return a.epoch != b.epoch ? a.epoch < b.epoch : a.seq < b.seq;
}

static inline bool position_equal(struct position a, struct position b)
{
	return a.epoch == b.epoch && a.seq == b.seq;
}

/* Writes the header for a frame whose body follows it; the body's bytes are only summed up. */
void frame_compose(const struct frame *frame, uint8_t ret[FRAME_HEADER_LEN]);
ssize_t frame_parse(struct span in, struct frame *ret);

/* Bytes that an entry takes in a body. */
static inline size_t frame_entry_len(struct span record)
{
	return FRAME_ENTRY_HEADER_LEN + record.len;
}

/* Adds an entry to a body that has `len` bytes so far; false: there is no room in `size`. */
bool frame_add_entry(uint8_t *body, size_t size, size_t *len, uint64_t epoch, struct span record);
/*
 * Takes the next entry off the body's front. 1; 0 at its end; -EBADMSG: it is cut in the middle.
 */
int frame_take_entry(struct span *body, uint64_t *ret_epoch, struct span *ret_record);

#endif
