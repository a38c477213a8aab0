/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whatever bytes come, the frame parser reads none behind them and what it takes composes to the
 * same bytes; and whatever frames come, in any order, a node that follows one arc and takes another
 * over goes on: nothing is read or written where it must not, and no assertion fails. Method:
 * libFuzzer. The input is parsed as it is; then it is read as a list of small frames (type, flags,
 * arc, length of the body, six numbers of a byte each, the body), which are composed with a right
 * sum and handed to a replica.
 */
#include "replica/replica.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_HEAD 10
#define MSEC 1000000ULL

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void parse_bytes(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1), header[FRAME_HEADER_LEN];
	struct span rest, record;
	struct frame frame;
	uint64_t epoch;
	ssize_t len;

	require(copy != NULL);
	memcpy(copy, data, size);
	len = frame_parse(span_of(copy, size), &frame);
	require(len > 0 || len == -EAGAIN || len == -EBADMSG || len == -EPROTO || len == -EMSGSIZE);
	if (len > 0) {
		require((size_t)len == FRAME_HEADER_LEN + frame.body.len && (size_t)len <= size);
		frame_compose(&frame, header);
		require(memcmp(header, copy, sizeof(header)) == 0);
	}
	/* as a body, whatever it is */
	rest = span_of(copy, size);
	while (frame_take_entry(&rest, &epoch, &record) == 1)
		require(record.ptr + record.len <= copy + size);
	free(copy);
}

static void send_nothing(void *ctx, uint16_t to, const struct frame *frame)
{
	(void)ctx;
	(void)to;
	require(frame->type > 0 && frame->type < FRAME_TYPE_END);
}

static void apply_nothing(void *ctx, uint32_t arc, struct position at, struct span record)
{
	(void)at;
	(void)record;
	require(ctx == NULL && arc < 2);
}

static void restore_nothing(void *ctx, uint32_t arc, struct span record)
{
	apply_nothing(ctx, arc, (struct position){ 0, 0 }, record);
}

static void clear_nothing(void *ctx, uint32_t arc)
{
	require(ctx == NULL && arc < 2);
}

static void scan_nothing(void *ctx, uint32_t arc, uint64_t *cursor, uint8_t *body, size_t size,
			 size_t *ret_len)
{
	(void)ctx;
	(void)arc;
	(void)body;
	require(size > 0 && *ret_len == 0);
	*cursor = *cursor < 3 ? *cursor + 1 : 0;
}

static void count_nothing(void *ctx, uint32_t arc, uint64_t epoch, uint64_t seq)
{
	require(ctx == NULL && arc < 2 && epoch > 0 && seq > 0);
}

static struct replica *start(void)
{
	const struct replica_options options = {
		.env = { NULL, send_nothing, apply_nothing, clear_nothing, restore_nothing,
			 scan_nothing, count_nothing },
		.self = 0,
		.arc_cnt = 2,
		.ack = REPLICA_QUORUM,
		.log_bytes = 4096,
		.lease_ns = 1000 * MSEC,
		.retry_ns = 100 * MSEC,
		.hold_ns = 50 * MSEC,
	};
	struct replica_role role = {
		.epoch = 1, .primary = 1, .member_cnt = 3, .members = { 0, 1, 2 }
	};
	struct replica *r = replica_new(&options);

	require(r != NULL);
	replica_set_lease(r, UINT64_MAX);
	replica_set_role(r, 0, &role, MSEC);
	role.primary = 0;
	replica_set_role(r, 1, &role, MSEC);
	return r;
}

static void feed(struct replica *r, const uint8_t *data, size_t size)
{
	uint64_t now_ns = 2 * MSEC;
	struct position at;

	while (size >= RECORD_HEAD) {
		size_t len = data[3] < size - RECORD_HEAD ? data[3] : size - RECORD_HEAD;
		uint8_t bytes[FRAME_HEADER_LEN + 256];
		struct frame frame = {
			.type = (enum frame_type)(1 + data[0] % (FRAME_TYPE_END - 1)),
			.flags = data[1] & FRAME_FLAGS,
			.arc = data[2] % 3,
			.epoch = data[4],
			.at = { .epoch = data[5], .seq = data[6] },
			.commit = data[7],
			.end = data[8],
			.cursor = data[9],
			.body = span_of(data + RECORD_HEAD, len),
		};

		frame_compose(&frame, bytes);
		memcpy(bytes + FRAME_HEADER_LEN, frame.body.ptr, len);
		require(frame_parse(span_of(bytes, FRAME_HEADER_LEN + len), &frame) ==
			(ssize_t)(FRAME_HEADER_LEN + len));
		replica_receive(r, (data[1] >> 3) % 4, &frame, now_ns);
		now_ns += (data[1] >> 5) * 40 * MSEC;
		replica_tick(r, now_ns);
		replica_write(r, 1, span_of("k", 1), now_ns, &at);
		data += RECORD_HEAD + len;
		size -= RECORD_HEAD + len;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct replica *r = start();

	parse_bytes(data, size);
	feed(r, data, size);
	replica_free(r);
	return 0;
}
