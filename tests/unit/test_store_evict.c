/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: each policy's verdicts on short histories worked out by hand; what is remembered of
 * keys that left; under every policy but fifo an item that the kernel keeps answering for stays
 * while its neighbour leaves; the same requests give the same result.
 * Method: the policies by themselves, told of births, hits and victims; then a small store whose
 * reclaimer runs in the test's own thread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/store_rig.h"
#include "store/impl.h"

#define MEMORY_CNT 4096
#define CAPACITY 1000

static void policy_open(struct evict *evict, const char *name)
{
	const struct evict_setup setup = {
		.name = name, .memory_cnt = MEMORY_CNT, .queue_max = SEGMENT_QUEUES, .seed = 1
	};

	assert_int_equal(evict_init(evict, &setup), 0);
	evict_note_items(evict, CAPACITY, 100, 100);
}

static struct evict_verdict verdict_of(struct evict *evict, uint64_t hash, uint8_t queue,
				       uint8_t use)
{
	const struct evict_item item = { .hash = hash, .queue = queue, .use = use };

	return evict->policy->judge(evict, &item);
}

/* As if queues held so many sealed segments. */
static uint8_t victim_of(struct evict *evict, uint32_t first, uint32_t second, uint32_t third)
{
	struct evict_queue queues[SEGMENT_QUEUES] = {
		{ .segment_cnt = first, .has_sealed = first > 0 },
		{ .segment_cnt = second, .has_sealed = second > 0 },
		{ .segment_cnt = third, .has_sealed = third > 0 },
	};

	return evict->policy->victim_queue(evict, queues);
}

static uint64_t hash_of(uint64_t n)
{
	struct rand r;

	rand_init(&r, n);
	return rand_next(&r);
}

/* --- names --- */

static void evict_unknown_name_is_refused(void **state)
{
	const struct evict_setup bad = { .name = "mru", .queue_max = SEGMENT_QUEUES };
	struct evict evict;

	(void)state;
	assert_int_equal(evict_init(&evict, &bad), -EINVAL);
}

static void evict_names_are_seven_and_the_default_is_first(void **state)
{
	static const char *const wanted[] = { "s3fifo", "lru",	"lfu",	   "random",
					      "sieve",	"fifo", "tinylfu", NULL };
	const char *const *names = store_eviction_names();
	struct evict evict;

	(void)state;
	for (size_t i = 0; wanted[i]; i++)
		assert_string_equal(names[i], wanted[i]);
	assert_null(names[7]);
	policy_open(&evict, NULL);
	assert_string_equal(evict.policy->name, "s3fifo");
	evict_fini(&evict);
}

/* --- policies by themselves --- */

static void fifo_asked_for_or_not_leaves(void **state)
{
	struct evict_thread thread = { 0 };
	struct evict evict;

	(void)state;
	policy_open(&evict, "fifo");
	assert_int_equal(evict_hit(&evict, &thread, 0, 5), 0);
	assert_false(verdict_of(&evict, 1, 0, 0).survives);
	evict_fini(&evict);
}

static void random_asked_for_goes_round_once(void **state)
{
	struct evict_thread thread = { 0 };
	struct evict_verdict verdict;
	struct evict evict;

	(void)state;
	policy_open(&evict, "random");
	assert_true(evict.policy->random_victim);
	assert_int_equal(evict_hit(&evict, &thread, 0, 9), 1);
	verdict = verdict_of(&evict, 1, 0, 1);
	assert_true(verdict.survives);
	assert_false(verdict_of(&evict, 1, 0, verdict.use).survives);
	evict_fini(&evict);
}

