/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Binary replies are memcached 1.6.18's to the byte, and quiet requests hear exactly what they are
 * to hear. Method: calls of the writer against packets written out here.
 */
#include "protocol/compose_binary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/binary.h"

static struct response resp;

static struct request request_of(enum request_verb verb, uint8_t opcode, bool quiet)
{
	return (struct request){ .verb = verb,
				 .opcode = opcode,
				 .noreply = quiet,
				 .key = span_str("key"),
				 .opaque_be = htobe32(0x01020304) };
}

/* All that was composed since the last call. */
static void assert_reply(const char *bytes, size_t len)
{
	uint8_t got[512];
	size_t at = 0;

	assert_false(resp.failed);
	for (uint32_t i = 0; i < resp.iov_cnt; i++) {
		assert_true(at + resp.iov[i].iov_len <= sizeof(got));
		memcpy(got + at, resp.iov[i].iov_base, resp.iov[i].iov_len);
		at += resp.iov[i].iov_len;
	}
	assert_int_equal(at, len);
	assert_memory_equal(got, bytes, len);
	response_reset(&resp);
}

#define REPLY(text) assert_reply(text, sizeof(text) - 1)
#define OPAQUE "\1\2\3\4"
#define CAS_0 "\0\0\0\0\0\0\0\0"
#define CAS_9 "\0\0\0\0\0\0\0\x09"

static void compose_binary_item_has_flags_and_perhaps_key(void **state)
{
	const struct compose_item item = {
		.key = span_str("key"), .value_len = 5, .cas = 9, .flags = 0x102
	};
	struct request req = request_of(REQUEST_GET, BINARY_GETQ, true);

	(void)state;
	compose_binary.item(&resp, &req, &item);
	compose_binary.item_end(&resp, &req);
	REPLY("\x81\x09\0\0\4\0\0\0\0\0\0\x09" OPAQUE CAS_9 "\0\0\1\2");
	req = request_of(REQUEST_GAT, BINARY_GATK, false);
	compose_binary.item(&resp, &req, &item);
	REPLY("\x81\x23\0\3\4\0\0\0\0\0\0\x0c" OPAQUE CAS_9 "\0\0\1\2key");
	req = request_of(REQUEST_TOUCH, BINARY_TOUCH, false);
	compose_binary.touched(&resp, &req, &item);
	REPLY("\x81\x1c\0\0\4\0\0\0\0\0\0\4" OPAQUE CAS_9 "\0\0\1\2");
}

static void compose_binary_miss_is_told_unless_quiet(void **state)
{
	struct request req = request_of(REQUEST_GET, BINARY_GETK, false);

	(void)state;
	compose_binary.status(&resp, &req, STATUS_NOT_FOUND);
	REPLY("\x81\x0c\0\3\0\0\0\1\0\0\0\3" OPAQUE CAS_0 "key");
	req = request_of(REQUEST_GET, BINARY_GET, false);
	compose_binary.status(&resp, &req, STATUS_NOT_FOUND);
	REPLY("\x81\0\0\0\0\0\0\1\0\0\0\x09" OPAQUE CAS_0 "Not found");
	req = request_of(REQUEST_GET, BINARY_GETKQ, true);
	compose_binary.status(&resp, &req, STATUS_NOT_FOUND);
	REPLY("");
	/* no retrieval: an error like others */
	req = request_of(REQUEST_DELETE, BINARY_DELETEQ, true);
	compose_binary.status(&resp, &req, STATUS_NOT_FOUND);
	REPLY("\x81\x14\0\0\0\0\0\1\0\0\0\x09" OPAQUE CAS_0 "Not found");
}

