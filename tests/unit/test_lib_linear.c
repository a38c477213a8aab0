/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: the judge of histories says no to every history that no order explains, and to no
 * other. Method: histories written by hand, good and bad; then random small ones, seeded, each
 * judged as well by trying every order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/rand.h"
#include "lib/linear.h"
#include "lib/runopts.h"

#define OP_MAX 7
#define NEVER LINEAR_NEVER

struct history {
	const char *name;
	bool fine;
	struct linear_op ops[OP_MAX]; /* ends with one that starts and ends at 0 */
};

static const struct history histories[] = {
	{ "nothing", true, { { 0 } } },
	{ "read_of_nothing_written", true, { { 1, 2, 0, false } } },
	{ "read_after_write", true, { { 1, 2, 7, true }, { 3, 4, 7, false } } },
	{ "read_before_its_write", false, { { 5, 6, 7, true }, { 3, 4, 7, false } } },
	{ "read_of_what_nobody_wrote", false, { { 1, 2, 7, true }, { 3, 4, 8, false } } },
	{ "old_value_while_a_write_is_on",
	  true,
	  { { 1, 2, 7, true }, { 3, 9, 8, true }, { 4, 5, 7, false } } },
	{ "old_value_after_a_newer_was_acknowledged",
	  false,
	  { { 1, 2, 7, true }, { 3, 4, 8, true }, { 5, 6, 7, false } } },
	{ "acknowledged_write_lost", false, { { 1, 2, 7, true }, { 3, 4, 0, false } } },
	{ "old_value_after_a_newer_was_read",
	  false,
	  { { 1, 2, 7, true }, { 3, 9, 8, true }, { 4, 5, 8, false }, { 6, 7, 7, false } } },
	{ "unanswered_write_seen_late",
	  true,
	  { { 1, 2, 7, true }, { 3, NEVER, 8, true }, { 4, 5, 7, false }, { 6, 7, 8, false } } },
	{ "unanswered_write_seen_and_gone",
	  false,
	  { { 1, 2, 7, true }, { 3, NEVER, 8, true }, { 4, 5, 8, false }, { 6, 7, 7, false } } },
	{ "unanswered_write_never_seen",
	  true,
	  { { 1, 2, 7, true }, { 3, NEVER, 8, true }, { 6, 7, 7, false } } },
	{ "two_readers_disagree",
	  false,
	  { { 1, 9, 7, true }, { 1, 9, 8, true }, { 10, 11, 7, false }, { 12, 13, 8, false } } },
	{ "same_moment_either_way", true, { { 1, 4, 7, true }, { 4, 4, 0, false } } },
};

static size_t ops_of(const struct history *history, struct linear_op ret[OP_MAX])
{
	size_t cnt = 0;

	while (cnt < OP_MAX && (history->ops[cnt].start || history->ops[cnt].end))
		cnt++;
	memcpy(ret, history->ops, cnt * sizeof(*ret));
	return cnt;
}

static void linear_check_histories_by_hand(void **state)
{
	struct linear_op ops[OP_MAX];
	uint64_t value;

	(void)state;
	for (size_t i = 0; i < sizeof(histories) / sizeof(histories[0]); i++) {
		size_t cnt = ops_of(&histories[i], ops);

		if (linear_check(ops, cnt, &value) != histories[i].fine)
			fail_msg("%s", histories[i].name);
	}
}

/* Some order of what is left explains it, the key having that value now. */
static bool some_order(const struct linear_op *ops, size_t cnt, uint32_t done, uint64_t value)
{
	uint64_t soonest = NEVER;
	bool left = false;

	for (size_t i = 0; i < cnt; i++) {
		if (done >> i & 1)
			continue;
		left |= ops[i].end != NEVER;
		if (ops[i].end < soonest)
			soonest = ops[i].end;
	}
	for (size_t i = 0; i < cnt && left; i++) {
		if (done >> i & 1 || ops[i].start > soonest ||
		    (!ops[i].write && ops[i].value != value))
			continue;
		if (some_order(ops, cnt, done | 1U << i, ops[i].write ? ops[i].value : value))
			return true;
	}
	return !left;
}

static void linear_check_random_histories_as_by_every_order(void **state)
{
	uint32_t fine_cnt = 0, bad_cnt = 0;
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	for (int round = 0; round < 60000; round++) {
		size_t cnt = 1 + rand_below(&r, OP_MAX);
		uint64_t written = 0, value;
		struct linear_op ops[OP_MAX];
		bool fine;

		for (size_t i = 0; i < cnt; i++) {
			ops[i].start = 1 + rand_below(&r, 12);
			ops[i].end = ops[i].start + rand_below(&r, 6);
			ops[i].write = rand_below(&r, 2);
			ops[i].value = ops[i].write ? ++written : rand_below(&r, written + 1);
			if (ops[i].write && rand_below(&r, 5) == 0)
				ops[i].end = NEVER;
		}
		fine = some_order(ops, cnt, 0, 0);
		fine_cnt += fine;
		bad_cnt += !fine;
		if (linear_check(ops, cnt, &value) != fine)
			fail_msg("round %d: %s", round, fine ? "refused" : "let through");
	}
	assert_true(fine_cnt > 1000 && bad_cnt > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(linear_check_histories_by_hand),
		cmocka_unit_test(linear_check_random_histories_as_by_every_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
