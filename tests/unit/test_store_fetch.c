/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: of all who fetch an item that is stale, near its end or absent, exactly one wins,
 * while it is touched and moved; stale, won, fetched, the last access and a key's kind survive
 * moves and a crash; a resident item leaves the kernel when it is won or stale, and what the kernel
 * answered counts, once. Method: threads over the same keys; a log whose limit falls; a log taken
 * over by a second store; a watcher in the kernel map's place.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/store_rig.h"

#define MIB (1ULL << 20)
#define THREADS 4U
#define KEYS 3000U
#define STATES 400U
#define TTL_NS (100000 * NSEC_PER_SEC)

static struct span key_of(char buf[16], uint32_t n)
{
	return span_of(buf, (size_t)snprintf(buf, 16, "key-%u", n));
}

static struct store_fetch fetch_of(const struct store *store, struct span key)
{
	return (struct store_fetch){ .key = key, .hash = store_hash(store, key), .may_win = true };
}

/* Waits for room as a worker does. */
static enum store_status fetch(struct store_thread *t, const struct store_fetch *how,
			       struct store_fetched *ret)
{
	uint32_t tries = 0;

	for (;;) {
		enum store_status status = store_fetch(t, how, ret);

		if (status != STORE_AGAIN)
			return status;
		store_rig_wait(t, &tries);
	}
}

static enum store_status invalidate(struct store_rig *rig, struct span key)
{
	const struct store_invalidate how = { .key = key,
					      .hash = store_hash(rig->store, key),
					      .stale = true };
	uint32_t tries = 0;

	for (;;) {
		enum store_status status = store_invalidate(rig->t, &how);

		if (status != STORE_AGAIN)
			return status;
		store_rig_wait(rig->t, &tries);
	}
}

/* --- one winner --- */

struct racer {
	struct store_rig *rig;
	struct store_thread *t;
	pthread_t thread;
	uint32_t number;
};

static _Atomic uint32_t winners[KEYS];
static _Atomic uint32_t told[KEYS]; /* that someone else has won */

/* Every third key is absent, stale, or near its end. */
static void *race(void *arg)
{
	struct racer *racer = arg;
	struct store *store = racer->rig->store;

	for (uint32_t n = 0; n < KEYS; n++) {
		char buf[16];
		struct store_fetch how = fetch_of(store, key_of(buf, n));
		struct store_fetched got;

		how.vivify = true;
		how.touch = (n + racer->number) % 2;
		how.expire_ns = STORE_RIG_BOOT_NS + 2 * TTL_NS;
		how.recache_ns = n % 3 == 2 ? STORE_RIG_BOOT_NS + 3 * TTL_NS : 0;
		how.recache_touched = n % 5 == 0;
		if (fetch(racer->t, &how, &got) != STORE_OK)
			break;
		winners[n] += got.won_now;
		told[n] += got.won_before;
		if (n % 16 == 0)
			store_quiesce(racer->t);
	}
	store_quiesce(racer->t);
	store_offline(racer->t);
	return NULL;
}

static void fetch_by_many_threads_has_one_winner(void **state)
{
	struct store_options options = { .log.bytes = 16 * MIB };
	struct racer racers[THREADS];
	struct store_rig rig;
	char buf[16];

	(void)state;
	store_rig_init(&rig, &options);
	for (uint32_t n = 0; n < KEYS; n++) {
		if (n % 3 == 0)
			continue;
		assert_int_equal(store_rig_set(&rig, key_of(buf, n), span_str("x"),
					       STORE_RIG_BOOT_NS + TTL_NS),
				 STORE_OK);
		if (n % 3 == 1)
			assert_int_equal(invalidate(&rig, key_of(buf, n)), STORE_OK);
	}
	store_offline(rig.t);
	for (uint32_t i = 0; i < THREADS; i++) {
		racers[i] = (struct racer){ .rig = &rig,
					    .t = store_thread_new(rig.store),
					    .number = i };
		assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
	}
	for (uint32_t i = 0; i < THREADS; i++) {
		pthread_join(racers[i].thread, NULL);
		store_thread_free(racers[i].t);
	}
	for (uint32_t n = 0; n < KEYS; n++) {
		if (winners[n] != 1 || told[n] != THREADS - 1)
			fail_msg("key %u: %u won, %u were told", n, winners[n], told[n]);
	}
	store_online(rig.t);
	store_rig_fini(&rig);
}

