/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: every message is read as PostgreSQL's manual draws it; one that is not all there asks
 * for more, changes nothing and reads no byte behind what is there; what is no message, and counts
 * that none can have, are refused without being walked. Method: golden bytes at the end of a mapped
 * page, every split point, every change of one byte; seeded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/rand.h"
#include "lib/guard_page.h"
#include "lib/runopts.h"
#include "origin/pgoutput.h"

#define MESSAGE_ROOM (128 << 10)

/* A byte in octal has three digits: none runs into a digit behind it. */
#define LSN1 "\000\000\000\001\002\003\004\005"
#define LSN2 "\000\000\000\001\002\003\004\065"
#define TIME "\000\002\217\000\000\000\000\011"
#define XID "\000\000\002\371"
#define OID "\000\000\100\001"
#define ROW "\000\003t\000\000\000\00242nu"
#define KEY "\000\003t\000\000\000\0017nn"

struct golden {
	const char *bytes;
	size_t len;
	bool streamed;
};

#define GOLDEN(text, stream)                                                                       \
	{                                                                                          \
		.bytes = (text), .len = sizeof(text) - 1, .streamed = (stream)                     \
	}

enum {
	BEGIN,
	COMMIT,
	ORIGIN,
	RELATION,
	TYPE,
	INSERT,
	UPDATE,
	UPDATE_KEY,
	UPDATE_OLD,
	DELETE_KEY,
	DELETE_OLD,
	TRUNCATE,
	MESSAGE,
	BINARY,
	STREAM_START,
	STREAM_STOP,
	STREAM_COMMIT,
	STREAM_ABORT,
	STREAM_INSERT,
	STREAM_RELATION,
	STREAM_TRUNCATE,
	STREAM_MESSAGE,
	GOLDEN_CNT
};

#define RELATION_TEXT                                                                              \
	OID "public\000product\000d\000\003"                                                       \
	    "\001id\000\000\000\000\027\377\377\377\377"                                           \
	    "\000name\000\000\000\000\031\377\377\377\377"                                         \
	    "\000price\000\000\000\006\244\000\011\000\006"

static const struct golden golden[GOLDEN_CNT] = {
	[BEGIN] = GOLDEN("B" LSN1 TIME XID, false),
	[COMMIT] = GOLDEN("C\000" LSN1 LSN2 TIME, false),
	[ORIGIN] = GOLDEN("O" LSN1 "elsewhere\000", false),
	[RELATION] = GOLDEN("R" RELATION_TEXT, false),
	[TYPE] = GOLDEN("Y" OID "public\000colour\000", false),
	[INSERT] = GOLDEN("I" OID "N" ROW, false),
	[UPDATE] = GOLDEN("U" OID "N" ROW, false),
	[UPDATE_KEY] = GOLDEN("U" OID "K" KEY "N" ROW, false),
	[UPDATE_OLD] = GOLDEN("U" OID "O" KEY "N" ROW, false),
	[DELETE_KEY] = GOLDEN("D" OID "K" KEY, false),
	[DELETE_OLD] = GOLDEN("D" OID "O" KEY, false),
	[TRUNCATE] = GOLDEN("T\000\000\000\002\003" OID "\000\000\100\002", false),
	[MESSAGE] = GOLDEN("M\001" LSN1 "xdpcache\000\000\000\000\003a\000b", false),
	[BINARY] = GOLDEN("I" OID "N\000\001b\000\000\000\004\000\000\000\052", false),
	[STREAM_START] = GOLDEN("S" XID "\001", false),
	[STREAM_STOP] = GOLDEN("E", true),
	[STREAM_COMMIT] = GOLDEN("c" XID "\000" LSN1 LSN2 TIME, false),
	[STREAM_ABORT] = GOLDEN("A" XID "\000\000\002\372", false),
	[STREAM_INSERT] = GOLDEN("I" XID OID "N" ROW, true),
	[STREAM_RELATION] = GOLDEN("R" XID RELATION_TEXT, true),
	[STREAM_TRUNCATE] = GOLDEN("T" XID "\000\000\000\001\000" OID, true),
	[STREAM_MESSAGE] = GOLDEN("M" XID "\000" LSN1 "p\000\000\000\000\000", true),
};

