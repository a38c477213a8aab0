/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parser reads each line as memcached 1.6.18 does, never reads behind what it is given, and
 * does not depend on how the bytes arrive. Method: a table of lines; each line is given cut at
 * every point, right-aligned to an unmapped page; random bytes besides.
 */
#include "protocol/parse_text.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"
#include "lib/guard_page.h"

#define K50 "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
#define K250 K50 K50 K50 K50 K50
#define INPUT_MAX 65536

struct row {
	const char *line;
	struct request want;
};

static struct span text(const char *s)
{
	return span_str(s);
}

static struct request bad(enum request_status error, bool noreply)
{
	return (struct request){ .verb = REQUEST_INVALID, .error = error, .noreply = noreply };
}

#define ROW_MAX 128
static struct row rows[ROW_MAX];
static size_t row_cnt;

/* A statement of its own each, so that a row may call functions. */
#define ROW(...)                                                                                   \
	rows[row_cnt++] = (struct row)                                                             \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}

static void make_retrieval_rows(void)
{
	ROW("get a\r\n", { .verb = REQUEST_GET, .keys = text(" a") });
	ROW("get a\n", { .verb = REQUEST_GET, .keys = text(" a") });
	ROW("  get  a  b \r\n", { .verb = REQUEST_GET, .keys = text("  a  b ") });
	ROW("gets a b c\r\n", { .verb = REQUEST_GETS, .keys = text(" a b c") });
	ROW("get " K250 "\r\n", { .verb = REQUEST_GET, .keys = text(" " K250) });
	ROW("gat 10 a b\r\n", { .verb = REQUEST_GAT, .exptime = 10, .keys = text(" a b") });
	ROW("gats -1 a\r\n", { .verb = REQUEST_GATS, .exptime = -1, .keys = text(" a") });
	ROW("gat 0\r\n", { .verb = REQUEST_GAT });
	ROW("bget a\r\n", { .verb = REQUEST_GET, .keys = text(" a") });
	ROW("get " K250 "k\r\n", bad(STATUS_BAD_FORMAT, false));
	ROW("get a " K250 "k b\r\n", bad(STATUS_BAD_FORMAT, false));
	ROW("gat x a\r\n", bad(STATUS_BAD_EXPTIME, false));
	ROW("gat x " K250 "k\r\n", bad(STATUS_BAD_EXPTIME, false));
	ROW("get\r\n", bad(STATUS_UNKNOWN_COMMAND, false));
	ROW("get \r\n", bad(STATUS_UNKNOWN_COMMAND, false));
	ROW("gat\r\n", bad(STATUS_UNKNOWN_COMMAND, false));
}

