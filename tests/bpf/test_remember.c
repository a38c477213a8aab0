/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the program remembers never outlives its reason: verdicts on senders end with their
 * generation or their time, and cover one way only; a remembered entry number leads to a live entry
 * of that very key or to nothing. Also here: the sampled hit counts are fair to keys asked for in
 * turn, and the kernel's clock, calibrated as abi/conf.h says, is never late by more than its tick.
 *
 * Method: BPF_PROG_TEST_RUN on the product's object; time is moved by hand but for the last test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <bpf/bpf.h>
#include <cmocka.h>

#include "fastpath.skel.h"
#include "lib/fastrig.h"

static struct fastpath_bpf *product;
static struct fastrig rig;

static const struct rig_item item = {
	.key = { (const uint8_t *)"some-key", 8 },
	.value = { (const uint8_t *)"first", 5 },
};

static const struct pktgen_request request = {
	.text = { (const uint8_t *)"get some-key\r\n", 14 },
};

/* The outcome of one packet: the counter that moved. */
static enum xc_outcome outcome_of(const struct pktgen_request *r, struct rig_run *ret_run)
{
	struct xc_stats before, after;
	struct pktgen_packet in;
	struct rig_run run;

	pktgen_request(r, &in);
	fastrig_stats(&rig, &before);
	assert_int_equal(fastrig_xdp(product->progs.xc_fastpath, &in, &run), 0);
	fastrig_stats(&rig, &after);
	if (ret_run)
		*ret_run = run;
	for (int i = 0; i < XC_OUTCOME_CNT; i++)
		if (((uint64_t *)&before)[i] != ((uint64_t *)&after)[i])
			return i;
	fail_msg("no counter moved");
	return XC_OUTCOME_CNT;
}

static void assert_outcome(const struct pktgen_request *r, enum xc_outcome want)
{
	enum xc_outcome got = outcome_of(r, NULL);

	if (got != want)
		fail_msg("%s, wanted %s", fastrig_outcome_names[got], fastrig_outcome_names[want]);
}

static void assert_value(const char *want)
{
	struct pktgen_value value = { .key = item.key, .value = span_str(want) };
	struct pktgen_packet reply;
	struct rig_run run;

	assert_int_equal(outcome_of(&request, &run), XC_hit_head);
	pktgen_reply(&request, &value, &reply);
	assert_int_equal(run.out.len, reply.len);
	assert_memory_equal(run.out.bytes, reply.bytes, reply.len);
}

static int fresh_rig(void **state)
{
	(void)state;
	fastrig_configure(&rig);
	fastrig_clear(&rig);
	fastrig_insert(&rig, &item);
	return 0;
}

/* Takes the client off the list behind the program's back: guard_gen stays. */
static void disallow_silently(void)
{
	uint32_t guard_gen = rig.conf->guard_gen;

	fastrig_allow(&rig, span_of(pktgen_client.ip4, 4), false);
	rig.conf->guard_gen = guard_gen;
}

static void pass_ms(uint64_t ms)
{
	rig.conf->clock_base_ns += ms * 1000000;
	rig.conf->serve_until_ns = rig.conf->clock_base_ns + 1;
}

static void verdict_of_an_old_generation_is_dropped_at_once(void **state)
{
	(void)state;
	assert_outcome(&request, XC_hit_head);
	disallow_silently();
	assert_outcome(&request, XC_hit_head); /* remembered: the row below is not vacuous */
	rig.conf->guard_gen++;
	assert_outcome(&request, XC_drop_not_allowed);
}

static void verdict_ends_with_its_time(void **state)
{
	(void)state;
	assert_outcome(&request, XC_hit_head);
	disallow_silently();
	pass_ms(XC_VERDICT_MS - 1);
	assert_outcome(&request, XC_hit_head);
	pass_ms(1);
	assert_outcome(&request, XC_drop_not_allowed);
}

static void verdict_covers_one_way_only(void **state)
{
	static const uint8_t other_mac[6] = { 2, 2, 2, 2, 2, 2 };
	static const uint8_t other_ip[4] = { 192, 0, 2, 99 };
	struct pktgen_request r;

	(void)state;
	assert_outcome(&request, XC_hit_head);
	r = request;
	r.mac_to = other_mac;
	assert_outcome(&r, XC_pass_not_local);
	r = request;
	r.ip_to = other_ip;
	assert_outcome(&r, XC_pass_not_local);
	r = request;
	r.ip_from = other_ip;
	assert_outcome(&r, XC_drop_not_allowed);
}