/* Queue 0 is scanned, new items join it; survivors wait in 1 until the hand starts over. */
static void sieve_hand_keeps_order_and_starts_over(void **state)
{
	struct evict_verdict verdict;
	struct evict evict;

	(void)state;
	policy_open(&evict, "sieve");
	assert_int_equal(evict.policy->place(&evict, 1), 0);
	assert_int_equal(victim_of(&evict, 3, 0, 0), 0);
	verdict = verdict_of(&evict, 1, 0, 1);
	assert_true(verdict.survives);
	assert_int_equal(verdict.queue, 1);
	assert_int_equal(verdict.use, 0);
	assert_false(verdict_of(&evict, 2, 0, 0).survives);
	assert_int_equal(victim_of(&evict, 1, 2, 0), 0);
	/* Through: the other queue is scanned from its old end, and new items go behind it. */
	assert_int_equal(victim_of(&evict, 0, 2, 0), 1);
	assert_int_equal(evict.policy->place(&evict, 3), 1);
	assert_int_equal(verdict_of(&evict, 1, 1, 1).queue, 0);
	evict_fini(&evict);
}

static void s3fifo_two_hits_or_a_return_lead_to_main(void **state)
{
	struct evict_thread thread = { 0 };
	struct evict_verdict verdict;
	struct evict evict;

	(void)state;
	policy_open(&evict, "s3fifo");
	assert_int_equal(evict.policy->place(&evict, hash_of(1)), 0);
	assert_int_equal(evict_hit(&evict, &thread, 0, 100), 3);
	verdict = verdict_of(&evict, hash_of(1), 0, 2);
	assert_true(verdict.survives);
	assert_int_equal(verdict.queue, 1);
	assert_int_equal(verdict.use, 0);
	/* One hit is not enough; coming back is, once. */
	assert_false(verdict_of(&evict, hash_of(2), 0, 1).survives);
	assert_int_equal(evict.policy->place(&evict, hash_of(2)), 1);
	assert_int_equal(evict.policy->place(&evict, hash_of(2)), 0);
	/* Main: round again with one hit less, then out and not remembered. */
	verdict = verdict_of(&evict, hash_of(3), 1, 3);
	assert_true(verdict.survives);
	assert_int_equal(verdict.use, 2);
	assert_false(verdict_of(&evict, hash_of(3), 1, 0).survives);
	assert_int_equal(evict.policy->place(&evict, hash_of(3)), 0);
	evict_fini(&evict);
}

static void s3fifo_small_queue_is_a_tenth(void **state)
{
	struct evict evict;

	(void)state;
	policy_open(&evict, "s3fifo");
	assert_int_equal(victim_of(&evict, 10, 90, 0), 0);
	assert_int_equal(victim_of(&evict, 9, 91, 0), 1);
	assert_int_equal(victim_of(&evict, 100, 0, 0), 0);
	assert_int_equal(victim_of(&evict, 0, 100, 0), 1);
	evict_fini(&evict);
}

static void lfu_counts_exactly_first_then_roughly(void **state)
{
	struct evict_thread thread = { 0 };
	struct evict evict;
	uint64_t hits = 0;
	uint8_t use = 0;

	(void)state;
	policy_open(&evict, "lfu");
	for (uint8_t n = 1; n <= 8; n++) {
		use = evict_hit(&evict, &thread, use, 1);
		assert_int_equal(use, n);
	}
	for (; use < INDEX_USE_MAX; hits++)
		use = evict_hit(&evict, &thread, use, 1);
	assert_in_range(hits, 5000, 60000);
	assert_int_equal(evict_hit(&evict, &thread, use, 1000000), INDEX_USE_MAX);
	evict_fini(&evict);
}

