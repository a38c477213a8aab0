/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Meta commands are read as memcached reads them: flags in order, tokens, the last error, values to
 * be skipped behind a wrong ms; and never a byte behind the line. Method: a table of lines, each
 * cut at every point against an unmapped page, then whole; seeded random lines besides.
 */
#include "protocol/parse_text.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/rand.h"
#include "lib/guard_page.h"
#include "lib/runopts.h"
#include "protocol/compose_meta.h"

#define A50 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define A250 A50 A50 A50 A50 A50
#define O32 "oooooooooooooooooooooooooooooooo"

static struct guard_page guard;

struct row {
	const char *line;
	enum request_verb verb; /* REQUEST_INVALID: error */
	enum request_status error;
	const char *order; /* the flags, in order */
	uint64_t value_len;
	bool value_skipped;
};

static const struct row rows[] = {
	{ "mg a\r\n", REQUEST_META_GET, 0, "", 0, false },
	{ "mg a\n", REQUEST_META_GET, 0, "", 0, false },
	{ "  mg   a  v   t \r\n", REQUEST_META_GET, 0, "vt", 0, false },
	{ "mg a s v t k\r\n", REQUEST_META_GET, 0, "svtk", 0, false },
	{ "mg a vxx Oabc T1 N2 R3 E4 C5 q u h l f c b\r\n", REQUEST_INVALID, STATUS_META_BAD_KEY,
	  NULL, 0, false },
	{ "mg Zm9v vxx Oabc T1 N2 R3 E4 C5 q u h l f c b\r\n", REQUEST_META_GET, 0,
	  "vOTNRECquhlfcb", 0, false },
	{ "mg " A250 "\r\n", REQUEST_META_GET, 0, "", 0, false },
	{ "mg " A250 "A\r\n", REQUEST_INVALID, STATUS_BAD_FORMAT, NULL, 0, false },
	{ "mg " A250 A50 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA== b\r\n", REQUEST_META_GET, 0, "b", 0,
	  false },
	{ "mg " A250 A50 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= b\r\n", REQUEST_INVALID,
	  STATUS_BAD_FORMAT, NULL, 0, false },
	{ "mg " A250 A250 " b\r\n", REQUEST_INVALID, STATUS_BAD_FORMAT, NULL, 0, false },
	{ "mg\r\n", REQUEST_INVALID, STATUS_UNKNOWN_COMMAND, NULL, 0, false },
	{ "mg a O" O32 "\r\n", REQUEST_META_GET, 0, "O", 0, false },
	{ "mg a O" O32 "o\r\n", REQUEST_INVALID, STATUS_META_LONG_OPAQUE, NULL, 0, false },
	{ "mg a O" O32 "o Tx\r\n", REQUEST_INVALID, STATUS_META_BAD_TOKEN, NULL, 0, false },
	{ "mg a Tx Jx\r\n", REQUEST_INVALID, STATUS_META_BAD_INITIAL, NULL, 0, false },
	{ "mg a Jx Dx\r\n", REQUEST_INVALID, STATUS_META_BAD_DELTA, NULL, 0, false },
	{ "mg a Tx Fx\r\n", REQUEST_INVALID, STATUS_META_BAD_TOKEN, NULL, 0, false },
	{ "mg a F4294967296\r\n", REQUEST_INVALID, STATUS_BAD_FORMAT, NULL, 0, false },
	{ "mg a v v\r\n", REQUEST_INVALID, STATUS_META_DUPLICATE, NULL, 0, false },
	{ "mg a Tx v v\r\n", REQUEST_INVALID, STATUS_META_DUPLICATE, NULL, 0, false },
	{ "mg a Tx z Dx\r\n", REQUEST_INVALID, STATUS_META_BAD_FLAG, NULL, 0, false },
	{ "mg a @\r\n", REQUEST_INVALID, STATUS_META_BAD_FLAG, NULL, 0, false },
	{ "mg a [\r\n", REQUEST_INVALID, STATUS_META_BAD_FLAG, NULL, 0, false },
	{ "mg a {\r\n", REQUEST_INVALID, STATUS_META_BAD_FLAG, NULL, 0, false },
	{ "mg a \x7f\r\n", REQUEST_INVALID, STATUS_META_DUPLICATE, NULL, 0, false },
	{ "mg a \xe9\r\n", REQUEST_INVALID, STATUS_META_DUPLICATE, NULL, 0, false },
	{ "mg Zm9v b c f h k l q s t u v O1 C1 F1 D1 J1 I L\r\n", REQUEST_META_GET, 0,
	  "bcfhklqstuvOCFDJIL", 0, false },
	{ "mg Zm9v b c f h k l q s t u v O1 C1 F1 D1 J1 I L P\r\n", REQUEST_INVALID,
	  STATUS_META_TOO_MANY, NULL, 0, false },
	{ "ms a 3\r\n", REQUEST_SET, 0, "", 3, false },
	{ "ms a 0 F7 T5 c\r\n", REQUEST_SET, 0, "FTc", 0, false },
	{ "ms a 3 ME\r\n", REQUEST_ADD, 0, "M", 3, false },
	{ "ms a 3 Me\r\n", REQUEST_ADD, 0, "M", 3, false },
	{ "ms a 3 MA\r\n", REQUEST_APPEND, 0, "M", 3, false },
	{ "ms a 3 Ma\r\n", REQUEST_APPEND, 0, "M", 3, false },
	{ "ms a 3 MP\r\n", REQUEST_PREPEND, 0, "M", 3, false },
	{ "ms a 3 MR\r\n", REQUEST_REPLACE, 0, "M", 3, false },
	{ "ms a 3 MS\r\n", REQUEST_SET, 0, "M", 3, false },
	{ "ms a 3 MS C1\r\n", REQUEST_CAS, 0, "MC", 3, false },
	{ "ms a 3 C1\r\n", REQUEST_CAS, 0, "C", 3, false },
	{ "ms a 3 C0\r\n", REQUEST_CAS, 0, "C", 3, false },
	{ "ms a 3 MR C1\r\n", REQUEST_CAS, 0, "MC", 3, false },
	{ "ms a 3 ME C1\r\n", REQUEST_ADD, 0, "MC", 3, false },
	{ "ms a 3 MA C1\r\n", REQUEST_APPEND, 0, "MC", 3, false },
	{ "ms a 3 MX\r\n", REQUEST_INVALID, STATUS_META_SET_MODE, NULL, 3, true },
	{ "ms a 3 M3\r\n", REQUEST_INVALID, STATUS_META_SET_MODE, NULL, 3, true },
	{ "ms a 3 M\r\n", REQUEST_INVALID, STATUS_META_MODE_LEN, NULL, 3, true },
	{ "ms a 3 MSS\r\n", REQUEST_INVALID, STATUS_META_MODE_LEN, NULL, 3, true },
	{ "ms a 3 z\r\n", REQUEST_INVALID, STATUS_META_BAD_FLAG, NULL, 3, true },
	{ "ms a 3 Fx\r\n", REQUEST_INVALID, STATUS_BAD_FORMAT, NULL, 3, true },
	{ "ms " A250 "A 3\r\n", REQUEST_INVALID, STATUS_BAD_FORMAT, NULL, 3, true },
	{ "ms a\r\n", REQUEST_INVALID, STATUS_BAD_FORMAT, NULL, 0, false },
	{ "ms a x\r\n", REQUEST_INVALID, STATUS_BAD_FORMAT, NULL, 0, false },
	{ "ms a -1\r\n", REQUEST_INVALID, STATUS_BAD_FORMAT, NULL, 0, false },
	{ "ms a 2147483646\r\n", REQUEST_INVALID, STATUS_BAD_FORMAT, NULL, 0, false },
	{ "ms\r\n", REQUEST_INVALID, STATUS_UNKNOWN_COMMAND, NULL, 0, false },
	{ "ms a 1 b c f h k l q s t u v O1 C1 F1 D1 J1 I L\r\n", REQUEST_INVALID,
	  STATUS_META_TOO_MANY, NULL, 1, true },
	{ "md a\r\n", REQUEST_META_DELETE, 0, "", 0, false },
	{ "md a q I T30 x E9 C1 k Oz\r\n", REQUEST_META_DELETE, 0, "qITxECkO", 0, false },
	{ "md a q q\r\n", REQUEST_INVALID, STATUS_META_DUPLICATE, NULL, 0, false },
	{ "ma a\r\n", REQUEST_META_ARITH, 0, "", 0, false },
	{ "ma a N0 J13 v t D30 MD\r\n", REQUEST_META_ARITH, 0, "NJvtDM", 0, false },
	{ "ma a Dx\r\n", REQUEST_INVALID, STATUS_META_ARITH_FLAG, NULL, 0, false },
	{ "ma a v v\r\n", REQUEST_INVALID, STATUS_META_ARITH_FLAG, NULL, 0, false },
	{ "ma a MX\r\n", REQUEST_INVALID, STATUS_META_ARITH_MODE, NULL, 0, false },
	{ "mn\r\n", REQUEST_META_NOOP, 0, "", 0, false },
	{ "mn a b\r\n", REQUEST_META_NOOP, 0, "", 0, false },
	{ "me a\r\n", REQUEST_META_DEBUG, 0, "", 0, false },
	{ "me a v v z\r\n", REQUEST_META_DEBUG, 0, "", 0, false },
	{ "me Zm9v b\r\n", REQUEST_META_DEBUG, 0, "", 0, false },
	{ "me\r\n", REQUEST_INVALID, STATUS_BAD_FORMAT, NULL, 0, false },
	{ "me a b\r\n", REQUEST_INVALID, STATUS_BAD_FORMAT, NULL, 0, false },
	{ "me " A250 "A\r\n", REQUEST_INVALID, STATUS_BAD_FORMAT, NULL, 0, false },
	{ "mz a\r\n", REQUEST_INVALID, STATUS_UNKNOWN_COMMAND, NULL, 0, false },
};

