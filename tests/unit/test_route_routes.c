/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: a key's route is the one with the longest prefix of it, whatever bytes, lengths and
 * numbers the prefixes have; routes that a new table keeps count on, others begin at 0; bad rules
 * are refused and leave nothing behind. Method: a linear model over random tables, seeded; keys on
 * the heap at their exact length, so that a byte read too far is seen.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "abi/limits.h"
#include "base/rand.h"
#include "lib/fault.h"
#include "lib/runopts.h"
#include "route/routes.h"

static struct route_rule rule(const char *prefix)
{
	return (struct route_rule){ .prefix = span_str(prefix), .promote = true };
}

static struct routes *table(const struct route_rule *rules, uint32_t cnt, const struct routes *old)
{
	struct routes *routes = NULL;

	assert_int_equal(routes_new(rules, cnt, 2, old, &routes), 0);
	return routes;
}

/* The prefix that the key's route has; NULL: none. */
static const char *found(const struct routes *routes, const char *key)
{
	const struct route *route = routes_find(routes, span_str(key));

	return route ? (const char *)route->rule.prefix.ptr : NULL;
}

static void routes_find_nested_prefixes_longest_wins(void **state)
{
	const struct route_rule rules[] = { rule("app:"), rule("app:cart:"), rule("app:c"),
					    rule("app:img:"), rule("b") };
	struct routes *routes = table(rules, 5, NULL);

	(void)state;
	assert_string_equal(found(routes, "app:"), "app:");
	assert_string_equal(found(routes, "app:x"), "app:");
	assert_string_equal(found(routes, "app:c"), "app:c");
	assert_string_equal(found(routes, "app:cart"), "app:c");
	assert_string_equal(found(routes, "app:cart:"), "app:cart:");
	assert_string_equal(found(routes, "app:cart:9"), "app:cart:");
	assert_string_equal(found(routes, "app:img"), "app:");
	assert_string_equal(found(routes, "bb"), "b");
	assert_null(found(routes, "app"));
	assert_null(found(routes, "App:cart:9"));
	assert_null(found(routes, "c"));
	routes_free(routes);
}

static void routes_find_empty_prefix_has_every_other_key(void **state)
{
	const struct route_rule rules[] = { rule("user:"), rule("") };
	struct routes *routes = table(rules, 2, NULL);

	(void)state;
	assert_string_equal(found(routes, "user:1"), "user:");
	assert_string_equal(found(routes, "user"), "");
	assert_string_equal(found(routes, "z"), "");
	routes_free(routes);
}

/* --- against a linear search --- */

struct model {
	struct route_rule rules[ROUTE_MAX];
	uint8_t bytes[ROUTE_MAX][XC_KEY_MAX];
	uint32_t cnt;
};

static const struct route_rule *model_find(const struct model *m, struct span key)
{
	const struct route_rule *best = NULL;

	for (uint32_t i = 0; i < m->cnt; i++) {
		struct span prefix = m->rules[i].prefix;

		if (prefix.len <= key.len && memcmp(prefix.ptr, key.ptr, prefix.len) == 0 &&
		    (!best || prefix.len > best->prefix.len))
			best = &m->rules[i];
	}
	return best;
}

static bool model_has(const struct model *m, struct span prefix)
{
	for (uint32_t i = 0; i < m->cnt; i++) {
		if (span_equal(m->rules[i].prefix, prefix))
			return true;
	}
	return false;
}

/* Few letters make prefixes of prefixes likely; all 256 and great lengths come too. */
static void random_bytes(struct rand *r, uint8_t *ret, size_t len, uint32_t letters)
{
	for (size_t i = 0; i < len; i++)
		ret[i] = (uint8_t)(letters == 256 ? rand_next(r) : 'a' + rand_below(r, letters));
}

static void model_fill(struct model *m, struct rand *r, uint32_t cnt, uint32_t letters,
		       uint32_t len_max)
{
	m->cnt = 0;
	for (uint32_t tries = 0; m->cnt < cnt && tries < 20 * cnt; tries++) {
		uint8_t *bytes = m->bytes[m->cnt];
		size_t len = rand_below(r, len_max + 1), from = 0;

		if (m->cnt > 0 && rand_below(r, 2)) {
			struct span other = m->rules[rand_below(r, m->cnt)].prefix;

			from = other.len < len ? other.len : len;
			memcpy(bytes, other.ptr, from);
		}
		random_bytes(r, bytes + from, len - from, letters);
		if (model_has(m, span_of(bytes, len)))
			continue;
		m->rules[m->cnt++] = (struct route_rule){ .prefix = span_of(bytes, len) };
	}
}

