/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A source gets its burst at once and its rate from then on, to the request; what others do, forged
 * sources without end included, neither takes a source's allowance away nor gives one that is used
 * up back.
 *
 * Method: BPF_PROG_TEST_RUN on the product's object, a frame at a time; time is moved by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <bpf/bpf.h>
#include <cmocka.h>

#include "fastpath.skel.h"
#include "lib/fastrig.h"

#define COST_NS 1000000 /* a thousand requests a second */
#define BURST 10
#define FORGED_CNT (2 * 65536) /* twice as many as there are buckets */

static struct fastpath_bpf *product;
static struct fastrig rig;

static const struct rig_item item = {
	.key = { (const uint8_t *)"k", 1 },
	.value = { (const uint8_t *)"value", 5 },
};

static const struct pktgen_request one_key = {
	.text = { (const uint8_t *)"get k\r\n", 7 },
};

static const struct pktgen_request eight_keys = {
	.text = { (const uint8_t *)"get k k k k k k k k\r\n", 21 },
};

/* True: a reply. False: dropped, and that is what the counter says. */
static bool is_served(const struct pktgen_request *request)
{
	struct xc_stats before, after;
	struct pktgen_packet in;
	struct rig_run run;

	pktgen_request(request, &in);
	fastrig_stats(&rig, &before);
	assert_int_equal(fastrig_xdp(product->progs.xc_fastpath, &in, &run), 0);
	fastrig_stats(&rig, &after);
	if (run.action == XDP_TX) {
		assert_int_equal(after.hit_head + after.hit_tail,
				 before.hit_head + before.hit_tail + 1);
		assert_int_equal(after.drop_rate, before.drop_rate);
		return true;
	}
	assert_int_equal(run.action, XDP_DROP);
	assert_int_equal(after.drop_rate, before.drop_rate + 1);
	return false;
}

static uint32_t served_of(const struct pktgen_request *request, uint32_t cnt)
{
	uint32_t served = 0;

	for (uint32_t i = 0; i < cnt; i++)
		served += is_served(request);
	return served;
}

static void pass_ns(uint64_t ns)
{
	rig.conf->clock_base_ns += ns;
	rig.conf->serve_until_ns = rig.conf->clock_base_ns + 1;
}

static void allow(uint32_t prefix_len, const uint8_t addr[16])
{
	struct xc_allow_key key = { .prefix_len = prefix_len };
	uint32_t value = 1;

	memcpy(key.addr, addr, 16);
	assert_int_equal(bpf_map_update_elem(rig.allow_fd, &key, &value, BPF_ANY), 0);
	rig.conf->guard_gen++;
}

/* All of 10.0.0.0/8 and 2001:db8::/32 are clients, too. */
static int fresh_rig(void **state)
{
	static const uint8_t ten[16] = { [10] = 0xff, 0xff, 10 };
	static const uint8_t documentation[16] = { 0x20, 0x01, 0x0d, 0xb8 };

	(void)state;
	fastrig_configure(&rig);
	fastrig_clear(&rig);
	fastrig_insert(&rig, &item);
	allow(96 + 8, ten);
	allow(32, documentation);
	rig.conf->rate_cost_ns = COST_NS;
	rig.conf->rate_burst_ns = BURST * COST_NS;
	return 0;
}

static void rate_of_zero_refuses_nobody(void **state)
{
	(void)state;
	rig.conf->rate_cost_ns = 0;
	rig.conf->rate_burst_ns = 0;
	assert_int_equal(served_of(&one_key, 5 * BURST), 5 * BURST);
}

static void source_gets_its_burst_then_its_rate_to_the_request(void **state)
{
	(void)state;
	assert_int_equal(served_of(&one_key, 3 * BURST), BURST);
	pass_ns(COST_NS - 1);
	assert_int_equal(served_of(&one_key, 3), 0);
	pass_ns(1);
	assert_int_equal(served_of(&one_key, 3), 1);
	pass_ns(4 * COST_NS);
	assert_int_equal(served_of(&one_key, 3 * BURST), 4);
	/* More than full it does not become. */
	pass_ns(1000ULL * BURST * COST_NS);
	assert_int_equal(served_of(&one_key, 3 * BURST), BURST);
}