#define ROW_CNT (sizeof(rows) / sizeof(rows[0]))

static int set_up(void **state)
{
	(void)state;
	guard_page_init(&guard, 65536);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	guard_page_fini(&guard);
	return 0;
}

static void check(const struct request *got, const struct row *want)
{
	if (got->verb != want->verb || (want->verb == REQUEST_INVALID && got->error != want->error))
		fail_msg("%s: verb %d error %d", want->line, got->verb, got->error);
	assert_int_equal(got->value_len, want->value_len);
	assert_int_equal(got->value_skipped, want->value_skipped);
	assert_int_equal(request_has_value(got),
			 want->value_skipped ||
				 (want->verb >= REQUEST_SET && want->verb <= REQUEST_CAS));
	assert_false(got->noreply);
	if (!want->order)
		return;
	assert_ptr_equal(got->compose, &compose_meta);
	if (!span_equal(span_of(got->meta.order, got->meta.flag_cnt), span_str(want->order)))
		fail_msg("%s: flags %.*s", want->line, got->meta.flag_cnt, got->meta.order);
	for (uint32_t i = 0; i < got->meta.flag_cnt; i++)
		assert_true(request_asks(got, want->order[i]));
}

static void parse_meta_line_cut_anywhere_gives_the_same(void **state)
{
	(void)state;
	for (size_t i = 0; i < ROW_CNT; i++) {
		size_t len = strlen(rows[i].line);
		struct request got = { .verb = REQUEST_VERB_CNT };

		for (size_t cut = 0; cut < len; cut++) {
			struct span in = guard_page_put(&guard, rows[i].line, cut);

			assert_int_equal(parse_text(in, 0, &got), -EAGAIN);
			assert_int_equal(got.verb, REQUEST_VERB_CNT);
		}
		assert_int_equal(
			parse_text(guard_page_put(&guard, rows[i].line, len), len - 1, &got),
			(ssize_t)len);
		check(&got, &rows[i]);
	}
}