static void lfu_least_counted_leave_first(void **state)
{
	struct evict_verdict verdict;
	struct evict evict;

	(void)state;
	policy_open(&evict, "lfu");
	assert_int_equal(victim_of(&evict, 1, 5, 5), 0);
	assert_int_equal(victim_of(&evict, 0, 5, 5), 1);
	assert_false(verdict_of(&evict, 1, 0, 0).survives);
	verdict = verdict_of(&evict, 1, 0, 2);
	assert_true(verdict.survives);
	assert_int_equal(verdict.queue, 2);
	assert_int_equal(verdict.use, 2);
	/* Counted no further since it came to its queue. */
	assert_false(verdict_of(&evict, 1, 2, 2).survives);
	/* The highest count has a queue, and from there an item leaves too. */
	verdict = verdict_of(&evict, 1, 0, INDEX_USE_MAX);
	assert_true(verdict.survives);
	assert_int_equal(verdict.queue, SEGMENT_QUEUES - 1);
	assert_false(verdict_of(&evict, 1, SEGMENT_QUEUES - 1, INDEX_USE_MAX).survives);
	evict_fini(&evict);
}

/* New items are touches: enough of them begin a new era. */
static void lru_live_through_eras(struct evict *evict, struct evict_thread *thread, uint32_t cnt)
{
	uint8_t until = (evict_era(evict) + cnt) % EVICT_ERAS;

	for (uint32_t n = 0; evict_era(evict) != until; n++) {
		assert_true(n < 100 * CAPACITY);
		evict_first_use(evict, thread, n);
	}
}

static void lru_asked_for_later_moves_to_that_era(void **state)
{
	struct evict_queue queues[SEGMENT_QUEUES] = { 0 };
	struct evict_thread thread = { 0 };
	struct evict_item cold = { 0 }, warm = { 0 };
	struct evict_verdict verdict;
	struct evict evict;

	(void)state;
	policy_open(&evict, "lru");
	cold.era = warm.era = evict_era(&evict);
	cold.use = evict_first_use(&evict, &thread, 1);
	warm.use = evict_first_use(&evict, &thread, 2);
	lru_live_through_eras(&evict, &thread, 5);
	warm.use = evict_hit(&evict, &thread, warm.use, 1);
	assert_int_equal(warm.use, 5);
	queues[0] = (struct evict_queue){ .segment_cnt = 1, .has_sealed = true, .era = 0 };
	assert_int_equal(evict.policy->victim_queue(&evict, queues), 0);
	assert_false(evict.policy->judge(&evict, &cold).survives);
	verdict = evict.policy->judge(&evict, &warm);
	assert_true(verdict.survives);
	assert_int_equal(verdict.queue, 1 + 5);
	assert_int_equal(verdict.use, 5);
	/* New items of an older era than its own leave before it, younger ones after it. */
	queues[6] = (struct evict_queue){ .segment_cnt = 1, .has_sealed = true };
	queues[0].era = 4;
	lru_live_through_eras(&evict, &thread, 3);
	assert_int_equal(evict.policy->victim_queue(&evict, queues), 0);
	queues[0].era = 6;
	assert_int_equal(evict.policy->victim_queue(&evict, queues), 6);
	evict_fini(&evict);
}

/* A turnover of touches is cut into about fourteen eras, and never into as many as would wrap. */
static void lru_eras_never_overtake_the_oldest(void **state)
{
	struct evict_thread thread = { 0 };
	struct evict evict;

	(void)state;
	policy_open(&evict, "lru");
	for (uint32_t n = 0; n < CAPACITY; n++)
		evict_first_use(&evict, &thread, n);
	assert_in_range(evict_era(&evict), 12, 14);
	for (uint32_t n = 0; n < 20 * CAPACITY; n++)
		evict_first_use(&evict, &thread, n);
	assert_int_equal(evict_era(&evict), 14);
	evict_fini(&evict);
}

