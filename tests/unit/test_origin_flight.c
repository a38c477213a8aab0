/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * However many want a key, the origin is asked once; who came before a change of the key is told
 * what the origin said, who comes after it is told something newer, and the store keeps neither
 * longer than the route says. Time is the test's; the origin answers when the test says so.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "lib/store_rig.h"
#include "origin/flight.h"

#define KEY "product:7"
#define QUERY_MAX 64

/* --- an origin that the test is --- */

struct back {
	struct origin_query *queries[QUERY_MAX];
	uint32_t cnt;
	int err; /* of the next ask */
};

static int back_ask(void *ctx, struct origin_query *query)
{
	struct back *back = ctx;

	if (back->err)
		return back->err;
	assert_true(back->cnt < QUERY_MAX);
	back->queries[back->cnt++] = query;
	return 0;
}

static const struct origin_ops ops = { .kind = "test", .ask = back_ask };

/* --- the rig --- */

struct rig {
	struct store_rig store;
	struct back back;
	struct origin_pattern pattern;
	struct route_rule rule;
	struct waits waits;
	struct flights *flights;
	uint32_t resumed_cnt;
	struct flight_ask *late; /* comes while an answer lands */
};

static void on_resume(void *ctx)
{
	((struct rig *)ctx)->resumed_cnt++;
}

static void take_asks(void *ctx)
{
	struct rig *rig = ctx;
	struct flight_ask *late = rig->late;

	rig->late = NULL;
	if (late)
		flights_ask(rig->flights, late);
}

static void init_max(struct rig *rig, uint32_t flight_max)
{
	const struct store_options options = { 0 };
	struct flight_conf conf = { .ops = &ops,
				    .back = &rig->back,
				    .patterns = &rig->pattern,
				    .timeout_ms = 1000,
				    .flight_max = flight_max,
				    .seed = 1,
				    .take_asks = take_asks,
				    .ctx = rig };
	char why[ORIGIN_WHY_MAX];

	memset(rig, 0, sizeof(*rig));
	store_rig_init(&rig->store, &options);
	assert_int_equal(origin_pattern_init(&rig->pattern, "product:{id}", why), 0);
	rig->rule = (struct route_rule){ .ttl_sec = 60, .negative_ttl_sec = 5 };
	conf.store = rig->store.store;
	conf.thread = rig->store.t;
	conf.clock = &rig->store.time.clock;
	waits_init(&rig->waits, NULL, QUERY_MAX);
	assert_int_equal(flights_new(&conf, &rig->flights), 0);
}

static void init(struct rig *rig)
{
	init_max(rig, QUERY_MAX);
}

static void fini(struct rig *rig)
{
	while (rig->waits.first)
		wait_end(rig->waits.first);
	waits_fini(&rig->waits);
	flights_free(rig->flights);
	store_rig_fini(&rig->store);
}

static uint64_t now_ns(const struct rig *rig)
{
	return clock_now_ns(&rig->store.time.clock);
}

/* Not handed over yet. */
static struct flight_ask *new_ask(struct rig *rig, const char *key)
{
	struct flight_ask *ask = alloc_zero(1, sizeof(*ask));
	struct wait *wait = wait_begin(&rig->waits, now_ns(rig) + NSEC_PER_SEC, on_resume, rig);

	assert_non_null(ask);
	assert_non_null(wait);
	ask->part.free = flight_ask_free;
	ask->hash = store_hash(rig->store.store, span_str(key));
	ask->rule = rig->rule;
	ask->key_len = (uint8_t)strlen(key);
	memcpy(ask->key, key, ask->key_len);
	wait_add(wait, &ask->part);
	flights_expect(rig->flights);
	return ask;
}

static struct flight_ask *ask(struct rig *rig, const char *key)
{
	struct flight_ask *ask = new_ask(rig, key);

	flights_ask(rig->flights, ask);
	return ask;
}

static void answer(struct rig *rig, uint32_t query, enum answer_kind kind, const char *value)
{
	const struct answer answer = {
		.kind = kind, .value = span_str(value), .age = ANSWER_AGE_UNSAID, .reason = ""
	};

	rig->back.queries[query]->done(rig->back.queries[query], &answer);
	waits_turn(&rig->waits, now_ns(rig));
}

