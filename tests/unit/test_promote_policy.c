/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: each rule of promote/policy.h (threshold, writes against reads, budget, margin, stay,
 * pins, churn), and what holds for any input: indices in range and once each, the budget kept, the
 * pinned and the newly come left alone, hotter candidates first, and rest: what the policy did once
 * it does not undo while rates stay.
 * Method: tables by hand, then random inputs. Seeded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/rand.h"
#include "lib/runopts.h"
#include "promote/policy.h"

#define MANY 1000
#define STAYED POLICY_STAY_MS

static struct policy_actions pick(const struct policy_key *candidates, uint32_t candidate_cnt,
				  const struct policy_resident *residents, uint32_t resident_cnt,
				  uint32_t entry_max)
{
	struct policy_input input = { .candidates = candidates,
				      .candidate_cnt = candidate_cnt,
				      .residents = residents,
				      .resident_cnt = resident_cnt,
				      .entry_max = entry_max,
				      .threshold = 100 };
	static enum policy_reason reasons[MANY];
	struct policy_actions actions;

	/* What the policy does not write must not be read. */
	memset(&actions, 0xee, sizeof(actions));
	memset(reasons, 0xee, sizeof(reasons));
	actions.reasons = reasons;
	policy_pick(&input, &actions);
	return actions;
}

static void policy_below_threshold_is_left_alone(void **state)
{
	const struct policy_key candidates[] = { { .read_rate = 100 },
						 { .read_rate = 99.9 },
						 { .read_rate = 0 } };
	struct policy_actions a = pick(candidates, 3, NULL, 0, 10);

	(void)state;
	assert_int_equal(a.promote_cnt, 1);
	assert_int_equal(a.promote[0], 0);
	assert_int_equal(a.demote_cnt, 0);
}

static void policy_more_writes_than_reads_is_left_alone(void **state)
{
	const struct policy_key candidates[] = { { .read_rate = 900, .write_rate = 901 },
						 { .read_rate = 800, .write_rate = 800 },
						 { .read_rate = 700 } };
	struct policy_actions a = pick(candidates, 3, NULL, 0, 10);

	(void)state;
	assert_int_equal(a.reasons[0], POLICY_WRITES);
	assert_int_equal(a.reasons[1], POLICY_HOT);
	assert_int_equal(a.promote_cnt, 2);
	assert_int_equal(a.promote[0], 1);
	assert_int_equal(a.promote[1], 2);
}

static void policy_barred_is_left_alone_and_takes_nobody_s_place(void **state)
{
	const struct policy_key candidates[] = { { .read_rate = 900, .banned = true },
						 { .read_rate = 800 } };
	const struct policy_resident residents[] = { { 1, STAYED, false } };
	struct policy_actions a = pick(candidates, 2, NULL, 0, 10);

	(void)state;
	assert_int_equal(a.promote_cnt, 1);
	assert_int_equal(a.promote[0], 1);
	a = pick(candidates, 1, residents, 1, 1);
	assert_int_equal(a.promote_cnt, 0);
	assert_int_equal(a.demote_cnt, 0);
}

static void policy_room_for_some_takes_the_hottest(void **state)
{
	const struct policy_key candidates[] = { { .read_rate = 500 },
						 { .read_rate = 400 },
						 { .read_rate = 300 } };
	const struct policy_resident resident = { .rate = 1e6, .stay_ms = STAYED };
	struct policy_actions a = pick(candidates, 3, &resident, 1, 3);

	(void)state;
	assert_int_equal(a.promote_cnt, 2);
	assert_int_equal(a.promote[0], 0);
	assert_int_equal(a.promote[1], 1);
	assert_int_equal(a.demote_cnt, 0);
}

static void policy_budget_shrunk_gives_the_coldest_up_and_promotes_nobody(void **state)
{
	const struct policy_key candidate = { .read_rate = 500 };
	const struct policy_resident residents[] = { { 1000, STAYED, false },
						     { 900, STAYED, false },
						     { 10, STAYED - 1, false },
						     { 5, STAYED, true },
						     { 800, STAYED, false } };
	struct policy_actions a = pick(&candidate, 1, residents, 5, 3);

	(void)state;
	assert_int_equal(a.promote_cnt, 0);
	assert_int_equal(a.demote_cnt, 2);
	assert_int_equal(a.demote[0], 4);
	assert_int_equal(a.demote[1], 1);
	/* Without anybody who would come in their place, too; all but the pinned and the new. */
	a = pick(NULL, 0, residents, 5, 0);
	assert_int_equal(a.demote_cnt, 3);
}

