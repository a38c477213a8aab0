/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Keys known absent are answered as misses, alone or among keys with items, in each protocol, byte
 * for byte as the daemon does; a quiet request that nothing is to be said to passes; expiry, flush
 * and another key's bytes end it as they end an item.
 *
 * Method: BPF_PROG_TEST_RUN; replies are put together here. Every third item is made absent. The
 * random part prints its seed; XC_TEST_SEED=N repeats one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "bpf/batch_rig.h"

#define COUNT_DEFAULT 20000

static bool is_absent(uint32_t which)
{
	return which % 3 == 0;
}

static int open_absent(void **state)
{
	int err = open_batch(state);

	for (uint32_t i = 0; !err && i < ITEMS; i++) {
		struct rig_item *item = &items[i].item;

		if (!is_absent(i))
			continue;
		item->absent = true;
		item->value.len = 0;
		item->flags = 0;
		fastrig_entry(&rig, items[i].idx, item, rig.entries[items[i].idx].key_loc);
	}
	return err;
}

struct text {
	uint8_t bytes[PKTGEN_MAX];
	size_t len;
};

static void put(struct text *text, const void *bytes, size_t len)
{
	assert_true(text->len + len <= sizeof(text->bytes));
	memcpy(text->bytes + text->len, bytes, len);
	text->len += len;
}

static void put_str(struct text *text, const char *string)
{
	put(text, string, strlen(string));
}

static void put_key(struct text *text, uint32_t which)
{
	put(text, items[which].item.key.ptr, items[which].item.key.len);
}

/* What `get` says of the key: nothing, if it has no item. */
static void put_value(struct text *text, uint32_t which, bool gets)
{
	const struct rig_item *item = &items[which].item;
	char line[64];

	if (is_absent(which))
		return;
	put_str(text, "VALUE ");
	put_key(text, which);
	snprintf(line, sizeof(line), " %u %zu", item->flags, item->value.len);
	put_str(text, line);
	if (gets) {
		snprintf(line, sizeof(line), " %llu", (unsigned long long)item->cas);
		put_str(text, line);
	}
	put_str(text, "\r\n");
	put(text, item->value.ptr, item->value.len);
	put_str(text, "\r\n");
}

/* As expect_reply; so many of the keys are counted as absent. */
static void expect_absent(const struct pktgen_request *request, bool tc, const struct text *want,
			  uint32_t key_cnt, uint32_t absent_cnt)
{
	struct xc_stats before, after;

	fastrig_stats(&rig, &before);
	expect_reply(request, tc, span_of(want->bytes, want->len), key_cnt);
	fastrig_stats(&rig, &after);
	assert_int_equal(after.absent_keys - before.absent_keys, absent_cnt);
}

static void absent_each_key_length_is_answered_end(void **state)
{
	const struct text want = { .bytes = "END\r\n", .len = 5 };

	(void)state;
	for (uint32_t i = 0; i < ITEMS * 8; i++) {
		struct pktgen_request request = { .ip6 = i & 2,
						  .id = (uint16_t)i,
						  .tags = { i & 4 ? 0x8100 : 0 } };
		struct text text = { .len = 0 };

		if (!is_absent(i / 8))
			continue;
		put_str(&text, i & 1 ? "gets " : "get ");
		put_key(&text, i / 8);
		put_str(&text, "\r\n");
		request.text = span_of(text.bytes, text.len);
		rig.uses[items[i / 8].idx] = (struct xc_use){ 0 };
		expect_absent(&request, false, &want, 1, 1);
		assert_int_not_equal(rig.uses[items[i / 8].idx].stamp, 0);
		expect_absent(&request, true, &want, 1, 1);
	}
}

static void absent_among_others_says_nothing(void **state)
{
	uint64_t count = env_number("XC_TEST_COUNT", COUNT_DEFAULT), answered = 0;
	struct rand r;

	(void)state;
	seed_rand(&r);
	for (uint64_t n = 0; n < count; n++) {
		uint64_t word = rand_next(&r);
		struct pktgen_request request = { .ip6 = word & 1, .id = word >> 16 };
		size_t room = RIG_MTU - (request.ip6 ? 40 : 20) - 16;
		uint32_t cnt = 1 + (uint32_t)rand_below(&r, XC_KEYS_MAX), absent = 0;
		struct text text = { .len = 0 }, want = { .len = 0 };

		put_str(&text, word & 2 ? "gets" : "get");
		for (uint32_t i = 0; i < cnt; i++) {
			uint32_t which = (uint32_t)rand_below(&r, word & 4 ? 40 : ITEMS);

			put_str(&text, " ");
			put_key(&text, which);
			put_value(&want, which, word & 2);
			absent += is_absent(which);
		}
		put_str(&text, "\r\n");
		put_str(&want, "END\r\n");
		if (text.len > room)
			continue;
		request.text = span_of(text.bytes, text.len);
		if (want.len <= room) {
			expect_absent(&request, word & 8 && cnt > 1, &want, cnt, absent);
			answered++;
		} else {
			expect_pass(&request, false, XC_NEXT);
		}
	}
	assert_true(answered > count / 10);
}