static void check_key(const struct model *m, const struct routes *routes, struct span key)
{
	const struct route_rule *want = model_find(m, key);
	const struct route *got = routes_find(routes, key);

	assert_int_equal(got != NULL, want != NULL);
	if (got)
		assert_int_equal(got - routes->all, want - m->rules);
}

static void check_keys(const struct model *m, const struct routes *routes, struct rand *r,
		       uint32_t letters)
{
	for (int i = 0; i < 2000; i++) {
		size_t len = 1 + rand_below(r, XC_KEY_MAX), from = 0;
		uint8_t *key = malloc(len);

		assert_non_null(key);
		if (rand_below(r, 4)) {
			struct span prefix = m->rules[rand_below(r, m->cnt)].prefix;

			from = prefix.len < len ? prefix.len : len;
			memcpy(key, prefix.ptr, from);
		}
		random_bytes(r, key + from, len - from, letters);
		check_key(m, routes, span_of(key, len));
		free(key);
	}
}

static void routes_find_random_tables_agree_with_linear_search(void **state)
{
	static const uint32_t cnts[] = { 1, 2, 10, 100, 1000, ROUTE_MAX };
	static const uint32_t letters[] = { 1, 2, 20, 256 };
	struct model *m = calloc(1, sizeof(*m));
	struct rand r;

	(void)state;
	assert_non_null(m);
	rand_init(&r, runopts_seed());
	for (size_t c = 0; c < sizeof(cnts) / sizeof(cnts[0]); c++) {
		for (size_t l = 0; l < 8; l++) {
			struct routes *routes;

			model_fill(m, &r, cnts[c], letters[l / 2], l % 2 ? XC_KEY_MAX : 12);
			routes = table(m->rules, m->cnt, NULL);
			check_keys(m, routes, &r, letters[l / 2]);
			for (uint32_t i = 0; i < m->cnt; i++) {
				if (m->rules[i].prefix.len > 0)
					check_key(m, routes, m->rules[i].prefix);
			}
			routes_free(routes);
		}
	}
	free(m);
}

/* --- counters --- */

static void routes_new_same_prefix_counts_on(void **state)
{
	const struct route_rule before[] = { rule("a:"), rule("b:"), rule("c:") };
	const struct route_rule after[] = { rule("d:"), rule("b:"), rule("a:x:") };
	struct routes *old = table(before, 3, NULL), *routes;
	struct tally sum;

	(void)state;
	tally_add(&old->all[1].tally[0], TALLY_HIT, 5);
	tally_add(&old->all[1].tally[1], TALLY_HIT, 7);
	routes = table(after, 3, old);
	/* A thread that has not changed over yet still counts on the old one. */
	tally_add(&old->all[1].tally[1], TALLY_HIT, 1);
	routes_free(old);
	tally_add(&routes->all[1].tally[0], TALLY_DELETE, 2);
	routes_sum(routes, &routes->all[1], &sum);
	assert_int_equal(sum.cnt[TALLY_HIT], 13);
	assert_int_equal(sum.cnt[TALLY_DELETE], 2);
	for (int i = 0; i < 3; i += 2) {
		routes_sum(routes, &routes->all[i], &sum);
		assert_int_equal(sum.cnt[TALLY_HIT], 0);
	}
	routes_free(routes);
}

static void route_promotes_only_without_a_mark(void **state)
{
	struct route route = { .rule = { .promote = true } };

	(void)state;
	assert_true(route_promotes(NULL));
	assert_true(route_promotes(&route));
	route.rule.auth = true;
	assert_false(route_promotes(&route));
	route.rule = (struct route_rule){ .promote = false };
	assert_false(route_promotes(&route));
}