static void policy_full_only_margin_displaces(void **state)
{
	const struct policy_resident residents[] = { { 400, STAYED, false },
						     { 150, STAYED, false },
						     { 900, STAYED, false } };
	struct policy_key candidate = { .read_rate = 150 * POLICY_MARGIN - 1 };
	struct policy_actions a = pick(&candidate, 1, residents, 3, 3);

	(void)state;
	assert_int_equal(a.demote_cnt, 0);
	assert_int_equal(a.promote_cnt, 0);
	/* All of it, and what is sure of it, is not the same. */
	candidate.read_rate = 150 * POLICY_MARGIN + 9;
	candidate.read_doubt = 10;
	a = pick(&candidate, 1, residents, 3, 3);
	assert_int_equal(a.demote_cnt, 0);
	candidate.read_doubt = 9;
	a = pick(&candidate, 1, residents, 3, 3);
	assert_int_equal(a.demote_cnt, 1);
	assert_int_equal(a.demote[0], 1);
	assert_int_equal(a.promote_cnt, 0); /* follows when the place is free */
}

static void policy_newcomer_and_pin_stay(void **state)
{
	const struct policy_resident residents[] = { { 0, STAYED - 1, false },
						     { 0, STAYED, true },
						     { 5, STAYED, false } };
	const struct policy_key candidates[] = { { .read_rate = 900 },
						 { .read_rate = 800 },
						 { .read_rate = 700 } };
	struct policy_actions a = pick(candidates, 3, residents, 3, 3);

	(void)state;
	assert_int_equal(a.demote_cnt, 1);
	assert_int_equal(a.demote[0], 2);
}

static void policy_churn_is_capped(void **state)
{
	static struct policy_key candidates[MANY];
	static struct policy_resident residents[MANY];
	struct policy_actions a;

	(void)state;
	for (uint32_t i = 0; i < MANY; i++) {
		candidates[i] = (struct policy_key){ .read_rate = 1e6 - i };
		residents[i] = (struct policy_resident){ .rate = MANY - i, .stay_ms = STAYED };
	}
	a = pick(candidates, MANY, NULL, 0, 2 * MANY);
	assert_int_equal(a.promote_cnt, POLICY_CHURN_MAX);
	assert_int_equal(a.demote_cnt, 0);
	a = pick(candidates, MANY, residents, MANY, MANY);
	assert_int_equal(a.promote_cnt, 0);
	assert_int_equal(a.demote_cnt, POLICY_CHURN_MAX);
	/* the coldest, coldest first */
	for (uint32_t i = 0; i < POLICY_CHURN_MAX; i++)
		assert_int_equal(a.demote[i], MANY - 1 - i);
	/* with room for all of them nobody has to go: the rest follow in the next rounds */
	a = pick(candidates, MANY, residents, 300, 300 + MANY);
	assert_int_equal(a.promote_cnt, POLICY_CHURN_MAX);
	assert_int_equal(a.demote_cnt, 0);
	assert_int_equal(a.reasons[POLICY_CHURN_MAX], POLICY_SOON);
}

