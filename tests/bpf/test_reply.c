/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every shape of reply is right to the last byte: all key lengths, value lengths around the word
 * and the MTU, flags and cas from shortest to longest, both IP versions, tags, and each way of
 * growing (end, front, end with the key copied, tc). Items lie in the log at all alignments.
 *
 * Method: BPF_PROG_TEST_RUN; the expected frame comes from pktgen, whose sums are byte-wise C of
 * its own. The random part prints its seed; XC_TEST_SEED=N repeats one, XC_TEST_COUNT=N lengthens
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

#include "base/rand.h"
#include "lib/fastrig.h"
#include "tests/bpf/stage_mock.skel.h"

#define REFUSE_TAIL 1
#define REFUSE_HEAD 2
#define COUNT_DEFAULT 20000

enum way {
	WAY_DRIVER, /* as it comes: by little at the front, by more at the end */
	WAY_TAIL,
	WAY_HEAD,
	WAY_TC,
	WAY_CNT,
};

/* Growth up to which the front comes first (bpf/room.bpf.h). */
#define FRONT_FIRST 128

static struct stage_mock_bpf *mock;
static struct fastrig rig;

struct hit {
	struct pktgen_request request;
	struct rig_item item;
	bool gets;
	enum way way;
};

static enum xc_outcome outcome_of(enum way way, int growth)
{
	switch (way) {
	case WAY_TAIL:
		return XC_hit_tail;
	case WAY_HEAD:
		return XC_hit_head;
	case WAY_TC:
		return XC_hit_tc;
	default:
		return growth > 0 && growth <= FRONT_FIRST ? XC_hit_head : XC_hit_tail;
	}
}

static uint64_t counter(enum xc_outcome outcome)
{
	struct xc_stats stats;

	fastrig_stats(&rig, &stats);
	return ((uint64_t *)&stats)[outcome];
}

static void describe(const struct hit *hit)
{
	printf("way %d, key %zu, value %zu, flags %u, cas %llu, gets %d, ip6 %d\n", hit->way,
	       hit->item.key.len, hit->item.value.len, hit->item.flags,
	       (unsigned long long)hit->item.cas, hit->gets, hit->request.ip6);
}

/* Inserts the item, asks for it, compares the reply. */
static void check_hit(struct hit *hit)
{
	static const uint32_t refuse[WAY_CNT] = {
		[WAY_TAIL] = REFUSE_HEAD,
		[WAY_HEAD] = REFUSE_TAIL,
	};
	struct pktgen_value value = {
		.key = hit->item.key,
		.value = hit->item.value,
		.flags = hit->item.flags,
		.gets = hit->gets,
		.cas = hit->item.cas,
	};
	enum xc_outcome outcome;
	uint64_t was;
	uint8_t text[5 + XC_KEY_MAX + 2];
	struct pktgen_packet in, want;
	struct rig_run got;
	uint32_t idx;
	size_t len;
	int err;

	if (rig.log_next > XC_EXTENT_SIZE - XC_BLOCK_SIZE || rig.entry_next == rig.entry_cnt)
		fastrig_clear(&rig);
	idx = fastrig_insert(&rig, &hit->item);
	len = sprintf((char *)text, "get%s ", hit->gets ? "s" : "");
	memcpy(text + len, hit->item.key.ptr, hit->item.key.len);
	len += hit->item.key.len;
	memcpy(text + len, "\r\n", 2);
	hit->request.text = span_of(text, len + 2);

	pktgen_request(&hit->request, &in);
	pktgen_reply(&hit->request, &value, &want);
	outcome = outcome_of(hit->way, (int)want.len - (int)in.len);
	was = counter(outcome);
	mock->bss->mock_refuse = refuse[hit->way];
	if (hit->way == WAY_TC)
		err = fastrig_tc(mock->progs.xc_tc_marked, &in, idx, &got);
	else
		err = fastrig_xdp(mock->progs.xc_fastpath, &in, &got);
	assert_int_equal(err, 0);
	if (counter(outcome) != was + 1 || got.out.len != want.len ||
	    memcmp(got.out.bytes, want.bytes, want.len)) {
		describe(hit);
		assert_int_equal(counter(outcome), was + 1);
		assert_int_equal(got.out.len, want.len);
		assert_memory_equal(got.out.bytes, want.bytes, want.len);
	}
}

