/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * routes - a route is a key prefix with behaviour.
 *
 * Does      finds the route of a key: the one with the longest prefix of it; counts what the keys
 *           of each route were asked for.
 * Shape     a table that never changes, in a struct swap (base/swap.h): a reload builds a new one
 *           and replaces the old one, workers pick it up at the turn of their loop, the promoter at
 *           the start of a round. Routes that the new table has under the same prefix count on.
 *           Without any route there is no table: the pointer is NULL.
 * Units     seconds, as their names say.
 * Errors    routes_new: -ENOMEM, -EEXIST two routes of one prefix, -E2BIG more than ROUTE_MAX,
 *           -EMSGSIZE a prefix longer than a key can be.
 * Owner     a table copies the prefixes it is given. Counters belong to all tables that have the
 *           route and go with the last of them.
 * Threads   routes_find, routes_sum, routes_total, routes_reset: any. A slot of counters is written
 *           by one thread alone.
 * Windows   an item of a route with a source is kept route_window_ns() longer than it is fresh:
 *           its expiry says when it goes, and so much earlier is when it is old.
 * Source    docs/operations.md, "Routes".
 */
#ifndef XC_ROUTE_ROUTES_H
#define XC_ROUTE_ROUTES_H

#include <stdbool.h>
#include <stdint.h>

#include "abi/limits.h"
#include "base/clock.h"
#include "base/rand.h"
#include "base/span.h"
#include "base/swap.h"
#include "route/tally.h"

#define ROUTE_MAX XC_ROUTE_MAX
#define ROUTE_JITTER_MAX_SEC (30 * 24 * 3600)
#define ROUTE_NEGATIVE_MAX_SEC 86400

/* What the operator wrote. */
struct route_rule {
	struct span prefix; /* empty: every key */
	uint32_t ttl_jitter_sec;
	/* The kernel may say for so long that a key has no item; 0: never. */
	uint32_t negative_ttl_sec;
	bool promote; /* false: its keys are never in the kernel */
	bool auth;    /* its keys are for clients that have proved who they are: never promoted */
	uint32_t ttl_sec; /* of what its origin answers */
	/* Its items may be served for so long after their time, while a newer value is fetched … */
	uint32_t stale_sec;
	uint32_t stale_if_error_sec; /* … and while the origin cannot be asked */
	uint32_t refresh_ahead_sec;  /* asked for so long before that is over fetch a newer value */
	uint32_t max_miss_qps;	     /* questions a second to its origin; 0: no bound */
	uint32_t source;	     /* where a key that has no item is asked for; 0: nowhere */
	/* What the operator wrote of it, for whoever numbers the sources; NULL: not there. */
	const char *origin;
	const char *key;
	const char *read;
	const char *write;
	const char *remove;
	bool json;
	/* Its origin is told of changes, and of removals, before they are made here. */
	bool writes, removes;
	bool behind; /* … by its journal, soon after */
};

struct route {
	struct route_rule rule;
	struct tally *tally; /* a slot for each thread that counts */
	uint32_t number;     /* 1..ROUTE_MAX, kept by the prefix in tables that follow */
};

struct routes {
	struct swap_item item;
	uint32_t cnt;
	uint32_t slot_cnt;
	bool has_source;   /* one of them has */
	bool has_write;	   /* … or is told of changes */
	struct route *all; /* in the order of the rules */
	struct route_trie *trie;
};

/* old: the table that this one will replace, whose counters go on; NULL: none. */
int routes_new(const struct route_rule *rules, uint32_t cnt, uint32_t slot_cnt,
	       const struct routes *old, struct routes **ret);
void routes_free(struct routes *routes); /* NULL-safe; for one that never got into a swap */

/* NULL: no route has a prefix of the key. Borrowed from the table. */
const struct route *routes_find(const struct routes *routes, struct span key);

/* What all slots of a route have counted since the last routes_reset. */
void routes_sum(const struct routes *routes, const struct route *route, struct tally *ret);
/* … and in all. */
void routes_total(const struct routes *routes, const struct route *route, struct tally *ret);
/* routes_sum of every route is 0 from here on, also in a table that comes after this one. */
void routes_reset(struct routes *routes);

/* The thread's table; NULL: no routes. */
static inline struct routes *routes_of(struct swap_item *held)
{
	return (struct routes *)held;
}

/* A TTL with the route's jitter. */
uint64_t route_spread_ns(const struct route_rule *rule, struct rand *rand, uint64_t ttl_ns);

/* What lies between the moment an item of the route, which may be NULL, is old and its expiry. */
static inline uint64_t route_window_ns(const struct route_rule *rule)
{
	uint32_t sec;

	if (!rule || !rule->source)
		return 0;
	sec = rule->stale_sec > rule->stale_if_error_sec ? rule->stale_sec
							 : rule->stale_if_error_sec;
	return sec * NSEC_PER_SEC;
}

/* When an item that expires then is old; 0: never. */
static inline uint64_t route_fresh_ns(const struct route_rule *rule, uint64_t expire_ns)
{
	uint64_t window_ns = route_window_ns(rule);

	return expire_ns > window_ns || expire_ns == 0 ? expire_ns - (expire_ns ? window_ns : 0)
						       : 1;
}

enum route_age {
	ROUTE_FRESH,
	ROUTE_ENDS_SOON, /* fresh; whoever asks for it has it refreshed */
	ROUTE_STALE,	 /* old; the same */
	ROUTE_LATE,	 /* served only where the origin cannot be asked, or about to go */
};

/* An item that goes so soon may be gone before the request that looks at it is carried out. */
#define ROUTE_GOING_NS (50 * NSEC_PER_MSEC)

enum route_age route_age(const struct route_rule *rule, uint64_t expire_ns, uint64_t now_ns);

/* True if the key's route, which may be NULL, lets it into the kernel. */
static inline bool route_promotes(const struct route *route)
{
	return !route || (route->rule.promote && !route->rule.auth);
}

#endif
