/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Gets of the binary protocol, one or many in a datagram, a noop anywhere among them: answered
 * whole, byte for byte, or passed on as they came. Whatever else is in the headers passes.
 *
 * Method: BPF_PROG_TEST_RUN; requests and replies are put together here, byte by byte, from the
 * protocol's text. The random part prints its seed; XC_TEST_SEED=N repeats one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "bpf/batch_rig.h"

#define COUNT_DEFAULT 20000

enum {
	GET = 0x00,
	SET = 0x01,
	GETQ = 0x09,
	NOOP = 0x0a,
	GETK = 0x0c,
	GETKQ = 0x0d,
};

struct text {
	uint8_t bytes[PKTGEN_MAX];
	size_t len;
};

static void put(struct text *text, const void *bytes, size_t len)
{
	assert_true(text->len + len <= sizeof(text->bytes));
	if (len)
		memcpy(text->bytes + text->len, bytes, len);
	text->len += len;
}

static void put_number(struct text *text, uint64_t number, int bytes)
{
	while (bytes-- > 0) {
		uint8_t byte = (uint8_t)(number >> 8 * bytes);

		put(text, &byte, 1);
	}
}

static void put_head(struct text *text, uint8_t magic, uint8_t opcode, uint16_t key_len,
		     uint8_t extras_len, uint32_t body_len, uint32_t opaque, uint64_t cas)
{
	put_number(text, magic, 1);
	put_number(text, opcode, 1);
	put_number(text, key_len, 2);
	put_number(text, extras_len, 1);
	put_number(text, 0, 1);
	put_number(text, 0, 2);
	put_number(text, body_len, 4);
	put_number(text, opaque, 4);
	put_number(text, cas, 8);
}

static void put_request(struct text *text, uint8_t opcode, struct span key, uint32_t opaque)
{
	put_head(text, 0x80, opcode, (uint16_t)key.len, 0, (uint32_t)key.len, opaque, 0);
	put(text, key.ptr, key.len);
}

static void put_reply(struct text *text, uint8_t opcode, const struct rig_item *item,
		      uint32_t opaque)
{
	size_t key_len = opcode == GETK || opcode == GETKQ ? item->key.len : 0;

	if (opcode == NOOP) {
		put_head(text, 0x81, opcode, 0, 0, 0, opaque, 0);
		return;
	}
	put_head(text, 0x81, opcode, (uint16_t)key_len, 4,
		 (uint32_t)(4 + key_len + item->value.len), opaque, item->cas);
	put_number(text, item->flags, 4);
	put(text, item->key.ptr, key_len);
	put(text, item->value.ptr, item->value.len);
}

static const uint8_t gets[] = { GET, GETQ, GETK, GETKQ };

static void binary_each_get_of_each_item_is_answered(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < ITEMS * 16; i++) {
		const struct rig_item *item = &items[i / 16].item;
		uint8_t opcode = gets[i % 4];
		struct text text = { .len = 0 }, want = { .len = 0 };
		struct pktgen_request request = { .ip6 = i & 4 };

		put_request(&text, opcode, item->key, 0x01020304 + i);
		put_reply(&want, opcode, item, 0x01020304 + i);
		request.text = span_of(text.bytes, text.len);
		expect_reply(&request, i & 8, span_of(want.bytes, want.len), 1);
	}
}

/* What a client sends for many keys: quiet ones, and a noop that ends them. */
static void binary_sixteen_quiet_gets_and_noop_are_answered(void **state)
{
	struct text text = { .len = 0 }, want = { .len = 0 };
	struct pktgen_request request = { .id = 7 };

	(void)state;
	for (uint32_t i = 1; i <= XC_KEYS_MAX; i++) {
		put_request(&text, GETKQ, items[i | 1].item.key, i);
		put_reply(&want, GETKQ, &items[i | 1].item, i);
	}
	put_request(&text, NOOP, span_of("", 0), 99);
	put_reply(&want, NOOP, NULL, 99);
	request.text = span_of(text.bytes, text.len);
	expect_reply(&request, false, span_of(want.bytes, want.len), XC_KEYS_MAX);
	expect_reply(&request, true, span_of(want.bytes, want.len), XC_KEYS_MAX);
	put_request(&text, GET, items[1].item.key, 1);
	request.text = span_of(text.bytes, text.len);
	expect_pass(&request, false, XC_pass_keys);
}