static void route_age_follows_the_windows_of_a_route_with_a_source(void **state)
{
	struct route_rule rule = { .ttl_sec = 60,
				   .source = 1,
				   .refresh_ahead_sec = 10,
				   .stale_sec = 20,
				   .stale_if_error_sec = 100 };
	const uint64_t s = NSEC_PER_SEC, at = 1000 * s; /* fresh until 1000, kept until 1100 */

	(void)state;
	assert_int_equal(route_window_ns(&rule), 100 * s);
	assert_int_equal(route_fresh_ns(&rule, at + 100 * s), at);
	assert_int_equal(route_age(&rule, at + 100 * s, at - 10 * s - 1), ROUTE_FRESH);
	assert_int_equal(route_age(&rule, at + 100 * s, at - 10 * s), ROUTE_ENDS_SOON);
	assert_int_equal(route_age(&rule, at + 100 * s, at - 1), ROUTE_ENDS_SOON);
	assert_int_equal(route_age(&rule, at + 100 * s, at), ROUTE_STALE);
	assert_int_equal(route_age(&rule, at + 100 * s, at + 20 * s - 1), ROUTE_STALE);
	assert_int_equal(route_age(&rule, at + 100 * s, at + 20 * s), ROUTE_LATE);
	/* without end, and one that is shorter than the window */
	assert_int_equal(route_fresh_ns(&rule, 0), 0);
	assert_int_equal(route_age(&rule, 0, at), ROUTE_FRESH);
	assert_int_equal(route_fresh_ns(&rule, s), 1);
	/* what is about to go is no answer, whatever it is by then */
	assert_int_equal(route_age(&rule, at, at - ROUTE_GOING_NS), ROUTE_LATE);
	rule.stale_sec = rule.stale_if_error_sec = rule.refresh_ahead_sec = 0;
	assert_int_equal(route_age(&rule, at, at - ROUTE_GOING_NS - 1), ROUTE_FRESH);
	assert_int_equal(route_age(&rule, at, at - ROUTE_GOING_NS), ROUTE_LATE);
	rule.source = 0;
	assert_int_equal(route_window_ns(&rule), 0);
	assert_int_equal(route_fresh_ns(&rule, at), at);
	assert_int_equal(route_window_ns(NULL), 0);
}

/* --- refusals --- */

static void routes_new_bad_rules_are_refused(void **state)
{
	static char longest[XC_KEY_MAX + 2];
	struct route_rule rules[ROUTE_MAX + 1] = { rule("a"), rule("b"), rule("a") };
	struct routes *routes = NULL;

	(void)state;
	assert_int_equal(routes_new(rules, 3, 1, NULL, &routes), -EEXIST);
	memset(longest, 'k', XC_KEY_MAX + 1);
	rules[2] = rule(longest);
	assert_int_equal(routes_new(rules, 3, 1, NULL, &routes), -EMSGSIZE);
	assert_int_equal(routes_new(rules, ROUTE_MAX + 1, 1, NULL, &routes), -E2BIG);
	assert_null(routes);
	longest[XC_KEY_MAX] = '\0';
	rules[2] = rule(longest);
	assert_int_equal(routes_new(rules, 3, 1, NULL, &routes), 0);
	assert_string_equal(found(routes, longest), longest);
	routes_free(routes);
}

static void routes_new_out_of_memory_leaves_nothing(void **state)
{
	const struct route_rule rules[] = { rule("a:"), rule("b:"), rule("a:x") };
	struct routes *old = table(rules, 2, NULL), *routes = NULL;
	int err = -ENOMEM;

	(void)state;
	for (uint32_t nth = 1; err; nth++) {
		assert_true(nth < 100);
		fault_start(nth);
		err = routes_new(rules, 3, 2, old, &routes);
		fault_stop();
		assert_true(err == 0 || err == -ENOMEM);
	}
	routes_free(routes);
	routes_free(old);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(routes_find_nested_prefixes_longest_wins),
		cmocka_unit_test(routes_find_empty_prefix_has_every_other_key),
		cmocka_unit_test(routes_find_random_tables_agree_with_linear_search),
		cmocka_unit_test(routes_new_same_prefix_counts_on),
		cmocka_unit_test(route_promotes_only_without_a_mark),
		cmocka_unit_test(route_age_follows_the_windows_of_a_route_with_a_source),
		cmocka_unit_test(routes_new_bad_rules_are_refused),
		cmocka_unit_test(routes_new_out_of_memory_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