/* What is told of a key is the first of what is against it; each rule has its own word. */
static void policy_judge_names_what_is_against_a_key(void **state)
{
	static const struct {
		struct policy_key key;
		enum policy_reason reason, as_resident;
	} rows[] = {
		{ { .read_rate = 100 }, POLICY_HOT, POLICY_HOT },
		{ { .read_rate = 99 }, POLICY_COLD, POLICY_KEPT },
		{ { .read_rate = 150, .read_doubt = 51 }, POLICY_UNSURE, POLICY_KEPT },
		{ { .read_rate = 150, .read_doubt = 50 }, POLICY_HOT, POLICY_HOT },
		{ { .read_rate = 200, .write_rate = 201 }, POLICY_WRITES, POLICY_KEPT },
		{ { .read_rate = 200, .ttl_ms = POLICY_TTL_MIN_MS - 1 },
		  POLICY_ENDS_SOON,
		  POLICY_KEPT },
		{ { .read_rate = 200, .ttl_ms = POLICY_TTL_MIN_MS }, POLICY_HOT, POLICY_HOT },
		{ { .pinned = true, .write_rate = 9, .ttl_ms = 1 }, POLICY_PINNED, POLICY_PINNED },
		{ { .read_rate = 200, .item = POLICY_ABSENT }, POLICY_ABSENT, POLICY_RETURNING },
		{ { .read_rate = 100, .absent = true }, POLICY_HOT_ABSENT, POLICY_HOT_ABSENT },
		{ { .read_rate = 99, .absent = true }, POLICY_ABSENT, POLICY_RETURNING },
		{ { .pinned = true, .absent = true }, POLICY_PINNED_ABSENT, POLICY_PINNED_ABSENT },
		{ { .pinned = true, .item = POLICY_TOO_LARGE },
		  POLICY_TOO_LARGE,
		  POLICY_TOO_LARGE },
		{ { .pinned = true, .banned = true, .item = POLICY_STALE },
		  POLICY_BANNED,
		  POLICY_BANNED },
		{ { .read_rate = 200, .rule = POLICY_AUTH, .banned = true },
		  POLICY_AUTH,
		  POLICY_AUTH },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(policy_judge(&rows[i].key, 100), rows[i].reason);
		assert_int_equal(policy_judge_resident(&rows[i].key, 100), rows[i].as_resident);
	}
}

static void policy_reasons_are_told_apart_by_name_and_text(void **state)
{
	(void)state;
	for (int i = 0; i < POLICY_REASON_CNT; i++) {
		assert_true(policy_text((enum policy_reason)i)[0]);
		for (int j = 0; j < i; j++) {
			assert_string_not_equal(policy_name((enum policy_reason)i),
						policy_name((enum policy_reason)j));
			assert_string_not_equal(policy_text((enum policy_reason)i),
						policy_text((enum policy_reason)j));
		}
	}
}

/* Hot, and no place: it is said, and whether one is being made. */
static void policy_without_room_says_so(void **state)
{
	const struct policy_resident residents[] = { { 400, STAYED, false },
						     { 150, STAYED, false } };
	const struct policy_key candidates[] = { { .read_rate = 800 },
						 { .read_rate = 700 },
						 { .read_rate = 50 } };
	struct policy_actions a = pick(candidates, 3, residents, 2, 2);

	(void)state;
	assert_int_equal(a.demote_cnt, 1);
	assert_int_equal(a.excess_cnt, 0);
	assert_int_equal(a.reasons[0], POLICY_SOON);
	assert_int_equal(a.reasons[1], POLICY_NO_ROOM);
	assert_int_equal(a.reasons[2], POLICY_COLD);
	a = pick(NULL, 0, residents, 2, 1);
	assert_int_equal(a.demote_cnt, 1);
	assert_int_equal(a.excess_cnt, 1);
}

static void policy_nothing_in_nothing_out(void **state)
{
	struct policy_actions a = pick(NULL, 0, NULL, 0, 0);

	(void)state;
	assert_int_equal(a.promote_cnt, 0);
	assert_int_equal(a.demote_cnt, 0);
}

/* --- any input --- */

static int hotter_first(const void *a, const void *b)
{
	const struct policy_key *left = a, *right = b;

	return left->read_rate < right->read_rate ? 1 : left->read_rate > right->read_rate ? -1 : 0;
}

struct world {
	struct policy_key candidates[MANY];
	struct policy_resident residents[MANY];
	uint32_t candidate_cnt, resident_cnt, entry_max;
};

