/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From being the view's primary to leading:
 *
 *   1. Every other member is asked where its log ends. By answering it takes the new epoch over and
 *      serves, supplies and acknowledges nothing of a lower one any more.
 *   2. Nobody else can be serving: each member has answered, or its lease is gone by the view, or a
 *      lease's whole length has passed since the epoch became known here. For a node's lease is
 *      renewed only together with a reading of the view.
 *   3. Enough is known: in quorum mode most members are whole and have answered (or all have
 *      answered, and nothing more can be found out); else all have answered that are alive, or
 *      a lease's length has been waited for them.
 *   4. The log that ends last, of those that are whole, is pulled.
 *   5. An entry without a record opens the epoch: by counting, it makes all before it count.
 *
 * A member is whole when nothing is missing between its first item and its log's end. One that has
 * restarted is not, and its short log says nothing about what was acknowledged.
 */
#include <assert.h>

#include "replica/impl.h"

/* Asked again this many times without progress: whoever is being pulled from does not answer. */
#define STALL_RETRIES 4

static void probe(struct replica *r, struct arc *arc, uint64_t now_ns)
{
	struct frame frame = frame_of(r, arc, FRAME_PROBE);

	arc->probed_ns = now_ns;
	for (uint16_t i = 0; i < arc->role.member_cnt; i++) {
		if (arc->role.members[i] != r->options.self && !arc->members[i].answered)
			send_to(r, arc->role.members[i], &frame);
	}
}

void take_start(struct replica *r, struct arc *arc, uint64_t now_ns)
{
	arc->part = PART_TAKING;
	arc->source = REPLICA_NO_NODE;
	arc->in_snapshot = false;
	for (uint16_t i = 0; i < arc->role.member_cnt; i++)
		arc->members[i] = (struct member){ .answered = false };
	arc->taking_ns = arc->progress_ns = now_ns;
	probe(r, arc, now_ns);
	take_tick(r, arc, now_ns);
}

static bool is_enough(const struct replica *r, const struct arc *arc, uint64_t now_ns)
{
	bool fenced = now_ns - arc->role_ns >= r->options.lease_ns;
	bool waited = now_ns - arc->taking_ns >= r->options.lease_ns;
	uint16_t whole_cnt = 0, answered_cnt = 0;

	for (uint16_t i = 0; i < arc->role.member_cnt; i++) {
		const struct member *member = &arc->members[i];
		bool self = arc->role.members[i] == r->options.self;
		bool known = self || member->answered;

		if (!known && !arc->role.down[i] &&
		    (!fenced || (r->options.ack != REPLICA_QUORUM && !waited)))
			return false;
		answered_cnt += known;
		whole_cnt += self ? arc->whole : member->whole;
	}
	return r->options.ack != REPLICA_QUORUM || 2 * whole_cnt > arc->role.member_cnt ||
	       answered_cnt == arc->role.member_cnt;
}

/* The member whose log ends last; NULL: our own does. */
static const struct member *pick_best(const struct replica *r, const struct arc *arc,
				      uint16_t *ret_node)
{
	struct position at = oplog_last(r->log, arc_idx(r, arc));
	const struct member *best = NULL;
	bool whole = arc->whole;

	for (uint16_t i = 0; i < arc->role.member_cnt; i++) {
		const struct member *member = &arc->members[i];

		if (!member->answered || member->whole < whole)
			continue;
		if (member->whole == whole && !position_before(at, member->at))
			continue;
		whole = member->whole;
		at = member->at;
		best = member;
		*ret_node = arc->role.members[i];
	}
	return best;
}

static void lead(struct replica *r, struct arc *arc, uint64_t now_ns)
{
	uint32_t idx = arc_idx(r, arc);

	if (oplog_append(r->log, OPLOG_OPEN, idx, arc->epoch, span_of(NULL, 0), now_ns))
		return; /* out of memory: again at the next tick */
	/* nobody is whole: better nothing than some items of some moment */
	if (arc->partial)
		r->options.env.clear(r->options.env.ctx, idx);
	arc->partial = false;
	arc->part = PART_LEADING;
	arc->source = REPLICA_NO_NODE;
	arc->in_snapshot = false;
	arc->whole = true;
	for (uint16_t i = 0; i < arc->role.member_cnt; i++)
		arc->members[i] = (struct member){ .heard = false };
	arc->opened = oplog_last(r->log, idx).seq;
	/* without a quorum's promise what is known here counts, though the members be away */
	if (r->options.ack != REPLICA_QUORUM) {
		arc->commit = arc->opened;
		arc_apply(r, arc);
	}
	supply_commit(r, arc);
}

void take_tick(struct replica *r, struct arc *arc, uint64_t now_ns)
{
	const struct member *best;
	uint16_t node = REPLICA_NO_NODE;

	if (now_ns - arc->probed_ns >= r->options.retry_ns)
		probe(r, arc, now_ns);
	if (!is_enough(r, arc, now_ns)) {
		arc->progress_ns = now_ns;
		return;
	}
	best = pick_best(r, arc, &node);
	if (!best) {
		lead(r, arc, now_ns);
	} else if (now_ns - arc->progress_ns >= STALL_RETRIES * r->options.retry_ns) {
		/* it may have gone since; what it had is asked of everybody again */
		take_start(r, arc, now_ns);
	} else if (arc->source != node) {
		pull_from(r, arc, node, now_ns);
	}
}

void take_position(struct replica *r, struct arc *arc, struct member *member,
		   const struct frame *frame, uint64_t now_ns)
{
	if (member->answered)
		return;
	member->answered = true;
	member->whole = frame->flags & FRAME_WHOLE;
	member->at = frame->at;
	take_tick(r, arc, now_ns);
}