/* --- states that last --- */

static void make_states(struct store_rig *rig)
{
	static uint8_t filler[20000];
	char buf[16];

	for (uint32_t n = 0; n < STATES; n++) {
		struct span key = key_of(buf, n);
		struct store_put put = {
			.key = key,
			.hash = store_hash(rig->store, key),
			.binary = n & 8,
			.expire_ns = rig->time.boot_ns + TTL_NS,
		};
		struct store_fetch how = fetch_of(rig->store, key);
		struct store_fetched got;
		/* some in the log alone, some with a chain of segments */
		struct span value = span_of(filler, n % 16 == 0 ? sizeof(filler) : n % 500);

		assert_int_equal(store_rig_put(rig->t, &put, value, NULL), STORE_OK);
		fake_clock_add(&rig->time, NSEC_PER_SEC);
		store_quiesce(rig->t);
		if (n & 1)
			assert_int_equal(invalidate(rig, key), STORE_OK);
		how.unseen = !(n & 2);
		how.may_win = n & 4;
		how.recache_ns = n & 4 ? UINT64_MAX : 0;
		assert_int_equal(fetch(rig->t, &how, &got), STORE_OK);
		assert_int_equal(got.won_now, (n & 4) != 0);
	}
}

static void check_states(struct store_rig *rig, uint64_t began_sec)
{
	char buf[16];

	for (uint32_t n = 0; n < STATES; n++) {
		struct store_fetch how = fetch_of(rig->store, key_of(buf, n));
		struct store_fetched got;

		how.unseen = true;
		how.may_win = false;
		assert_int_equal(fetch(rig->t, &how, &got), STORE_OK);
		assert_int_equal(got.item.stale, (n & 1) != 0);
		assert_int_equal(got.fetched, (n & 2) != 0);
		assert_int_equal(got.item.won, (n & 4) != 0);
		assert_int_equal(got.item.binary, (n & 8) != 0);
		assert_int_equal(got.access_ns / NSEC_PER_SEC, began_sec + n + (n & 2 ? 1 : 0));
	}
	store_quiesce(rig->t);
}

/* So that what is written in between lies high. */
static void fill_below(struct store_rig *rig, bool there)
{
	static const uint8_t filler[20000];
	char buf[16];

	for (uint32_t n = 0; n < 12 * MIB / sizeof(filler); n++) {
		struct span name = span_of(buf, (size_t)snprintf(buf, 16, "fill-%u", n));

		if (there)
			assert_int_equal(
				store_rig_set(rig, name, span_of(filler, sizeof(filler)), 0),
				STORE_OK);
		else
			store_remove(rig->t, name, store_hash(rig->store, name), 0);
	}
}

static void await_limit(struct store_rig *rig, uint64_t bytes)
{
	const struct timespec poll = { .tv_nsec = 2 * (long)NSEC_PER_MSEC };
	struct store_counts counts;

	for (uint32_t i = 0; i < 5000; i++) {
		store_counts(rig->store, &counts);
		if (counts.log_bytes <= bytes)
			return;
		/* As a worker between requests: it seals what it is asked to. */
		fake_clock_add(&rig->time, NSEC_PER_SEC);
		store_quiesce(rig->t);
		store_offline(rig->t);
		nanosleep(&poll, NULL);
		store_online(rig->t);
	}
	fail_msg("the limit stays at %llu", (unsigned long long)counts.log_bytes);
}

static void states_survive_moves_and_a_crash(void **state)
{
	struct store_options options = { .log.bytes = 32 * MIB };
	struct store_rig rig;
	struct store_counts counts;
	uint64_t began_sec;

	(void)state;
	store_rig_init(&rig, &options);
	began_sec = rig.time.boot_ns / NSEC_PER_SEC;
	fill_below(&rig, true);
	make_states(&rig);
	fill_below(&rig, false);
	check_states(&rig, began_sec);
	store_set_limit(rig.store, 8 * MIB);
	await_limit(&rig, 8 * MIB);
	store_counts(rig.store, &counts);
	assert_true(counts.moved_cnt >= STATES / 2);
	check_states(&rig, began_sec);
	/* Nothing was saved: the next store has the log alone. */
	options = rig.options;
	options.log.adopted = true;
	store_rig_stop(&rig);
	store_rig_open(&rig, &options);
	store_rig_start(&rig);
	check_states(&rig, began_sec);
	store_rig_fini(&rig);
}