/* A miss and nonsense cost the same: the daemon has the work then. */
static void requests_that_pass_are_charged(void **state)
{
	static const char *const texts[] = { "get absent\r\n", "stats\r\n", "", "set k 0 0 1\r\n" };
	struct pktgen_request request = one_key;

	(void)state;
	for (uint32_t i = 0; i < BURST; i++) {
		struct pktgen_packet in;
		struct rig_run run;

		request.text = span_str(texts[i % 4]);
		pktgen_request(&request, &in);
		assert_int_equal(fastrig_xdp(product->progs.xc_fastpath, &in, &run), 0);
		assert_int_equal(run.action, XDP_PASS);
	}
	assert_false(is_served(&one_key));
}

/* One for the request, whatever is in it, and one for each key behind the first. */
static void keys_of_a_reply_are_charged(void **state)
{
	(void)state;
	assert_true(is_served(&eight_keys));
	assert_int_equal(served_of(&one_key, BURST), BURST - 8);
	/* Let in on the last of its allowance, it owes seven more. */
	pass_ns(COST_NS);
	assert_true(is_served(&eight_keys));
	pass_ns(7 * COST_NS);
	assert_false(is_served(&one_key));
	pass_ns(COST_NS);
	assert_true(is_served(&one_key));
	assert_false(is_served(&one_key));
}

static void several_keys_that_pass_are_charged_once(void **state)
{
	const struct pktgen_request request = { .text = span_str("get k k k absent\r\n") };

	(void)state;
	for (uint32_t i = 0; i < 2; i++) {
		struct pktgen_packet in;
		struct rig_run run;

		pktgen_request(&request, &in);
		assert_int_equal(fastrig_xdp(product->progs.xc_fastpath, &in, &run), 0);
		assert_int_equal(run.action, XDP_PASS);
	}
	assert_int_equal(served_of(&one_key, 2 * BURST), BURST - 2);
}

/* Cut at every byte, a fragment, with options, to another port or host: nobody's request. */
static void frames_that_are_no_request_cost_nothing(void **state)
{
	const struct pktgen_request others[] = {
		{ .text = one_key.text, .to_port = 11212 },
		{ .text = one_key.text, .to = &pktgen_stranger },
		{ .text = one_key.text, .ip4_fragment = 0x2000 },
		{ .text = one_key.text, .from_port = PKTGEN_SERVER_PORT },
	};
	struct pktgen_packet in, whole;
	struct rig_run run;

	(void)state;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		for (uint32_t n = 0; n < BURST; n++) {
			pktgen_request(&others[i], &in);
			assert_int_equal(fastrig_xdp(product->progs.xc_fastpath, &in, &run), 0);
			assert_int_equal(run.action, XDP_PASS);
		}
	}
	pktgen_request(&one_key, &whole);
	for (uint32_t len = 14; len < whole.len; len++) {
		in = whole;
		in.len = len;
		assert_int_equal(fastrig_xdp(product->progs.xc_fastpath, &in, &run), 0);
		assert_int_equal(run.action, XDP_PASS);
	}
	assert_int_equal(served_of(&one_key, 2 * BURST), BURST);
}

static void sources_have_buckets_of_their_own(void **state)
{
	static const uint8_t near[4] = { 10, 0, 0, 1 }, far[4] = { 10, 0, 0, 2 };
	struct pktgen_request a = one_key, b = one_key, v6 = one_key;

	(void)state;
	a.ip_from = near;
	b.ip_from = far;
	v6.ip6 = true;
	assert_int_equal(served_of(&a, 2 * BURST), BURST);
	assert_int_equal(served_of(&b, 2 * BURST), BURST);
	assert_int_equal(served_of(&v6, 2 * BURST), BURST);
	a.from_port = 12345;
	assert_false(is_served(&a));
}

static void hosts_of_an_ip6_network_share_a_bucket(void **state)
{
	static const uint8_t first[16] = { 0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 1, [15] = 1 };
	static const uint8_t second[16] = { 0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 1, 9, [15] = 2 };
	static const uint8_t next[16] = { 0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 2, [15] = 1 };
	struct pktgen_request request = one_key;

	(void)state;
	request.ip6 = true;
	request.ip_from = first;
	assert_int_equal(served_of(&request, BURST), BURST);
	request.ip_from = second;
	assert_false(is_served(&request));
	request.ip_from = next;
	assert_int_equal(served_of(&request, 2 * BURST), BURST);
}

