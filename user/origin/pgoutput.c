/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages, in bytes, numbers big endian, strings end with a zero; [xid]: 4, only if streamed:
 *
 *   B commit lsn (8) time (8) xid (4)               O lsn (8) name
 *   C flags (1) commit lsn (8) end lsn (8) time (8) Y [xid] oid (4) schema name
 *   R [xid] oid (4) schema name identity (1) columns (2), each: flags (1) name type (4) mod (4)
 *   I [xid] oid (4) 'N' row                         U [xid] oid (4) {'K'|'O' row} 'N' row
 *   D [xid] oid (4) 'K'|'O' row                     T [xid] cnt (4) flags (1) oids (4 each)
 *   M [xid] flags (1) lsn (8) prefix len (4) bytes
 *   S xid (4) first (1)   E   c xid (4) and as C   A xid (4) xid of the part (4)
 *
 *   row: values (2), each: 'n' | 'u' | 't' len (4) bytes | 'b' len (4) bytes
 *
 *   w start (8) end (8) time (8) message            k end (8) time (8) reply wanted (1)
 *   r received (8) flushed (8) applied (8) time (8) reply wanted (1)
 */
#include "origin/pgoutput.h"

#include <errno.h>

/* The first error stays; what is taken after it is zero. */
struct reader {
	const uint8_t *at;
	size_t left;
	int error;
};

static struct reader reader_of(struct span bytes)
{
	return (struct reader){ .at = bytes.ptr, .left = bytes.len };
}

static void refuse(struct reader *r, int error)
{
	if (!r->error)
		r->error = error;
}

static struct span take_bytes(struct reader *r, size_t len)
{
	struct span taken = span_of(r->at, len);

	if (!r->error && r->left < len)
		r->error = -EAGAIN;
	if (r->error)
		return span_of(r->at, 0);
	r->at += len;
	r->left -= len;
	return taken;
}

static uint64_t take_number(struct reader *r, size_t len)
{
	struct span bytes = take_bytes(r, len);
	uint64_t number = 0;

	for (size_t i = 0; i < bytes.len; i++)
		number = number << 8 | bytes.ptr[i];
	return number;
}

static uint8_t take_byte(struct reader *r)
{
	return (uint8_t)take_number(r, 1);
}

static uint32_t take32(struct reader *r)
{
	return (uint32_t)take_number(r, 4);
}

/* One that is none of those is refused. */
static uint8_t take_one_of(struct reader *r, const char *those)
{
	uint8_t byte = take_byte(r);

	if (!r->error && (!byte || !strchr(those, byte)))
		refuse(r, -EBADMSG);
	return byte;
}

static struct span take_string(struct reader *r)
{
	size_t max = r->left <= PGOUTPUT_STRING_MAX ? r->left : PGOUTPUT_STRING_MAX + 1;
	const uint8_t *end = r->error || !max ? NULL : memchr(r->at, 0, max);
	struct span taken;

	if (!end) {
		refuse(r, max > PGOUTPUT_STRING_MAX ? -EMSGSIZE : -EAGAIN);
		return span_of(r->at, 0);
	}
	taken = take_bytes(r, (size_t)(end - r->at));
	take_byte(r);
	return taken;
}

static uint32_t take_cnt(struct reader *r, size_t len, uint32_t max)
{
	uint32_t cnt = (uint32_t)take_number(r, len);

	if (cnt > max)
		refuse(r, -EMSGSIZE);
	return r->error ? 0 : cnt;
}

static struct pgoutput_value take_value(struct reader *r)
{
	struct pgoutput_value value = { .kind = take_one_of(r, "nutb"),
					.bytes = span_of(r->at, 0) };

	if (value.kind == 't' || value.kind == 'b')
		value.bytes = take_bytes(r, take_cnt(r, 4, PGOUTPUT_VALUE_MAX));
	return value;
}

