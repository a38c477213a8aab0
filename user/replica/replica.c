/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The face: roles and who is told what. A node's part in an arc follows from the highest epoch it
 * has heard of, from a view or from another member; what comes with a lower one is refused.
 */
#include "replica/replica.h"

#include <errno.h>

#include "base/alloc.h"
#include "replica/impl.h"

struct replica *replica_new(const struct replica_options *options)
{
	struct replica *r = alloc_zero(1, sizeof(*r));

	if (!r)
		return NULL;
	r->options = *options;
	r->log = oplog_new(options->arc_cnt, options->log_bytes);
	r->arcs = alloc_zero(options->arc_cnt, sizeof(*r->arcs));
	/* one answer need not hold more than the whole log */
	r->body_len = options->log_bytes < FRAME_BODY_MAX ? options->log_bytes : FRAME_BODY_MAX;
	r->body = alloc_zero(1, r->body_len);
	if (!r->log || !r->arcs || !r->body) {
		replica_free(r);
		return NULL;
	}
	for (uint32_t i = 0; i < options->arc_cnt; i++) {
		r->arcs[i].role.primary = REPLICA_NO_NODE;
		r->arcs[i].source = REPLICA_NO_NODE;
	}
	return r;
}

void replica_free(struct replica *r)
{
	if (!r)
		return;
	oplog_free(r->log);
	alloc_free(r->arcs);
	alloc_free(r->body);
	alloc_free(r);
}

struct member *arc_member(struct arc *arc, uint16_t node)
{
	for (uint16_t i = 0; i < arc->role.member_cnt; i++) {
		if (arc->role.members[i] == node)
			return &arc->members[i];
	}
	return NULL;
}

void arc_adopt(struct arc *arc, uint64_t epoch, uint64_t now_ns)
{
	arc->epoch = epoch;
	arc->role_ns = now_ns;
	arc->part = PART_MEMBER;
	arc->role.primary = REPLICA_NO_NODE;
	arc->source = REPLICA_NO_NODE;
	/* a snapshot of an earlier primary is begun again */
	arc->in_snapshot = false;
	for (uint16_t i = 0; i < REPLICA_MEMBER_MAX; i++)
		arc->members[i] = (struct member){ .heard = false };
}

void arc_apply(struct replica *r, struct arc *arc)
{
	const struct replica_env *env = &r->options.env;
	uint32_t idx = arc_idx(r, arc);
	struct oplog_entry entry;

	while (arc->applied < arc->commit &&
	       oplog_find(r->log, idx, arc->applied + 1, &entry) == 0) {
		arc->applied++;
		/* the entry that opens an epoch has no record */
		if (entry.record.len)
			env->apply(env->ctx, idx, entry.at, entry.record);
	}
	oplog_applied(r->log, idx, arc->applied);
}

void replica_set_role(struct replica *r, uint32_t idx, const struct replica_role *role,
		      uint64_t now_ns)
{
	struct arc *arc = &r->arcs[idx];

	if (role->epoch < arc->epoch)
		return;
	if (role->epoch > arc->epoch || role->member_cnt != arc->role.member_cnt)
		arc_adopt(arc, role->epoch, now_ns);
	arc->role = *role;
	if (role->primary != r->options.self) {
		if (role->primary != arc->source)
			pull_from(r, arc, role->primary, now_ns);
	} else if (arc->part == PART_MEMBER) {
		take_start(r, arc, now_ns);
	}
}

void replica_set_lease(struct replica *r, uint64_t serve_until_ns)
{
	r->serve_until_ns = serve_until_ns;
}

static void refuse(struct replica *r, const struct arc *arc, uint16_t to)
{
	struct frame frame = frame_of(r, arc, FRAME_REFUSED);

	send_to(r, to, &frame);
}

static void answer_probe(struct replica *r, struct arc *arc, uint16_t from)
{
	struct frame frame = frame_of(r, arc, FRAME_POSITION);

	frame.at = oplog_last(r->log, arc_idx(r, arc));
	frame.commit = arc->commit;
	frame.flags = arc->whole ? FRAME_WHOLE : 0;
	send_to(r, from, &frame);
}

