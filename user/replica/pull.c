/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Receiving a log. One question is out at a time, and only the answer to it is taken, so that
 * frames which come late, twice or out of order change nothing:
 *
 *   PULL at (e, s)  ->  SUPPLY at (e, s)    entries s + 1 … are appended
 *                   ->  DIVERGED at (f, t)  our log's end is not in the source's: what lies behind
 *                                           its last place that can be is dropped, asked again
 *                   ->  DIVERGED, CHUNK     the source's log does not reach back: a snapshot
 *   PULL, CHUNK     ->  SNAPSHOT            items; the last one has cursor 0
 *
 * Dropping entries that were applied would leave their values behind: then all of the arc goes, and
 * comes again by a snapshot.
 *
 * The items of a snapshot are as of its base or newer. Entries behind the base follow from the log
 * and say the same or better; complete up to one moment the arc is when these have come up to what
 * counted at the source when the last item was sent.
 */
#include <assert.h>

#include "replica/impl.h"

static void ask(struct replica *r, struct arc *arc, uint64_t now_ns)
{
	struct frame frame = frame_of(r, arc, FRAME_PULL);

	arc->asked_ns = now_ns;
	frame.flags =
		(arc->whole ? FRAME_WHOLE : 0) | (arc->part == PART_TAKING ? FRAME_TAKEOVER : 0);
	frame.commit = arc->commit;
	if (arc->in_snapshot) {
		frame.flags |= FRAME_CHUNK;
		frame.at = arc->base;
		frame.cursor = arc->cursor;
	} else {
		frame.at = oplog_last(r->log, arc_idx(r, arc));
		frame.cursor = ++arc->nonce;
	}
	send_to(r, arc->source, &frame);
}

void pull_tick(struct replica *r, struct arc *arc, uint64_t now_ns)
{
	if (arc->source != REPLICA_NO_NODE && now_ns - arc->asked_ns >= r->options.retry_ns)
		ask(r, arc, now_ns);
}

/* Forgets all of the arc and begins a snapshot. */
static void start_over(struct replica *r, struct arc *arc)
{
	uint32_t idx = arc_idx(r, arc);

	r->options.env.clear(r->options.env.ctx, idx);
	oplog_reset(r->log, idx, (struct position){ 0, 0 });
	arc->commit = arc->applied = 0;
	arc->settled = 0;
	arc->whole = false;
	arc->in_snapshot = true;
	arc->partial = false;
	arc->base = (struct position){ 0, 0 };
	arc->cursor = 0;
}

void pull_from(struct replica *r, struct arc *arc, uint16_t source, uint64_t now_ns)
{
	arc->source = source;
	arc->in_snapshot = false;
	if (source == REPLICA_NO_NODE)
		return;
	/* items that are newer than the log came from another source: this one may not have them */
	if (arc->partial || arc->settled > oplog_last(r->log, arc_idx(r, arc)).seq)
		start_over(r, arc);
	ask(r, arc, now_ns);
}

/* False: there was something to append, and no room for it. */
static bool take_supply(struct replica *r, struct arc *arc, const struct frame *frame,
			uint64_t now_ns)
{
	uint32_t idx = arc_idx(r, arc);
	struct position first = oplog_last(r->log, idx), last = first;
	struct span body = frame->body, record;
	uint64_t epoch;

	if (!position_equal(frame->at, first))
		return false;
	while (frame_take_entry(&body, &epoch, &record) == 1) {
		if (epoch < last.epoch || epoch > frame->epoch ||
		    oplog_append(r->log, OPLOG_COPY, idx, epoch, record, now_ns))
			break;
		last = oplog_last(r->log, idx);
	}
	if (frame->commit > arc->commit)
		arc->commit = frame->commit < last.seq ? frame->commit : last.seq;
	arc_apply(r, arc);
	if (last.seq >= frame->end && last.seq >= arc->settled)
		arc->whole = true;
	return last.seq > first.seq || frame->body.len == 0;
}

static void take_divergence(struct replica *r, struct arc *arc, const struct frame *frame)
{
	uint32_t idx = arc_idx(r, arc);
	struct position last = oplog_last(r->log, idx);
	uint64_t seq = frame->at.seq < last.seq ? frame->at.seq : last.seq;
	uint64_t epoch;

	if (frame->flags & FRAME_CHUNK) {
		start_over(r, arc);
		return;
	}
	/* our last place that the source's log can have, too */
	while (seq >= arc->applied && oplog_epoch_at(r->log, idx, seq, &epoch) == 0 &&
	       epoch > frame->at.epoch && seq > 0)
		seq--;
	if (seq < arc->applied || oplog_epoch_at(r->log, idx, seq, &epoch))
		start_over(r, arc);
	else
		oplog_truncate(r->log, idx, seq);
}

static void take_items(struct replica *r, struct arc *arc, const struct frame *frame)
{
	const struct replica_env *env = &r->options.env;
	struct span body = frame->body, record;
	uint64_t epoch;

	while (frame_take_entry(&body, &epoch, &record) == 1)
		env->restore(env->ctx, arc_idx(r, arc), record);
	arc->partial = frame->cursor != 0;
	/* a part may be late, and know less than one that came before it */
	if (frame->commit > arc->settled)
		arc->settled = frame->commit;
	arc->base = frame->at;
	arc->cursor = frame->cursor;
	if (frame->cursor != 0)
		return;
	arc->in_snapshot = false;
	oplog_reset(r->log, arc_idx(r, arc), arc->base);
	arc->commit = arc->applied = arc->base.seq;
}

void pull_answer(struct replica *r, struct arc *arc, const struct frame *frame, uint64_t now_ns)
{
	bool again = true;

	if (frame->type == FRAME_SNAPSHOT) {
		if (!arc->in_snapshot || frame->end != arc->cursor ||
		    frame->at.epoch > frame->epoch ||
		    (arc->cursor != 0 && !position_equal(frame->at, arc->base)))
			return;
		take_items(r, arc, frame);
	} else {
		if (arc->in_snapshot || frame->cursor != arc->nonce)
			return;
		/* no second answer to the same question */
		arc->nonce++;
		if (frame->type == FRAME_SUPPLY)
			again = take_supply(r, arc, frame, now_ns);
		else
			take_divergence(r, arc, frame);
	}
	if (again)
		arc->progress_ns = now_ns;
	if (arc->part == PART_TAKING)
		take_tick(r, arc, now_ns);
	/* without room the next tick asks: by then there may be some */
	if (again && arc->source != REPLICA_NO_NODE)
		ask(r, arc, now_ns);
}