static void assert_told(const struct flight_ask *ask, enum answer_kind kind, const char *value)
{
	assert_true(ask->part.came);
	assert_int_equal(ask->kind, kind);
	if (!value) {
		assert_null(ask->value);
		return;
	}
	assert_int_equal(ask->value->len, strlen(value));
	assert_memory_equal(ask->value->bytes, value, strlen(value));
}

static bool is_stored(struct rig *rig, const char *key, const char *value)
{
	struct item_view view;
	uint8_t bytes[256];

	if (!store_rig_get(&rig->store, span_str(key), bytes, &view))
		return false;
	assert_int_equal(view.value_len, strlen(value));
	assert_memory_equal(bytes, value, strlen(value));
	return true;
}

#define COUNT(rig, name) atomic_load(&flights_counts((rig)->flights)->name)

/* --- tests --- */

static void many_asks_of_a_key_are_one_query_whose_answer_is_stored(void **state)
{
	struct flight_ask *asks[3], *other;
	struct rig rig;

	(void)state;
	init(&rig);
	for (int i = 0; i < 3; i++)
		asks[i] = ask(&rig, KEY);
	other = ask(&rig, "product:8");
	assert_int_equal(rig.back.cnt, 2);
	assert_memory_equal(rig.back.queries[0]->params[0].ptr, "7", 1);
	assert_int_equal(rig.back.queries[0]->deadline_ns, now_ns(&rig) + NSEC_PER_SEC);
	answer(&rig, 0, ANSWER_FOUND, "seven");
	for (int i = 0; i < 3; i++)
		assert_told(asks[i], ANSWER_FOUND, "seven");
	assert_false(other->part.came);
	assert_int_equal(rig.resumed_cnt, 3);
	assert_true(is_stored(&rig, KEY, "seven"));
	answer(&rig, 1, ANSWER_FOUND, "");
	assert_told(other, ANSWER_FOUND, "");
	assert_int_equal(COUNT(&rig, asked), 4);
	assert_int_equal(COUNT(&rig, queries), 2);
	assert_int_equal(COUNT(&rig, found), 2);
	/* 60 seconds, and not one longer. */
	fake_clock_add(&rig.store.time, 59 * NSEC_PER_SEC);
	assert_true(is_stored(&rig, KEY, "seven"));
	fake_clock_add(&rig.store.time, NSEC_PER_SEC + 1);
	assert_false(is_stored(&rig, KEY, "seven"));
	fini(&rig);
}

/* It looked before the answer came, and asks after. */
static void ask_behind_the_landing_gets_what_is_here(void **state)
{
	struct flight_ask *late;
	struct rig rig;

	(void)state;
	init(&rig);
	ask(&rig, KEY);
	answer(&rig, 0, ANSWER_FOUND, "seven");
	late = ask(&rig, KEY);
	waits_turn(&rig.waits, now_ns(&rig));
	assert_told(late, ANSWER_FOUND, "seven");
	assert_int_equal(rig.back.cnt, 1);
	fini(&rig);
}

static void ask_that_comes_while_an_answer_lands_shares_it(void **state)
{
	struct flight_ask *first, *late;
	struct rig rig;

	(void)state;
	init(&rig);
	rig.rule.negative_ttl_sec = 0; /* nothing but the landing can answer it */
	first = ask(&rig, KEY);
	late = rig.late = new_ask(&rig, KEY);
	answer(&rig, 0, ANSWER_ABSENT, "");
	assert_told(first, ANSWER_ABSENT, NULL);
	assert_told(late, ANSWER_ABSENT, NULL);
	assert_int_equal(rig.back.cnt, 1);
	fini(&rig);
}

