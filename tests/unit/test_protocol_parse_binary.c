/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parser reads each binary request as memcached 1.6.18 does, never reads behind what it is
 * given, and believes no length that another contradicts. Method: requests built byte by byte, each
 * given cut at every point, right-aligned to an unmapped page; random headers besides.
 */
#include "protocol/parse_binary.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"
#include "lib/guard_page.h"

#define INPUT_MAX 4096
#define RANDOM_CNT 200000
#define OPAQUE 0xdeadbeef

static struct guard_page guard;

/* What a header says, whatever follows it. */
struct packet {
	uint8_t opcode;
	uint32_t key_len;
	uint32_t extras_len;
	uint32_t body_len;
	uint64_t cas;
	uint8_t follows[INPUT_MAX - BINARY_HEADER_LEN];
	size_t follow_len;
};

static size_t write_packet(const struct packet *p, uint8_t *to)
{
	memset(to, 0, BINARY_HEADER_LEN);
	to[0] = BINARY_REQUEST;
	to[1] = p->opcode;
	binary_put16(to + 2, (uint16_t)p->key_len);
	to[4] = (uint8_t)p->extras_len;
	binary_put32(to + 8, p->body_len);
	binary_put32(to + 12, OPAQUE);
	binary_put64(to + 16, p->cas);
	memcpy(to + BINARY_HEADER_LEN, p->follows, p->follow_len);
	return BINARY_HEADER_LEN + p->follow_len;
}

/* extras and key as given, and value_len bytes of value that the header only announces. */
static struct packet packet_of(uint8_t opcode, struct span extras, const char *key,
			       uint32_t value_len)
{
	struct packet p = { .opcode = opcode,
			    .key_len = (uint32_t)strlen(key),
			    .extras_len = (uint32_t)extras.len };

	p.body_len = p.key_len + p.extras_len + value_len;
	if (extras.len)
		memcpy(p.follows, extras.ptr, extras.len);
	memcpy(p.follows + extras.len, key, p.key_len);
	p.follow_len = extras.len + p.key_len;
	return p;
}

static ssize_t parse(const struct packet *p, struct request *ret)
{
	uint8_t bytes[INPUT_MAX];
	size_t len = write_packet(p, bytes);

	return parse_binary(guard_page_put(&guard, bytes, len), ret);
}

static const uint8_t store_extras[8] = { 0, 0, 1, 2, 0xff, 0xff, 0xff, 0xfe };
static const uint8_t arith_extras[20] = { 0, 0, 0, 0, 0, 0, 0, 3, 0, 0,
					  0, 0, 0, 0, 0, 9, 0, 0, 0, 100 };

static struct span store(void)
{
	return span_of(store_extras, sizeof(store_extras));
}

static struct span arith(void)
{
	return span_of(arith_extras, sizeof(arith_extras));
}

static struct span expiry(void)
{
	return span_of(arith_extras + 16, 4);
}

static struct span none(void)
{
	return span_of(NULL, 0);
}

struct row {
	uint8_t opcode;
	struct span (*extras)(void);
	const char *key;
	uint32_t value_len;
	enum request_verb verb;
	bool quiet;
};

static const struct row rows[] = {
	{ BINARY_GET, none, "a", 0, REQUEST_GET, false },
	{ BINARY_GETQ, none, "a", 0, REQUEST_GET, true },
	{ BINARY_GETK, none, "a b", 0, REQUEST_GET, false },
	{ BINARY_GETKQ, none, "a\n", 0, REQUEST_GET, true },
	{ BINARY_SET, store, "a", 5, REQUEST_SET, false },
	{ BINARY_SETQ, store, "a", 0, REQUEST_SET, true },
	{ BINARY_ADD, store, "a", 5, REQUEST_ADD, false },
	{ BINARY_ADDQ, store, "a", 0xfffffff0 - 9, REQUEST_ADD, true },
	{ BINARY_REPLACE, store, "a", 5, REQUEST_REPLACE, false },
	{ BINARY_REPLACEQ, store, "a", 5, REQUEST_REPLACE, true },
	{ BINARY_APPEND, none, "a", 5, REQUEST_APPEND, false },
	{ BINARY_APPENDQ, none, "a", 5, REQUEST_APPEND, true },
	{ BINARY_PREPEND, none, "a", 5, REQUEST_PREPEND, false },
	{ BINARY_PREPENDQ, none, "a", 5, REQUEST_PREPEND, true },
	{ BINARY_DELETE, none, "a", 0, REQUEST_DELETE, false },
	{ BINARY_DELETEQ, none, "a", 0, REQUEST_DELETE, true },
	{ BINARY_INCR, arith, "a", 0, REQUEST_INCR, false },
	{ BINARY_INCRQ, arith, "a", 0, REQUEST_INCR, true },
	{ BINARY_DECR, arith, "a", 0, REQUEST_DECR, false },
	{ BINARY_DECRQ, arith, "a", 0, REQUEST_DECR, true },
	{ BINARY_TOUCH, expiry, "a", 0, REQUEST_TOUCH, false },
	{ BINARY_GAT, expiry, "a", 0, REQUEST_GAT, false },
	{ BINARY_GATQ, expiry, "a", 0, REQUEST_GAT, true },
	{ BINARY_GATK, expiry, "a", 0, REQUEST_GAT, false },
	{ BINARY_GATKQ, expiry, "a", 0, REQUEST_GAT, true },
	{ BINARY_FLUSH, none, "", 0, REQUEST_FLUSH_ALL, false },
	{ BINARY_FLUSH, expiry, "", 0, REQUEST_FLUSH_ALL, false },
	{ BINARY_FLUSHQ, expiry, "", 0, REQUEST_FLUSH_ALL, true },
	{ BINARY_QUIT, none, "", 0, REQUEST_QUIT, false },
	{ BINARY_QUITQ, none, "", 0, REQUEST_QUIT, true },
	{ BINARY_NOOP, none, "", 0, REQUEST_META_NOOP, false },
	{ BINARY_VERSION, none, "", 0, REQUEST_VERSION, false },
	{ BINARY_STAT, none, "", 0, REQUEST_STATS, false },
	{ BINARY_STAT, none, "settings", 0, REQUEST_STATS, false },
	{ BINARY_VERBOSITY, expiry, "", 0, REQUEST_VERBOSITY, false },
};