static void verdict_of_a_tagged_frame_is_not_an_untagged_ones(void **state)
{
	struct xc_local local = { .mtu = RIG_MTU, .flags = XC_LOCAL_NEEDS_TAG };
	struct pktgen_request tagged = request;

	(void)state;
	memcpy(local.mac, pktgen_server.mac, 6);
	fastrig_local(&rig, span_of(pktgen_server.ip4, 4), &local);
	tagged.tags[0] = 0x8100;
	assert_outcome(&tagged, XC_hit_head);
	assert_outcome(&request, XC_pass_not_local);
}

static void verdict_does_not_cover_lease_ports_nor_group(void **state)
{
	static const uint8_t group_mac[6] = { 0x33, 0x33, 0, 0, 0, 1 };
	struct pktgen_request r = request;

	(void)state;
	assert_outcome(&request, XC_hit_head);
	r.from_port = -1;
	assert_outcome(&r, XC_pass_source);
	r.from_port = PKTGEN_SERVER_PORT;
	assert_outcome(&r, XC_pass_source);
	r.from_port = 0;
	r.mac_from = group_mac;
	assert_outcome(&r, XC_pass_source);
	r.mac_from = NULL;
	r.to_port = 11212;
	assert_outcome(&r, XC_pass_not_port);
	rig.conf->serve_until_ns = RIG_NOW_NS;
	assert_outcome(&request, XC_pass_no_lease);
}

/* The lease's last nanosecond serves, the next does not: to strangers it drops, then it passes. */
static void lease_ends_to_the_nanosecond(void **state)
{
	struct pktgen_request stranger = request;

	(void)state;
	stranger.from = &pktgen_stranger;
	rig.conf->serve_until_ns = RIG_NOW_NS + 1;
	assert_outcome(&request, XC_hit_head);
	assert_outcome(&stranger, XC_drop_not_allowed);
	rig.conf->clock_base_ns++;
	assert_outcome(&request, XC_pass_no_lease);
	assert_outcome(&stranger, XC_pass_no_lease);
}

static void hint_to_an_emptied_entry_finds_the_new_one(void **state)
{
	struct rig_item second = item;

	(void)state;
	assert_value("first");
	second.value = span_str("second");
	fastrig_insert(&rig, &second);
	assert_value("second");
	assert_value("second");
}

static void hint_to_an_entry_of_another_key_is_a_miss(void **state)
{
	struct rig_item other = item;

	(void)state;
	assert_value("first");
	fastrig_clear(&rig);
	other.key = span_str("same-len");
	assert_int_equal(fastrig_insert(&rig, &other), 0);
	assert_outcome(&request, XC_pass_miss);
	fastrig_insert(&rig, &item);
	assert_value("first");
}

/* Whatever the entry remembered has become, its counter is not the key's. */
static void hint_to_an_expired_entry_of_another_key_finds_the_new_one(void **state)
{
	struct rig_item other = item;

	(void)state;
	assert_value("first");
	fastrig_clear(&rig);
	other.key = span_str("same-len");
	other.expire_ns = 1;
	assert_int_equal(fastrig_insert(&rig, &other), 0);
	fastrig_insert(&rig, &item);
	assert_value("first");
}

/* Keys asked for in turn: rounds of a length that a counter's low bits, or its golden ratio, would
 * resonate with. Each key's count must be near 1 in 2^XC_HIT_SHIFT of its hits. */
static void sampled_hits_are_fair_to_keys_in_turn(void **state)
{
	static const uint32_t round_lens[] = { 1, 2, 8, 13, 16, 21, 34, 64 };
	const uint32_t hits_each = 1600, want = hits_each >> XC_HIT_SHIFT;

	(void)state;
	for (size_t r = 0; r < sizeof(round_lens) / sizeof(round_lens[0]); r++) {
		uint32_t keys = round_lens[r];
		struct pktgen_packet in[64];
		struct rig_run run;

		fastrig_clear(&rig);
		memset(rig.uses, 0, keys * sizeof(*rig.uses));
		for (uint32_t k = 0; k < keys; k++) {
			char key[16], text[32];
			struct rig_item one = item;
			struct pktgen_request get = request;

			one.key = span_of(key, sprintf(key, "turn-%u", k));
			get.text = span_of(text, sprintf(text, "get %s\r\n", key));
			assert_int_equal(fastrig_insert(&rig, &one), k);
			pktgen_request(&get, &in[k]);
		}
		for (uint32_t i = 0; i < hits_each * keys; i++)
			fastrig_xdp(product->progs.xc_fastpath, &in[i % keys], &run);
		/* Binomial with mean 100 and deviation 10: five of them either way. */
		for (uint32_t k = 0; k < keys; k++)
			assert_in_range(rig.uses[k].hits, want / 2, want + want / 2);
	}
}