/* Each of them new, and none refused; `meanwhile` runs now and then. */
static void flood(bool ip6, void (*meanwhile)(void))
{
	struct pktgen_request forged = one_key;
	uint8_t v4[4] = { 10 }, v6[16] = { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 };
	struct pktgen_packet in;
	struct rig_run run;

	forged.ip6 = ip6;
	forged.ip_from = ip6 ? v6 : v4;
	for (uint32_t i = 0; i < FORGED_CNT; i++) {
		uint8_t *counted = ip6 ? v6 + 5 : v4 + 1;

		counted[0] = 1 + (i >> 16);
		counted[1] = i >> 8;
		counted[2] = i;
		pktgen_request(&forged, &in);
		assert_int_equal(fastrig_xdp(product->progs.xc_fastpath, &in, &run), 0);
		if (run.action != XDP_TX)
			fail_msg("source %u of the flood: %d", i, run.action);
		if (i % 1024 == 0)
			meanwhile();
	}
}

static uint32_t turns, well_served;

/* What the flood does takes no time, so the client's buckets are all it has. */
static void ask_as_client(void)
{
	if (turns % 3 == 0)
		pass_ns(COST_NS);
	well_served += is_served(&one_key);
	turns++;
}

static void forged_sources_take_no_allowance_away(void **state)
{
	(void)state;
	for (int ip6 = 0; ip6 < 2; ip6++) {
		turns = well_served = 0;
		pass_ns(1000000000);
		/* As fast as it may: a burst, then its rate, at the least. */
		flood(ip6, ask_as_client);
		assert_in_range(well_served, BURST + turns / 3 - 1, turns);
	}
}

static void ask_as_flooder(void)
{
	assert_false(is_served(&one_key));
}

/* A flooder that answers matter to forges others, to have its own used-up bucket displaced. */
static void forged_sources_give_no_allowance_back(void **state)
{
	(void)state;
	for (int ip6 = 0; ip6 < 2; ip6++) {
		fresh_rig(NULL);
		assert_int_equal(served_of(&one_key, BURST), BURST);
		flood(ip6, ask_as_flooder);
	}
}

static void do_nothing(void)
{
}

/* One request uses a bucket up, so that sets are full of used-up ones: a newcomer has its own. */
static void newcomer_owes_nothing_of_the_one_before_it(void **state)
{
	(void)state;
	rig.conf->rate_burst_ns = COST_NS;
	flood(false, do_nothing);
	assert_int_equal(served_of(&one_key, 3), 1);
}

static int open_object(void **state)
{
	(void)state;
	product = fastpath_bpf__open_and_load();
	return product ? fastrig_open(&rig, product->obj) : -1;
}

static int close_object(void **state)
{
	(void)state;
	fastrig_close(&rig);
	fastpath_bpf__destroy(product);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(rate_of_zero_refuses_nobody, fresh_rig),
		cmocka_unit_test_setup(source_gets_its_burst_then_its_rate_to_the_request,
				       fresh_rig),
		cmocka_unit_test_setup(requests_that_pass_are_charged, fresh_rig),
		cmocka_unit_test_setup(keys_of_a_reply_are_charged, fresh_rig),
		cmocka_unit_test_setup(several_keys_that_pass_are_charged_once, fresh_rig),
		cmocka_unit_test_setup(frames_that_are_no_request_cost_nothing, fresh_rig),
		cmocka_unit_test_setup(sources_have_buckets_of_their_own, fresh_rig),
		cmocka_unit_test_setup(hosts_of_an_ip6_network_share_a_bucket, fresh_rig),
		cmocka_unit_test_setup(forged_sources_take_no_allowance_away, fresh_rig),
		cmocka_unit_test_setup(forged_sources_give_no_allowance_back, fresh_rig),
		cmocka_unit_test_setup(newcomer_owes_nothing_of_the_one_before_it, fresh_rig),
	};

	return cmocka_run_group_tests(tests, open_object, close_object);
}