#define ROW_CNT (sizeof(rows) / sizeof(rows[0]))

static struct packet packet_of_row(const struct row *row)
{
	return packet_of(row->opcode, row->extras(), row->key, row->value_len);
}

static void parse_binary_each_opcode_gives_request(void **state)
{
	(void)state;
	for (size_t i = 0; i < ROW_CNT; i++) {
		struct packet p = packet_of_row(&rows[i]);
		struct request req;

		assert_int_equal(parse(&p, &req), (ssize_t)(BINARY_HEADER_LEN + p.follow_len));
		assert_int_equal(req.verb, rows[i].verb);
		assert_int_equal(req.noreply, rows[i].quiet);
		assert_int_equal(req.value_len, rows[i].value_len);
		assert_int_equal(req.key.len, strlen(rows[i].key));
		assert_memory_equal(req.key.ptr, rows[i].key, req.key.len);
		assert_int_equal(req.opcode, rows[i].opcode);
		assert_int_equal(be32toh(req.opaque_be), OPAQUE);
		assert_true(req.value_bare && !req.close && !req.more && req.compose);
	}
}

static void parse_binary_every_prefix_asks_for_more(void **state)
{
	uint8_t bytes[INPUT_MAX];

	(void)state;
	for (size_t i = 0; i < ROW_CNT; i++) {
		struct packet p = packet_of_row(&rows[i]);
		struct request req = { .verb = REQUEST_VERB_CNT };
		size_t len = write_packet(&p, bytes);

		for (size_t cut = 0; cut < len; cut++) {
			assert_int_equal(parse_binary(guard_page_put(&guard, bytes, cut), &req),
					 -EAGAIN);
			assert_int_equal(req.verb, REQUEST_VERB_CNT);
		}
	}
}

static void parse_binary_extras_become_arguments(void **state)
{
	struct packet p = packet_of(BINARY_SET, store(), "a", 1);
	struct request req;

	(void)state;
	assert_true(parse(&p, &req) > 0);
	assert_int_equal(req.flags, 0x102);
	assert_int_equal(req.exptime, 0xfffffffe);
	p = packet_of(BINARY_INCR, arith(), "a", 0);
	assert_true(parse(&p, &req) > 0);
	assert_true(req.number == 3 && req.initial == 9 && req.exptime == 100 && req.create);
	memset(p.follows + 16, 0xff, 4);
	assert_true(parse(&p, &req) > 0);
	assert_false(req.create);
	p = packet_of(BINARY_FLUSH, expiry(), "", 0);
	assert_true(parse(&p, &req) > 0);
	assert_true(req.has_exptime && req.exptime == 100);
}

static void parse_binary_cas_makes_a_store_a_cas(void **state)
{
	static const uint8_t opcodes[] = { BINARY_SET, BINARY_ADDQ, BINARY_REPLACE };
	struct request req;

	(void)state;
	for (size_t i = 0; i < sizeof(opcodes); i++) {
		struct packet p = packet_of(opcodes[i], store(), "a", 1);

		p.cas = 77;
		assert_true(parse(&p, &req) > 0);
		assert_int_equal(req.verb, REQUEST_CAS);
		assert_int_equal(req.cas, 77);
	}
}

static void assert_refused(const struct packet *p, enum request_status error)
{
	struct request req;

	assert_int_equal(parse(p, &req), BINARY_HEADER_LEN);
	assert_int_equal(req.verb, REQUEST_INVALID);
	assert_int_equal(req.error, error);
	assert_true(req.close && !req.noreply && !request_has_value(&req));
}