static void absence_is_known_for_its_time_or_not_at_all(void **state)
{
	struct flight_ask *told;
	struct rig rig;

	(void)state;
	init(&rig);
	ask(&rig, KEY);
	answer(&rig, 0, ANSWER_ABSENT, "");
	fake_clock_add(&rig.store.time, 4 * NSEC_PER_SEC);
	told = ask(&rig, KEY);
	waits_turn(&rig.waits, now_ns(&rig));
	assert_told(told, ANSWER_ABSENT, NULL);
	assert_int_equal(rig.back.cnt, 1);
	fake_clock_add(&rig.store.time, NSEC_PER_SEC + 1);
	ask(&rig, KEY);
	assert_int_equal(rig.back.cnt, 2);
	answer(&rig, 1, ANSWER_FOUND, "made");
	assert_true(is_stored(&rig, KEY, "made"));

	rig.rule.negative_ttl_sec = 0;
	ask(&rig, "product:9");
	answer(&rig, 2, ANSWER_ABSENT, "");
	ask(&rig, "product:9");
	assert_int_equal(rig.back.cnt, 4);
	answer(&rig, 3, ANSWER_ABSENT, "");
	assert_int_equal(COUNT(&rig, absent), 3);
	fini(&rig);
}

static void change_during_a_query_parts_those_before_from_those_after(void **state)
{
	struct flight_ask *before, *after;
	struct rig rig;

	(void)state;
	init(&rig);
	before = ask(&rig, KEY);
	store_rig_set(&rig.store, span_str(KEY), span_str("ours"), 0);
	assert_int_equal(store_remove(rig.store.t, span_str(KEY),
				      store_hash(rig.store.store, span_str(KEY)), 0),
			 STORE_OK);
	after = ask(&rig, KEY);
	assert_int_equal(rig.back.cnt, 2);
	answer(&rig, 0, ANSWER_FOUND, "old");
	assert_told(before, ANSWER_FOUND, "old");
	assert_false(after->part.came);
	assert_false(is_stored(&rig, KEY, "old"));
	assert_int_equal(COUNT(&rig, voided), 1);
	answer(&rig, 1, ANSWER_FOUND, "new");
	assert_told(after, ANSWER_FOUND, "new");
	assert_true(is_stored(&rig, KEY, "new"));
	fini(&rig);
}

/* Five in a row open the breaker: nobody waits for an origin that is gone. */
static void failures_open_the_breaker_and_are_not_stored(void **state)
{
	struct flight_ask *refused;
	struct rig rig;
	char key[32];

	(void)state;
	init(&rig);
	for (uint32_t i = 0; i < 5; i++) {
		struct flight_ask *failed;

		snprintf(key, sizeof(key), "product:%u", i);
		failed = ask(&rig, key);
		answer(&rig, i, ANSWER_FAILED, "");
		assert_told(failed, ANSWER_FAILED, NULL);
	}
	refused = ask(&rig, KEY);
	waits_turn(&rig.waits, now_ns(&rig));
	assert_told(refused, ANSWER_FAILED, NULL);
	assert_int_equal(rig.back.cnt, 5);
	assert_int_equal(COUNT(&rig, failed), 5);
	assert_int_equal(COUNT(&rig, refused), 1);
	/* What it says no to is an answer. */
	fake_clock_add(&rig.store.time, 2 * NSEC_PER_SEC);
	refused = ask(&rig, KEY);
	assert_int_equal(rig.back.cnt, 6);
	answer(&rig, 5, ANSWER_REFUSED, "");
	assert_told(refused, ANSWER_REFUSED, NULL);
	assert_false(is_stored(&rig, KEY, ""));
	fini(&rig);
}

static void more_than_may_wait_are_told_so_at_once(void **state)
{
	struct flight_ask *second;
	struct rig rig;

	(void)state;
	init_max(&rig, 1);
	ask(&rig, KEY);
	second = ask(&rig, "product:8");
	waits_turn(&rig.waits, now_ns(&rig));
	assert_told(second, ANSWER_FAILED, NULL);
	answer(&rig, 0, ANSWER_FOUND, "seven");
	rig.back.err = -EAGAIN; /* the back-end's own line is full */
	second = ask(&rig, "product:8");
	waits_turn(&rig.waits, now_ns(&rig));
	assert_told(second, ANSWER_FAILED, NULL);
	rig.back.err = 0;
	second = ask(&rig, "product:8");
	answer(&rig, 1, ANSWER_FOUND, "eight");
	assert_told(second, ANSWER_FOUND, "eight");
	assert_int_equal(COUNT(&rig, refused), 2);
	fini(&rig);
}

