/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * batch_rig - items of all lengths in a loaded fast path, and one request for them.
 *
 * Does      fills the maps, sends a request's text through the driver's program or the one at tc,
 *           and checks that the whole reply comes, or that the packet passes as it came.
 * Owner     one rig a program: it is the file's own.
 */
#ifndef XC_TESTS_BATCH_RIG_H
#define XC_TESTS_BATCH_RIG_H

#include <stdlib.h>
#include <string.h>

#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include "base/rand.h"
#include "lib/fastrig.h"
#include "tests/bpf/stage_mock.skel.h"

#define ITEMS 64

static struct stage_mock_bpf *mock;
static struct fastrig rig;

static struct {
	uint8_t key[XC_KEY_MAX], value[XC_VALUE_MAX];
	struct rig_item item;
	uint32_t idx;
} items[ITEMS];

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

static uint64_t hits_of(const struct xc_stats *stats)
{
	return stats->hit_tail + stats->hit_head + stats->hit_tc;
}

static void run(const struct pktgen_packet *in, bool tc, struct rig_run *ret)
{
	int err = tc ? fastrig_tc(mock->progs.xc_batch_tc_marked, in, 0, ret)
		     : fastrig_xdp(mock->progs.xc_fastpath, in, ret);

	assert_int_equal(err, 0);
}

/* The whole reply comes, for so many keys. */
static void expect_reply(const struct pktgen_request *request, bool tc, struct span text,
			 uint32_t key_cnt)
{
	struct pktgen_packet in, want;
	struct xc_stats before, after;
	struct rig_run got;

	pktgen_request(request, &in);
	pktgen_reply_of(request, text, &want);
	fastrig_stats(&rig, &before);
	run(&in, tc, &got);
	fastrig_stats(&rig, &after);
	assert_int_equal(got.action, tc ? TC_ACT_REDIRECT : XDP_TX);
	assert_int_equal(got.out.len, want.len);
	assert_memory_equal(got.out.bytes, want.bytes, want.len);
	assert_int_equal(hits_of(&after) - hits_of(&before), 1);
	assert_int_equal(after.more_keys - before.more_keys, key_cnt - 1);
	assert_int_equal(after.reply_bytes - before.reply_bytes, text.len + 8);
}

/* It goes on as it came; in the driver it is counted so (XC_NEXT: whatever the name). */
static void expect_pass(const struct pktgen_request *request, bool tc, enum xc_outcome outcome)
{
	struct xc_stats before, after;
	struct pktgen_packet in;
	struct rig_run got;

	pktgen_request(request, &in);
	fastrig_stats(&rig, &before);
	run(&in, tc, &got);
	fastrig_stats(&rig, &after);
	assert_int_equal(got.action, tc ? TC_ACT_UNSPEC : XDP_PASS);
	assert_int_equal(got.out.len, in.len);
	assert_memory_equal(got.out.bytes, in.bytes, in.len);
	assert_int_equal(hits_of(&after), hits_of(&before));
	assert_int_equal(after.more_keys, before.more_keys);
	if (!tc && outcome != XC_NEXT &&
	    ((uint64_t *)&after)[outcome] - ((uint64_t *)&before)[outcome] != 1)
		fail_msg("%.*s: not counted as %s", (int)request->text.len,
			 (const char *)request->text.ptr, fastrig_outcome_names[outcome]);
}

static uint64_t env_number(const char *name, uint64_t fallback)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : fallback;
}

/* XC_TEST_SEED, or a fresh one; printed. */
static void seed_rand(struct rand *r)
{
	uint64_t seed;

	assert_int_equal(rand_secret(&seed, sizeof(seed)), 0);
	seed = env_number("XC_TEST_SEED", seed);
	printf("seed %llu\n", (unsigned long long)seed);
	rand_init(r, seed);
}

static int open_batch(void **state)
{
	(void)state;
	mock = stage_mock_bpf__open_and_load();
	if (!mock || fastrig_open(&rig, mock->obj))
		return -1;
	fastrig_configure(&rig);
	fill_items();
	return 0;
}

static int close_batch(void **state)
{
	(void)state;
	fastrig_close(&rig);
	stage_mock_bpf__destroy(mock);
	return 0;
}

#endif