static void tinylfu_window_is_let_in_if_it_beats_the_tail(void **state)
{
	struct evict_thread thread = { 0 };
	struct evict evict;
	uint8_t use;

	(void)state;
	policy_open(&evict, "tinylfu");
	/* Nobody is turned away while there is room; then the window is a hundredth. */
	assert_int_equal(evict.policy->place(&evict, hash_of(1)), 1);
	assert_int_equal(victim_of(&evict, 0, 100, 0), 1);
	assert_int_equal(evict.policy->place(&evict, hash_of(1)), 0);
	assert_int_equal(victim_of(&evict, 1, 99, 0), 0);
	assert_int_equal(victim_of(&evict, 1, 20, 81), 2);
	assert_int_equal(victim_of(&evict, 1, 21, 79), 1);
	/* A tail asked for twice each: one access loses, three win. */
	for (uint64_t n = 0; n < 64; n++)
		verdict_of(&evict, hash_of(100 + n), 1, 2);
	use = evict_first_use(&evict, &thread, hash_of(7));
	assert_int_equal(use, 1);
	assert_false(verdict_of(&evict, hash_of(7), 0, use).survives);
	/* It comes back, and it is remembered that it was here. */
	use = evict_first_use(&evict, &thread, hash_of(7));
	assert_int_equal(use, 2);
	use = evict_hit(&evict, &thread, use, 1);
	assert_true(verdict_of(&evict, hash_of(7), 0, use).survives);
	assert_int_equal(verdict_of(&evict, hash_of(7), 0, use).queue, 1);
	/* Asked for in probation: protected. */
	assert_int_equal(verdict_of(&evict, hash_of(7), 1, use).queue, 2);
	evict_fini(&evict);
}

/* --- what is remembered --- */

static void ghost_remembers_about_the_last_n(void **state)
{
	struct ghost ghost = { 0 };
	uint32_t lately = 0, before = 0;

	(void)state;
	assert_int_equal(ghost_init(&ghost, 4096), 0);
	ghost_set_span(&ghost, 640);
	for (uint64_t n = 0; n < 10000; n++)
		ghost_note(&ghost, hash_of(n));
	for (uint64_t n = 10000 - 620; n < 10000; n++)
		lately += ghost_take(&ghost, hash_of(n));
	assert_int_equal(lately, 620);
	for (uint64_t n = 0; n < 10000 - 700; n++)
		before += ghost_take(&ghost, hash_of(n));
	assert_in_range(before, 0, 10); /* equal fingerprints */
	assert_false(ghost_take(&ghost, hash_of(9999)));
	ghost_fini(&ghost);
}

static void sketch_never_says_less_until_it_forgets(void **state)
{
	struct sketch sketch = { 0 };
	uint32_t too_high = 0;

	(void)state;
	assert_int_equal(sketch_init(&sketch, 4096), 0);
	for (uint64_t n = 0; n < 1000; n++)
		sketch_raise(&sketch, hash_of(n), n % 16);
	for (uint64_t n = 0; n < 1000; n++) {
		assert_true(sketch_estimate(&sketch, hash_of(n)) >= n % 16);
		too_high += sketch_estimate(&sketch, hash_of(n)) > n % 16;
	}
	assert_in_range(too_high, 0, 50);
	sketch_halve(&sketch);
	assert_in_range(sketch_estimate(&sketch, hash_of(15)), 7, 8);
	sketch_fini(&sketch);
}

/* --- in a store --- */

#define VALUE_LEN 1000

struct driven {
	struct store_rig rig;
	uint8_t value[VALUE_LEN];
};

static void driven_open(struct driven *d, const char *policy)
{
	const struct store_options options = { .eviction = policy, .hash_seed = 7 };

	memset(d, 0, sizeof(*d));
	store_rig_open(&d->rig, &options);
	d->rig.t = store_thread_new(d->rig.store);
}

static struct span driven_key(char text[24], uint64_t n)
{
	return span_of(text, (size_t)snprintf(text, 24, "key:%llu", (unsigned long long)n));
}