static struct pgoutput_tuple take_tuple(struct reader *r)
{
	struct pgoutput_tuple tuple = {
		.value_cnt = (uint16_t)take_cnt(r, 2, PGOUTPUT_COLUMN_MAX),
	};
	const uint8_t *start = r->at;

	for (uint16_t i = 0; i < tuple.value_cnt && !r->error; i++)
		take_value(r);
	tuple.values = span_of(start, (size_t)(r->at - start));
	return tuple;
}

static struct pgoutput_column take_column(struct reader *r)
{
	struct pgoutput_column column = { .in_identity = take_byte(r) & 1 };

	column.name = take_string(r);
	column.type_oid = take32(r);
	column.type_mod = (int32_t)take32(r);
	return column;
}

static struct pgoutput_relation take_relation(struct reader *r)
{
	struct pgoutput_relation relation = { .oid = take32(r) };
	const uint8_t *start;

	relation.schema = take_string(r);
	relation.name = take_string(r);
	relation.identity = take_one_of(r, "dnfi");
	relation.column_cnt = (uint16_t)take_cnt(r, 2, PGOUTPUT_COLUMN_MAX);
	start = r->at;
	for (uint16_t i = 0; i < relation.column_cnt && !r->error; i++)
		take_column(r);
	relation.columns = span_of(start, (size_t)(r->at - start));
	return relation;
}

static struct pgoutput_change take_change(struct reader *r, enum pgoutput_type type)
{
	struct pgoutput_change change = { .oid = take32(r) };
	uint8_t kind = take_one_of(r, type == PGOUTPUT_INSERT	? "N"
				      : type == PGOUTPUT_UPDATE ? "KON"
								: "KO");

	if (kind != 'N') {
		change.old_kind = kind;
		change.old_row = take_tuple(r);
		if (type == PGOUTPUT_UPDATE)
			kind = take_one_of(r, "N");
	}
	if (kind == 'N')
		change.new_row = take_tuple(r);
	return change;
}

static struct pgoutput_truncate take_truncate(struct reader *r)
{
	struct pgoutput_truncate truncate = { .cnt = take_cnt(r, 4, PGOUTPUT_TRUNCATE_MAX) };

	truncate.flags = take_byte(r);
	truncate.oids = take_bytes(r, 4 * (size_t)truncate.cnt);
	return truncate;
}

static struct pgoutput_transaction take_commit(struct reader *r)
{
	struct pgoutput_transaction commit = { 0 };

	/* Of no meaning yet: a server that gives them one is not understood. */
	if (take_byte(r))
		refuse(r, -EBADMSG);
	commit.commit_lsn = take_number(r, 8);
	commit.end_lsn = take_number(r, 8);
	commit.commit_us = (int64_t)take_number(r, 8);
	return commit;
}

static struct pgoutput_text take_text(struct reader *r, enum pgoutput_type type)
{
	struct pgoutput_text text = { 0 };

	switch (type) {
	case PGOUTPUT_ORIGIN:
		text.lsn = take_number(r, 8);
		text.name = take_string(r);
		break;
	case PGOUTPUT_TYPE:
		text.oid = take32(r);
		text.schema = take_string(r);
		text.name = take_string(r);
		break;
	default:
		text.flags = take_byte(r);
		text.lsn = take_number(r, 8);
		text.name = take_string(r);
		text.body = take_bytes(r, take_cnt(r, 4, PGOUTPUT_VALUE_MAX));
	}
	return text;
}

/* Begin, and what is said of a transaction that is streamed before its end. */
static void take_transaction(struct reader *r, struct pgoutput_message *message)
{
	struct pgoutput_transaction *transaction = &message->transaction;

	switch (message->type) {
	case PGOUTPUT_BEGIN:
		transaction->commit_lsn = take_number(r, 8);
		transaction->commit_us = (int64_t)take_number(r, 8);
		message->xid = take32(r);
		break;
	case PGOUTPUT_STREAM_START:
		message->xid = take32(r);
		transaction->first = take_byte(r) == 1;
		break;
	case PGOUTPUT_STREAM_COMMIT:
		message->xid = take32(r);
		*transaction = take_commit(r);
		break;
	case PGOUTPUT_STREAM_ABORT:
		message->xid = take32(r);
		transaction->sub_xid = take32(r);
		break;
	case PGOUTPUT_COMMIT:
		*transaction = take_commit(r);
		break;
	default:
		break; /* the end of a part says no more */
	}
}