/* --- the kernel's place --- */

struct kernel {
	enum store_change change; /* of the last event */
	bool was_resident, keeps, is_won, is_stale;
	uint32_t event_cnt;
	uint64_t last_hit_ns;
};

static void on_change(void *ctx, struct store_event *event)
{
	struct kernel *kernel = ctx;

	kernel->event_cnt++;
	kernel->change = event->change;
	kernel->was_resident = event->old_item && event->old_item->resident;
	kernel->is_won = event->new_item && event->new_item->won;
	kernel->is_stale = event->new_item && event->new_item->stale;
	/* As coherence does. */
	event->keep_resident =
		kernel->was_resident && event->new_item && !kernel->is_won && !kernel->is_stale;
	kernel->last_hit_ns = 0;
}

static uint64_t last_hit_ns(void *ctx, struct span key, uint64_t hash)
{
	(void)key;
	(void)hash;
	return ((struct kernel *)ctx)->last_hit_ns;
}

static bool say_yes(void *ctx, const struct item_view *item)
{
	(void)ctx;
	(void)item;
	return true;
}

static void do_nothing(void *ctx)
{
	(void)ctx;
}

static struct kernel kernel;
static const struct span key = { (const uint8_t *)"k", 1 };

static void start_with_kernel(struct store_rig *rig)
{
	struct store_options options = { 0 };
	const struct store_watcher watcher = { .on_change = on_change,
					       .last_hit_ns = last_hit_ns,
					       .ctx = &kernel };

	memset(rig, 0, sizeof(*rig));
	memset(&kernel, 0, sizeof(kernel));
	store_rig_open(rig, &options);
	assert_int_equal(store_watch(rig->store, &watcher), 0);
	store_rig_start(rig);
}

static void make_resident(struct store_rig *rig, uint64_t expire_ns)
{
	assert_int_equal(store_rig_set(rig, key, span_str("v"), expire_ns), STORE_OK);
	assert_int_equal(
		store_make_resident(rig->t, key, store_hash(rig->store, key), say_yes, NULL), 0);
	kernel.event_cnt = 0;
}

static struct store_fetched look(struct store_rig *rig)
{
	struct store_fetch how = fetch_of(rig->store, key);
	struct store_fetched got;

	how.unseen = true;
	how.may_win = false;
	assert_int_equal(fetch(rig->t, &how, &got), STORE_OK);
	return got;
}

static void won_item_leaves_the_kernel(void **state)
{
	struct store_rig rig;
	struct store_fetch how;
	struct store_fetched got;

	(void)state;
	start_with_kernel(&rig);
	make_resident(&rig, STORE_RIG_BOOT_NS + TTL_NS);
	how = fetch_of(rig.store, key);
	how.recache_ns = STORE_RIG_BOOT_NS; /* it ends later: no win, and no event */
	assert_int_equal(fetch(rig.t, &how, &got), STORE_OK);
	assert_true(!got.won_now && kernel.event_cnt == 0 && look(&rig).item.resident);
	how.recache_ns = STORE_RIG_BOOT_NS + 2 * TTL_NS;
	assert_int_equal(fetch(rig.t, &how, &got), STORE_OK);
	assert_true(got.won_now && kernel.event_cnt == 1 && kernel.change == STORE_CHANGE_WON);
	assert_true(kernel.was_resident && kernel.is_won);
	assert_false(look(&rig).item.resident);
	assert_int_equal(fetch(rig.t, &how, &got), STORE_OK);
	assert_true(got.won_before && !got.won_now && kernel.event_cnt == 1);
	store_rig_fini(&rig);
}

static void stale_item_leaves_the_kernel(void **state)
{
	struct store_rig rig;

	(void)state;
	start_with_kernel(&rig);
	make_resident(&rig, 0);
	assert_int_equal(invalidate(&rig, key), STORE_OK);
	assert_true(kernel.was_resident && kernel.is_stale);
	assert_false(look(&rig).item.resident);
	store_rig_fini(&rig);
}

