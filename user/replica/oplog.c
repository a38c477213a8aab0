/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An entry is in its arc's list, in order of sequence, and, once it is applied, in the line of
 * those that may go, in the order in which they were applied. Within an arc both orders are the
 * same, so what goes is always the first that the arc has.
 *
 * A ring would need no lists, but its oldest entry must go first, whoever's it is: one arc whose
 * writes wait for a member that is away would keep all others from writing.
 */
#include "replica/oplog.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"

#define RECORDS_MIN 8 /* of the largest size that the log shall hold at least */

struct entry {
	struct entry *prev, *next; /* of the same arc */
	struct entry *line;	   /* the next that may go */
	struct position at;
	uint64_t appended_ns;
	uint64_t bytes_before;
	uint32_t arc;
	uint32_t len;
	uint8_t record[];
};

struct arc_log {
	struct position last;
	struct position base; /* just before the first entry that is there */
	uint64_t applied;
	uint64_t bytes;
	struct entry *first, *end;
};

struct oplog {
	size_t size;
	size_t used;	  /* by all entries */
	size_t unapplied; /* by those that must stay */
	struct entry *line_first, *line_end;
	uint32_t arc_cnt;
	struct arc_log *arcs;
};

static size_t room_of(size_t record_len)
{
	return sizeof(struct entry) + record_len;
}

struct oplog *oplog_new(uint32_t arc_cnt, size_t bytes)
{
	struct oplog *log = alloc_zero(1, sizeof(*log));

	if (!log)
		return NULL;
	log->size = bytes;
	log->arc_cnt = arc_cnt;
	log->arcs = alloc_zero(arc_cnt, sizeof(*log->arcs));
	if (log->arcs)
		return log;
	alloc_free(log);
	return NULL;
}

void oplog_free(struct oplog *log)
{
	if (!log)
		return;
	for (uint32_t i = 0; i < log->arc_cnt; i++) {
		struct entry *entry = log->arcs[i].first;

		while (entry) {
			struct entry *next = entry->next;

			alloc_free(entry);
			entry = next;
		}
	}
	alloc_free(log->arcs);
	alloc_free(log);
}

struct position oplog_last(const struct oplog *log, uint32_t arc)
{
	return log->arcs[arc].last;
}

uint64_t oplog_first_seq(const struct oplog *log, uint32_t arc)
{
	return log->arcs[arc].base.seq + 1;
}

uint64_t oplog_bytes(const struct oplog *log, uint32_t arc)
{
	return log->arcs[arc].bytes;
}

/* --- room --- */

/* The first of the line goes, which is the first of its arc. */
static void drop_first(struct oplog *log)
{
	struct entry *entry = log->line_first;
	struct arc_log *arc = &log->arcs[entry->arc];

	assert(entry == arc->first);
	log->line_first = entry->line;
	if (!entry->line)
		log->line_end = NULL;
	arc->base = entry->at;
	arc->first = entry->next;
	if (entry->next)
		entry->next->prev = NULL;
	else
		arc->end = NULL;
	log->used -= room_of(entry->len);
	alloc_free(entry);
}

static bool is_over(const struct oplog *log, enum oplog_use use, size_t room)
{
	switch (use) {
	case OPLOG_WRITE:
		return log->unapplied + room > log->size / 2;
	case OPLOG_COPY:
		return log->unapplied + room > log->size / 4 * 3;
	default:
		return false;
	}
}

int oplog_append(struct oplog *log, enum oplog_use use, uint32_t arc_idx, uint64_t epoch,
		 struct span record, uint64_t now_ns)
{
	struct arc_log *arc = &log->arcs[arc_idx];
	size_t room = room_of(record.len);
	struct entry *entry;

	assert(arc_idx < log->arc_cnt && epoch >= arc->last.epoch);
	if (room > log->size / RECORDS_MIN)
		return -EMSGSIZE;
	if (is_over(log, use, room))
		return -ENOBUFS;
	entry = alloc_zero(1, room);
	if (!entry)
		return -ENOMEM;
	while (log->line_first && log->used + room > log->size)
		drop_first(log);
	*entry = (struct entry){ .prev = arc->end,
				 .at = { .epoch = epoch, .seq = arc->last.seq + 1 },
				 .appended_ns = now_ns,
				 .bytes_before = arc->bytes,
				 .arc = arc_idx,
				 .len = (uint32_t)record.len };
	if (record.len)
		memcpy(entry->record, record.ptr, record.len);
	if (arc->end)
		arc->end->next = entry;
	else
		arc->first = entry;
	arc->end = entry;
	arc->last = entry->at;
	arc->bytes += record.len;
	log->used += room;
	log->unapplied += room;
	return 0;
}