static void take_message(struct reader *r, bool streamed, struct pgoutput_message *message)
{
	message->type = (enum pgoutput_type)take_one_of(r, "BCORYIUDTMSEcA");
	if (r->error)
		return;
	if (streamed && strchr("RYIUDTM", (int)message->type))
		message->xid = take32(r);
	switch (message->type) {
	case PGOUTPUT_RELATION:
		message->relation = take_relation(r);
		break;
	case PGOUTPUT_INSERT:
	case PGOUTPUT_UPDATE:
	case PGOUTPUT_DELETE:
		message->change = take_change(r, message->type);
		break;
	case PGOUTPUT_TRUNCATE:
		message->truncate = take_truncate(r);
		break;
	case PGOUTPUT_ORIGIN:
	case PGOUTPUT_TYPE:
	case PGOUTPUT_MESSAGE:
		message->text = take_text(r, message->type);
		break;
	default:
		take_transaction(r, message);
	}
}

ssize_t pgoutput_parse(struct span bytes, bool streamed, struct pgoutput_message *ret)
{
	struct reader r = reader_of(bytes);
	struct pgoutput_message message = { 0 };

	take_message(&r, streamed, &message);
	if (r.error)
		return r.error;
	*ret = message;
	return (ssize_t)(bytes.len - r.left);
}

ssize_t pgoutput_parse_frame(struct span bytes, struct pgoutput_frame *ret)
{
	struct reader r = reader_of(bytes);
	struct pgoutput_frame frame = { .kind = take_one_of(&r, "wk") };

	if (frame.kind == 'w')
		frame.start = take_number(&r, 8);
	frame.end = take_number(&r, 8);
	frame.server_us = (int64_t)take_number(&r, 8);
	if (frame.kind == 'w')
		frame.body = take_bytes(&r, r.left);
	else
		frame.wants_reply = take_byte(&r) != 0;
	if (r.error)
		return r.error;
	*ret = frame;
	return (ssize_t)(bytes.len - r.left);
}

/* --- out of what was parsed --- */

static void put_back(struct span *rest, const struct reader *r)
{
	*rest = span_of(r->at, r->left);
}

bool pgoutput_take_column(struct span *columns, struct pgoutput_column *ret)
{
	struct reader r = reader_of(*columns);
	struct pgoutput_column column = take_column(&r);

	if (r.error)
		return false;
	*ret = column;
	put_back(columns, &r);
	return true;
}

bool pgoutput_take_value(struct span *values, struct pgoutput_value *ret)
{
	struct reader r = reader_of(*values);
	struct pgoutput_value value = take_value(&r);

	if (r.error)
		return false;
	*ret = value;
	put_back(values, &r);
	return true;
}

bool pgoutput_take_oid(struct span *oids, uint32_t *ret)
{
	struct reader r = reader_of(*oids);
	uint32_t oid = take32(&r);

	if (r.error)
		return false;
	*ret = oid;
	put_back(oids, &r);
	return true;
}

/* --- the answer --- */

static uint8_t *put64(uint8_t *to, uint64_t number)
{
	for (int i = 7; i >= 0; i--)
		*to++ = (uint8_t)(number >> (8 * i));
	return to;
}

void pgoutput_compose_status(const struct pgoutput_status *status, uint8_t ret[PGOUTPUT_STATUS_LEN])
{
	uint8_t *to = ret;

	*to++ = 'r';
	to = put64(to, status->received);
	to = put64(to, status->flushed);
	to = put64(to, status->flushed);
	to = put64(to, (uint64_t)status->client_us);
	*to = status->wants_reply;
}
