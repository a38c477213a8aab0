/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Replies are byte for byte those of the text protocol, every status has words, and noreply
 * silences what it must and nothing else.
 */
#include "protocol/compose_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "abi/limits.h"

static struct response resp;

static void assert_text(const char *want)
{
	size_t len = strlen(want);

	assert_int_equal(resp.bytes, len);
	if (len) {
		assert_int_equal(resp.iov_cnt, 1);
		assert_memory_equal(resp.iov[0].iov_base, want, len);
	}
	response_reset(&resp);
}

static void compose_text_status_every_one_has_words(void **state)
{
	struct request req = { 0 };

	(void)state;
	for (int s = 0; s < STATUS_CNT; s++) {
		char want[128];

		strcpy(want, compose_text_status((enum request_status)s));
		assert_true(strlen(want) > 1 && !strchr(want, '\r') && !strchr(want, '\n'));
		strcat(want, "\r\n");
		compose_text.status(&resp, &req, (enum request_status)s);
		assert_text(want);
	}
}

static void compose_text_item_has_unique_only_where_asked(void **state)
{
	const struct compose_item item = {
		.key = span_str("key"),
		.value_len = 12,
		.cas = UINT64_MAX,
		.flags = UINT32_MAX,
	};
	struct request req = { .verb = REQUEST_GET };

	(void)state;
	compose_text.item(&resp, &req, &item);
	assert_text("VALUE key 4294967295 12\r\n");
	req.verb = REQUEST_GAT;
	compose_text.item(&resp, &req, &item);
	assert_text("VALUE key 4294967295 12\r\n");
	req.verb = REQUEST_GETS;
	compose_text.item(&resp, &req, &item);
	assert_text("VALUE key 4294967295 12 18446744073709551615\r\n");
	req.verb = REQUEST_GATS;
	compose_text.item(&resp, &req, &item);
	compose_text.item_end(&resp, &req);
	compose_text.end(&resp, &req);
	assert_text("VALUE key 4294967295 12 18446744073709551615\r\n\r\nEND\r\n");
}

static void compose_text_item_largest_line_fits(void **state)
{
	uint8_t key[XC_KEY_MAX];
	struct compose_item item = {
		.key = span_of(key, sizeof(key)),
		.value_len = UINT64_MAX,
		.cas = UINT64_MAX,
		.flags = UINT32_MAX,
	};
	struct request req = { .verb = REQUEST_GETS };

	(void)state;
	memset(key, 'k', sizeof(key));
	compose_text.item(&resp, &req, &item);
	assert_int_equal(resp.bytes, 6 + 250 + 11 + 21 + 21 + 2);
	response_reset(&resp);
}

static void compose_text_noreply_silences_status_and_number(void **state)
{
	struct request req = { .noreply = true };

	(void)state;
	compose_text.status(&resp, &req, STATUS_STORED);
	compose_text.status(&resp, &req, STATUS_BAD_FORMAT);
	compose_text.number(&resp, &req, 5, 0);
	assert_text("");
	compose_text.end(&resp, &req);
	assert_text("END\r\n");
	req.noreply = false;
	compose_text.number(&resp, &req, UINT64_MAX, 0);
	assert_text("18446744073709551615\r\n");
}

static void compose_text_stat_and_version_lines(void **state)
{
	struct request req = { 0 };

	(void)state;
	compose_text.stat(&resp, &req, "cmd_get", "5");
	compose_text.version(&resp, &req, "1.2.3");
	assert_text("STAT cmd_get 5\r\nVERSION 1.2.3\r\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compose_text_status_every_one_has_words),
		cmocka_unit_test(compose_text_item_has_unique_only_where_asked),
		cmocka_unit_test(compose_text_item_largest_line_fits),
		cmocka_unit_test(compose_text_noreply_silences_status_and_number),
		cmocka_unit_test(compose_text_stat_and_version_lines),
	};

	if (response_init(&resp, 65536, 65536))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
