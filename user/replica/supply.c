/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sending a log, and finding what counts.
 *
 * A pull says how far the member's log goes. If that place is in ours, by epoch and sequence, the
 * member has all that we have up to it, and that is its acknowledgement; when nothing follows yet,
 * the pull waits here for hold_ns. An entry counts by the number of members that have it only if it
 * is of the present epoch; those before it count with it (Raft, 5.4.2).
 */
#include <assert.h>
#include <errno.h>

#include "replica/impl.h"

/* --- what counts --- */

static void sort_down(uint64_t *seqs, uint16_t cnt)
{
	for (uint16_t i = 1; i < cnt; i++) {
		uint64_t seq = seqs[i];
		uint16_t j = i;

		for (; j > 0 && seqs[j - 1] < seq; j--)
			seqs[j] = seqs[j - 1];
		seqs[j] = seq;
	}
}

/* The last entry that enough members have. */
static uint64_t acked_by_enough(const struct replica *r, const struct arc *arc)
{
	uint64_t last = oplog_last(r->log, arc_idx(r, arc)).seq;
	uint64_t seqs[REPLICA_MEMBER_MAX];
	uint16_t cnt = arc->role.member_cnt;

	if (r->options.ack == REPLICA_ASYNC || cnt == 1)
		return last;
	for (uint16_t i = 0; i < cnt; i++)
		seqs[i] = arc->role.members[i] == r->options.self ? last : arc->members[i].acked;
	sort_down(seqs, cnt);
	return r->options.ack == REPLICA_ONE ? seqs[1] : seqs[cnt / 2];
}

void supply_commit(struct replica *r, struct arc *arc)
{
	const struct replica_env *env = &r->options.env;
	uint32_t idx = arc_idx(r, arc);
	uint64_t seq = acked_by_enough(r, arc);
	uint64_t epoch;

	if (seq <= arc->commit || oplog_epoch_at(r->log, idx, seq, &epoch) || epoch != arc->epoch)
		return;
	arc->commit = seq;
	arc_apply(r, arc);
	env->committed(env->ctx, idx, arc->epoch, seq);
}

/* --- answers --- */

static void supply(struct replica *r, struct arc *arc, uint16_t to, const struct frame *pull)
{
	struct frame frame = frame_of(r, arc, FRAME_SUPPLY);
	uint32_t idx = arc_idx(r, arc);
	struct oplog_entry entry;
	size_t len = 0;

	for (uint64_t seq = pull->at.seq + 1; oplog_find(r->log, idx, seq, &entry) == 0; seq++) {
		if (!frame_add_entry(r->body, r->body_len, &len, entry.at.epoch, entry.record))
			break;
	}
	frame.at = pull->at;
	frame.commit = arc->commit;
	frame.end = oplog_last(r->log, idx).seq;
	frame.cursor = pull->cursor;
	frame.body = span_of(r->body, len);
	send_to(r, to, &frame);
}

/* Our last place that a log which ends at `at`, and is not ours up to there, can have, too. */
static void diverge(struct replica *r, struct arc *arc, uint16_t to, const struct frame *pull)
{
	struct frame frame = frame_of(r, arc, FRAME_DIVERGED);
	uint32_t idx = arc_idx(r, arc);
	struct position last = oplog_last(r->log, idx);
	uint64_t seq = pull->at.seq < last.seq ? pull->at.seq : last.seq;
	uint64_t epoch = 0;
	int rc;

	while ((rc = oplog_epoch_at(r->log, idx, seq, &epoch)) == 0 && epoch > pull->at.epoch)
		seq--;
	if (rc)
		frame.flags = FRAME_CHUNK;
	else
		frame.at = (struct position){ .epoch = epoch, .seq = seq };
	frame.cursor = pull->cursor;
	send_to(r, to, &frame);
}

static void send_items(struct replica *r, struct arc *arc, uint16_t to, const struct frame *pull)
{
	const struct replica_env *env = &r->options.env;
	struct frame frame = frame_of(r, arc, FRAME_SNAPSHOT);
	uint32_t idx = arc_idx(r, arc);
	uint64_t cursor = pull->cursor;
	size_t len = 0;

	frame.at = pull->at;
	if (cursor == 0) {
		frame.at.seq = arc->applied;
		if (oplog_epoch_at(r->log, idx, arc->applied, &frame.at.epoch))
			return;
	}
	env->scan(env->ctx, idx, &cursor, r->body, r->body_len, &len);
	frame.end = pull->cursor;
	frame.cursor = cursor;
	frame.commit = arc->applied;
	frame.body = span_of(r->body, len);
	send_to(r, to, &frame);
}

void supply_pull(struct replica *r, struct arc *arc, uint16_t to, const struct frame *pull,
		 uint64_t now_ns)
{
	struct member *member = arc_member(arc, to);
	bool leading = arc->part == PART_LEADING;
	uint32_t idx = arc_idx(r, arc);
	uint64_t epoch;
	int rc;

	/*
	 * A log that is still being taken over may yet be cut. Who has restarted since it was asked
	 * where its log ends has nothing to give to who has more.
	 */
	if (!leading &&
	    (!(pull->flags & FRAME_TAKEOVER) || ((pull->flags & FRAME_WHOLE) && !arc->whole)))
		return;
	if (pull->flags & FRAME_CHUNK) {
		send_items(r, arc, to, pull);
		return;
	}
	rc = oplog_epoch_at(r->log, idx, pull->at.seq, &epoch);
	if (rc || epoch != pull->at.epoch) {
		diverge(r, arc, to, pull);
		return;
	}
	if (!leading) {
		supply(r, arc, to, pull);
		return;
	}
	if ((pull->flags & FRAME_WHOLE) && (!member->heard || pull->at.seq > member->acked)) {
		member->heard = true;
		member->acked = pull->at.seq;
		supply_commit(r, arc);
	}
	member->held = pull->at.seq == oplog_last(r->log, idx).seq && pull->commit >= arc->commit &&
		       (pull->flags & FRAME_WHOLE);
	if (!member->held) {
		supply(r, arc, to, pull);
		return;
	}
	member->pull = *pull;
	member->held_ns = now_ns;
}

void supply_held(struct replica *r, struct arc *arc)
{
	for (uint16_t i = 0; i < arc->role.member_cnt; i++) {
		struct member *member = &arc->members[i];

		if (!member->held)
			continue;
		member->held = false;
		supply(r, arc, arc->role.members[i], &member->pull);
	}
}

void supply_tick(struct replica *r, struct arc *arc, uint64_t now_ns)
{
	for (uint16_t i = 0; i < arc->role.member_cnt; i++) {
		struct member *member = &arc->members[i];

		if (!member->held || now_ns - member->held_ns < r->options.hold_ns)
			continue;
		member->held = false;
		supply(r, arc, arc->role.members[i], &member->pull);
	}
}