static void world_random(struct rand *r, struct world *w)
{
	w->candidate_cnt = (uint32_t)rand_below(r, 1 + rand_below(r, MANY));
	w->resident_cnt = (uint32_t)rand_below(r, 1 + rand_below(r, MANY));
	w->entry_max = (uint32_t)rand_below(r, MANY);
	for (uint32_t i = 0; i < w->candidate_cnt; i++) {
		/* few values, so that ties happen */
		w->candidates[i].read_rate = (double)rand_below(r, 40) * 10;
		w->candidates[i].write_rate = (double)rand_below(r, 40) * 10;
		/* one in five has something against it */
		w->candidates[i].banned = rand_below(r, 15) == 0;
		w->candidates[i].rule = rand_below(r, 15) ? POLICY_HOT : POLICY_ROUTE;
		w->candidates[i].item = rand_below(r, 15) ? POLICY_HOT : POLICY_TOO_LARGE;
		w->candidates[i].absent = rand_below(r, 15) == 0;
	}
	qsort(w->candidates, w->candidate_cnt, sizeof(w->candidates[0]), hotter_first);
	for (uint32_t i = 0; i < w->resident_cnt; i++) {
		w->residents[i].rate = (double)rand_below(r, 40) * 10;
		w->residents[i].stay_ms = rand_below(r, 2 * POLICY_STAY_MS);
		w->residents[i].pinned = rand_below(r, 5) == 0;
	}
}

static bool is_barred(const struct policy_key *key)
{
	return key->banned || key->rule != POLICY_HOT || key->item != POLICY_HOT;
}

/* Who is told to be hot is promoted, and nobody else is. */
static void check_reasons(const struct world *w, const struct policy_actions *a)
{
	uint32_t hot_cnt = 0;

	for (uint32_t i = 0; i < w->candidate_cnt; i++) {
		enum policy_reason reason = a->reasons[i];

		assert_true(reason < POLICY_REASON_CNT);
		hot_cnt += policy_deserves(reason);
		if (is_barred(&w->candidates[i]))
			assert_true(reason == POLICY_BANNED || reason == POLICY_ROUTE ||
				    reason == POLICY_TOO_LARGE);
		else if (w->candidates[i].read_rate < 100)
			assert_int_equal(reason,
					 w->candidates[i].absent ? POLICY_ABSENT : POLICY_COLD);
	}
	assert_int_equal(hot_cnt, a->promote_cnt);
}

static void check_promoted(const struct world *w, const struct policy_actions *a)
{
	uint32_t room = w->entry_max > w->resident_cnt ? w->entry_max - w->resident_cnt : 0;
	uint32_t worthy = 0, wanted;

	for (uint32_t i = 0; i < w->candidate_cnt; i++)
		worthy += !is_barred(&w->candidates[i]) && w->candidates[i].read_rate >= 100 &&
			  w->candidates[i].write_rate <= w->candidates[i].read_rate;
	wanted = worthy < room ? worthy : room;
	assert_int_equal(a->promote_cnt, wanted < POLICY_CHURN_MAX ? wanted : POLICY_CHURN_MAX);
	for (uint32_t i = 0; i < a->promote_cnt; i++) {
		assert_true(a->promote[i] < w->candidate_cnt);
		assert_true(i == 0 || a->promote[i] > a->promote[i - 1]);
		assert_false(is_barred(&w->candidates[a->promote[i]]));
		assert_true(policy_deserves(a->reasons[a->promote[i]]));
		assert_true(w->candidates[a->promote[i]].read_rate >= 100);
		assert_true(w->candidates[a->promote[i]].write_rate <=
			    w->candidates[a->promote[i]].read_rate);
	}
}

static void check_demoted(const struct world *w, const struct policy_actions *a)
{
	uint32_t excess = w->resident_cnt > w->entry_max ? w->resident_cnt - w->entry_max : 0;
	uint32_t free_cnt = 0;
	bool left[MANY] = { false };
	double warmest = -1;

	assert_true(a->demote_cnt <= POLICY_CHURN_MAX &&
		    a->demote_cnt <= excess + w->candidate_cnt);
	for (uint32_t i = 0; i < w->resident_cnt; i++)
		free_cnt += !w->residents[i].pinned && w->residents[i].stay_ms >= POLICY_STAY_MS;
	if (excess > POLICY_CHURN_MAX)
		excess = POLICY_CHURN_MAX;
	assert_true(a->demote_cnt >= (excess < free_cnt ? excess : free_cnt));
	for (uint32_t i = 0; i < a->demote_cnt; i++) {
		const struct policy_resident *resident;

		assert_true(a->demote[i] < w->resident_cnt);
		assert_false(left[a->demote[i]]);
		left[a->demote[i]] = true;
		resident = &w->residents[a->demote[i]];
		assert_false(resident->pinned);
		assert_true(resident->stay_ms >= POLICY_STAY_MS);
		assert_true(resident->rate >= warmest);
		warmest = resident->rate;
		if (i >= excess)
			assert_true(w->candidates[0].read_rate >= POLICY_MARGIN * resident->rate);
	}
	/* nobody colder was free to go in their place */
	for (uint32_t i = 0; i < w->resident_cnt && a->demote_cnt; i++) {
		if (!left[i] && !w->residents[i].pinned &&
		    w->residents[i].stay_ms >= POLICY_STAY_MS)
			assert_true(w->residents[i].rate >= warmest);
	}
}

