/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * routes - nanoseconds to find the route of a key, by the number of routes.
 *
 * Prefixes are words with numbers ("cart17:"), or those behind a common "app:v1:". Three keys in
 * four have a route, drawn at random; keys are 16 to 40 bytes and lie in the cache. Shown is the
 * least of seven rounds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/rand.h"
#include "route/routes.h"

#define KEYS 4096
#define TURNS 40
#define ROUNDS 7

struct key {
	char text[64];
	struct span span;
};

static double now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static struct routes *make_table(uint32_t cnt, const char *common, struct rand *r)
{
	static const char *const words[] = { "user", "session", "product", "cart", "price",
					     "img",  "feed",	"auth",	   "geo",  "tmp" };
	static char text[ROUTE_MAX][64];
	static struct route_rule rules[ROUTE_MAX];
	struct routes *routes = NULL;

	for (uint32_t i = 0; i < cnt; i++) {
		snprintf(text[i], sizeof(text[i]), "%s%s%u:", common, words[rand_below(r, 10)], i);
		rules[i] = (struct route_rule){ .prefix = span_str(text[i]) };
	}
	if (routes_new(rules, cnt, 1, NULL, &routes)) {
		fprintf(stderr, "routes: out of memory\n");
		exit(EXIT_FAILURE);
	}
	return routes;
}

static void make_keys(const struct routes *routes, struct key *keys, struct rand *r)
{
	for (int i = 0; i < KEYS; i++) {
		const char *start = "other:";

		if (rand_below(r, 4))
			start = (const char *)routes->all[rand_below(r, routes->cnt)]
					.rule.prefix.ptr;
		snprintf(keys[i].text, sizeof(keys[i].text), "%s%llu", start,
			 (unsigned long long)rand_next(r));
		keys[i].span = span_str(keys[i].text);
	}
}

static double measure(const struct routes *routes, const struct key *keys)
{
	double least = 1e9;
	volatile uint64_t found = 0;

	for (int round = 0; round < ROUNDS; round++) {
		double from_ns = now_ns(), each_ns;
		uint64_t cnt = 0;

		for (int turn = 0; turn < TURNS; turn++) {
			for (int i = 0; i < KEYS; i++)
				cnt += routes_find(routes, keys[i].span) != NULL;
		}
		found += cnt;
		each_ns = (now_ns() - from_ns) / (TURNS * KEYS);
		least = each_ns < least ? each_ns : least;
	}
	return least;
}

int main(void)
{
	static const uint32_t cnts[] = { 1, 10, 100, 1000 };
	static struct key keys[KEYS];
	struct rand r;

	rand_init(&r, 1);
	printf("%8s %12s %12s\n", "routes", "words ns", "nested ns");
	for (size_t i = 0; i < sizeof(cnts) / sizeof(cnts[0]); i++) {
		double ns[2];

		for (int nested = 0; nested < 2; nested++) {
			struct routes *routes = make_table(cnts[i], nested ? "app:v1:" : "", &r);

			make_keys(routes, keys, &r);
			ns[nested] = measure(routes, keys);
			routes_free(routes);
		}
		printf("%8u %12.1f %12.1f\n", cnts[i], ns[0], ns[1]);
	}
	return 0;
}
