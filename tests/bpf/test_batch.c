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
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include "base/rand.h"
#include "lib/fastrig.h"
#include "tests/bpf/stage_mock.skel.h"

#define COUNT_DEFAULT 20000
#define ITEMS 64
#define JUMBO 9000

static struct stage_mock_bpf *mock;
static struct fastrig rig;

static struct {
	uint8_t key[XC_KEY_MAX], value[XC_VALUE_MAX];
	struct rig_item item;
	uint32_t idx;
} items[ITEMS];

/* A request for items by their numbers. */
struct ask {
	struct pktgen_request request;
	uint32_t which[XC_KEYS_MAX + 1];
	uint32_t cnt;
	bool gets;
	bool tc;
	uint8_t text[8 + (XC_KEYS_MAX + 1) * (XC_KEY_MAX + 1)];
};

static void fill_key(uint8_t *key, size_t len, struct rand *r)
{
	for (size_t i = 0; i < len; i++) {
		do
			key[i] = rand_next(r);
		while (key[i] <= 0x20 || key[i] == 0x7f);
	}
}

/* Lengths of all remainders, a few at the ends; most small, so that many fit. */
static void fill_items(void)
{
	struct rand r;

	rand_init(&r, 7);
	fastrig_clear(&rig);
	for (uint32_t i = 0; i < ITEMS; i++) {
		size_t key_len = i < 40 ? 1 + i : 1 + rand_below(&r, XC_KEY_MAX);
		size_t value_len = i % 8 ? rand_below(&r, 48) : rand_below(&r, 700);

		key_len = i == 41 ? XC_KEY_MAX : key_len < 4 ? 4 : key_len;
		fill_key(items[i].key, key_len, &r);
		memcpy(items[i].key, &(uint16_t){ 0x8041 + (i << 8) }, 2); /* no two alike */
		for (size_t b = 0; b < value_len; b++)
			items[i].value[b] = rand_next(&r);
		items[i].item = (struct rig_item){
			.key = span_of(items[i].key, key_len),
			.value = span_of(items[i].value, value_len),
			.flags = rand_next(&r) >> rand_below(&r, 32) >> 32,
			.cas = rand_next(&r) >> rand_below(&r, 64),
		};
		items[i].idx = fastrig_insert(&rig, &items[i].item);
	}
}

static void put_request(struct ask *ask, struct pktgen_packet *ret)
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
	pktgen_request(&ask->request, ret);
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

static void run(const struct ask *ask, const struct pktgen_packet *in, struct rig_run *ret)
{
	int err = ask->tc ? fastrig_tc(mock->progs.xc_batch_tc_marked, in, 0, ret)
			  : fastrig_xdp(mock->progs.xc_fastpath, in, ret);

	assert_int_equal(err, 0);
}

static void check_passed(const struct pktgen_packet *in, const struct rig_run *got, bool tc)
{
	assert_int_equal(got->action, tc ? TC_ACT_UNSPEC : XDP_PASS);
	assert_int_equal(got->out.len, in->len);
	assert_memory_equal(got->out.bytes, in->bytes, in->len);
}

static uint64_t hits_of(const struct xc_stats *stats)
{
	return stats->hit_tail + stats->hit_head + stats->hit_tc;
}

/* Asks; the whole reply must come. Everything asked for lives. */
static void check_answered(struct ask *ask)
{
	struct pktgen_packet in, want;
	struct xc_stats before, after;
	uint8_t text[PKTGEN_MAX];
	struct rig_run got;
	size_t len;

	put_request(ask, &in);
	len = put_text(ask, text, 3000);
	assert_true(len > 0);
	pktgen_reply_of(&ask->request, span_of(text, len), &want);
	fastrig_stats(&rig, &before);
	run(ask, &in, &got);
	fastrig_stats(&rig, &after);
	assert_int_equal(got.action, ask->tc ? TC_ACT_REDIRECT : XDP_TX);
	assert_int_equal(got.out.len, want.len);
	assert_memory_equal(got.out.bytes, want.bytes, want.len);
	assert_int_equal(hits_of(&after) - hits_of(&before), 1);
	assert_int_equal(after.more_keys - before.more_keys, ask->cnt - 1);
	assert_int_equal(after.reply_bytes - before.reply_bytes, len + 8);
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
	struct pktgen_packet in;
	struct xc_stats before, after;
	struct rig_run got;

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
		put_request(&ask, &in);
		fastrig_stats(&rig, &before);
		run(&ask, &in, &got);
		fastrig_stats(&rig, &after);
		entry->expire_ns = 0;
		check_passed(&in, &got, ask.tc);
		assert_int_equal(hits_of(&after), hits_of(&before));
		assert_int_equal(after.more_keys, before.more_keys);
		assert_int_equal(after.pass_expired - before.pass_expired, !ask.tc);
		for (uint32_t i = 0; i < ITEMS; i++)
			assert_int_equal(rig.uses[items[i].idx].stamp, 0);
	}
}