static void driven_put(struct driven *d, uint64_t n)
{
	char text[24];
	struct span key = driven_key(text, n);
	struct store_put put = { .key = key, .hash = store_hash(d->rig.store, key) };
	enum store_status status = STORE_AGAIN;

	for (int tries = 0; tries < 10 && status == STORE_AGAIN; tries++) {
		status = store_put(d->rig.t, &put, span_of(d->value, VALUE_LEN), NULL);
		if (status == STORE_AGAIN)
			store_wake_reclaimer(d->rig.store);
		store_offline(d->rig.t);
		store_reclaim_turn(d->rig.store);
		store_online(d->rig.t);
	}
	assert_int_equal(status, STORE_OK);
}

static bool driven_has(struct driven *d, uint64_t n)
{
	char text[24];
	struct span key = driven_key(text, n);
	struct item_view view;

	return store_peek(d->rig.t, key, store_hash(d->rig.store, key), &view);
}

static void evict_what_the_kernel_answers_for_stays(void **state)
{
	const uint64_t all = 5 * (8ULL << 20) / VALUE_LEN;

	(void)state;
	for (const char *const *name = store_eviction_names(); *name; name++) {
		bool counts = strcmp(*name, "fifo") != 0;
		struct driven d;
		char text[24];
		struct span key = driven_key(text, 0);
		uint64_t lost_at = 0;

		driven_open(&d, *name);
		for (uint64_t n = 0; n < all; n++) {
			driven_put(&d, n);
			if (n % 64 == 0)
				store_note_hits(d.rig.t, key, store_hash(d.rig.store, key), 3);
			if (!lost_at && !driven_has(&d, 0))
				lost_at = n;
		}
		if (counts && lost_at)
			fail_msg("%s: gone after %llu", *name, (unsigned long long)lost_at);
		assert_true(counts || lost_at > 0);
		assert_false(driven_has(&d, 1));
		store_rig_fini(&d.rig);
	}
}

static void reclaim_by_hand_gives_the_same_each_time(void **state)
{
	uint64_t evicted[2], moved[2];

	(void)state;
	for (const char *const *name = store_eviction_names(); *name; name++) {
		for (int run = 0; run < 2; run++) {
			struct store_counts counts;
			struct rand r;
			struct driven d;

			driven_open(&d, *name);
			rand_init(&r, 5);
			for (uint64_t n = 0; n < 20000; n++) {
				uint64_t key_no = rand_below(&r, rand_below(&r, 20000) + 1);
				char text[24];
				struct span key = driven_key(text, key_no);
				struct item_view view;

				if (!store_find(d.rig.t, key, store_hash(d.rig.store, key), &view))
					driven_put(&d, key_no);
			}
			store_counts(d.rig.store, &counts);
			evicted[run] = counts.evicted_cnt;
			moved[run] = counts.moved_cnt;
			store_rig_fini(&d.rig);
		}
		assert_true(evicted[0] > 0);
		assert_int_equal(evicted[0], evicted[1]);
		assert_int_equal(moved[0], moved[1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(evict_unknown_name_is_refused),
		cmocka_unit_test(evict_names_are_seven_and_the_default_is_first),
		cmocka_unit_test(fifo_asked_for_or_not_leaves),
		cmocka_unit_test(random_asked_for_goes_round_once),
		cmocka_unit_test(sieve_hand_keeps_order_and_starts_over),
		cmocka_unit_test(s3fifo_two_hits_or_a_return_lead_to_main),
		cmocka_unit_test(s3fifo_small_queue_is_a_tenth),
		cmocka_unit_test(lfu_counts_exactly_first_then_roughly),
		cmocka_unit_test(lfu_least_counted_leave_first),
		cmocka_unit_test(lru_asked_for_later_moves_to_that_era),
		cmocka_unit_test(lru_eras_never_overtake_the_oldest),
		cmocka_unit_test(tinylfu_window_is_let_in_if_it_beats_the_tail),
		cmocka_unit_test(ghost_remembers_about_the_last_n),
		cmocka_unit_test(sketch_never_says_less_until_it_forgets),
		cmocka_unit_test(evict_what_the_kernel_answers_for_stays),
		cmocka_unit_test(reclaim_by_hand_gives_the_same_each_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