static struct request parse(const char *line)
{
	struct request got;

	assert_int_equal(parse_text(guard_page_put(&guard, line, strlen(line)), 0, &got),
			 (ssize_t)strlen(line));
	return got;
}

static void parse_meta_tokens_reach_their_fields(void **state)
{
	struct request got =
		parse("ms key 12 T-5 F4294967295 C18446744073709551615 E77 N90 Oabc\n");

	(void)state;
	assert_true(span_equal(got.key, span_str("key")));
	assert_int_equal(got.value_len, 12);
	assert_int_equal(got.exptime, -5);
	assert_int_equal(got.flags, UINT32_MAX);
	assert_true(got.cas == UINT64_MAX);
	assert_int_equal(got.meta.new_cas, 77);
	assert_int_equal(got.meta.vivify_exptime, 90);
	assert_true(span_equal(got.meta.opaque, span_str("Oabc")));
	assert_false(got.key_base64);
	got = parse("mg Zm9v R30 b\n");
	assert_int_equal(got.meta.recache_exptime, 30);
	assert_true(got.key_base64);
	assert_true(span_equal(got.key, span_str("Zm9v")));
	got = parse("ma n D5 J18446744073709551615 M-\n");
	assert_int_equal(got.number, 5);
	assert_true(got.meta.initial == UINT64_MAX);
	assert_true(got.decr);
	got = parse("ma n M+\n");
	assert_int_equal(got.number, 1);
	assert_false(got.decr);
}