static void compose_binary_success_is_told_unless_quiet(void **state)
{
	const struct compose_stored stored = { .cas = 9 };
	struct request req = request_of(REQUEST_SET, BINARY_SET, false);

	(void)state;
	compose_binary.stored(&resp, &req, &stored);
	REPLY("\x81\1\0\0\0\0\0\0\0\0\0\0" OPAQUE CAS_9);
	compose_binary.number(&resp, &req, 258, 9);
	REPLY("\x81\1\0\0\0\0\0\0\0\0\0\x08" OPAQUE CAS_9 "\0\0\0\0\0\0\1\2");
	compose_binary.bye(&resp, &req);
	REPLY("\x81\1\0\0\0\0\0\0\0\0\0\0" OPAQUE CAS_0);
	req.noreply = true;
	compose_binary.stored(&resp, &req, &stored);
	compose_binary.number(&resp, &req, 258, 9);
	compose_binary.status(&resp, &req, STATUS_OK);
	compose_binary.bye(&resp, &req);
	REPLY("");
}

static void assert_code(enum request_verb verb, enum request_status status, uint16_t code)
{
	struct request req = request_of(verb, 0, true);
	const uint8_t *bytes;

	compose_binary.status(&resp, &req, status);
	assert_true(resp.bytes > BINARY_HEADER_LEN);
	bytes = resp.iov[0].iov_base;
	assert_int_equal(bytes[0], BINARY_REPLY);
	assert_int_equal(binary_get16(bytes + 6), code);
	assert_int_equal(binary_get32(bytes + 8), resp.bytes - BINARY_HEADER_LEN);
	response_reset(&resp);
}

static void compose_binary_errors_have_memcacheds_codes(void **state)
{
	(void)state;
	assert_code(REQUEST_ADD, STATUS_NOT_STORED, BINARY_EXISTS);
	assert_code(REQUEST_REPLACE, STATUS_NOT_STORED, BINARY_NOT_FOUND);
	assert_code(REQUEST_APPEND, STATUS_NOT_STORED, BINARY_NOT_STORED);
	assert_code(REQUEST_CAS, STATUS_EXISTS, BINARY_EXISTS);
	assert_code(REQUEST_CAS, STATUS_NOT_FOUND, BINARY_NOT_FOUND);
	assert_code(REQUEST_SET, STATUS_TOO_LARGE, BINARY_TOO_LARGE);
	assert_code(REQUEST_SET, STATUS_NO_MEMORY_STORING, BINARY_NO_MEMORY);
	assert_code(REQUEST_INCR, STATUS_NOT_NUMBER, BINARY_NOT_NUMBER);
	assert_code(REQUEST_FLUSH_ALL, STATUS_FLUSH_REFUSED, BINARY_AUTH_FAILURE);
	assert_code(REQUEST_STATS, STATUS_UNKNOWN_COMMAND, BINARY_NOT_FOUND);
	assert_code(REQUEST_INVALID, STATUS_UNKNOWN_COMMAND, BINARY_UNKNOWN_COMMAND);
	assert_code(REQUEST_INVALID, STATUS_BAD_FORMAT, BINARY_INVALID);
	assert_code(REQUEST_STATS, STATUS_UDP_REFUSED, BINARY_NOT_SUPPORTED);
}

static void compose_binary_stats_end_without_a_name(void **state)
{
	struct request req = request_of(REQUEST_STATS, BINARY_STAT, false);

	(void)state;
	compose_binary.stat(&resp, &req, "pid", "12");
	compose_binary.end(&resp, &req);
	REPLY("\x81\x10\0\3\0\0\0\0\0\0\0\5" OPAQUE CAS_0 "pid12"
	      "\x81\x10\0\0\0\0\0\0\0\0\0\0" OPAQUE CAS_0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compose_binary_item_has_flags_and_perhaps_key),
		cmocka_unit_test(compose_binary_miss_is_told_unless_quiet),
		cmocka_unit_test(compose_binary_success_is_told_unless_quiet),
		cmocka_unit_test(compose_binary_errors_have_memcacheds_codes),
		cmocka_unit_test(compose_binary_stats_end_without_a_name),
	};
	int failed;

	if (response_init(&resp, 4096, 1 << 20))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	response_fini(&resp);
	return failed;
}