void replica_receive(struct replica *r, uint16_t from, const struct frame *frame, uint64_t now_ns)
{
	struct member *member;
	struct arc *arc;

	if (frame->arc >= r->options.arc_cnt)
		return;
	arc = &r->arcs[frame->arc];
	if (frame->epoch < arc->epoch) {
		if (frame->type == FRAME_PROBE || frame->type == FRAME_PULL)
			refuse(r, arc, from);
		return;
	}
	if (frame->epoch > arc->epoch)
		arc_adopt(arc, frame->epoch, now_ns);
	member = arc_member(arc, from);
	switch (frame->type) {
	case FRAME_PROBE:
		answer_probe(r, arc, from);
		break;
	case FRAME_POSITION:
		if (member && arc->part == PART_TAKING)
			take_position(r, arc, member, frame, now_ns);
		break;
	case FRAME_PULL:
		if (member)
			supply_pull(r, arc, from, frame, now_ns);
		break;
	case FRAME_SUPPLY:
	case FRAME_DIVERGED:
	case FRAME_SNAPSHOT:
		if (from == arc->source)
			pull_answer(r, arc, frame, now_ns);
		break;
	default: /* FRAME_REFUSED said what the epoch is */
		break;
	}
}

void replica_tick(struct replica *r, uint64_t now_ns)
{
	for (uint32_t i = 0; i < r->options.arc_cnt; i++) {
		struct arc *arc = &r->arcs[i];

		pull_tick(r, arc, now_ns);
		if (arc->part == PART_TAKING)
			take_tick(r, arc, now_ns);
		else if (arc->part == PART_LEADING)
			supply_tick(r, arc, now_ns);
	}
}

int replica_write(struct replica *r, uint32_t idx, struct span record, uint64_t now_ns,
		  struct position *ret_at)
{
	struct arc *arc = &r->arcs[idx];
	int rc;

	if (!replica_leads(r, idx, now_ns))
		return -EAGAIN;
	if (record.len == 0 || record.len > FRAME_RECORD_MAX)
		return -EMSGSIZE;
	rc = oplog_append(r->log, OPLOG_WRITE, idx, arc->epoch, record, now_ns);
	if (rc)
		return rc;
	*ret_at = oplog_last(r->log, idx);
	supply_held(r, arc);
	supply_commit(r, arc);
	return 0;
}

bool replica_leads(const struct replica *r, uint32_t arc, uint64_t now_ns)
{
	const struct arc *a = &r->arcs[arc];

	return a->part == PART_LEADING && a->commit >= a->opened && now_ns < r->serve_until_ns;
}

bool replica_whole(const struct replica *r, uint32_t arc)
{
	return r->arcs[arc].whole;
}

struct position replica_last(const struct replica *r, uint32_t arc)
{
	return oplog_last(r->log, arc);
}

bool replica_lag(const struct replica *r, uint32_t idx, uint16_t node, uint64_t now_ns,
		 struct replica_lag *ret)
{
	struct arc *arc = &r->arcs[idx];
	const struct member *member = arc_member(arc, node);
	struct oplog_entry entry;
	uint64_t first;

	if (arc->part != PART_LEADING || !member || !member->heard)
		return false;
	*ret = (struct replica_lag){ .entry_cnt = oplog_last(r->log, idx).seq - member->acked };
	if (ret->entry_cnt == 0)
		return true;
	/* what it lacks and is gone here counts as the oldest that is still there */
	first = oplog_first_seq(r->log, idx);
	if (first <= member->acked)
		first = member->acked + 1;
	if (oplog_find(r->log, idx, first, &entry))
		return false;
	ret->bytes = oplog_bytes(r->log, idx) - entry.bytes_before;
	ret->ns = now_ns - entry.appended_ns;
	return true;
}
