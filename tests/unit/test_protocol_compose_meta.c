/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Meta replies have memcached's bytes, in the order asked; q hides what it may and nothing else;
 * the largest of them fits its room. Method: requests as the parser reads them.
 */
#include "protocol/compose_meta.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "abi/limits.h"
#include "protocol/base64.h"
#include "protocol/compose_text.h"
#include "protocol/parse_text.h"

static struct response resp;

static int set_up(void **state)
{
	(void)state;
	return response_init(&resp, 2048, 1 << 20);
}

static int tear_down(void **state)
{
	(void)state;
	response_fini(&resp);
	return 0;
}

static void assert_text(const char *want)
{
	size_t len = strlen(want);

	if (resp.bytes != len || (len && memcmp(resp.iov[0].iov_base, want, len) != 0))
		fail_msg("got \"%.*s\", want \"%s\"", (int)resp.bytes,
			 resp.bytes ? (char *)resp.iov[0].iov_base : "", want);
	response_reset(&resp);
}

static struct request parse(const char *line)
{
	struct request req;

	assert_int_equal(parse_text(span_str(line), 0, &req), (ssize_t)strlen(line));
	return req;
}

static void compose_meta_status_has_its_code(void **state)
{
	static const struct {
		const char *line;
		enum request_status status;
		const char *want;
	} rows[] = {
		{ "mg a\n", STATUS_NOT_FOUND, "EN\r\n" },
		{ "mg a q\n", STATUS_NOT_FOUND, "" },
		{ "mg a v t k Oz\n", STATUS_NOT_FOUND, "EN ka Oz\r\n" },
		{ "mg Zm9v Oz b k\n", STATUS_NOT_FOUND, "EN Oz kZm9v b\r\n" },
		{ "mg a q\n", STATUS_NO_MEMORY, "SERVER_ERROR out of memory\r\n" },
		{ "me a\n", STATUS_NOT_FOUND, "EN\r\n" },
		{ "md a\n", STATUS_DELETED, "HD\r\n" },
		{ "md a q k\n", STATUS_DELETED, "" },
		{ "md a q k\n", STATUS_NOT_FOUND, "NF ka\r\n" },
		{ "md a q c t\n", STATUS_EXISTS, "EX\r\n" },
		{ "ma a q\n", STATUS_NOT_FOUND, "NF\r\n" },
		{ "ma a q Ox\n", STATUS_EXISTS, "EX Ox\r\n" },
		{ "ms a 3 c s k q\n", STATUS_EXISTS, "EX c0 s3 ka\r\n" },
		{ "ms a 3 s\n", STATUS_NOT_STORED, "NS s3\r\n" },
		{ "ms a 3 q\n", STATUS_NOT_FOUND, "NF\r\n" },
		{ "ms a 3 q\n", STATUS_TOO_LARGE, "SERVER_ERROR object too large for cache\r\n" },
		{ "ms a 3 z\n", STATUS_META_BAD_FLAG, "CLIENT_ERROR invalid flag\r\n" },
		{ "mn\n", STATUS_OK, "MN\r\n" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct request req = parse(rows[i].line);

		/* As the commands do, which know the key's own bytes. */
		if (req.key_base64)
			req.key = span_str("foo");
		req.compose->status(&resp, &req, rows[i].status);
		assert_text(rows[i].want);
	}
}

static void compose_meta_stored_tells_cas_and_size(void **state)
{
	const struct compose_stored stored = { .cas = UINT64_MAX, .value_len = 70000 };
	struct request req = parse("ms a 3 s c Oq k\n");

	(void)state;
	req.compose->stored(&resp, &req, &stored);
	assert_text("HD s70000 c18446744073709551615 Oq ka\r\n");
	req = parse("ms a 3 s c q\n");
	req.compose->stored(&resp, &req, &stored);
	assert_text("");
}

static void compose_meta_item_follows_the_order(void **state)
{
	struct compose_meta_item item = {
		.key = span_str("key"),
		.with_value = true,
		.value_len = 5,
		.cas = 77,
		.flags = 9,
		.idle_sec = 3,
		.ttl_sec = 30,
		.touched_ttl_sec = -1,
		.vivified_ttl_sec = 90,
	};
	struct request req = parse("mg key t T0 s v h l c f k t2\n");

	(void)state;
	assert_int_equal(req.verb, REQUEST_INVALID); /* t twice */
	req = parse("mg key s v h l c f k t T0\n");
	compose_meta_item(&resp, &req, &item);
	assert_text("VA 5 s5 h0 l3 c77 f9 kkey t30\r\n");
	req = parse("mg key T0 t N90 v\n");
	compose_meta_item(&resp, &req, &item);
	assert_text("VA 5 t-1\r\n");
	item.made = true;
	item.with_value = false;
	item.won_now = true;
	req = parse("mg key T0 N90 t\n");
	compose_meta_item(&resp, &req, &item);
	assert_text("HD t90 W\r\n");
	item.won_now = false;
	item.won_before = item.stale = true;
	req = parse("mg key Ox\n");
	compose_meta_item(&resp, &req, &item);
	assert_text("HD Ox Z X\r\n");
	item.won_before = false;
	item.won_now = true;
	compose_meta_item(&resp, &req, &item);
	assert_text("HD Ox X W\r\n");
}

static void compose_meta_arith_has_fewer_flags(void **state)
{
	const struct compose_meta_item item = { .with_value = true, .value_len = 2, .cas = 5 };
	struct request req = parse("ma n v s f h l c k Ox t\n");

	(void)state;
	compose_meta_item(&resp, &req, &item);
	assert_text("VA 2 c5 kn Ox t0\r\n");
}

static void compose_meta_largest_line_fits(void **state)
{
	uint8_t key[XC_KEY_MAX];
	struct compose_meta_item item = {
		.key = span_of(key, sizeof(key)),
		.key_binary = true,
		.with_value = true,
		.value_len = UINT64_MAX,
		.cas = UINT64_MAX,
		.flags = UINT32_MAX,
		.idle_sec = UINT64_MAX,
		.fetched = true,
		.ttl_sec = INT64_MAX,
		.won_before = true,
		.stale = true,
		.won_now = true,
	};
	const struct compose_meta_debug debug = {
		.key = item.key,
		.key_binary = true,
		.ttl_sec = INT64_MIN,
		.idle_sec = UINT64_MAX,
		.cas = UINT64_MAX,
		.fetched = true,
		.size = UINT64_MAX,
		.stale = true,
		.won = true,
		.in_kernel = true,
	};
	struct request req = parse("mg Zm9v b c f h k l q s t u v"
				   " Oabcdefghijklmnopqrstuvwxyz012345 C1 I L P D1\n");

	(void)state;
	memset(key, 0xff, sizeof(key));
	assert_int_equal(req.verb, REQUEST_META_GET);
	compose_meta_item(&resp, &req, &item);
	assert_false(resp.failed);
	assert_true(resp.bytes > BASE64_LEN(XC_KEY_MAX) + 100);
	assert_memory_equal((uint8_t *)resp.iov[0].iov_base + resp.bytes - 8, " Z X W\r\n", 8);
	response_reset(&resp);
	compose_meta_debug(&resp, &req, &debug);
	assert_true(resp.bytes > BASE64_LEN(XC_KEY_MAX) + 100);
	assert_memory_equal((uint8_t *)resp.iov[0].iov_base + resp.bytes - 12, "kernel=yes\r\n",
			    12);
	response_reset(&resp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compose_meta_status_has_its_code),
		cmocka_unit_test(compose_meta_stored_tells_cas_and_size),
		cmocka_unit_test(compose_meta_item_follows_the_order),
		cmocka_unit_test(compose_meta_arith_has_fewer_flags),
		cmocka_unit_test(compose_meta_largest_line_fits),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