static struct guard_page guard;

static int setup(void **state)
{
	(void)state;
	guard_page_init(&guard, MESSAGE_ROOM);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	guard_page_fini(&guard);
	return 0;
}

static struct pgoutput_message parse(uint32_t which)
{
	const struct golden *g = &golden[which];
	struct pgoutput_message message;

	assert_int_equal(
		pgoutput_parse(guard_page_put(&guard, g->bytes, g->len), g->streamed, &message),
		g->len);
	assert_int_equal(message.type, g->bytes[0]);
	return message;
}

static ssize_t parse_bytes(const void *bytes, size_t len)
{
	struct pgoutput_message message;

	return pgoutput_parse(guard_page_put(&guard, bytes, len), false, &message);
}

static void assert_span(struct span span, const char *text)
{
	assert_int_equal(span.len, strlen(text));
	assert_memory_equal(span.ptr, text, span.len);
}

static void assert_value(struct span *values, char kind, const char *text)
{
	struct pgoutput_value value;

	assert_true(pgoutput_take_value(values, &value));
	assert_int_equal(value.kind, kind);
	assert_span(value.bytes, text);
}

static void assert_row(struct pgoutput_tuple row)
{
	struct pgoutput_value none;

	assert_int_equal(row.value_cnt, 3);
	assert_value(&row.values, 't', "42");
	assert_value(&row.values, 'n', "");
	assert_value(&row.values, 'u', "");
	assert_false(pgoutput_take_value(&row.values, &none));
}

static void assert_old_row(struct pgoutput_tuple row)
{
	assert_int_equal(row.value_cnt, 3);
	assert_value(&row.values, 't', "7");
	assert_value(&row.values, 'n', "");
	assert_value(&row.values, 'n', "");
	assert_int_equal(row.values.len, 0);
}

static void assert_column(struct span *columns, bool in_identity, const char *name, uint32_t type,
			  int32_t mod)
{
	struct pgoutput_column column;

	assert_true(pgoutput_take_column(columns, &column));
	assert_int_equal(column.in_identity, in_identity);
	assert_span(column.name, name);
	assert_int_equal(column.type_oid, type);
	assert_int_equal(column.type_mod, mod);
}

static void assert_relation(struct pgoutput_relation relation)
{
	struct pgoutput_column none;

	assert_int_equal(relation.oid, 16385);
	assert_span(relation.schema, "public");
	assert_span(relation.name, "product");
	assert_int_equal(relation.identity, 'd');
	assert_int_equal(relation.column_cnt, 3);
	assert_column(&relation.columns, true, "id", 23, -1);
	assert_column(&relation.columns, false, "name", 25, -1);
	assert_column(&relation.columns, false, "price", 1700, 0x90006);
	assert_false(pgoutput_take_column(&relation.columns, &none));
}

static void begin_and_commit_say_which_transaction_and_when(void **state)
{
	struct pgoutput_message message = parse(BEGIN);

	(void)state;
	assert_int_equal(message.xid, 761);
	assert_int_equal(message.transaction.commit_lsn, 0x102030405ULL);
	assert_int_equal(message.transaction.commit_us, 0x28f0000000009LL);
	message = parse(COMMIT);
	assert_int_equal(message.xid, 0);
	assert_int_equal(message.transaction.commit_lsn, 0x102030405ULL);
	assert_int_equal(message.transaction.end_lsn, 0x102030435ULL);
	assert_int_equal(message.transaction.commit_us, 0x28f0000000009LL);
}

static void relation_has_its_columns(void **state)
{
	struct pgoutput_message message = parse(RELATION);

	(void)state;
	assert_relation(message.relation);
}

