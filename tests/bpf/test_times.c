/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The sample of times: every request has the same chance to be in it, what is no request never is,
 * and the clock starts with the packet.
 *
 * Method: BPF_PROG_TEST_RUN on the product's object, a frame many times; hits and others are told
 * apart by their histogram.
 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <cmocka.h>

#include "abi/times.h"
#include "fastpath.skel.h"
#include "lib/fastrig.h"

#define RUNS (1U << 16)

static struct fastpath_bpf *product;
static struct fastrig rig;

static const struct rig_item item = {
	.key = { (const uint8_t *)"k", 1 },
	.value = { (const uint8_t *)"value", 5 },
};

static const struct pktgen_request hit = { .text = { (const uint8_t *)"get k\r\n", 7 } };
static const struct pktgen_request hits = { .text = { (const uint8_t *)"get k k k\r\n", 11 } };
static const struct pktgen_request miss = { .text = { (const uint8_t *)"get m\r\n", 7 } };
static const struct pktgen_request miss_of_more = {
	.text = { (const uint8_t *)"get k m\r\n", 9 },
};

static uint64_t total(const __u64 *times)
{
	uint64_t sum = 0;

	for (uint32_t b = 0; b < XC_TIME_BUCKETS; b++)
		sum += times[b];
	return sum;
}

static void run(const struct pktgen_packet *in, uint32_t times)
{
	struct rig_run out;

	for (uint32_t i = 0; i < times; i++)
		assert_int_equal(fastrig_xdp(product->progs.xc_fastpath, in, &out), 0);
}

static void set_timed(uint64_t value)
{
	struct xc_stats *per_cpu = calloc((size_t)rig.cpu_cnt, sizeof(*per_cpu));
	uint32_t zero = 0;

	assert_non_null(per_cpu);
	assert_int_equal(bpf_map_lookup_elem(rig.stats_fd, &zero, per_cpu), 0);
	per_cpu[sched_getcpu()].timed = value;
	assert_int_equal(bpf_map_update_elem(rig.stats_fd, &zero, per_cpu, BPF_ANY), 0);
	free(per_cpu);
}

/* The sample is by chance: six deviations of its size. */
static void is_share(uint64_t timed, uint64_t of)
{
	uint64_t want = of >> XC_TIME_SHIFT;

	assert_in_range(timed, of ? want - 6 * 16 : 0, of ? want + 6 * 16 : 0);
}

static void timed(const struct pktgen_request *request, bool is_hit)
{
	struct xc_stats before, after;
	struct pktgen_packet in;

	pktgen_request(request, &in);
	fastrig_stats(&rig, &before);
	run(&in, RUNS);
	fastrig_stats(&rig, &after);
	is_share(total(after.hit_times) - total(before.hit_times), is_hit ? RUNS : 0);
	is_share(total(after.other_times) - total(before.other_times), is_hit ? 0 : RUNS);
}

static int fresh_rig(void **state)
{
	(void)state;
	fastrig_configure(&rig);
	fastrig_clear(&rig);
	fastrig_insert(&rig, &item);
	return 0;
}

static void hits_and_others_are_timed_apart(void **state)
{
	(void)state;
	timed(&hit, true);
	timed(&miss, false);
}

/* xc_batch stops the clock that xc_fastpath started. */
static void what_goes_on_in_the_second_program_is_timed_too(void **state)
{
	(void)state;
	timed(&hits, true);
	timed(&miss_of_more, false);
}

/* Nor do they start the clock one after the other: the turn lapses. */
static void packets_that_are_no_requests_are_never_timed(void **state)
{
	struct pktgen_request other = hit;
	struct xc_stats before, after;
	struct pktgen_packet in;

	(void)state;
	other.to_port = 53;
	pktgen_request(&other, &in);
	fastrig_stats(&rig, &before);
	run(&in, RUNS);
	fastrig_stats(&rig, &after);
	assert_memory_equal(after.hit_times, before.hit_times, sizeof(before.hit_times));
	assert_memory_equal(after.other_times, before.other_times, sizeof(before.other_times));
	assert_int_equal(after.timed, 0);
	set_timed(XC_TIME_NEXT);
	run(&in, 1);
	fastrig_stats(&rig, &after);
	assert_int_equal(after.timed, 0);
	set_timed(XC_TIME_NEXT);
	pktgen_request(&hit, &in);
	run(&in, 1);
	fastrig_stats(&rig, &after);
	assert_int_equal(total(after.hit_times), total(before.hit_times) + 1);
}

/* Not from where one began that xc_tc went on with. One of many runs is not interrupted. */
static void clock_starts_with_the_packet(void **state)
{
	struct xc_stats stats, before;
	struct pktgen_packet in;
	uint32_t last = XC_TIME_BUCKETS - 1;

	(void)state;
	pktgen_request(&hit, &in);
	fastrig_stats(&rig, &before);
	for (uint32_t i = 0; i < 100; i++) {
		set_timed(XC_TIME_NEXT + 1);
		run(&in, 1);
	}
	fastrig_stats(&rig, &stats);
	assert_in_range(total(stats.hit_times) - total(before.hit_times), 100, 101);
	assert_true(stats.hit_times[last] - before.hit_times[last] < 100);
}

static void bucket_of_a_time_begins_at_or_below_it_and_the_next_above(void **state)
{
	uint32_t last = 0;

	(void)state;
	for (uint64_t ns = 0; ns < 3 * xc_time_bucket_ns(XC_TIME_BUCKETS - 1); ns++) {
		uint32_t bucket = xc_time_bucket(ns);

		assert_true(bucket == last || bucket == last + 1);
		assert_true(xc_time_bucket_ns(bucket) <= ns);
		if (bucket + 1 < XC_TIME_BUCKETS)
			assert_true(xc_time_bucket_ns(bucket + 1) > ns);
		last = bucket;
	}
	assert_int_equal(last, XC_TIME_BUCKETS - 1);
	assert_int_equal(xc_time_bucket(UINT64_MAX), XC_TIME_BUCKETS - 1);
	/* A quarter of the time at most, from 64 ns on. */
	for (uint32_t b = XC_TIME_SUB; b + 1 < XC_TIME_BUCKETS; b++)
		assert_true(4 * (xc_time_bucket_ns(b + 1) - xc_time_bucket_ns(b)) <=
			    xc_time_bucket_ns(b));
}

static int open_product(void **state)
{
	cpu_set_t one;

	(void)state;
	/* One CPU's counters: the next request is the one that runs next. */
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	product = fastpath_bpf__open_and_load();
	return product ? fastrig_open(&rig, product->obj) : -1;
}

static int close_product(void **state)
{
	(void)state;
	fastrig_close(&rig);
	fastpath_bpf__destroy(product);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bucket_of_a_time_begins_at_or_below_it_and_the_next_above),
		cmocka_unit_test_setup(hits_and_others_are_timed_apart, fresh_rig),
		cmocka_unit_test_setup(what_goes_on_in_the_second_program_is_timed_too, fresh_rig),
		cmocka_unit_test_setup(packets_that_are_no_requests_are_never_timed, fresh_rig),
		cmocka_unit_test_setup(clock_starts_with_the_packet, fresh_rig),
	};

	return cmocka_run_group_tests(tests, open_product, close_product);
}