static void make_storage_rows(void)
{
	ROW("set a 5 10 3\r\n",
	    { .verb = REQUEST_SET, .key = text("a"), .flags = 5, .exptime = 10, .value_len = 3 });
	ROW("set a 5 10 3 noreply\r\n", { .verb = REQUEST_SET,
					  .key = text("a"),
					  .flags = 5,
					  .exptime = 10,
					  .value_len = 3,
					  .noreply = true });
	ROW("set a 0 0 0 other\r\n", { .verb = REQUEST_SET, .key = text("a") });
	ROW("add " K250 " 4294967295 -1 1\r\n", { .verb = REQUEST_ADD,
						  .key = text(K250),
						  .flags = 4294967295U,
						  .exptime = -1,
						  .value_len = 1 });
	ROW("replace a 4294967297 0 1\r\n",
	    { .verb = REQUEST_REPLACE, .key = text("a"), .flags = 1, .value_len = 1 });
	ROW("append a 0 0 2147483645\r\n",
	    { .verb = REQUEST_APPEND, .key = text("a"), .value_len = 2147483645 });
	ROW("prepend a +0 \t7 2\r\n",
	    { .verb = REQUEST_PREPEND, .key = text("a"), .exptime = 7, .value_len = 2 });
	ROW("cas a 0 0 1 18446744073709551615\r\n",
	    { .verb = REQUEST_CAS, .key = text("a"), .value_len = 1, .cas = UINT64_MAX });
	ROW("cas a 0 0 1 7 noreply\r\n",
	    { .verb = REQUEST_CAS, .key = text("a"), .value_len = 1, .cas = 7, .noreply = true });
	ROW("set a 0 4102444800 1\r\n",
	    { .verb = REQUEST_SET, .key = text("a"), .exptime = 4102444800, .value_len = 1 });
	ROW("set " K250 "k 0 0 1\r\n", bad(STATUS_BAD_FORMAT, false));
	ROW("set a -1 0 1\r\n", bad(STATUS_BAD_FORMAT, false));
	ROW("set a 0 x 1\r\n", bad(STATUS_BAD_FORMAT, false));
	ROW("set a 0 0 -1\r\n", bad(STATUS_BAD_FORMAT, false));
	ROW("set a 0 0 2147483646\r\n", bad(STATUS_BAD_FORMAT, false));
	ROW("set a 0 0 4294967297\r\n", bad(STATUS_BAD_FORMAT, false));
	ROW("set a 0 0 99999999999999999999\r\n", bad(STATUS_BAD_FORMAT, false));
	ROW("set a 0 0 1x noreply\r\n", bad(STATUS_BAD_FORMAT, true));
	ROW("set a 0 0 noreply\r\n", bad(STATUS_BAD_FORMAT, true));
	ROW("cas a 0 0 1 x\r\n", bad(STATUS_BAD_FORMAT, false));
	ROW("cas a 0 0 1\r\n", bad(STATUS_UNKNOWN_COMMAND, false));
	ROW("set a 0 0\r\n", bad(STATUS_UNKNOWN_COMMAND, false));
	ROW("set a 0 0 1 noreply x\r\n", bad(STATUS_UNKNOWN_COMMAND, false));
	ROW("cas a 0 0 1 2 noreply x\r\n", bad(STATUS_UNKNOWN_COMMAND, false));
	ROW("cas a 0 0 1 2 noreply x y z\r\n", bad(STATUS_UNKNOWN_COMMAND, false));
}

static void make_key_rows(void)
{
	ROW("delete a\r\n", { .verb = REQUEST_DELETE, .key = text("a") });
	ROW("delete a 0\r\n", { .verb = REQUEST_DELETE, .key = text("a") });
	ROW("delete a noreply\r\n", { .verb = REQUEST_DELETE, .key = text("a"), .noreply = true });
	ROW("delete a 0 noreply\r\n",
	    { .verb = REQUEST_DELETE, .key = text("a"), .noreply = true });
	ROW("delete noreply\r\n", { .verb = REQUEST_DELETE, .key = text("noreply") });
	ROW("delete a 5\r\n", bad(STATUS_BAD_DELETE, false));
	ROW("delete a 5 noreply\r\n", bad(STATUS_BAD_DELETE, true));
	ROW("delete a 0 0\r\n", bad(STATUS_BAD_DELETE, false));
	ROW("delete\r\n", bad(STATUS_UNKNOWN_COMMAND, false));
	ROW("delete " K250 "k\r\n", bad(STATUS_BAD_FORMAT, false));
	ROW("incr a 18446744073709551615\r\n",
	    { .verb = REQUEST_INCR, .key = text("a"), .number = UINT64_MAX });
	ROW("decr a 1 noreply\r\n",
	    { .verb = REQUEST_DECR, .key = text("a"), .number = 1, .noreply = true });
	ROW("incr a -1\r\n", bad(STATUS_BAD_DELTA, false));
	ROW("incr a 18446744073709551616 noreply\r\n", bad(STATUS_BAD_DELTA, true));
	ROW("incr " K250 "k x\r\n", bad(STATUS_BAD_FORMAT, false));
	ROW("incr a\r\n", bad(STATUS_UNKNOWN_COMMAND, false));
	ROW("touch a 5\r\n", { .verb = REQUEST_TOUCH, .key = text("a"), .exptime = 5 });
	ROW("touch a x noreply\r\n", bad(STATUS_BAD_EXPTIME, true));
}