static void rows_old_and_new_come_as_they_were_sent(void **state)
{
	struct pgoutput_message message = parse(INSERT);

	(void)state;
	assert_int_equal(message.change.oid, 16385);
	assert_int_equal(message.change.old_kind, 0);
	assert_row(message.change.new_row);
	message = parse(UPDATE);
	assert_int_equal(message.change.old_kind, 0);
	assert_row(message.change.new_row);
	message = parse(UPDATE_KEY);
	assert_int_equal(message.change.old_kind, 'K');
	assert_old_row(message.change.old_row);
	assert_row(message.change.new_row);
	message = parse(UPDATE_OLD);
	assert_int_equal(message.change.old_kind, 'O');
	assert_old_row(message.change.old_row);
	message = parse(DELETE_KEY);
	assert_int_equal(message.change.old_kind, 'K');
	assert_old_row(message.change.old_row);
	assert_int_equal(message.change.new_row.value_cnt, 0);
	message = parse(DELETE_OLD);
	assert_int_equal(message.change.old_kind, 'O');
	message = parse(BINARY);
	assert_int_equal(message.change.new_row.value_cnt, 1);
	assert_int_equal(message.change.new_row.values.len, 9);
}

static void truncate_names_all_its_tables(void **state)
{
	struct pgoutput_message message = parse(TRUNCATE);
	uint32_t oid;

	(void)state;
	assert_int_equal(message.truncate.cnt, 2);
	assert_int_equal(message.truncate.flags, 3);
	assert_true(pgoutput_take_oid(&message.truncate.oids, &oid));
	assert_int_equal(oid, 16385);
	assert_true(pgoutput_take_oid(&message.truncate.oids, &oid));
	assert_int_equal(oid, 16386);
	assert_false(pgoutput_take_oid(&message.truncate.oids, &oid));
}

static void texts_are_read(void **state)
{
	struct pgoutput_message message = parse(ORIGIN);

	(void)state;
	assert_span(message.text.name, "elsewhere");
	assert_int_equal(message.text.lsn, 0x102030405ULL);
	message = parse(TYPE);
	assert_int_equal(message.text.oid, 16385);
	assert_span(message.text.schema, "public");
	assert_span(message.text.name, "colour");
	message = parse(MESSAGE);
	assert_int_equal(message.text.flags, 1);
	assert_span(message.text.name, "xdpcache");
	assert_int_equal(message.text.body.len, 3);
	assert_memory_equal(message.text.body.ptr, "a\000b", 3);
}

static void streamed_messages_have_their_transaction(void **state)
{
	struct pgoutput_message message = parse(STREAM_START);

	(void)state;
	assert_int_equal(message.xid, 761);
	assert_true(message.transaction.first);
	parse(STREAM_STOP);
	message = parse(STREAM_COMMIT);
	assert_int_equal(message.xid, 761);
	assert_int_equal(message.transaction.end_lsn, 0x102030435ULL);
	message = parse(STREAM_ABORT);
	assert_int_equal(message.xid, 761);
	assert_int_equal(message.transaction.sub_xid, 762);
	message = parse(STREAM_INSERT);
	assert_int_equal(message.xid, 761);
	assert_row(message.change.new_row);
	message = parse(STREAM_RELATION);
	assert_int_equal(message.xid, 761);
	assert_relation(message.relation);
	message = parse(STREAM_TRUNCATE);
	assert_int_equal(message.truncate.cnt, 1);
	message = parse(STREAM_MESSAGE);
	assert_int_equal(message.text.body.len, 0);
}

static void every_part_of_a_message_asks_for_more(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < GOLDEN_CNT; i++) {
		const struct golden *g = &golden[i];

		for (size_t part = 0; part < g->len; part++) {
			struct pgoutput_message message = { .xid = 77 };
			struct span in = guard_page_put(&guard, g->bytes, part);

			assert_int_equal(pgoutput_parse(in, g->streamed, &message), -EAGAIN);
			assert_int_equal(message.xid, 77);
			assert_int_equal(message.type, 0);
		}
	}
}

static void what_follows_a_message_is_left(void **state)
{
	struct pgoutput_message message;
	char bytes[256];

	(void)state;
	for (uint32_t i = 0; i < GOLDEN_CNT; i++) {
		const struct golden *g = &golden[i];

		memcpy(bytes, g->bytes, g->len);
		memset(bytes + g->len, 'B', 20);
		assert_int_equal(pgoutput_parse(guard_page_put(&guard, bytes, g->len + 20),
						g->streamed, &message),
				 g->len);
	}
}