static uint64_t boot_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static struct xc_clock_sample clock_sample(void)
{
	struct xc_clock_sample sample = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = &sample, .ctx_size_in = sizeof(sample));

	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(product->progs.xc_clock), &opts),
			 0);
	return sample;
}

/* Smallest boot_ns - jiffies * tick over samples of some ticks; tick 0: the raw pair. */
static struct xc_clock_sample clock_edge(uint64_t tick_ns, uint64_t for_ns)
{
	struct xc_clock_sample best = clock_sample(), sample;
	uint64_t until = boot_ns() + for_ns;

	while (boot_ns() < until) {
		sample = clock_sample();
		if (sample.boot_ns - best.boot_ns < (sample.jiffies - best.jiffies) * tick_ns)
			best = sample;
	}
	return best;
}

static void clock_calibrated_is_at_most_a_tick_ahead(void **state)
{
	struct xc_clock_sample first = clock_sample(), last, best;
	struct timespec wait = { .tv_nsec = 500000000 };
	uint64_t tick_ns, base_ns, hz, tick_cnt = 0;
	int64_t ahead_max_ns = 0;

	(void)state;
	nanosleep(&wait, NULL);
	last = clock_sample();
	hz = ((last.jiffies - first.jiffies) * 1000000000ULL + (last.boot_ns - first.boot_ns) / 2) /
	     (last.boot_ns - first.boot_ns);
	/*
	 * Half a second is too short for a whole HZ; the nearest one that kernels are built with.
	 */
	hz = hz < 150 ? 100 : hz < 275 ? 250 : hz < 500 ? 300 : 1000;
	tick_ns = (1000000000ULL + hz / 2) / hz;
	best = clock_edge(tick_ns, 40 * tick_ns);
	base_ns = best.boot_ns - best.jiffies * tick_ns + tick_ns;
	/*
	 * How late a tick comes is the machine's affair: an emulated one holds its timer up. The
	 * punctual ones show where the base lies.
	 */
	for (last = best; tick_cnt < 40;) {
		struct xc_clock_sample now = clock_sample();
		int64_t ahead_ns = base_ns + now.jiffies * tick_ns - now.boot_ns;

		if (ahead_ns > ahead_max_ns)
			ahead_max_ns = ahead_ns;
		tick_cnt += now.jiffies != last.jiffies;
		last = now;
	}
	/* Early by a tick, within what either look may have missed. */
	assert_in_range(ahead_max_ns, tick_ns - tick_ns / 2, tick_ns + tick_ns / 2);
}

static int open_object(void **state)
{
	(void)state;
	product = fastpath_bpf__open_and_load();
	return !product || fastrig_open(&rig, product->obj) ? -1 : 0;
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
		cmocka_unit_test_setup(verdict_of_an_old_generation_is_dropped_at_once, fresh_rig),
		cmocka_unit_test_setup(verdict_ends_with_its_time, fresh_rig),
		cmocka_unit_test_setup(verdict_covers_one_way_only, fresh_rig),
		cmocka_unit_test_setup(verdict_of_a_tagged_frame_is_not_an_untagged_ones,
				       fresh_rig),
		cmocka_unit_test_setup(verdict_does_not_cover_lease_ports_nor_group, fresh_rig),
		cmocka_unit_test_setup(lease_ends_to_the_nanosecond, fresh_rig),
		cmocka_unit_test_setup(hint_to_an_emptied_entry_finds_the_new_one, fresh_rig),
		cmocka_unit_test_setup(hint_to_an_entry_of_another_key_is_a_miss, fresh_rig),
		cmocka_unit_test_setup(hint_to_an_expired_entry_of_another_key_finds_the_new_one,
				       fresh_rig),
		cmocka_unit_test_setup(sampled_hits_are_fair_to_keys_in_turn, fresh_rig),
		cmocka_unit_test_setup(clock_calibrated_is_at_most_a_tick_ahead, fresh_rig),
	};

	return cmocka_run_group_tests(tests, open_object, close_object);
}
