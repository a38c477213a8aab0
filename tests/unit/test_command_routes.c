/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: a route's ttl_jitter moves every finite TTL that a client gives, by each command that
 * takes one, evenly within ttl ± jitter, never below a second, and touches neither 0, nor negative,
 * nor past times, nor keys of other routes; routes and prefixes count what their keys were asked
 * for, across a reload; a new table is in force from the next turn on. Method: commands on a real
 * store, a clock that stands, seeded jitter; the store is asked for what it keeps.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/command_rig.h"
#include "lib/runopts.h"
#include "route/prefixes.h"

#define UNIX_SEC (COMMAND_RIG_UNIX_NS / NSEC_PER_SEC)
#define ROUNDING_NS (NSEC_PER_SEC / 10) /* an item's expiry is kept in tenths of a second */
/* How far the rig's wall clock is into its second. */
#define UNIX_PART_NS (COMMAND_RIG_UNIX_NS % NSEC_PER_SEC)

struct fixture {
	struct swap routes;
	struct command_rig rig;
	struct store_thread *thread;
};

static struct routes *table(const struct fixture *f, const struct route_rule *rules, uint32_t cnt)
{
	struct routes *routes = NULL;

	assert_int_equal(routes_new(rules, cnt, command_slot_cnt(1),
				    routes_of(atomic_load(&f->routes.current)), &routes),
			 0);
	return routes;
}

static void reload(struct fixture *f, const struct route_rule *rules, uint32_t cnt)
{
	swap_replace(&f->routes, cnt ? &table(f, rules, cnt)->item : NULL);
}

static void init(struct fixture *f, const struct route_rule *rules, uint32_t cnt)
{
	const struct command_options options = {
		.routes = &f->routes,
		.rand_seed = runopts_seed() | 1,
	};

	swap_init(&f->routes);
	reload(f, rules, cnt);
	command_rig_init(&f->rig, &options);
	f->thread = store_thread_new(f->rig.store);
	assert_non_null(f->thread);
	store_offline(f->thread);
}

static void fini(struct fixture *f)
{
	store_thread_free(f->thread);
	command_rig_fini(&f->rig);
	swap_fini(&f->routes);
}

/* What the store keeps for the key; 0: never. */
static uint64_t expire_ns(struct fixture *f, const char *key)
{
	struct span span = span_str(key);
	struct item_view view;

	store_online(f->thread);
	assert_true(store_peek(f->thread, span, store_hash(f->rig.store, span), &view));
	store_offline(f->thread);
	return view.expire_ns;
}

static uint64_t ttl_ns(struct fixture *f, const char *key)
{
	return expire_ns(f, key) - f->rig.time.boot_ns;
}

static void expect(struct fixture *f, const char *commands, const char *replies)
{
	assert_string_equal(command_rig_run(&f->rig, commands), replies);
}

/* --- jitter --- */

static const struct route_rule jittered[] = {
	{ .prefix = { (const uint8_t *)"j:", 2 }, .ttl_jitter_sec = 10, .promote = true },
	{ .prefix = { (const uint8_t *)"j:none:", 7 }, .promote = true },
};

#define DRAWS 4000
#define BINS 20

struct spread {
	uint64_t least_ns, most_ns;
	uint32_t bins[BINS];
};

/*
 * What becomes of a TTL over many commands: within [from, to], but for the store's rounding up.
 */
static void draw(struct fixture *f, const char *command, uint64_t from_ns, uint64_t to_ns,
		 struct spread *ret)
{
	*ret = (struct spread){ .least_ns = UINT64_MAX };
	for (int i = 0; i < DRAWS; i++) {
		uint32_t bin;
		uint64_t ns;

		command_rig_run(&f->rig, command);
		ns = ttl_ns(f, "j:k");
		assert_in_range(ns, from_ns, to_ns + ROUNDING_NS - 1);
		ret->least_ns = ns < ret->least_ns ? ns : ret->least_ns;
		ret->most_ns = ns > ret->most_ns ? ns : ret->most_ns;
		bin = (uint32_t)((ns - from_ns) * BINS / (to_ns - from_ns + 1));
		ret->bins[bin < BINS ? bin : BINS - 1]++;
	}
}