static void what_is_no_message_is_refused(void **state)
{
	static const struct golden wrong[] = {
		GOLDEN("\000", false),
		GOLDEN("Z" LSN1, false),
		GOLDEN("C\001" LSN1 LSN2 TIME, false),
		GOLDEN("I" OID "K" ROW, false),
		GOLDEN("I" OID "\000" ROW, false),
		GOLDEN("U" OID "K" KEY "K" ROW, false),
		GOLDEN("U" OID "X" ROW, false),
		GOLDEN("D" OID "N" ROW, false),
		GOLDEN("I" OID "N\000\001x", false),
		GOLDEN("R" OID "public\000product\000z\000\001", false),
	};

	(void)state;
	for (uint32_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(parse_bytes(wrong[i].bytes, wrong[i].len), -EBADMSG);
	for (int type = 0; type < 256; type++) {
		char byte = (char)type;
		ssize_t took = parse_bytes(&byte, 1);

		if (type && strchr("BCORYIUDTMScA", type))
			assert_int_equal(took, -EAGAIN);
		else
			assert_int_equal(took, type == 'E' ? 1 : -EBADMSG);
	}
}

static void counts_that_none_can_have_are_refused(void **state)
{
	static const struct golden huge[] = {
		GOLDEN("I" OID "N\377\377", false),
		GOLDEN("I" OID "N\006\201", false),
		GOLDEN("I" OID "N\000\001t\177\377\377\377", false),
		GOLDEN("I" OID "N\000\001t\377\377\377\377", false),
		GOLDEN("I" OID "N\000\001b\100\000\000\000", false),
		GOLDEN("U" OID "K\377\377", false),
		GOLDEN("D" OID "O\377\377", false),
		GOLDEN("T\377\377\377\377\000", false),
		GOLDEN("R" OID "a\000b\000d\377\377", false),
		GOLDEN("M\000" LSN1 "p\000\377\377\377\377", false),
	};

	(void)state;
	for (uint32_t i = 0; i < sizeof(huge) / sizeof(huge[0]); i++)
		assert_int_equal(parse_bytes(huge[i].bytes, huge[i].len), -EMSGSIZE);
	/* The largest that are none of those only ask for more. */
	assert_int_equal(parse_bytes("I" OID "N\006\200", 8), -EAGAIN);
	assert_int_equal(parse_bytes("I" OID "N\000\001t\077\377\377\377", 13), -EAGAIN);
	assert_int_equal(parse_bytes("T\000\020\000\000\000", 6), -EAGAIN);
	assert_int_equal(parse_bytes("T\000\020\000\001\000", 6), -EMSGSIZE);
}

static void string_without_an_end_is_bounded(void **state)
{
	char *bytes = malloc(MESSAGE_ROOM);

	(void)state;
	assert_non_null(bytes);
	memset(bytes, 'a', MESSAGE_ROOM);
	bytes[0] = 'O';
	assert_int_equal(parse_bytes(bytes, 9 + PGOUTPUT_STRING_MAX), -EAGAIN);
	assert_int_equal(parse_bytes(bytes, 9 + PGOUTPUT_STRING_MAX + 1), -EMSGSIZE);
	bytes[9 + PGOUTPUT_STRING_MAX] = '\0';
	assert_int_equal(parse_bytes(bytes, 9 + PGOUTPUT_STRING_MAX + 1),
			 9 + PGOUTPUT_STRING_MAX + 1);
	free(bytes);
}

static void walk(const struct pgoutput_message *message)
{
	struct span rest;
	struct pgoutput_value value;
	struct pgoutput_column column;
	uint32_t cnt = 0;

	if (message->type == PGOUTPUT_RELATION) {
		for (rest = message->relation.columns; pgoutput_take_column(&rest, &column);)
			cnt++;
		assert_int_equal(cnt, message->relation.column_cnt);
	} else if (message->type == PGOUTPUT_INSERT) {
		for (rest = message->change.new_row.values; pgoutput_take_value(&rest, &value);)
			cnt++;
		assert_int_equal(cnt, message->change.new_row.value_cnt);
	}
}

static void changed_bytes_never_lead_astray(void **state)
{
	char bytes[256];
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	for (int i = 0; i < 200000; i++) {
		const struct golden *g = &golden[rand_below(&r, GOLDEN_CNT)];
		size_t len = 1 + rand_below(&r, g->len);
		struct pgoutput_message message;
		ssize_t took;

		memcpy(bytes, g->bytes, g->len);
		for (uint64_t cnt = 1 + rand_below(&r, 3); cnt; cnt--)
			bytes[rand_below(&r, len)] = (char)rand_next(&r);
		took = pgoutput_parse(guard_page_put(&guard, bytes, len), rand_next(&r) & 1,
				      &message);
		assert_true(took == -EAGAIN || took == -EBADMSG || took == -EMSGSIZE ||
			    (took > 0 && (size_t)took <= len));
		if (took > 0)
			walk(&message);
	}
}

static void frames_carry_positions_and_the_time(void **state)
{
	static const char data[] = "w" LSN1 LSN2 TIME "B...", alive[] = "k" LSN2 TIME "\001";
	struct pgoutput_frame frame = { .kind = 7 };

	(void)state;
	for (size_t part = 0; part < 25; part++)
		assert_int_equal(pgoutput_parse_frame(guard_page_put(&guard, data, part), &frame),
				 -EAGAIN);
	for (size_t part = 0; part < 18; part++)
		assert_int_equal(pgoutput_parse_frame(guard_page_put(&guard, alive, part), &frame),
				 -EAGAIN);
	assert_int_equal(frame.kind, 7);
	assert_int_equal(pgoutput_parse_frame(guard_page_put(&guard, "x", 1), &frame), -EBADMSG);
	assert_int_equal(pgoutput_parse_frame(guard_page_put(&guard, data, 29), &frame), 29);
	assert_int_equal(frame.kind, 'w');
	assert_int_equal(frame.start, 0x102030405ULL);
	assert_int_equal(frame.end, 0x102030435ULL);
	assert_int_equal(frame.server_us, 0x28f0000000009LL);
	assert_span(frame.body, "B...");
	assert_int_equal(pgoutput_parse_frame(guard_page_put(&guard, data, 25), &frame), 25);
	assert_int_equal(frame.body.len, 0);
	assert_int_equal(pgoutput_parse_frame(guard_page_put(&guard, alive, 18), &frame), 18);
	assert_int_equal(frame.kind, 'k');
	assert_int_equal(frame.end, 0x102030435ULL);
	assert_true(frame.wants_reply);
}

static void status_is_composed(void **state)
{
	const struct pgoutput_status status = {
		.received = 0x102030435ULL,
		.flushed = 0x102030405ULL,
		.client_us = 0x28f0000000009LL,
		.wants_reply = true,
	};
	uint8_t bytes[PGOUTPUT_STATUS_LEN];

	(void)state;
	pgoutput_compose_status(&status, bytes);
	assert_memory_equal(bytes, "r" LSN2 LSN1 LSN1 TIME "\001", sizeof(bytes));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(begin_and_commit_say_which_transaction_and_when),
		cmocka_unit_test(relation_has_its_columns),
		cmocka_unit_test(rows_old_and_new_come_as_they_were_sent),
		cmocka_unit_test(truncate_names_all_its_tables),
		cmocka_unit_test(texts_are_read),
		cmocka_unit_test(streamed_messages_have_their_transaction),
		cmocka_unit_test(every_part_of_a_message_asks_for_more),
		cmocka_unit_test(what_follows_a_message_is_left),
		cmocka_unit_test(what_is_no_message_is_refused),
		cmocka_unit_test(counts_that_none_can_have_are_refused),
		cmocka_unit_test(string_without_an_end_is_bounded),
		cmocka_unit_test(changed_bytes_never_lead_astray),
		cmocka_unit_test(frames_carry_positions_and_the_time),
		cmocka_unit_test(status_is_composed),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