static void fill_key(uint8_t *key, size_t len, struct rand *r)
{
	for (size_t i = 0; i < len; i++) {
		do
			key[i] = rand_next(r);
		while (key[i] <= 0x20 || key[i] == 0x7f);
	}
}

static void reply_each_key_length_is_right(void **state)
{
	uint8_t key[XC_KEY_MAX];
	struct rand r;

	(void)state;
	rand_init(&r, 1);
	for (size_t len = 1; len <= XC_KEY_MAX; len++) {
		fill_key(key, len, &r);
		for (int i = 0; i < 2 * WAY_CNT; i++) {
			struct hit hit = {
				.item = { .key = span_of(key, len),
					  .value = span_str("12345"),
					  .cas = 77 },
				.gets = i & 1,
				.way = i / 2,
			};

			check_hit(&hit);
		}
	}
}

/* Fills an IPv4 reply up to the MTU: 20 + 8 + 8 + "VALUE k 0 1441" + 2 + value + 7. */
#define VALUE_FILLS_MTU 1441

static void reply_each_value_length_is_right(void **state)
{
	static const size_t lens[] = { 0,  1,  2,  7,  8,  9,	15,  16,   17,	 31,
				       32, 63, 64, 65, 99, 100, 999, 1000, 1300, VALUE_FILLS_MTU };
	uint8_t value[XC_VALUE_MAX];
	struct rand r;

	(void)state;
	rand_init(&r, 2);
	for (size_t i = 0; i < sizeof(value); i++)
		value[i] = rand_next(&r);
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]) * WAY_CNT; i++) {
		size_t len = lens[i / WAY_CNT];
		struct hit hit = {
			.item = { .key = span_str("k"), .value = span_of(value, len) },
			.way = i % WAY_CNT,
		};

		if (hit.way == WAY_HEAD && len > 64)
			continue; /* a frame's front has room for about 200 bytes */
		check_hit(&hit);
	}
}

/* The longest value there can be, on a link that carries it. */
static void reply_longest_value_on_jumbo_link_is_right(void **state)
{
	struct xc_local local = { .mtu = 9000 };
	uint8_t value[XC_VALUE_MAX], key[XC_KEY_MAX];
	struct rand r;

	(void)state;
	memcpy(local.mac, pktgen_server.mac, 6);
	fastrig_local(&rig, span_of(pktgen_server.ip6, 16), &local);
	rand_init(&r, 3);
	fill_key(key, sizeof(key), &r);
	memset(value, '\n', sizeof(value));
	for (enum way way = 0; way < WAY_CNT; way++) {
		struct hit hit = {
			.item = { .key = span_of(key, sizeof(key)),
				  .flags = UINT32_MAX,
				  .value = span_of(value, sizeof(value)),
				  .cas = UINT64_MAX },
			.request = { .ip6 = true, .tags = { 0x88a8, 0x8100 } },
			.gets = true,
			.way = way,
		};

		if (way != WAY_HEAD)
			check_hit(&hit);
	}
	fastrig_configure(&rig);
}

static void reply_each_cas_and_flags_is_right(void **state)
{
	static const uint32_t flags[] = { 0, 9, 10, 65535, UINT32_MAX };
	struct hit hit = {
		.item = { .key = span_str("some-key"), .value = span_str("v") },
		.gets = true,
	};
	uint64_t power = 1;

	(void)state;
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		hit.item.flags = flags[i];
		for (int digits = 1; digits <= 20; digits++, power *= 10) {
			hit.item.cas = power; /* 10...0 */
			check_hit(&hit);
			hit.item.cas = power - 1; /* 9...9, and 0 */
			check_hit(&hit);
		}
		hit.item.cas = UINT64_MAX;
		check_hit(&hit);
		power = 1;
	}
}