/* Every bin within six standard deviations of an even share: a fair draw fails 1 in 10^7. */
static void expect_even(const struct spread *s)
{
	const uint32_t share = DRAWS / BINS, slack = 84;

	for (int i = 0; i < BINS; i++)
		assert_in_range(s->bins[i], share - slack, share + slack);
}

static void expire_jitter_spreads_evenly_within_its_bounds(void **state)
{
	struct spread s;
	struct fixture f;

	(void)state;
	init(&f, jittered, 2);
	draw(&f, "set j:k 0 100 1\r\nx\r\n", 90 * NSEC_PER_SEC, 110 * NSEC_PER_SEC, &s);
	expect_even(&s);
	assert_true(s.least_ns < 90200 * NSEC_PER_MSEC && s.most_ns > 109800 * NSEC_PER_MSEC);
	fini(&f);
}

/* 1 to 14 s and nothing heaped up at the second. */
static void expire_jitter_of_a_short_ttl_never_goes_below_a_second(void **state)
{
	struct spread s;
	struct fixture f;

	(void)state;
	init(&f, jittered, 2);
	draw(&f, "set j:k 0 4 1\r\nx\r\n", NSEC_PER_SEC, 14 * NSEC_PER_SEC, &s);
	expect_even(&s);
	draw(&f, "set j:k 0 1 1\r\nx\r\n", NSEC_PER_SEC, 11 * NSEC_PER_SEC, &s);
	expect_even(&s);
	fini(&f);
}

static void expire_jitter_of_a_unix_time_is_around_that_time(void **state)
{
	uint64_t ttl = 100 * NSEC_PER_SEC - UNIX_PART_NS;
	struct fixture f;
	struct spread s;
	char line[64];

	(void)state;
	init(&f, jittered, 2);
	snprintf(line, sizeof(line), "set j:k 0 %llu 1\r\nx\r\n",
		 (unsigned long long)UNIX_SEC + 100);
	draw(&f, line, ttl - 10 * NSEC_PER_SEC, ttl + 10 * NSEC_PER_SEC, &s);
	expect_even(&s);
	/* Three quarters of a second away: not made longer by the least of a second. */
	snprintf(line, sizeof(line), "set j:k 0 %llu 1\r\nx\r\n", (unsigned long long)UNIX_SEC + 1);
	draw(&f, line, 750 * NSEC_PER_MSEC, 10750 * NSEC_PER_MSEC, &s);
	expect_even(&s);
	fini(&f);
}

static void expire_jitter_moves_the_ttl_of_every_command(void **state)
{
	static const char *const commands[] = {
		"set j:k 0 100 1\r\nx\r\n",
		"add j:k 0 100 1\r\nx\r\n",
		"replace j:k 0 100 1\r\nx\r\n",
		"cas j:k 0 100 1 %llu\r\nx\r\n",
		"touch j:k 100\r\n",
		"gat 100 j:k\r\n",
		"gats 100 j:k\r\n",
		"ms j:k 1 T100\r\nx\r\n",
		"ms j:k 1 T100 MR\r\nx\r\n",
		"mg j:k T100\r\n",
		"mg ajpr b T100\r\n",
		"md j:k I T100\r\n",
		"ma j:k T100\r\n",
	};
	struct fixture f;

	(void)state;
	init(&f, jittered, 2);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		uint64_t last = 0;
		uint32_t moved = 0;

		for (int turn = 0; turn < 20; turn++) {
			unsigned long long cas = 0;
			char line[96];

			command_rig_run(&f.rig,
					i == 1 ? "delete j:k\r\n" : "set j:k 0 0 1\r\n5\r\n");
			if (i == 3)
				assert_int_equal(sscanf(command_rig_run(&f.rig, "gets j:k\r\n"),
							"VALUE j:k 0 1 %llu", &cas),
						 1);
			snprintf(line, sizeof(line), commands[i], cas);
			command_rig_run(&f.rig, line);
			assert_in_range(ttl_ns(&f, "j:k"), 90 * NSEC_PER_SEC, 110 * NSEC_PER_SEC);
			moved += ttl_ns(&f, "j:k") != last;
			last = ttl_ns(&f, "j:k");
		}
		assert_true(moved > 15);
	}
	fini(&f);
}

