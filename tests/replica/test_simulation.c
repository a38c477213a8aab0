/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties (lib/replica_sim.c has them in full): whatever dies, stops, is cut off, late, lost,
 * doubled, damaged or out of order, one node at most serves an arc at a time and one a given epoch;
 * in quorum mode no acknowledged write is lost and no older value is read after a newer one was
 * acknowledged or read; once all is well again everything works and all copies are alike.
 * Method: whole clusters on made-up time, a seed each, in every mode and of two, three and five
 * nodes. XC_TEST_SEED=N replays seed N first, to the byte, and tells what happened in it; the long
 * form (XC_TEST_LONG) runs on new seeds until its time is over. tests/replica/test_broken.sh shows
 * that broken code is found.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "lib/replica_sim.h"
#include "lib/runopts.h"

#define SEED_CNT 10000
/* More than half of all seeds go to the mode that promises most. */
static const struct {
	enum replica_ack ack;
	uint32_t node_cnt;
} mixes[] = {
	{ REPLICA_QUORUM, 3 }, { REPLICA_QUORUM, 3 }, { REPLICA_QUORUM, 5 }, { REPLICA_QUORUM, 3 },
	{ REPLICA_ASYNC, 2 },  { REPLICA_ASYNC, 3 },  { REPLICA_ONE, 2 },    { REPLICA_ONE, 3 },
};

#define MIX_CNT (sizeof(mixes) / sizeof(mixes[0]))

static struct sim_options options_of(uint64_t seed, bool trace)
{
	return (struct sim_options){ .seed = seed,
				     .ack = mixes[seed % MIX_CNT].ack,
				     .node_cnt = mixes[seed % MIX_CNT].node_cnt,
				     .trace = trace };
}

static void add(struct sim_result *sum, const struct sim_result *one)
{
	sum->step_cnt += one->step_cnt;
	sum->write_cnt += one->write_cnt;
	sum->acked_cnt += one->acked_cnt;
	sum->read_cnt += one->read_cnt;
	sum->fault_cnt += one->fault_cnt;
	sum->epoch_cnt += one->epoch_cnt;
	sum->snapshot_cnt += one->snapshot_cnt;
}

static void sim_random_faults_every_promise_is_kept(void **state)
{
	uint64_t start = runopts_seed(), cnt = runopts_number("XC_TEST_SEEDS", SEED_CNT);
	uint64_t until_ns = clock_mono_ns() + runopts_budget_sec(0) * NSEC_PER_SEC;
	bool replay = getenv("XC_TEST_SEED") != NULL;
	struct sim_result sum = { .broken = "" }, one;
	uint64_t done = 0;

	(void)state;
	for (; done < cnt || (runopts_long() && clock_mono_ns() < until_ns); done++) {
		const struct sim_options options = options_of(start + done, replay && done == 0);

		if (!replica_sim(&options, &one))
			fail_msg("%s; replay: XC_TEST_SEED=%llu XC_TEST_SEEDS=1 "
				 "build/tests/replica/test_simulation",
				 one.broken, (unsigned long long)(start + done));
		add(&sum, &one);
	}
	printf("# %llu seeds: %llu steps, %llu faults, %llu new primaries, %llu snapshots, %llu "
	       "writes, %llu acknowledged, %llu reads\n",
	       (unsigned long long)done, (unsigned long long)sum.step_cnt,
	       (unsigned long long)sum.fault_cnt, (unsigned long long)sum.epoch_cnt,
	       (unsigned long long)sum.snapshot_cnt, (unsigned long long)sum.write_cnt,
	       (unsigned long long)sum.acked_cnt, (unsigned long long)sum.read_cnt);
	/* what was promised was also asked for */
	assert_true(sum.acked_cnt > 100 * done && sum.read_cnt > 50 * done);
	assert_true(sum.fault_cnt > 5 * done);
	assert_true(done < 100 || (sum.epoch_cnt > 2 * done && sum.snapshot_cnt > done / 4));
}

static void sim_same_seed_same_history(void **state)
{
	struct sim_result first, second;

	(void)state;
	for (uint64_t seed = 1; seed <= 2 * MIX_CNT; seed++) {
		const struct sim_options options = options_of(seed, false);

		memset(&first, 0, sizeof(first));
		memset(&second, 0, sizeof(second));
		replica_sim(&options, &first);
		replica_sim(&options, &second);
		assert_memory_equal(&first, &second, sizeof(first));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sim_same_seed_same_history),
		cmocka_unit_test(sim_random_faults_every_promise_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