/* At its deadline, and by an answer for nobody that comes later. */
static void client_waits_until_its_deadline_and_no_longer(void **state)
{
	struct flight_ask *late;
	struct rig rig;

	(void)state;
	init(&rig);
	late = ask(&rig, KEY);
	fake_clock_add(&rig.store.time, NSEC_PER_SEC - 1);
	waits_turn(&rig.waits, now_ns(&rig));
	assert_int_equal(rig.resumed_cnt, 0);
	fake_clock_add(&rig.store.time, 20 * NSEC_PER_MSEC);
	assert_true(waits_next_ns(&rig.waits) <= now_ns(&rig));
	waits_turn(&rig.waits, now_ns(&rig));
	assert_int_equal(rig.resumed_cnt, 1);
	assert_false(late->part.came);
	wait_end(rig.waits.first);
	answer(&rig, 0, ANSWER_FOUND, "late"); /* frees what nobody waits for */
	assert_int_equal(rig.resumed_cnt, 1);
	assert_true(is_stored(&rig, KEY, "late"));
	fini(&rig);
}

/* --- refreshes --- */

static void refresh(struct rig *rig, const char *key)
{
	struct flight_ask *ask = alloc_zero(1, sizeof(*ask));

	assert_non_null(ask);
	assert_true(flights_expect_refresh(rig->flights));
	ask->is_refresh = true;
	ask->hash = store_hash(rig->store.store, span_str(key));
	ask->rule = rig->rule;
	ask->key_len = (uint8_t)strlen(key);
	memcpy(ask->key, key, ask->key_len);
	flights_ask(rig->flights, ask);
}

/* Fresh for 60 s, in its last 10 it may be refreshed, then old for 20 and for 100 late. */
static void init_windows(struct rig *rig)
{
	init(rig);
	rig->rule.source = 1;
	rig->rule.refresh_ahead_sec = 10;
	rig->rule.stale_sec = 20;
	rig->rule.stale_if_error_sec = 100;
	ask(rig, KEY);
	answer(rig, 0, ANSWER_FOUND, "seven");
}

static void refresh_is_made_in_its_time_once_and_for_all_who_come(void **state)
{
	struct flight_ask *joins;
	struct rig rig;

	(void)state;
	init_windows(&rig);
	fake_clock_add(&rig.store.time, 49 * NSEC_PER_SEC);
	refresh(&rig, KEY);
	assert_int_equal(rig.back.cnt, 1); /* it is fresh */
	fake_clock_add(&rig.store.time, 2 * NSEC_PER_SEC);
	refresh(&rig, KEY);
	refresh(&rig, KEY);
	assert_int_equal(rig.back.cnt, 2);
	assert_int_equal(COUNT(&rig, refreshing), 1);
	joins = ask(&rig, KEY);
	assert_false(joins->part.came);
	answer(&rig, 1, ANSWER_FOUND, "again");
	assert_told(joins, ANSWER_FOUND, "again");
	assert_true(is_stored(&rig, KEY, "again"));
	assert_int_equal(COUNT(&rig, refreshes), 1);
	assert_int_equal(COUNT(&rig, refreshing), 0);
	assert_int_equal(COUNT(&rig, asked), 2);
	fini(&rig);
}

static void refresh_that_fails_leaves_what_is_here(void **state)
{
	struct rig rig;

	(void)state;
	init_windows(&rig);
	fake_clock_add(&rig.store.time, 61 * NSEC_PER_SEC);
	refresh(&rig, KEY);
	answer(&rig, 1, ANSWER_FAILED, "");
	assert_true(is_stored(&rig, KEY, "seven"));
	fake_clock_add(&rig.store.time, 98 * NSEC_PER_SEC);
	assert_true(is_stored(&rig, KEY, "seven"));
	fake_clock_add(&rig.store.time, 2 * NSEC_PER_SEC);
	assert_false(is_stored(&rig, KEY, "seven"));
	fini(&rig);
}