/* What a client is told is what the item has, to the second; N is a TTL, too, and R is none. */
static void expire_jitter_of_meta_commands_is_told_as_it_is(void **state)
{
	static const char *const commands[] = { "mg j:k N100 t\r\n", "mg j:k T100 t\r\n",
						"ma j:n N100 t\r\n", "ma j:n T100 t\r\n" };
	struct fixture f;

	(void)state;
	init(&f, jittered, 2);
	for (int turn = 0; turn < 50; turn++) {
		command_rig_run(&f.rig, "delete j:k\r\ndelete j:n\r\n");
		for (size_t i = 0; i < 4; i++) {
			const char *reply = command_rig_run(&f.rig, commands[i]);
			uint64_t told = 0;

			assert_int_equal(sscanf(reply, "HD t%lu", &told), 1);
			assert_in_range(told, 89, 110);
			assert_in_range(ttl_ns(&f, i < 2 ? "j:k" : "j:n"),
					told * NSEC_PER_SEC - NSEC_PER_SEC,
					told * NSEC_PER_SEC + 2 * ROUNDING_NS);
		}
	}
	command_rig_run(&f.rig, "set j:k 0 0 1\r\nx\r\ntouch j:k 100\r\n");
	for (int turn = 0; turn < 50; turn++)
		assert_null(strchr(command_rig_run(&f.rig, "mg j:k R88\r\n"), 'W'));
	fini(&f);
}

/* append, incr and decr are given no TTL and keep the item's. */
static void expire_jitter_leaves_what_no_client_gave(void **state)
{
	struct fixture f;
	uint64_t before;

	(void)state;
	init(&f, jittered, 2);
	command_rig_run(&f.rig, "set j:k 0 100 1\r\n5\r\n");
	before = expire_ns(&f, "j:k");
	expect(&f,
	       "append j:k 0 50 1\r\n0\r\nincr j:k 1\r\ndecr j:k 1\r\nprepend j:k 0 9 1\r\n1\r\n",
	       "STORED\r\n51\r\n50\r\nSTORED\r\n");
	assert_true(expire_ns(&f, "j:k") == before);
	fini(&f);
}

static void expire_jitter_leaves_never_past_and_other_keys_alone(void **state)
{
	struct fixture f;
	char line[128];

	(void)state;
	init(&f, jittered, 2);
	for (int i = 0; i < 200; i++) {
		command_rig_run(&f.rig, "set j:k 0 0 1\r\nx\r\nset j:none:k 0 100 1\r\nx\r\n"
					"set k 0 100 1\r\nx\r\n");
		assert_int_equal(expire_ns(&f, "j:k"), 0);
		assert_int_equal(ttl_ns(&f, "j:none:k"), 100 * NSEC_PER_SEC);
		assert_int_equal(ttl_ns(&f, "k"), 100 * NSEC_PER_SEC);
		expect(&f, "touch j:k 0\r\n", "TOUCHED\r\n");
		assert_int_equal(expire_ns(&f, "j:k"), 0);
		snprintf(line, sizeof(line),
			 "set j:k 0 -1 1\r\nx\r\nget j:k\r\nset j:k 0 %llu 1\r\nx\r\nget j:k\r\n",
			 (unsigned long long)UNIX_SEC - 5);
		expect(&f, line, "STORED\r\nEND\r\nSTORED\r\nEND\r\n");
	}
	fini(&f);
}