static void batch_of_too_many_keys_passes(void **state)
{
	struct ask ask = { .cnt = XC_KEYS_MAX + 1 };
	struct xc_stats before, after;
	struct pktgen_packet in;
	struct rig_run got;

	(void)state;
	for (uint32_t i = 0; i < ask.cnt; i++)
		ask.which[i] = 3;
	put_request(&ask, &in);
	fastrig_stats(&rig, &before);
	run(&ask, &in, &got);
	fastrig_stats(&rig, &after);
	check_passed(&in, &got, false);
	assert_int_equal(after.pass_keys - before.pass_keys, 1);
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
	struct xc_stats before, after;
	uint8_t text[PKTGEN_MAX];
	struct pktgen_packet in;
	struct rig_run got;
	size_t ip_len;

	(void)state;
	ip_len = 20 + 8 + 8 + put_text(&ask, text, sizeof(text));
	set_mtu(ip_len);
	check_answered(&ask);
	set_mtu(ip_len - 1);
	put_request(&ask, &in);
	fastrig_stats(&rig, &before);
	run(&ask, &in, &got);
	fastrig_stats(&rig, &after);
	check_passed(&in, &got, false);
	assert_int_equal(after.pass_mtu - before.pass_mtu, 1);
	set_mtu(RIG_MTU);
}

/* More than the program has room for, on a link that would carry it. */
static void batch_longer_than_its_scratch_passes(void **state)
{
	struct ask ask = { .cnt = 16 };
	struct xc_stats before, after;
	struct pktgen_packet in;
	struct rig_run got;

	(void)state;
	for (uint32_t i = 0; i < ask.cnt; i++) {
		ask.which[i] = 8;
		assert_true(items[8].item.value.len > 300);
	}
	set_mtu(JUMBO);
	put_request(&ask, &in);
	fastrig_stats(&rig, &before);
	run(&ask, &in, &got);
	fastrig_stats(&rig, &after);
	check_passed(&in, &got, false);
	assert_int_equal(after.pass_no_room - before.pass_no_room, 1);
	set_mtu(RIG_MTU);
}

static uint64_t env_number(const char *name, uint64_t fallback)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : fallback;
}

static void batch_random_requests_are_right(void **state)
{
	uint64_t count = env_number("XC_TEST_COUNT", COUNT_DEFAULT), answered = 0;
	uint8_t text[PKTGEN_MAX];
	struct rand r;
	uint64_t seed;

	(void)state;
	assert_int_equal(rand_secret(&seed, sizeof(seed)), 0);
	seed = env_number("XC_TEST_SEED", seed);
	printf("seed %llu, %llu requests\n", (unsigned long long)seed, (unsigned long long)count);
	rand_init(&r, seed);
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
		struct pktgen_packet in;
		struct rig_run got;
		size_t len, headers = (ask.request.ip6 ? 40 : 20) + 16;

		if (!ask.request.tags[0])
			ask.request.tags[1] = 0;
		for (uint32_t i = 0; i < ask.cnt; i++)
			ask.which[i] = rand_below(&r, word & 64 ? 40 : ITEMS);
		put_request(&ask, &in);
		if (ask.request.text.len > RIG_MTU - headers)
			continue; /* no link carries it */
		len = put_text(&ask, text, sizeof(text));
		if (len && len + headers <= RIG_MTU) {
			check_answered(&ask);
			answered++;
		} else {
			run(&ask, &in, &got);
			check_passed(&in, &got, ask.tc);
		}
	}
	assert_true(answered > count / 10);
}

static int open_object(void **state)
{
	(void)state;
	mock = stage_mock_bpf__open_and_load();
	if (!mock || fastrig_open(&rig, mock->obj))
		return -1;
	fastrig_configure(&rig);
	fill_items();
	return 0;
}

static int close_object(void **state)
{
	(void)state;
	fastrig_close(&rig);
	stage_mock_bpf__destroy(mock);
	return 0;
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

	return cmocka_run_group_tests(tests, open_object, close_object);
}