/* A sum of 0 is sent as 0xffff: 0 would say that there is none. Some request id leads to it. */
static void reply_udp_sum_zero_becomes_ffff(void **state)
{
	struct hit hit = { .item = { .key = span_str("k"), .value = span_str("v") } };
	struct pktgen_value value = { .key = hit.item.key, .value = hit.item.value };
	struct pktgen_packet want;
	uint32_t id;

	(void)state;
	for (id = 0; id <= 0xffff; id++) {
		hit.request.id = id;
		pktgen_reply(&hit.request, &value, &want);
		if (want.bytes[40] == 0xff && want.bytes[41] == 0xff)
			break;
	}
	assert_in_range(id, 0, 0xffff);
	check_hit(&hit);
}

static uint64_t env_number(const char *name, uint64_t fallback)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : fallback;
}

static void pick_hit(struct rand *r, uint8_t *key, uint8_t *value, struct hit *ret)
{
	static const uint16_t tpids[] = { 0x8100, 0x88a8 };
	uint64_t word = rand_next(r);
	size_t key_len = 1 + rand_below(r, rand_below(r, 2) ? 40 : XC_KEY_MAX);
	enum way way = rand_below(r, WAY_CNT);
	size_t value_max = way == WAY_HEAD ? 60 : 1100;

	*ret = (struct hit){
		.way = way,
		.gets = word & 1,
		.request = {
			.ip6 = word & 2,
			.id = word >> 16,
			.from_port = 1 + rand_below(r, 65535),
			/*
			 * Only growing is ever refused, and padding may be longer than the growth.
			 */
			.trailer = word & 4 && way != WAY_HEAD ? rand_below(r, 20) : 0,
		},
		.item = {
			.key = span_of(key, key_len),
			.value = span_of(value, rand_below(r, value_max + 1)),
			.flags = word & 8 ? rand_next(r) : 0,
			.cas = rand_next(r) >> rand_below(r, 64),
		},
	};
	/* Another server's port is not answered. */
	if (ret->request.from_port == PKTGEN_SERVER_PORT)
		ret->request.from_port = PKTGEN_CLIENT_PORT;
	for (uint64_t i = 0; i < rand_below(r, 3); i++)
		ret->request.tags[i] = tpids[rand_below(r, 2)];
	fill_key(key, key_len, r);
	for (size_t i = 0; i < ret->item.value.len; i++)
		value[i] = rand_next(r);
}

static void reply_random_hits_are_right(void **state)
{
	uint64_t count = env_number("XC_TEST_COUNT", COUNT_DEFAULT);
	uint8_t key[XC_KEY_MAX], value[XC_VALUE_MAX];
	uint64_t seed;
	struct hit hit;
	struct rand r;

	(void)state;
	assert_int_equal(rand_secret(&seed, sizeof(seed)), 0);
	seed = env_number("XC_TEST_SEED", seed);
	printf("seed %llu, %llu hits\n", (unsigned long long)seed, (unsigned long long)count);
	rand_init(&r, seed);
	for (uint64_t i = 0; i < count; i++) {
		pick_hit(&r, key, value, &hit);
		check_hit(&hit);
	}
}

static int open_object(void **state)
{
	(void)state;
	mock = stage_mock_bpf__open_and_load();
	if (!mock || fastrig_open(&rig, mock->obj))
		return -1;
	fastrig_configure(&rig);
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
		cmocka_unit_test(reply_each_key_length_is_right),
		cmocka_unit_test(reply_each_value_length_is_right),
		cmocka_unit_test(reply_longest_value_on_jumbo_link_is_right),
		cmocka_unit_test(reply_each_cas_and_flags_is_right),
		cmocka_unit_test(reply_udp_sum_zero_becomes_ffff),
		cmocka_unit_test(reply_random_hits_are_right),
	};

	return cmocka_run_group_tests(tests, open_object, close_object);
}