/* flush_all's delay is no item's TTL, whatever route all keys have. */
static void expire_jitter_leaves_flush_all_alone(void **state)
{
	const struct route_rule all = { .ttl_jitter_sec = 10 };
	struct fixture f;

	(void)state;
	init(&f, &all, 1);
	command_rig_run(&f.rig, "set k 0 0 1\r\nx\r\n");
	expect(&f, "flush_all 100\r\n", "OK\r\n");
	fake_clock_add(&f.rig.time, 100 * NSEC_PER_SEC - 1);
	expect(&f, "get k\r\n", "VALUE k 0 1\r\nx\r\nEND\r\n");
	fake_clock_add(&f.rig.time, 1);
	expect(&f, "get k\r\n", "END\r\n");
	fini(&f);
}

/* --- counting --- */

static void expect_tally(struct fixture *f, int route, const uint64_t want[TALLY_EVENT_CNT])
{
	static const char *const names[TALLY_EVENT_CNT] = { "get_hits",	   "get_misses",
							    "sets",	   "deletes",
							    "kernel_hits", "kernel_absent" };
	char name[64];

	command_rig_run(&f->rig, "stats routes\r\n");
	for (int i = 0; i < TALLY_EVENT_CNT; i++) {
		snprintf(name, sizeof(name), "routes:%d:%s", route, names[i]);
		assert_int_equal(command_rig_stat(&f->rig, name), want[i]);
	}
}

/* As the promoter tells it, of the table that it holds. */
static void kernel_answered(struct fixture *f, int route, uint64_t hits, uint64_t absent)
{
	struct swap_item *held = NULL;

	swap_pick(&f->routes, &held);
	command_kernel_route(f->rig.command, &routes_of(held)->all[route - 1], hits, absent);
	swap_drop(&f->routes, &held);
}

static void stats_routes_counts_go_on_after_a_reload(void **state)
{
	static const struct route_rule before[] = { { .prefix = { (const uint8_t *)"a:", 2 } },
						    { .prefix = { (const uint8_t *)"b:", 2 } } };
	static const struct route_rule after[] = { { .prefix = { (const uint8_t *)"b:", 2 } },
						   { .prefix = { (const uint8_t *)"b:x", 3 } } };
	struct fixture f;

	(void)state;
	init(&f, before, 2);
	command_rig_run(&f.rig, "set b:1 0 0 1\r\nx\r\nget b:1 b:2 b:1 a:1 c\r\ngat 5 b:1 b:2\r\n"
				"touch b:1 9\r\nincr b:1 1\r\ndelete b:1\r\ndelete b:1\r\n");
	kernel_answered(&f, 2, 64, 0);
	expect_tally(&f, 1, (uint64_t[]){ 0, 1, 0, 0, 0, 0 });
	expect_tally(&f, 2, (uint64_t[]){ 3, 2, 1, 2, 64, 0 });
	assert_non_null(strstr(f.rig.text, "STAT routes:2:prefix b:\r\n"));
	kernel_answered(&f, 2, 1, 8);
	expect_tally(&f, 2, (uint64_t[]){ 3, 2, 1, 2, 65, 8 });
	reload(&f, after, 2);
	command_rig_run(&f.rig, "set b:1 0 0 1\r\nx\r\nset b:x1 0 0 1\r\nx\r\nget a:1\r\n");
	kernel_answered(&f, 2, 64, 0);
	expect_tally(&f, 1, (uint64_t[]){ 3, 2, 2, 2, 65, 8 });
	expect_tally(&f, 2, (uint64_t[]){ 0, 0, 1, 0, 64, 0 });
	reload(&f, NULL, 0);
	expect(&f, "set b:1 0 0 1\r\nx\r\nstats routes\r\n", "STORED\r\nEND\r\n");
	fini(&f);
}