static void policy_random_inputs_keep_every_rule(void **state)
{
	static struct world w;
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	for (int round = 0; round < 3000; round++) {
		struct policy_actions a;

		world_random(&r, &w);
		a = pick(w.candidates, w.candidate_cnt, w.residents, w.resident_cnt, w.entry_max);
		check_promoted(&w, &a);
		check_reasons(&w, &a);
		check_demoted(&w, &a);
	}
}

/*
 * Rates stay as they are, everybody has stayed long enough; keys go in and out as the policy says.
 * It must come to rest: two keys that took turns in one place would cost two map calls a round.
 */
static void policy_steady_rates_come_to_rest(void **state)
{
	double in[20], out[60];
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed() + 3);
	for (int world = 0; world < 200; world++) {
		uint32_t in_cnt = 0, out_cnt = 60, rounds = 0, moves = 1;

		for (uint32_t i = 0; i < 60; i++)
			out[i] = (double)rand_below(&r, 1000);
		for (; moves && rounds < 100; rounds++) {
			struct policy_key candidates[60];
			struct policy_resident residents[20];
			struct policy_actions a;

			for (uint32_t i = 0; i < out_cnt; i++)
				candidates[i] = (struct policy_key){ .read_rate = out[i] };
			qsort(candidates, out_cnt, sizeof(candidates[0]), hotter_first);
			for (uint32_t i = 0; i < out_cnt; i++)
				out[i] = candidates[i].read_rate;
			for (uint32_t i = 0; i < in_cnt; i++)
				residents[i] = (struct policy_resident){ in[i], STAYED, false };
			a = pick(candidates, out_cnt, residents, in_cnt, 20);
			moves = a.promote_cnt + a.demote_cnt;
			for (uint32_t i = a.promote_cnt; i > 0; i--) {
				in[in_cnt++] = out[a.promote[i - 1]];
				out[a.promote[i - 1]] = out[--out_cnt];
			}
			for (uint32_t i = 0; i < a.demote_cnt; i++) {
				out[out_cnt++] = in[a.demote[i]];
				in[a.demote[i]] = -1;
			}
			for (uint32_t i = in_cnt; i > 0; i--) {
				if (in[i - 1] < 0)
					in[i - 1] = in[--in_cnt];
			}
		}
		assert_int_equal(moves, 0);
		assert_true(in_cnt == 20); /* 60 keys to 1000 a second: more than 20 are hot */
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(policy_below_threshold_is_left_alone),
		cmocka_unit_test(policy_more_writes_than_reads_is_left_alone),
		cmocka_unit_test(policy_barred_is_left_alone_and_takes_nobody_s_place),
		cmocka_unit_test(policy_room_for_some_takes_the_hottest),
		cmocka_unit_test(policy_budget_shrunk_gives_the_coldest_up_and_promotes_nobody),
		cmocka_unit_test(policy_full_only_margin_displaces),
		cmocka_unit_test(policy_newcomer_and_pin_stay),
		cmocka_unit_test(policy_churn_is_capped),
		cmocka_unit_test(policy_judge_names_what_is_against_a_key),
		cmocka_unit_test(policy_reasons_are_told_apart_by_name_and_text),
		cmocka_unit_test(policy_without_room_says_so),
		cmocka_unit_test(policy_nothing_in_nothing_out),
		cmocka_unit_test(policy_random_inputs_keep_every_rule),
		cmocka_unit_test(policy_steady_rates_come_to_rest),
	};

	return cmocka_run_group_tests_name("promote/policy", tests, NULL, NULL);
}
