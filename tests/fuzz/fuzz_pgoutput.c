/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whatever a server sends, the parser of pgoutput reads none behind it; of what it takes, columns
 * and values are as many as were announced and lie within the message, and a byte less would not
 * have been enough. Method: libFuzzer. The first byte says whether messages are streamed; then the
 * input is read as a frame and as messages, one behind the other.
 */
#include "origin/pgoutput.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void walk_row(struct pgoutput_tuple row, const uint8_t *end)
{
	struct pgoutput_value value;
	uint32_t cnt = 0;

	while (pgoutput_take_value(&row.values, &value)) {
		require(value.bytes.ptr + value.bytes.len <= end);
		cnt++;
	}
	require(cnt == row.value_cnt && row.values.len == 0);
}

static void walk(const struct pgoutput_message *message, const uint8_t *end)
{
	struct pgoutput_relation relation;
	struct pgoutput_column column;
	struct span oids;
	uint32_t cnt = 0, oid;

	switch (message->type) {
	case PGOUTPUT_RELATION:
		for (relation = message->relation; pgoutput_take_column(&relation.columns, &column);
		     cnt++)
			require(column.name.ptr + column.name.len < end);
		require(cnt == relation.column_cnt && relation.columns.len == 0);
		break;
	case PGOUTPUT_INSERT:
	case PGOUTPUT_UPDATE:
	case PGOUTPUT_DELETE:
		walk_row(message->change.old_row, end);
		walk_row(message->change.new_row, end);
		break;
	case PGOUTPUT_TRUNCATE:
		for (oids = message->truncate.oids; pgoutput_take_oid(&oids, &oid);)
			cnt++;
		require(cnt == message->truncate.cnt && oids.len == 0);
		break;
	default:
		break;
	}
}

static bool is_result(ssize_t took, size_t size)
{
	if (took > 0)
		return (size_t)took <= size;
	return took == -EAGAIN || took == -EBADMSG || took == -EMSGSIZE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool streamed = size && (data[0] & 1);
	uint8_t *copy = malloc(size ? size : 1);
	struct span rest = span_of(copy, size ? size - 1 : 0);
	struct pgoutput_message message, other;
	struct pgoutput_frame frame;
	ssize_t took;

	require(copy != NULL);
	if (size)
		memcpy(copy, data + 1, size - 1);
	require(is_result(pgoutput_parse_frame(rest, &frame), rest.len));
	while ((took = pgoutput_parse(rest, streamed, &message)) > 0) {
		require(is_result(took, rest.len));
		walk(&message, rest.ptr + took);
		require(pgoutput_parse(span_of(rest.ptr, (size_t)took - 1), streamed, &other) ==
			-EAGAIN);
		rest = span_of(rest.ptr + took, rest.len - (size_t)took);
	}
	require(is_result(took, rest.len));
	free(copy);
	return 0;
}