static void refresh_that_finds_nothing_removes_what_is_here(void **state)
{
	struct flight_ask *told;
	struct rig rig;

	(void)state;
	init_windows(&rig);
	fake_clock_add(&rig.store.time, 61 * NSEC_PER_SEC);
	refresh(&rig, KEY);
	answer(&rig, 1, ANSWER_ABSENT, "");
	assert_false(is_stored(&rig, KEY, "seven"));
	told = ask(&rig, KEY);
	waits_turn(&rig.waits, now_ns(&rig));
	assert_told(told, ANSWER_ABSENT, NULL);
	assert_int_equal(rig.back.cnt, 2); /* it is noted */
	fini(&rig);
}

/* What a client wrote while the origin was asked stays, whatever the origin says. */
static void refresh_leaves_a_write_alone(void **state)
{
	static const enum answer_kind kinds[] = { ANSWER_FOUND, ANSWER_ABSENT };
	struct rig rig;

	(void)state;
	init_windows(&rig);
	for (uint32_t i = 0; i < 2; i++) {
		fake_clock_add(&rig.store.time, 61 * NSEC_PER_SEC);
		refresh(&rig, KEY);
		assert_int_equal(rig.back.cnt, 2 + i);
		store_rig_set(&rig.store, span_str(KEY), span_str("ours"),
			      now_ns(&rig) + 160 * NSEC_PER_SEC);
		answer(&rig, 1 + i, kinds[i], "");
		assert_true(is_stored(&rig, KEY, "ours"));
	}
	fini(&rig);
}

static void late_item_is_asked_for_anew_and_an_old_one_will_do(void **state)
{
	struct flight_ask *told;
	struct rig rig;

	(void)state;
	init_windows(&rig);
	fake_clock_add(&rig.store.time, 79 * NSEC_PER_SEC);
	told = ask(&rig, KEY);
	waits_turn(&rig.waits, now_ns(&rig));
	assert_told(told, ANSWER_FOUND, "seven");
	fake_clock_add(&rig.store.time, 2 * NSEC_PER_SEC);
	told = ask(&rig, KEY);
	assert_int_equal(rig.back.cnt, 2);
	answer(&rig, 1, ANSWER_FOUND, "new");
	assert_told(told, ANSWER_FOUND, "new");
	fini(&rig);
}

static void answer_age(struct rig *rig, uint32_t query, const struct answer_age *age)
{
	const struct answer answer = {
		.kind = ANSWER_FOUND, .value = span_str("v"), .age = *age, .reason = ""
	};

	rig->back.queries[query]->done(rig->back.queries[query], &answer);
}

/* Never served longer than the origin allows, nor than the route does. */
static void age_that_the_origin_says_bounds_the_routes(void **state)
{
	static const struct {
		struct answer_age age;
		uint32_t sec; /* that it is kept */
	} rows[] = {
		{ { .fresh_ms = 10000, .stale_ms = UINT64_MAX, .stale_if_error_ms = UINT64_MAX },
		  110 },
		{ { .fresh_ms = 10000, .stale_ms = 5000, .stale_if_error_ms = UINT64_MAX }, 15 },
		{ { .fresh_ms = 10000, .stale_ms = 5000, .stale_if_error_ms = 30000 }, 40 },
		{ { .fresh_ms = 10000 }, 10 },
		{ { .fresh_ms = 900000, .stale_ms = 900000, .stale_if_error_ms = 900000 }, 160 },
		{ { .fresh_ms = 0 }, 0 },
		{ { .fresh_ms = 10000, .stale_ms = 5000, .no_store = true }, 0 },
	};
	struct rig rig;

	(void)state;
	init_windows(&rig);
	for (uint32_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct item_view view;
		uint8_t bytes[8];
		char key[32];

		snprintf(key, sizeof(key), "product:x%u", i);
		ask(&rig, key);
		answer_age(&rig, 1 + i, &rows[i].age);
		assert_int_equal(store_rig_get(&rig.store, span_str(key), bytes, &view),
				 rows[i].sec > 0);
		if (rows[i].sec)
			assert_int_equal((view.expire_ns - now_ns(&rig)) / (NSEC_PER_SEC / 10),
					 rows[i].sec * 10);
	}
	fini(&rig);
}