/* A set too large for -I has its command counted, as memcached has. */
static void stats_detail_counts_what_memcached_counts(void **state)
{
	struct fixture f;
	char line[64];

	(void)state;
	init(&f, NULL, 0);
	expect(&f, "stats detail dump\r\nset u:1 0 0 1\r\nx\r\nstats detail\r\nstats detail x\r\n",
	       "END\r\nSTORED\r\nCLIENT_ERROR usage: stats detail on|off|dump\r\n"
	       "CLIENT_ERROR usage: stats detail on|off|dump\r\n");
	expect(&f, "stats detail on\r\n", "OK\r\n");
	command_rig_run(&f.rig, "get u:1 u:2 u x:y:z\r\ngat 0 u:1 u:9\r\ntouch u:1 0\r\n"
				"incr u:1 1\r\nset u:3 0 0 1\r\nx\r\nadd u:3 0 0 1\r\nx\r\n"
				"append u:9 0 0 1\r\nx\r\ndelete u:3\r\ndelete u:3\r\n");
	snprintf(line, sizeof(line), "set u:big 0 0 %u\r\n", 2 * COMMAND_RIG_ITEM_MAX);
	command_rig_run(&f.rig, line);
	expect(&f, "stats detail dump\r\n",
	       "PREFIX u get 4 hit 2 set 4 del 2\r\nPREFIX x get 1 hit 0 set 0 del 0\r\nEND\r\n");
	command_kernel_hits(f.rig.command, span_str("u:1"), 64, false);
	expect(&f,
	       "stats detail off\r\nget u:1\r\nstats detail dump\r\nstats reset\r\n"
	       "stats detail dump\r\n",
	       "OK\r\nVALUE u:1 0 1\r\nx\r\nEND\r\n"
	       "PREFIX u get 68 hit 66 set 4 del 2\r\nPREFIX x get 1 hit 0 set 0 del 0\r\nEND\r\n"
	       "RESET\r\nEND\r\n");
	fini(&f);
}

static void stats_detail_full_table_counts_overflow(void **state)
{
	struct fixture f;
	char line[64];

	(void)state;
	init(&f, NULL, 0);
	expect(&f, "stats detail on\r\n", "OK\r\n");
	for (int i = 0; i < PREFIX_MAX + 3; i++) {
		snprintf(line, sizeof(line), "get p%d:x\r\n", i);
		command_rig_run(&f.rig, line);
	}
	command_rig_run(&f.rig, "stats\r\n");
	assert_int_equal(command_rig_stat(&f.rig, "prefix_overflow"), 3);
	fini(&f);
}

static void stats_detail_delimiter_of_the_options_is_on_from_the_start(void **state)
{
	const struct command_options options = { .settings.prefix_delimiter = '/' };
	struct command_rig rig;

	(void)state;
	command_rig_init(&rig, &options);
	command_rig_run(&rig, "get a/b:c\r\n");
	assert_string_equal(command_rig_run(&rig, "stats detail dump\r\n"),
			    "PREFIX a get 1 hit 0 set 0 del 0\r\nEND\r\n");
	assert_non_null(
		strstr(command_rig_run(&rig, "stats settings\r\n"), "STAT detail_enabled yes\r\n"));
	command_rig_fini(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(expire_jitter_spreads_evenly_within_its_bounds),
		cmocka_unit_test(expire_jitter_of_a_short_ttl_never_goes_below_a_second),
		cmocka_unit_test(expire_jitter_of_a_unix_time_is_around_that_time),
		cmocka_unit_test(expire_jitter_moves_the_ttl_of_every_command),
		cmocka_unit_test(expire_jitter_of_meta_commands_is_told_as_it_is),
		cmocka_unit_test(expire_jitter_leaves_what_no_client_gave),
		cmocka_unit_test(expire_jitter_leaves_never_past_and_other_keys_alone),
		cmocka_unit_test(expire_jitter_leaves_flush_all_alone),
		cmocka_unit_test(stats_routes_counts_go_on_after_a_reload),
		cmocka_unit_test(stats_detail_counts_what_memcached_counts),
		cmocka_unit_test(stats_detail_full_table_counts_overflow),
		cmocka_unit_test(stats_detail_delimiter_of_the_options_is_on_from_the_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