static void absent_meta_is_answered_en(void **state)
{
	const struct text want = { .bytes = "EN\r\n", .len = 4 };
	const char *const flags[] = { "", " v", " v f k s t c", " Oabc k v" };
	const char *const quiet[] = { " q", " v q", " k q Oabc" };

	(void)state;
	for (uint32_t i = 0; i < ITEMS; i += 3) {
		struct pktgen_request request = { .ip6 = i & 1 };
		struct text text = { .len = 0 };

		put_str(&text, "mg ");
		put_key(&text, i);
		put_str(&text, flags[i % 4]);
		put_str(&text, "\r\n");
		request.text = span_of(text.bytes, text.len);
		expect_absent(&request, i & 2, &want, 1, 1);
		text.len = 0;
		put_str(&text, "mg ");
		put_key(&text, i);
		put_str(&text, quiet[i % 3]);
		put_str(&text, "\r\n");
		request.text = span_of(text.bytes, text.len);
		expect_pass(&request, false, XC_pass_absent);
	}
}

/* --- the binary protocol --- */

enum {
	GET = 0x00,
	GETQ = 0x09,
	NOOP = 0x0a,
	GETK = 0x0c,
	GETKQ = 0x0d,
};

static void put_header(struct text *text, uint8_t magic, uint8_t opcode, size_t key_len,
		       uint16_t status, size_t body_len, uint8_t tag)
{
	const uint8_t header[24] = {
		magic,
		opcode,
		0,
		(uint8_t)key_len,
		0,
		0,
		(uint8_t)(status >> 8),
		(uint8_t)status,
		0,
		0,
		(uint8_t)(body_len >> 8),
		(uint8_t)body_len,
		0xde,
		0xad,
		0x01,
		tag,
	};

	put(text, header, sizeof(header));
}

static void put_binary(struct text *text, uint8_t opcode, uint32_t which, uint8_t tag)
{
	size_t len = opcode == NOOP ? 0 : items[which].item.key.len;

	put_header(text, 0x80, opcode, len, 0, len, tag);
	if (len)
		put_key(text, which);
}

static void put_not_found(struct text *text, uint8_t opcode, uint32_t which, uint8_t tag)
{
	size_t len = items[which].item.key.len;

	switch (opcode) {
	case GET:
		put_header(text, 0x81, opcode, 0, 1, 9, tag);
		put_str(text, "Not found");
		break;
	case GETK:
		put_header(text, 0x81, opcode, len, 1, len, tag);
		put_key(text, which);
		break;
	case NOOP:
		put_header(text, 0x81, opcode, 0, 0, 0, tag);
		break;
	default:
		break;
	}
}

static void absent_binary_is_answered_not_found(void **state)
{
	static const uint8_t opcodes[] = { GET, GETQ, GETK, GETKQ, NOOP };
	uint64_t count = env_number("XC_TEST_COUNT", COUNT_DEFAULT), answered = 0;
	struct rand r;

	(void)state;
	seed_rand(&r);
	for (uint64_t n = 0; n < count; n++) {
		uint64_t word = rand_next(&r);
		struct pktgen_request request = { .ip6 = word & 1, .id = word >> 16 };
		size_t room = RIG_MTU - (request.ip6 ? 40 : 20) - 16;
		uint32_t cnt = 1 + (uint32_t)rand_below(&r, 6), keys = 0;
		struct text text = { .len = 0 }, want = { .len = 0 };

		for (uint8_t i = 0; i < cnt; i++) {
			uint8_t opcode = opcodes[rand_below(&r, 5)];
			uint32_t which = 3 * (uint32_t)rand_below(&r, ITEMS / 3);

			put_binary(&text, opcode, which, i);
			put_not_found(&want, opcode, which, i);
			keys += opcode != NOOP;
		}
		if (text.len > room)
			continue;
		request.text = span_of(text.bytes, text.len);
		if (want.len == 0) {
			expect_pass(&request, word & 2, XC_pass_absent);
		} else if (keys && want.len <= room) {
			expect_absent(&request, word & 2, &want, keys, keys);
			answered++;
		} else {
			expect_pass(&request, word & 2, XC_NEXT);
		}
	}
	assert_true(answered > count / 4);
}

static void absent_ends_as_an_item_does(void **state)
{
	struct xc_entry *entry = &rig.entries[items[3].idx], saved = *entry;
	struct text text = { .len = 0 };
	struct pktgen_request request = { .id = 1 };

	(void)state;
	put_str(&text, "get ");
	put_key(&text, 3);
	put_str(&text, "\r\n");
	request.text = span_of(text.bytes, text.len);
	entry->expire_ns = RIG_NOW_NS;
	expect_pass(&request, false, XC_pass_expired);
	entry->expire_ns = 0;
	entry->flush_gen++;
	expect_pass(&request, false, XC_pass_flushed);
	*entry = saved;
	entry->key_loc++;
	expect_pass(&request, false, XC_pass_other_key);
	*entry = saved;
	entry->seq |= 1;
	expect_pass(&request, false, XC_pass_busy);
	*entry = saved;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(absent_each_key_length_is_answered_end),
		cmocka_unit_test(absent_among_others_says_nothing),
		cmocka_unit_test(absent_meta_is_answered_en),
		cmocka_unit_test(absent_binary_is_answered_not_found),
		cmocka_unit_test(absent_ends_as_an_item_does),
	};

	return cmocka_run_group_tests(tests, open_absent, close_batch);
}