/* A byte of the request's header that is not what a get has: the daemon's. */
static void binary_other_headers_pass(void **state)
{
	static const uint8_t opcodes[] = {
		SET, 0x04, 0x05, 0x07, 0x08, 0x0b, 0x10, 0x1d, 0x21, 0xff
	};
	struct text text = { .len = 0 };
	struct pktgen_request request = { .id = 1 };

	(void)state;
	put_request(&text, GET, items[3].item.key, 5);
	request.text = span_of(text.bytes, text.len);
	for (size_t i = 0; i < sizeof(opcodes); i++) {
		text.bytes[1] = opcodes[i];
		expect_pass(&request, false, XC_pass_binary);
	}
	text.bytes[1] = GET;
	for (size_t at = 2; at < 12; at++) {
		text.bytes[at] ^= 1;
		expect_pass(&request, false, at == 3 || at == 2 ? XC_NEXT : XC_pass_binary);
		text.bytes[at] ^= 1;
	}
	/* What the protocol lets a client put there, and no get looks at. */
	for (size_t at = 16; at < 24; at++)
		text.bytes[at] = 0x55;
	{
		struct text want = { .len = 0 };

		put_reply(&want, GET, &items[3].item, 5);
		expect_reply(&request, false, span_of(want.bytes, want.len), 1);
	}
}

static void binary_cut_short_and_keyless_pass(void **state)
{
	struct text text = { .len = 0 };
	struct pktgen_request request = { .id = 1 };

	(void)state;
	put_request(&text, GETQ, items[3].item.key, 5);
	put_request(&text, GETQ, items[5].item.key, 6);
	for (size_t len = 6; len < text.len; len++) {
		if (len == 24 + items[3].item.key.len)
			continue; /* a whole request */
		request.text = span_of(text.bytes, len);
		expect_pass(&request, false, XC_NEXT);
	}
	text.len = 0;
	put_request(&text, NOOP, span_of("", 0), 1);
	request.text = span_of(text.bytes, text.len);
	expect_pass(&request, false, XC_pass_binary);
	text.len = 0;
	put_request(&text, GET, span_of("", 0), 1);
	request.text = span_of(text.bytes, text.len);
	expect_pass(&request, false, XC_pass_key_len);
	text.len = 0;
	put_request(&text, GETQ, span_str("absent"), 1);
	put_request(&text, NOOP, span_of("", 0), 1);
	request.text = span_of(text.bytes, text.len);
	expect_pass(&request, false, XC_pass_miss);
}

static void binary_random_sequences_are_right(void **state)
{
	uint64_t count = env_number("XC_TEST_COUNT", COUNT_DEFAULT), answered = 0;
	struct rand r;

	(void)state;
	seed_rand(&r);
	for (uint64_t n = 0; n < count; n++) {
		uint64_t word = rand_next(&r);
		struct pktgen_request request = { .ip6 = word & 1,
						  .id = word >> 16,
						  .tags = { word & 2 ? 0x8100 : 0 } };
		uint32_t cnt = 1 + (uint32_t)rand_below(&r, 6), keys = 0;
		struct text text = { .len = 0 }, want = { .len = 0 };
		size_t headers = (request.ip6 ? 40 : 20) + 16;

		for (uint32_t i = 0; i < cnt; i++) {
			const struct rig_item *item = &items[rand_below(&r, ITEMS)].item;
			uint8_t opcode = rand_below(&r, 6) ? gets[rand_below(&r, 4)] : NOOP;
			uint32_t opaque = (uint32_t)rand_next(&r);

			put_request(&text, opcode, opcode == NOOP ? span_of("", 0) : item->key,
				    opaque);
			put_reply(&want, opcode, item, opaque);
			keys += opcode != NOOP;
		}
		if (text.len > RIG_MTU - headers)
			continue;
		request.text = span_of(text.bytes, text.len);
		if (keys && want.len <= RIG_MTU - headers) {
			expect_reply(&request, word & 4, span_of(want.bytes, want.len), keys);
			answered++;
		} else {
			expect_pass(&request, word & 4, XC_NEXT);
		}
	}
	assert_true(answered > count / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(binary_each_get_of_each_item_is_answered),
		cmocka_unit_test(binary_sixteen_quiet_gets_and_noop_are_answered),
		cmocka_unit_test(binary_other_headers_pass),
		cmocka_unit_test(binary_cut_short_and_keyless_pass),
		cmocka_unit_test(binary_random_sequences_are_right),
	};

	return cmocka_run_group_tests(tests, open_batch, close_batch);
}