static void make_other_rows(void)
{
	ROW("flush_all\r\n", { .verb = REQUEST_FLUSH_ALL });
	ROW("flush_all noreply\r\n", { .verb = REQUEST_FLUSH_ALL, .noreply = true });
	ROW("flush_all 5\r\n", { .verb = REQUEST_FLUSH_ALL, .has_exptime = true, .exptime = 5 });
	ROW("flush_all 5 noreply\r\n",
	    { .verb = REQUEST_FLUSH_ALL, .has_exptime = true, .exptime = 5, .noreply = true });
	ROW("flush_all x\r\n", bad(STATUS_BAD_EXPTIME, false));
	ROW("flush_all 0 noreply x\r\n", bad(STATUS_UNKNOWN_COMMAND, false));
	ROW("version\r\n", { .verb = REQUEST_VERSION });
	ROW("version x y\r\n", { .verb = REQUEST_VERSION, .args = text(" x y") });
	ROW("verbosity 1\r\n", { .verb = REQUEST_VERBOSITY, .number = 1 });
	ROW("verbosity x noreply\r\n", bad(STATUS_BAD_FORMAT, true));
	ROW("verbosity\r\n", bad(STATUS_UNKNOWN_COMMAND, false));
	ROW("stats\r\n", { .verb = REQUEST_STATS });
	ROW("stats items\r\n", { .verb = REQUEST_STATS, .args = text(" items") });
	ROW("shutdown graceful\r\n", { .verb = REQUEST_SHUTDOWN, .args = text(" graceful") });
	ROW("cache_memlimit 100\r\n", { .verb = REQUEST_MEMLIMIT, .number = 100 });
	ROW("refresh_certs\r\n", { .verb = REQUEST_REFRESH_CERTS });
	ROW("cache_memlimit x\r\n", bad(STATUS_UNKNOWN_COMMAND, false));
	ROW("quit\r\n", { .verb = REQUEST_QUIT });
}

static void make_wrong_rows(void)
{
	ROW("\r\n", bad(STATUS_UNKNOWN_COMMAND, false));
	ROW("\n", bad(STATUS_UNKNOWN_COMMAND, false));
	ROW("   \r\n", bad(STATUS_UNKNOWN_COMMAND, false));
	ROW("GET a\r\n", bad(STATUS_UNKNOWN_COMMAND, false));
	ROW("getx a\r\n", bad(STATUS_UNKNOWN_COMMAND, false));
	ROW("mx a v\r\n", bad(STATUS_UNKNOWN_COMMAND, false));
	ROW("get\ta\r\n", bad(STATUS_UNKNOWN_COMMAND, false));
	ROW("gEt / HTTP/1.1\r\n", bad(STATUS_UNKNOWN_COMMAND, false));
}

static struct guard_page guard;

static void assert_span(struct span got, struct span want, const char *line)
{
	if (!span_equal(got, want))
		fail_msg("%s: got \"%.*s\", want \"%.*s\"", line, (int)got.len, got.ptr,
			 (int)want.len, want.ptr);
}

static void assert_request(const struct request *got, const struct request *want, const char *line)
{
	if (got->verb != want->verb || got->error != want->error || got->noreply != want->noreply)
		fail_msg("%s: verb %d error %d noreply %d", line, got->verb, got->error,
			 got->noreply);
	assert_false(got->more);
	assert_non_null(got->compose);
	if (want->verb == REQUEST_INVALID)
		return;
	assert_int_equal(got->flags, want->flags);
	assert_int_equal(got->exptime, want->exptime);
	assert_int_equal(got->has_exptime, want->has_exptime);
	assert_int_equal(got->value_len, want->value_len);
	assert_true(got->cas == want->cas);
	assert_true(got->number == want->number);
	assert_span(got->key, want->key, line);
	assert_span(got->keys, want->keys, line);
	assert_span(got->args, want->args, line);
}