static void refreshes_give_way_to_clients(void **state)
{
	char key[32];
	struct rig rig;

	(void)state;
	init_max(&rig, 4);
	refresh(&rig, "product:1");
	refresh(&rig, "product:2");
	assert_false(flights_expect_refresh(rig.flights));
	ask(&rig, "product:3");
	ask(&rig, "product:4");
	assert_int_equal(rig.back.cnt, 4);
	for (uint32_t i = 0; i < 4; i++)
		answer(&rig, i, ANSWER_FOUND, "v");
	assert_int_equal(COUNT(&rig, refreshing), 0);
	/* and of the rate they leave one half alone */
	rig.rule.max_miss_qps = 4;
	for (uint32_t i = 10; i < 14; i++) {
		snprintf(key, sizeof(key), "product:%u", i);
		refresh(&rig, key);
		if (rig.back.cnt == i - 5)
			answer(&rig, i - 6, ANSWER_FOUND, "v");
	}
	assert_int_equal(rig.back.cnt, 6);
	assert_int_equal(COUNT(&rig, limited), 2);
	fini(&rig);
}

static void rate_bounds_questions_and_a_reload_changes_it(void **state)
{
	struct rig rig;
	uint32_t asked = 0;
	char key[32];

	(void)state;
	init(&rig);
	rig.rule.max_miss_qps = 5;
	for (uint32_t sec = 0; sec < 3; sec++) {
		for (uint32_t i = 0; i < 20; i++) {
			struct flight_ask *told;

			snprintf(key, sizeof(key), "product:%u", 100 * sec + i);
			told = ask(&rig, key);
			waits_turn(&rig.waits, now_ns(&rig));
			assert_int_equal(told->part.came, rig.back.cnt == asked);
			for (; asked < rig.back.cnt; asked++)
				answer(&rig, asked, ANSWER_FOUND, "v");
		}
		assert_int_equal(asked, 5 * (sec + 1));
		while (rig.waits.first)
			wait_end(rig.waits.first);
		fake_clock_add(&rig.store.time, NSEC_PER_SEC);
	}
	rig.rule.max_miss_qps = 0;
	for (uint32_t i = 0; i < 20; i++) {
		snprintf(key, sizeof(key), "product:%u", 1000 + i);
		ask(&rig, key);
	}
	assert_int_equal(rig.back.cnt, asked + 20);
	for (; asked < rig.back.cnt; asked++)
		answer(&rig, asked, ANSWER_FOUND, "v");
	assert_int_equal(COUNT(&rig, limited), 45);
	fini(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_asks_of_a_key_are_one_query_whose_answer_is_stored),
		cmocka_unit_test(ask_behind_the_landing_gets_what_is_here),
		cmocka_unit_test(ask_that_comes_while_an_answer_lands_shares_it),
		cmocka_unit_test(absence_is_known_for_its_time_or_not_at_all),
		cmocka_unit_test(change_during_a_query_parts_those_before_from_those_after),
		cmocka_unit_test(failures_open_the_breaker_and_are_not_stored),
		cmocka_unit_test(more_than_may_wait_are_told_so_at_once),
		cmocka_unit_test(client_waits_until_its_deadline_and_no_longer),
		cmocka_unit_test(refresh_is_made_in_its_time_once_and_for_all_who_come),
		cmocka_unit_test(refresh_that_fails_leaves_what_is_here),
		cmocka_unit_test(refresh_that_finds_nothing_removes_what_is_here),
		cmocka_unit_test(refresh_leaves_a_write_alone),
		cmocka_unit_test(late_item_is_asked_for_anew_and_an_old_one_will_do),
		cmocka_unit_test(age_that_the_origin_says_bounds_the_routes),
		cmocka_unit_test(refreshes_give_way_to_clients),
		cmocka_unit_test(rate_bounds_questions_and_a_reload_changes_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