static void parse_meta_names_are_commands(void **state)
{
	static const char *const names[] = { "mg a", "ms a 1", "md a", "ma a", "mn", "me a" };

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_true(parse_text_is_command(span_str(names[i])));
	/* What the replies begin with: two servers must not answer each other for ever. */
	assert_false(parse_text_is_command(span_str("HD t30")));
	assert_false(parse_text_is_command(span_str("VA 3 s3")));
	assert_false(parse_text_is_command(span_str("EN")));
	assert_false(parse_text_is_command(span_str("MN")));
	assert_false(parse_text_is_command(span_str("ME key exp=-1")));
}

static void parse_meta_random_lines_stay_in_bounds(void **state)
{
	static const char *const words[] = { "a",   "Zm9v", "abc", "3",	 "0", "v",    "k",   "b",
					     "Oop", "O",    "T1",  "Tx", "N", "N30",  "R5",  "C1",
					     "E2",  "ME",   "M",   "q",	 "s", "\xff", "zzz", "J5",
					     "D1x", "F7",   "I",   "x",	 "",  "P/a",  "L",   "t" };
	static const char *const verbs[] = { "mg", "ms", "md", "ma", "me", "mn" };
	char line[512];
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	for (uint32_t i = 0; i < 100000; i++) {
		int len = snprintf(line, sizeof(line), "%s", verbs[rand_below(&r, 6)]);
		uint32_t cnt = (uint32_t)rand_below(&r, 24);
		struct request got;
		struct span in;

		for (uint32_t w = 0; w < cnt; w++)
			len += snprintf(line + len, sizeof(line) - (size_t)len, " %s",
					words[rand_below(&r, sizeof(words) / sizeof(words[0]))]);
		len += snprintf(line + len, sizeof(line) - (size_t)len, "\r\n");
		in = guard_page_put(&guard, line, (size_t)len);
		assert_int_equal(parse_text(in, 0, &got), len);
		assert_true(got.meta.flag_cnt <= META_FLAG_MAX);
		if (got.verb == REQUEST_INVALID)
			continue;
		assert_true(got.key.len == 0 ||
			    (got.key.ptr > in.ptr && got.key.ptr + got.key.len < in.ptr + in.len));
		assert_true(got.meta.opaque.len <= META_OPAQUE_MAX);
		assert_true(got.meta.opaque.len == 0 ||
			    (got.meta.opaque.ptr > in.ptr &&
			     got.meta.opaque.ptr + got.meta.opaque.len < in.ptr + in.len));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parse_meta_line_cut_anywhere_gives_the_same),
		cmocka_unit_test(parse_meta_tokens_reach_their_fields),
		cmocka_unit_test(parse_meta_names_are_commands),
		cmocka_unit_test(parse_meta_random_lines_stay_in_bounds),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