static void parse_text_complete_line_gives_request(void **state)
{
	(void)state;
	for (size_t i = 0; i < row_cnt; i++) {
		struct span in = guard_page_put(&guard, rows[i].line, strlen(rows[i].line));
		struct request got;

		if (parse_text(in, 0, &got) != (ssize_t)in.len)
			fail_msg("not consumed: %s", rows[i].line);
		assert_request(&got, &rows[i].want, rows[i].line);
	}
}

static void parse_text_every_prefix_asks_for_more(void **state)
{
	(void)state;
	for (size_t i = 0; i < row_cnt; i++) {
		size_t len = strlen(rows[i].line);
		struct request got = { .verb = REQUEST_VERB_CNT };

		for (size_t cut = 0; cut < len; cut++) {
			struct span in = guard_page_put(&guard, rows[i].line, cut);

			assert_int_equal(parse_text(in, 0, &got), -EAGAIN);
			/* bytes already looked at need not be looked at again */
			assert_int_equal(parse_text(in, cut, &got), -EAGAIN);
			assert_int_equal(got.verb, REQUEST_VERB_CNT);
		}
		assert_int_equal(
			parse_text(guard_page_put(&guard, rows[i].line, len), len - 1, &got),
			(ssize_t)len);
		assert_request(&got, &rows[i].want, rows[i].line);
	}
}

static void parse_text_line_with_bytes_behind_takes_the_line(void **state)
{
	char input[2048];

	(void)state;
	for (size_t i = 0; i < row_cnt; i++) {
		size_t len = strlen(rows[i].line);
		struct request got;

		snprintf(input, sizeof(input), "%sset b 1 1 1\r\nx\r\n", rows[i].line);
		assert_int_equal(parse_text(guard_page_put(&guard, input, strlen(input)), 0, &got),
				 (ssize_t)len);
		assert_request(&got, &rows[i].want, rows[i].line);
	}
}

static void parse_text_nul_ends_the_words(void **state)
{
	struct request got;
	struct span in = guard_page_put(&guard, "get a\0b c\r\n", 11);

	(void)state;
	assert_int_equal(parse_text(in, 0, &got), 11);
	assert_span(got.keys, span_str(" a"), "nul");
	in = guard_page_put(&guard, "\0get a\r\n", 8);
	assert_int_equal(parse_text(in, 0, &got), 8);
	assert_int_equal(got.verb, REQUEST_INVALID);
}

static void parse_text_http_is_bad_message(void **state)
{
	static const char *const lines[] = { "GET / HTTP/1.1\r\n", "POST /a b c HTTP/1.0\n",
					     "PUT HTTP/2  \r\n" };
	struct request got = { .verb = REQUEST_VERB_CNT };

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct span in = guard_page_put(&guard, lines[i], strlen(lines[i]));

		assert_int_equal(parse_text(in, 0, &got), -EBADMSG);
		assert_int_equal(got.verb, REQUEST_VERB_CNT);
	}
}

static void parse_text_endless_line_is_too_long(void **state)
{
	static char line[INPUT_MAX];
	struct request got;

	(void)state;
	memset(line, 'x', sizeof(line));
	assert_int_equal(parse_text(guard_page_put(&guard, line, PARSE_TEXT_LINE_MAX), 0, &got),
			 -EAGAIN);
	assert_int_equal(parse_text(guard_page_put(&guard, line, PARSE_TEXT_LINE_MAX + 1), 0, &got),
			 -EMSGSIZE);
	/* a retrieval, but not one that begins after a page of spaces */
	memset(line, ' ', sizeof(line));
	memcpy(line + 100, "get a", 5);
	assert_int_equal(parse_text(guard_page_put(&guard, line, 3000), 0, &got), -EAGAIN);
	memcpy(line + 100, " get a", 6);
	assert_int_equal(parse_text(guard_page_put(&guard, line, 3000), 0, &got), -EMSGSIZE);
}

