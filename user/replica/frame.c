/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The header, in bytes:
 *
 *    0 magic "xcr\n"   4 version   5 type   6 flags (2)   8 length of the body (4)   12 arc (4)
 *   16 epoch   24 at.epoch   32 at.seq   40 commit   48 end   56 cursor (8 each)
 *   64 XXH3-64 of bytes 0 to 63 and, seeded with that, of the body
 *
 * An entry in a body: epoch (8), length (4), the record's bytes.
 */
#include "replica/frame.h"

#include <errno.h>
#include <string.h>
#include <xxhash.h>

#define MAGIC 0x0a726378U
#define SUM_AT 64

_Static_assert(SUM_AT + 8 == FRAME_HEADER_LEN, "the sum ends the header");

static void put32(uint8_t *to, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		to[i] = (uint8_t)(value >> (8 * i));
}

static void put64(uint8_t *to, uint64_t value)
{
	put32(to, (uint32_t)value);
	put32(to + 4, (uint32_t)(value >> 32));
}

static uint32_t get32(const uint8_t *from)
{
	return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 |
	       (uint32_t)from[3] << 24;
}

static uint64_t get64(const uint8_t *from)
{
	return get32(from) | (uint64_t)get32(from + 4) << 32;
}

static uint64_t sum_of(const uint8_t *header, struct span body)
{
	uint64_t sum = XXH3_64bits(header, SUM_AT);

	return body.len ? XXH3_64bits_withSeed(body.ptr, body.len, sum) : sum;
}

void frame_compose(const struct frame *frame, uint8_t ret[FRAME_HEADER_LEN])
{
	put32(ret, MAGIC);
	ret[4] = FRAME_VERSION;
	ret[5] = (uint8_t)frame->type;
	ret[6] = (uint8_t)frame->flags;
	ret[7] = (uint8_t)(frame->flags >> 8);
	put32(ret + 8, (uint32_t)frame->body.len);
	put32(ret + 12, frame->arc);
	put64(ret + 16, frame->epoch);
	put64(ret + 24, frame->at.epoch);
	put64(ret + 32, frame->at.seq);
	put64(ret + 40, frame->commit);
	put64(ret + 48, frame->end);
	put64(ret + 56, frame->cursor);
	put64(ret + SUM_AT, sum_of(ret, frame->body));
}

/* What can be said before everything is there: a wrong beginning is not waited for. */
static int check_start(struct span in)
{
	uint8_t magic[4];

	put32(magic, MAGIC);
	if (memcmp(in.ptr, magic, in.len < 4 ? in.len : 4) != 0)
		return -EBADMSG;
	if (in.len > 4 && in.ptr[4] != FRAME_VERSION)
		return -EPROTO;
	if (in.len > 5 && (in.ptr[5] < FRAME_PULL || in.ptr[5] >= FRAME_TYPE_END))
		return -EBADMSG;
	if (in.len >= 8 && ((in.ptr[6] & ~FRAME_FLAGS) || in.ptr[7]))
		return -EBADMSG;
	if (in.len >= 12 && get32(in.ptr + 8) > FRAME_BODY_MAX)
		return -EMSGSIZE;
	return 0;
}

ssize_t frame_parse(struct span in, struct frame *ret)
{
	int rc = in.len ? check_start(in) : 0;
	struct span body;

	if (rc)
		return rc;
	if (in.len < FRAME_HEADER_LEN)
		return -EAGAIN;
	body = span_of(in.ptr + FRAME_HEADER_LEN, get32(in.ptr + 8));
	if (in.len - FRAME_HEADER_LEN < body.len)
		return -EAGAIN;
	if (get64(in.ptr + SUM_AT) != sum_of(in.ptr, body))
		return -EBADMSG;
	*ret = (struct frame){
		.type = in.ptr[5],
		.flags = in.ptr[6],
		.arc = get32(in.ptr + 12),
		.epoch = get64(in.ptr + 16),
		.at = { .epoch = get64(in.ptr + 24), .seq = get64(in.ptr + 32) },
		.commit = get64(in.ptr + 40),
		.end = get64(in.ptr + 48),
		.cursor = get64(in.ptr + 56),
		.body = body,
	};
	return (ssize_t)(FRAME_HEADER_LEN + body.len);
}

bool frame_add_entry(uint8_t *body, size_t size, size_t *len, uint64_t epoch, struct span record)
{
	if (size - *len < frame_entry_len(record))
		return false;
	put64(body + *len, epoch);
	put32(body + *len + 8, (uint32_t)record.len);
	if (record.len)
		memcpy(body + *len + FRAME_ENTRY_HEADER_LEN, record.ptr, record.len);
	*len += frame_entry_len(record);
	return true;
}

int frame_take_entry(struct span *body, uint64_t *ret_epoch, struct span *ret_record)
{
	uint32_t len;

	if (body->len == 0)
		return 0;
	if (body->len < FRAME_ENTRY_HEADER_LEN)
		return -EBADMSG;
	len = get32(body->ptr + 8);
	if (len > body->len - FRAME_ENTRY_HEADER_LEN)
		return -EBADMSG;
	*ret_epoch = get64(body->ptr);
	*ret_record = span_of(body->ptr + FRAME_ENTRY_HEADER_LEN, len);
	*body = span_of(body->ptr + FRAME_ENTRY_HEADER_LEN + len,
			body->len - FRAME_ENTRY_HEADER_LEN - len);
	return 1;
}