/* CVE-2016-8704, -8705, -8706: a value's length was the body's less those of key and extras. */
static void parse_binary_body_shorter_than_its_parts_is_refused(void **state)
{
	(void)state;
	for (uint32_t opcode = 0; opcode < 256; opcode++) {
		struct packet p = { .opcode = (uint8_t)opcode, .key_len = 250, .extras_len = 8 };

		for (p.body_len = 0; p.body_len < 258; p.body_len += 43)
			assert_refused(&p, STATUS_UNKNOWN_COMMAND);
		p.key_len = 0xffff;
		p.extras_len = 0xff;
		p.body_len = 0xffff + 0xff - 1;
		assert_refused(&p, STATUS_UNKNOWN_COMMAND);
	}
}

/* CVE-2019-11596, CVE-2020-10931: extras were copied by the length that the client named. */
static void parse_binary_extras_of_another_length_are_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < ROW_CNT; i++) {
		struct packet p = packet_of_row(&rows[i]);
		uint32_t right = p.extras_len, may_miss = rows[i].verb == REQUEST_FLUSH_ALL;

		for (uint32_t len = 0; len < 256; len++) {
			p.extras_len = len;
			p.body_len = p.key_len + len + rows[i].value_len % 1000;
			if (len != right && !(may_miss && (len == 0 || len == 4)))
				assert_refused(&p, STATUS_BAD_FORMAT);
		}
	}
}

static void parse_binary_key_of_a_wrong_length_is_refused(void **state)
{
	struct packet p = { .opcode = BINARY_GET, .key_len = 251, .body_len = 251 };

	(void)state;
	assert_refused(&p, STATUS_BAD_FORMAT);
	p.key_len = p.body_len = 0xffff;
	assert_refused(&p, STATUS_BAD_FORMAT);
	p.key_len = p.body_len = 0;
	assert_refused(&p, STATUS_BAD_FORMAT);
	p.opcode = BINARY_NOOP;
	p.key_len = p.body_len = 1;
	assert_refused(&p, STATUS_BAD_FORMAT);
	/* a value where none belongs */
	p = packet_of(BINARY_DELETE, none(), "a", 1);
	assert_refused(&p, STATUS_BAD_FORMAT);
}

static void parse_binary_unknown_opcode_skips_its_body(void **state)
{
	static const uint8_t opcodes[] = { 0x1f, 0x25, 0xff, BINARY_SASL_AUTH };
	struct request req;

	(void)state;
	for (size_t i = 0; i < sizeof(opcodes); i++) {
		struct packet p = packet_of(opcodes[i], none(), "key", 5000);

		assert_int_equal(parse(&p, &req), BINARY_HEADER_LEN);
		assert_int_equal(req.error, STATUS_UNKNOWN_COMMAND);
		assert_true(req.verb == REQUEST_INVALID && request_has_value(&req) && !req.close);
		assert_int_equal(req.value_len, 5003);
		assert_int_equal(request_value_end_len(&req), 0);
	}
}

static void parse_binary_other_magic_is_bad_message(void **state)
{
	(void)state;
	for (uint32_t magic = 0; magic < 256; magic++) {
		uint8_t byte = (uint8_t)magic;
		struct request req = { .verb = REQUEST_VERB_CNT };
		ssize_t len = parse_binary(guard_page_put(&guard, &byte, 1), &req);

		assert_int_equal(len, magic == BINARY_REQUEST ? -EAGAIN : -EBADMSG);
		assert_int_equal(req.verb, REQUEST_VERB_CNT);
	}
}

static void parse_binary_random_headers_stay_inside(void **state)
{
	uint8_t bytes[PARSE_BINARY_MAX];
	struct rand rng;
	uint64_t seed = 20260102;

	(void)state;
	rand_init(&rng, seed);
	for (int i = 0; i < RANDOM_CNT; i++) {
		struct request req;
		struct span in;
		ssize_t len;

		for (size_t k = 0; k < sizeof(bytes); k++)
			bytes[k] = (uint8_t)rand_next(&rng);
		bytes[0] = BINARY_REQUEST;
		bytes[1] %= 0x28;
		bytes[2] = 0;
		bytes[4] %= 24;
		bytes[8] = bytes[9] = 0;
		in = guard_page_put(&guard, bytes, rand_below(&rng, sizeof(bytes)));
		len = parse_binary(in, &req);
		if (len == -EAGAIN)
			continue;
		assert_true(len >= BINARY_HEADER_LEN && (size_t)len <= in.len);
		if (req.key.len)
			assert_true(req.key.ptr + req.key.len <= in.ptr + in.len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parse_binary_each_opcode_gives_request),
		cmocka_unit_test(parse_binary_every_prefix_asks_for_more),
		cmocka_unit_test(parse_binary_extras_become_arguments),
		cmocka_unit_test(parse_binary_cas_makes_a_store_a_cas),
		cmocka_unit_test(parse_binary_body_shorter_than_its_parts_is_refused),
		cmocka_unit_test(parse_binary_extras_of_another_length_are_refused),
		cmocka_unit_test(parse_binary_key_of_a_wrong_length_is_refused),
		cmocka_unit_test(parse_binary_unknown_opcode_skips_its_body),
		cmocka_unit_test(parse_binary_other_magic_is_bad_message),
		cmocka_unit_test(parse_binary_random_headers_stay_inside),
	};
	int failed;

	guard_page_init(&guard, INPUT_MAX);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	guard_page_fini(&guard);
	return failed;
}