/* Feeds a long line in reads of `step` bytes, as a connection does, and joins the pieces' keys. */
static size_t read_in_pieces(const char *line, size_t len, size_t step, char *ret_keys)
{
	struct request req;
	size_t start = 0, end = 0, scanned = 0, out = 0;
	bool more = false;

	for (;;) {
		struct span in = guard_page_put(&guard, line + start, end - start);
		ssize_t n =
			more ? parse_text_more(in, scanned, &req) : parse_text(in, scanned, &req);

		if (n == -EAGAIN) {
			assert_true(end < len);
			assert_true(end - start <= PARSE_TEXT_WINDOW);
			scanned = end - start;
			end = end + step < len ? end + step : len;
			continue;
		}
		assert_true(n > 0 || (n == 0 && req.more));
		assert_int_equal(req.verb, REQUEST_GETS);
		for (struct span key; (key = request_word(&req.keys)).len;) {
			memcpy(ret_keys + out, key.ptr, key.len);
			out += key.len;
			ret_keys[out++] = ' ';
		}
		start += (size_t)n;
		scanned = 0;
		more = req.more;
		if (!more) {
			assert_int_equal(start, len);
			return out;
		}
	}
}

static void parse_text_long_retrieval_in_pieces_gives_every_key(void **state)
{
	static const size_t steps[] = { 1, 7, 100, 4096, 16384, 60000 };
	static char line[INPUT_MAX], keys[INPUT_MAX], got[INPUT_MAX];
	size_t len = 5, key_bytes = 0;

	(void)state;
	memcpy(line, "gets ", 5);
	for (uint32_t i = 0; len < 50000; i++) {
		int n = snprintf(keys + key_bytes, sizeof(keys) - key_bytes, "key%u ", i);

		memcpy(line + len, keys + key_bytes, (size_t)n);
		len += (size_t)n;
		key_bytes += (size_t)n;
	}
	memcpy(line + len, "\r\n", 2);
	len += 2;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		assert_int_equal(read_in_pieces(line, len, steps[i], got), key_bytes);
		assert_memory_equal(got, keys, key_bytes);
	}
}

static void parse_text_long_key_in_long_line_is_refused(void **state)
{
	static char line[INPUT_MAX];
	struct request got;
	ssize_t n;

	(void)state;
	memset(line, 'k', sizeof(line));
	memcpy(line, "get ", 4);
	n = parse_text(guard_page_put(&guard, line, PARSE_TEXT_WINDOW), 0, &got);
	assert_true(n > 0);
	assert_int_equal(got.verb, REQUEST_INVALID);
	assert_int_equal(got.error, STATUS_BAD_FORMAT);
	assert_true(got.more);
	/* and in a later piece */
	memset(line, ' ', PARSE_TEXT_WINDOW);
	memcpy(line, "get a ", 6);
	n = parse_text(guard_page_put(&guard, line, PARSE_TEXT_WINDOW), 0, &got);
	assert_true(n > 0 && got.verb == REQUEST_GET && got.more);
	n = parse_text_more(guard_page_put(&guard, line + n, sizeof(line) - (size_t)n), 0, &got);
	assert_true(n >= 0);
	if (got.verb != REQUEST_INVALID)
		n = parse_text_more(guard_page_put(&guard, line + 40000, PARSE_TEXT_WINDOW), 0,
				    &got);
	assert_int_equal(got.verb, REQUEST_INVALID);
	assert_true(got.more);
}

