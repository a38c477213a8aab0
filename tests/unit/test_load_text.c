/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The client's parser takes whole replies, waits for the rest of partial ones, and refuses what is
 * no reply. Method: every reply is given cut at every byte, at the end of a heap block of its exact
 * size, so that the sanitizer sees a read beyond it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../bench/load/text.c"

struct row {
	enum text_request request;
	const char *bytes;
	size_t len;
	enum text_kind kind;
};

#define ROW(request, text, kind)                                                                   \
	{                                                                                          \
		request, text, sizeof(text) - 1, kind                                              \
	}

static const struct row good[] = {
	ROW(TEXT_GET, "END\r\n", TEXT_MISS),
	ROW(TEXT_GET, "VALUE k 0 0\r\n\r\nEND\r\n", TEXT_VALUE),
	ROW(TEXT_GET, "VALUE key 4294967295 5\r\n\r\n\0EN\r\nEND\r\n", TEXT_VALUE),
	ROW(TEXT_GET, "VALUE k 7 7\r\n\r\nEND\r\n\r\nEND\r\n", TEXT_VALUE),
	ROW(TEXT_GET, "SERVER_ERROR out of memory\r\n", TEXT_REFUSED),
	ROW(TEXT_SET, "STORED\r\n", TEXT_DONE),
	ROW(TEXT_SET, "NOT_STORED\r\n", TEXT_NOT_DONE),
	ROW(TEXT_SET, "CLIENT_ERROR bad data chunk\r\n", TEXT_REFUSED),
	ROW(TEXT_DELETE, "DELETED\r\n", TEXT_DONE),
	ROW(TEXT_DELETE, "NOT_FOUND\r\n", TEXT_NOT_DONE),
	ROW(TEXT_DELETE, "ERROR\r\n", TEXT_REFUSED),
};

static const struct row bad[] = {
	ROW(TEXT_GET, "STORED\r\n", 0),
	ROW(TEXT_GET, "END\n", 0),
	ROW(TEXT_GET, "VALUE  0 1\r\nx\r\nEND\r\n", 0),
	ROW(TEXT_GET, "VALUE k 0\r\n", 0),
	ROW(TEXT_GET, "VALUE k 0 1 9 9\r\nx\r\nEND\r\n", 0),
	ROW(TEXT_GET, "VALUE k 4294967296 1\r\nx\r\nEND\r\n", 0),
	ROW(TEXT_GET, "VALUE k 0 1\r\nxx\r\nEND\r\n", 0),
	ROW(TEXT_GET, "VALUE k 0 2\r\nx\r\nEND\r\n\r\n", 0),
	ROW(TEXT_GET, "VALUE k 0 99999999999\r\n", 0),
	ROW(TEXT_SET, "DELETED\r\n", 0),
	ROW(TEXT_SET, "VALUE k 0 1\r\nx\r\nEND\r\n", 0),
	ROW(TEXT_DELETE, "\r\n", 0),
};

static int64_t parse_cut(const struct row *row, size_t len, struct text_reply *ret)
{
	uint8_t *exact = malloc(len ? len : 1);
	int64_t used;

	memcpy(exact, row->bytes, len);
	used = text_parse(row->request, span_of(exact, len), ret);
	free(exact);
	return used;
}

static void text_parse_whole_reply_is_taken(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct text_reply reply;

		assert_int_equal(parse_cut(&good[i], good[i].len, &reply), good[i].len);
		assert_int_equal(reply.kind, good[i].kind);
	}
}

static void text_parse_partial_reply_waits(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		for (size_t len = 0; len < good[i].len; len++) {
			struct text_reply reply;

			assert_int_equal(parse_cut(&good[i], len, &reply), -EAGAIN);
		}
	}
}

static void text_parse_next_reply_is_left(void **state)
{
	struct span two = span_str("VALUE k 1 2\r\nxy\r\nEND\r\nEND\r\n");
	struct text_reply reply;

	(void)state;
	assert_int_equal(text_parse(TEXT_GET, two, &reply), 22);
	assert_true(span_equal(reply.key, span_str("k")));
	assert_true(span_equal(reply.value, span_str("xy")));
	assert_int_equal(reply.flags, 1);
}

static void text_parse_no_reply_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct text_reply reply;

		if (parse_cut(&bad[i], bad[i].len, &reply) != -EBADMSG)
			fail_msg("taken: %s", bad[i].bytes);
	}
}

static void text_parse_endless_line_is_refused(void **state)
{
	static uint8_t line[LINE_MAX_LEN];
	struct text_reply reply;

	(void)state;
	memset(line, 'E', sizeof(line));
	assert_int_equal(text_parse(TEXT_GET, span_of(line, sizeof(line)), &reply), -EBADMSG);
}

static void text_compose_longest_requests_fit(void **state)
{
	const struct text_store store = { UINT32_MAX, UINT32_MAX, UINT32_MAX };
	uint8_t key[XC_KEY_MAX];
	uint8_t *to = malloc(TEXT_REQUEST_MAX);

	(void)state;
	memset(key, 'k', sizeof(key));
	assert_true(text_compose_set(to, span_of(key, sizeof(key)), &store) < TEXT_REQUEST_MAX);
	assert_int_equal(text_compose_get(to, span_of(key, 3)), 9);
	assert_memory_equal(to, "get kkk\r\n", 9);
	assert_int_equal(text_compose_delete(to, span_of(key, 3)), 12);
	assert_memory_equal(to, "delete kkk\r\n", 12);
	free(to);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_parse_whole_reply_is_taken),
		cmocka_unit_test(text_parse_partial_reply_waits),
		cmocka_unit_test(text_parse_next_reply_is_left),
		cmocka_unit_test(text_parse_no_reply_is_refused),
		cmocka_unit_test(text_parse_endless_line_is_refused),
		cmocka_unit_test(text_compose_longest_requests_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