/* --- finding --- */

/* From the nearer end. */
static struct entry *find_entry(const struct arc_log *arc, uint64_t seq)
{
	bool back = arc->last.seq - seq < seq - arc->base.seq;
	struct entry *entry = back ? arc->end : arc->first;

	while (entry->at.seq != seq)
		entry = back ? entry->prev : entry->next;
	return entry;
}

int oplog_find(const struct oplog *log, uint32_t arc_idx, uint64_t seq, struct oplog_entry *ret)
{
	const struct arc_log *arc = &log->arcs[arc_idx];
	const struct entry *entry;

	if (seq > arc->last.seq)
		return -ENOENT;
	if (seq <= arc->base.seq)
		return -ESTALE;
	entry = find_entry(arc, seq);
	*ret = (struct oplog_entry){
		.at = entry->at,
		.appended_ns = entry->appended_ns,
		.bytes_before = entry->bytes_before,
		.record = span_of(entry->record, entry->len),
	};
	return 0;
}

int oplog_epoch_at(const struct oplog *log, uint32_t arc_idx, uint64_t seq, uint64_t *ret)
{
	const struct arc_log *arc = &log->arcs[arc_idx];

	if (seq > arc->last.seq)
		return -ENOENT;
	if (seq < arc->base.seq)
		return -ESTALE;
	*ret = seq == arc->base.seq ? arc->base.epoch : find_entry(arc, seq)->at.epoch;
	return 0;
}

/* --- the ends --- */

void oplog_applied(struct oplog *log, uint32_t arc_idx, uint64_t seq)
{
	struct arc_log *arc = &log->arcs[arc_idx];
	struct entry *entry;

	assert(seq >= arc->applied && seq <= arc->last.seq);
	if (seq == arc->applied)
		return;
	for (entry = find_entry(arc, arc->applied + 1); entry && entry->at.seq <= seq;
	     entry = entry->next) {
		if (log->line_end)
			log->line_end->line = entry;
		else
			log->line_first = entry;
		log->line_end = entry;
		log->unapplied -= room_of(entry->len);
	}
	arc->applied = seq;
}

void oplog_truncate(struct oplog *log, uint32_t arc_idx, uint64_t seq)
{
	struct arc_log *arc = &log->arcs[arc_idx];

	assert(seq >= arc->applied && seq >= arc->base.seq && seq <= arc->last.seq);
	while (arc->last.seq > seq) {
		struct entry *entry = arc->end;

		arc->end = entry->prev;
		arc->bytes = entry->bytes_before;
		if (arc->end)
			arc->end->next = NULL;
		else
			arc->first = NULL;
		arc->last = arc->end ? arc->end->at : arc->base;
		log->used -= room_of(entry->len);
		log->unapplied -= room_of(entry->len);
		alloc_free(entry);
	}
}

/* Takes the arc's entries out of the line. */
static void leave_line(struct oplog *log, uint32_t arc_idx)
{
	struct entry **at = &log->line_first, *end = NULL;

	while (*at) {
		struct entry *entry = *at;

		if (entry->arc == arc_idx) {
			*at = entry->line;
			continue;
		}
		end = entry;
		at = &entry->line;
	}
	log->line_end = end;
}

void oplog_reset(struct oplog *log, uint32_t arc_idx, struct position at)
{
	struct arc_log *arc = &log->arcs[arc_idx];

	oplog_truncate(log, arc_idx, arc->applied);
	leave_line(log, arc_idx);
	while (arc->first) {
		struct entry *entry = arc->first;

		arc->first = entry->next;
		log->used -= room_of(entry->len);
		alloc_free(entry);
	}
	arc->end = NULL;
	arc->bytes = 0;
	arc->base = arc->last = at;
	arc->applied = at.seq;
}
