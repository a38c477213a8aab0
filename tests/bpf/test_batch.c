/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A get of several keys is answered whole and right to the last byte, or not at all: any number of
 * keys up to sixteen, any lengths, the same key twice, both IP versions, tags, driver and tc. One
 * key that cannot be answered, and the packet passes as it came.
 *
 * Method: BPF_PROG_TEST_RUN over a table of items of all lengths; the expected frame comes from
 * pktgen. The random part prints its seed; XC_TEST_SEED=N repeats one, XC_TEST_COUNT=N lengthens
 * it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include "bpf/batch_rig.h"

#define COUNT_DEFAULT 20000
#define JUMBO 9000

/* A request for items by their numbers. */
struct ask {
	struct pktgen_request request;
	uint32_t which[XC_KEYS_MAX + 1];
	uint32_t cnt;
	bool gets;
	bool tc;
	uint8_t text[8 + (XC_KEYS_MAX + 1) * (XC_KEY_MAX + 1)];
};

static void put_request(struct ask *ask)
{
	size_t len = sprintf((char *)ask->text, "get%s", ask->gets ? "s" : "");

	for (uint32_t i = 0; i < ask->cnt; i++) {
		struct span key = items[ask->which[i]].item.key;

		ask->text[len++] = ' ';
		memcpy(ask->text + len, key.ptr, key.len);
		len += key.len;
	}
	memcpy(ask->text + len, "\r\n", 2);
	ask->request.text = span_of(ask->text, len + 2);
}

/* The reply's text; 0: longer than fits. */
static size_t put_text(const struct ask *ask, uint8_t *ret, size_t max)
{
	size_t len = 0;

	for (uint32_t i = 0; i < ask->cnt; i++) {
		const struct rig_item *item = &items[ask->which[i]].item;
		struct pktgen_value value = {
			.key = item->key,
			.value = item->value,
			.flags = item->flags,
			.gets = ask->gets,
			.cas = item->cas,
		};

		if (max - len < item->key.len + item->value.len + 64)
			return 0;
		len += pktgen_value_text(&value, ret + len, max - len);
	}
	if (max - len < 5)
		return 0;
	memcpy(ret + len, "END\r\n", 5);
	return len + 5;
}

/* Asks; the whole reply must come. Everything asked for lives. */
static void check_answered(struct ask *ask)
{
	uint8_t text[PKTGEN_MAX];
	size_t len;

	put_request(ask);
	len = put_text(ask, text, 3000);
	assert_true(len > 0);
	expect_reply(&ask->request, ask->tc, span_of(text, len), ask->cnt);
}

static void check_passed(struct ask *ask, enum xc_outcome outcome)
{
	put_request(ask);
	expect_pass(&ask->request, ask->tc, outcome);
}

static void batch_each_number_of_keys_is_answered(void **state)
{
	(void)state;
	for (uint32_t cnt = 2; cnt <= XC_KEYS_MAX; cnt++) {
		for (int i = 0; i < 8; i++) {
			struct ask ask = {
				.request = { .ip6 = i & 2, .tags = { i & 1 ? 0x8100 : 0 } },
				.cnt = cnt,
				.gets = i & 1,
				.tc = i & 4,
			};

			for (uint32_t n = 0; n < cnt; n++)
				ask.which[n] = (n * 5 + 1 + cnt) % 40 | 1;
			check_answered(&ask);
		}
	}
}

/* A whole key of 250 bytes among others, one key many times, and short ones at the end. */
static void batch_odd_mixtures_are_answered(void **state)
{
	struct ask long_one = { .which = { 1, 41, 3 }, .cnt = 3 };
	struct ask repeated = { .which = { 9, 9, 9, 9, 9, 9, 9 }, .cnt = 7, .gets = true };
	struct ask short_last = { .which = { 15, 7, 1 }, .cnt = 3, .request = { .trailer = 13 } };

	(void)state;
	check_answered(&long_one);
	check_answered(&repeated);
	check_answered(&short_last);
}

/* Each answered key's entry is stamped, and over many requests each is sampled. */
static void batch_uses_are_told_of_each_key(void **state)
{
	struct ask ask = { .which = { 3, 5, 7, 9 }, .cnt = 4 };

	(void)state;
	for (uint32_t i = 0; i < ITEMS; i++)
		rig.uses[items[i].idx] = (struct xc_use){ 0 };
	for (int i = 0; i < 4000; i++)
		check_answered(&ask);
	for (uint32_t i = 0; i < ITEMS; i++) {
		struct xc_use use = rig.uses[items[i].idx];
		bool asked = i == 3 || i == 5 || i == 7 || i == 9;

		assert_int_equal(use.stamp, asked ? RIG_NOW_NS >> XC_STAMP_SHIFT : 0);
		/* One in sixteen: 250, give or take. */
		assert_in_range(use.hits, asked ? 150 : 0, asked ? 350 : 0);
	}
}