static void kernel_hits_are_accesses_of_the_version_they_served(void **state)
{
	uint64_t hash, hit_ns;
	struct store_rig rig;

	(void)state;
	start_with_kernel(&rig);
	make_resident(&rig, 0);
	hash = store_hash(rig.store, key);
	assert_false(look(&rig).fetched);
	fake_clock_add(&rig.time, 50 * NSEC_PER_SEC);
	store_quiesce(rig.t);
	assert_int_equal(look(&rig).access_ns, STORE_RIG_BOOT_NS);
	hit_ns = rig.time.boot_ns - 7 * NSEC_PER_SEC;
	kernel.last_hit_ns = hit_ns;
	assert_true(look(&rig).fetched);
	assert_int_equal(look(&rig).access_ns, hit_ns);
	/* touched: the same version, elsewhere */
	assert_int_equal(store_touch(rig.t, key, hash, rig.time.boot_ns + TTL_NS, NULL), STORE_OK);
	assert_true(look(&rig).item.resident && look(&rig).fetched);
	assert_int_equal(look(&rig).access_ns, rig.time.boot_ns);
	/* overwritten: another */
	assert_int_equal(store_rig_set(&rig, key, span_str("w"), 0), STORE_OK);
	assert_true(look(&rig).item.resident);
	assert_false(look(&rig).fetched);
	/* demoted: what was answered until then stays known */
	fake_clock_add(&rig.time, 9 * NSEC_PER_SEC);
	store_quiesce(rig.t);
	kernel.last_hit_ns = rig.time.boot_ns;
	store_drop_resident(rig.t, key, hash, do_nothing, NULL);
	kernel.last_hit_ns = 0;
	assert_false(look(&rig).item.resident);
	assert_true(look(&rig).fetched);
	assert_int_equal(look(&rig).access_ns, rig.time.boot_ns);
	store_rig_fini(&rig);
}

/* --- cas --- */

static void stale_set_keeps_what_the_newer_item_had(void **state)
{
	const struct span value = span_str("older");
	struct store_rig rig;
	struct store_fetch how;
	struct store_fetched got, before;
	struct store_put put;
	uint64_t cas;

	(void)state;
	start_with_kernel(&rig);
	make_resident(&rig, STORE_RIG_BOOT_NS + TTL_NS);
	cas = look(&rig).item.cas;
	assert_int_equal(invalidate(&rig, key), STORE_OK);
	how = fetch_of(rig.store, key);
	assert_int_equal(fetch(rig.t, &how, &before), STORE_OK);
	assert_true(before.won_now && before.item.cas > cas);
	put = (struct store_put){
		.key = key,
		.hash = store_hash(rig.store, key),
		.mode = STORE_CAS,
		.cas = cas,
	};
	assert_int_equal(store_rig_put(rig.t, &put, value, NULL), STORE_EXISTS);
	put.allow_stale = true;
	put.cas = before.item.cas + 1;
	assert_int_equal(store_rig_put(rig.t, &put, value, NULL), STORE_EXISTS);
	put.cas = cas;
	assert_int_equal(store_rig_put(rig.t, &put, value, &cas), STORE_OK);
	got = look(&rig);
	assert_true(got.item.stale && got.item.won && !got.item.resident);
	assert_int_equal(got.item.expire_ns, before.item.expire_ns);
	assert_true(got.item.cas == cas && cas > before.item.cas);
	assert_memory_equal(got.item.value, "older", 5);
	put.cas = cas;
	assert_int_equal(store_rig_put(rig.t, &put, value, &cas), STORE_OK);
	got = look(&rig);
	assert_true(!got.item.stale && !got.item.won && got.item.expire_ns == 0);
	store_rig_fini(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fetch_by_many_threads_has_one_winner),
		cmocka_unit_test(states_survive_moves_and_a_crash),
		cmocka_unit_test(won_item_leaves_the_kernel),
		cmocka_unit_test(stale_item_leaves_the_kernel),
		cmocka_unit_test(kernel_hits_are_accesses_of_the_version_they_served),
		cmocka_unit_test(stale_set_keeps_what_the_newer_item_had),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