static void parse_text_random_bytes_stay_in_bounds(void **state)
{
	static const char alphabet[] = "get set 0 1 9 a\r\n\0- +x noreply incr gat";
	const char *text_seed = getenv("XC_TEST_SEED");
	uint64_t seed = text_seed ? strtoull(text_seed, NULL, 0) : 20160810;
	struct rand r;
	uint8_t bytes[300];

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	rand_init(&r, seed);
	for (uint32_t i = 0; i < 200000; i++) {
		size_t len = rand_below(&r, sizeof(bytes));
		struct request got = { 0 };
		struct span in;
		ssize_t n;

		for (size_t j = 0; j < len; j++)
			bytes[j] = rand_below(&r, 20)
					   ? (uint8_t)alphabet[rand_below(&r, sizeof(alphabet))]
					   : (uint8_t)rand_next(&r);
		in = guard_page_put(&guard, bytes, len);
		n = parse_text(in, 0, &got);
		assert_true(n == -EAGAIN || n == -EBADMSG || (n > 0 && n <= (ssize_t)len));
		if (n > 0 && got.keys.len)
			assert_true(got.keys.ptr >= in.ptr &&
				    got.keys.ptr + got.keys.len < in.ptr + n);
		if (n > 0 && got.key.len)
			assert_true(got.key.ptr >= in.ptr &&
				    got.key.ptr + got.key.len < in.ptr + n);
	}
}

static bool is_command(const char *s)
{
	return parse_text_is_command(guard_page_put(&guard, s, strlen(s)));
}

/* Every word that a reply can begin with, ours or memcached's, is no command's name. */
static void parse_text_is_command_no_reply_is_one(void **state)
{
	static const char *const replies[] = {
		"VALUE a 0 5\r\nget b\r\nEND\r\n",
		"END\r\n",
		"STORED\r\n",
		"NOT_STORED\r\n",
		"EXISTS\r\n",
		"NOT_FOUND\r\n",
		"DELETED\r\n",
		"TOUCHED\r\n",
		"OK\r\n",
		"RESET\r\n",
		"VERSION 1.6.18\r\n",
		"STAT pid 1\r\n",
		"ERROR\r\n",
		"CLIENT_ERROR bad\r\n",
		"SERVER_ERROR out of memory\r\n",
		"17\r\n",
		"HD\r\n",
		"EN\r\n",
		"NS\r\n",
		"NF\r\n",
		"EX\r\n",
		"VA 2\r\nok\r\n",
		"MN\r\n",
		"ME a exp=1\r\n",
		"BUSY\r\n",
		"",
		"\r\n",
		" ",
		"\r\nget a\r\n",
		"Get a\r\n",
		"getx a\r\n",
	};
	static const char *const commands[] = {
		"get a\r\n",	   "  get a\r\n", "gets a b",  "version\r\n",
		"version\n",	   "quit",	  "flush_all", "cache_memlimit 1\r\n",
		"set a 0 0 5\r\n", "bget a\r\n",  "get\r\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++)
		if (is_command(replies[i]))
			fail_msg("%s", replies[i]);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!is_command(commands[i]))
			fail_msg("%s", commands[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parse_text_complete_line_gives_request),
		cmocka_unit_test(parse_text_every_prefix_asks_for_more),
		cmocka_unit_test(parse_text_line_with_bytes_behind_takes_the_line),
		cmocka_unit_test(parse_text_nul_ends_the_words),
		cmocka_unit_test(parse_text_http_is_bad_message),
		cmocka_unit_test(parse_text_endless_line_is_too_long),
		cmocka_unit_test(parse_text_long_retrieval_in_pieces_gives_every_key),
		cmocka_unit_test(parse_text_long_key_in_long_line_is_refused),
		cmocka_unit_test(parse_text_is_command_no_reply_is_one),
		cmocka_unit_test(parse_text_random_bytes_stay_in_bounds),
	};

	guard_page_init(&guard, INPUT_MAX);
	make_retrieval_rows();
	make_storage_rows();
	make_key_rows();
	make_other_rows();
	make_wrong_rows();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