/* Wherever the one stands that cannot be answered, nothing is, and nothing is told of the rest. */
static void batch_with_one_that_cannot_be_passes_whole(void **state)
{
	struct ask ask = { .cnt = 5 };

	(void)state;
	for (uint32_t bad = 0; bad < 2 * ask.cnt; bad++) {
		struct xc_entry *entry;

		ask.tc = bad >= ask.cnt;
		for (uint32_t i = 0; i < ask.cnt; i++)
			ask.which[i] = 2 * i + 1;
		entry = &rig.entries[items[ask.which[bad % ask.cnt]].idx];
		entry->expire_ns = RIG_NOW_NS;
		for (uint32_t i = 0; i < ITEMS; i++)
			rig.uses[items[i].idx] = (struct xc_use){ 0 };
		check_passed(&ask, XC_pass_expired);
		entry->expire_ns = 0;
		for (uint32_t i = 0; i < ITEMS; i++)
			assert_int_equal(rig.uses[items[i].idx].stamp, 0);
	}
}

static void batch_of_too_many_keys_passes(void **state)
{
	struct ask ask = { .cnt = XC_KEYS_MAX + 1 };

	(void)state;
	for (uint32_t i = 0; i < ask.cnt; i++)
		ask.which[i] = 3;
	check_passed(&ask, XC_pass_keys);
}

static void set_mtu(uint16_t mtu)
{
	struct xc_local local = { .mtu = mtu };

	memcpy(local.mac, pktgen_server.mac, 6);
	fastrig_local(&rig, span_of(pktgen_server.ip4, 4), &local);
	rig.conf->guard_gen++;
}

/* One datagram carries the reply, or the daemon answers. */
static void batch_longer_than_the_mtu_passes(void **state)
{
	struct ask ask = { .which = { 11, 12, 13 }, .cnt = 3 };
	uint8_t text[PKTGEN_MAX];
	size_t ip_len;

	(void)state;
	ip_len = 20 + 8 + 8 + put_text(&ask, text, sizeof(text));
	set_mtu(ip_len);
	check_answered(&ask);
	set_mtu(ip_len - 1);
	check_passed(&ask, XC_pass_mtu);
	set_mtu(RIG_MTU);
}

/* More than the program has room for, on a link that would carry it. */
static void batch_longer_than_its_scratch_passes(void **state)
{
	struct ask ask = { .cnt = 16 };

	(void)state;
	for (uint32_t i = 0; i < ask.cnt; i++) {
		ask.which[i] = 8;
		assert_true(items[8].item.value.len > 300);
	}
	set_mtu(JUMBO);
	check_passed(&ask, XC_pass_no_room);
	set_mtu(RIG_MTU);
}

static void batch_random_requests_are_right(void **state)
{
	uint64_t count = env_number("XC_TEST_COUNT", COUNT_DEFAULT), answered = 0;
	uint8_t text[PKTGEN_MAX];
	struct rand r;

	(void)state;
	seed_rand(&r);
	for (uint64_t n = 0; n < count; n++) {
		uint64_t word = rand_next(&r);
		struct ask ask = {
			.request = { .ip6 = word & 1,
				     .id = word >> 16,
				     .tags = { word & 2 ? 0x88a8 : 0, word & 4 ? 0x8100 : 0 },
				     .trailer = word & 8 ? rand_below(&r, 20) : 0 },
			.cnt = 2 + rand_below(&r, XC_KEYS_MAX - 1),
			.gets = word & 16,
			.tc = word & 32,
		};
		size_t len, headers = (ask.request.ip6 ? 40 : 20) + 16;

		if (!ask.request.tags[0])
			ask.request.tags[1] = 0;
		for (uint32_t i = 0; i < ask.cnt; i++)
			ask.which[i] = rand_below(&r, word & 64 ? 40 : ITEMS);
		put_request(&ask);
		if (ask.request.text.len > RIG_MTU - headers)
			continue; /* no link carries it */
		len = put_text(&ask, text, sizeof(text));
		if (len && len + headers <= RIG_MTU) {
			check_answered(&ask);
			answered++;
		} else {
			check_passed(&ask, XC_NEXT);
		}
	}
	assert_true(answered > count / 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(batch_each_number_of_keys_is_answered),
		cmocka_unit_test(batch_odd_mixtures_are_answered),
		cmocka_unit_test(batch_uses_are_told_of_each_key),
		cmocka_unit_test(batch_with_one_that_cannot_be_passes_whole),
		cmocka_unit_test(batch_of_too_many_keys_passes),
		cmocka_unit_test(batch_longer_than_the_mtu_passes),
		cmocka_unit_test(batch_longer_than_its_scratch_passes),
		cmocka_unit_test(batch_random_requests_are_right),
	};

	return cmocka_run_group_tests(tests, open_batch, close_batch);
}
