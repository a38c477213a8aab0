/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * limit - how much of an origin is used.
 *
 * Does      two bounds. limit_rate: queries a second (a token bucket). limit_room: queries at a
 *           time, with a bounded line in front of it (a bulkhead).
 * Shape     whoever is let in is a client's query, somebody waits for it, or of the background,
 *           whose refreshes can be left out. The background takes no token of the lower half of a
 *           bucket that holds several, no place while a client stands in line, and never more
 *           places than its own share.
 * Units     moments in ns, of the caller's clock.
 * Owner     the caller's memory; allocates nothing. A waiter stays in memory until it was let in
 *           or removed.
 * Threads   the origin's thread alone.
 * Invariant in any time t at most burst + t * qps tokens are taken. running_max is never exceeded;
 *           nobody stands in line while a place that is open to them is free; a line is first in,
 *           first out.
 * Source    docs/origins.md, "Limits"; the rate is ATM's GCRA (ITU-T I.371): one moment in place of
 *           a level and the time it was counted.
 */
#ifndef XC_ORIGIN_LIMIT_H
#define XC_ORIGIN_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

enum limit_who {
	LIMIT_CLIENT,	  /* misses, writes, what the journal owes the origin */
	LIMIT_BACKGROUND, /* refreshes */
	LIMIT_WHO_CNT
};

struct limit_rate {
	uint64_t token_ns; /* one comes every so long; 0: no bound */
	uint64_t burst_ns; /* what a full bucket holds, in time */
	uint64_t full_ns;  /* when it will be full again */
};

/* qps 0: no bound. burst: tokens a full bucket holds, at least 1. */
void limit_rate_init(struct limit_rate *rate, uint32_t qps, uint32_t burst);
/* 0: a token was taken. Else ns until one may be had, if nobody else takes it. */
uint64_t limit_rate_take(struct limit_rate *rate, uint64_t now_ns, enum limit_who who);

struct limit_waiter {
	struct limit_waiter *next, *prev;
	enum limit_who who;
	bool waits;
};

struct limit_line {
	struct limit_waiter *first, *last;
	uint32_t cnt;
};

struct limit_room {
	uint32_t running_max;
	uint32_t background_max; /* of them */
	uint32_t waiting_max;	 /* in each line */
	uint32_t running_cnt[LIMIT_WHO_CNT];
	struct limit_line lines[LIMIT_WHO_CNT];
	uint64_t refused_cnt[LIMIT_WHO_CNT];
};

enum limit_verdict {
	LIMIT_ENTERED, /* go; limit_leave when the query has ended */
	LIMIT_WAITS,   /* stands in line: limit_pick returns it, unless limit_remove comes first */
	LIMIT_FULL,    /* neither */
};

void limit_room_init(struct limit_room *room, uint32_t running_max, uint32_t background_max,
		     uint32_t waiting_max);
enum limit_verdict limit_enter(struct limit_room *room, struct limit_waiter *waiter,
			       enum limit_who who);
/* After limit_leave: call limit_pick until NULL. */
void limit_leave(struct limit_room *room, enum limit_who who);
/* The next in line for whom there is a place, which it has from now on; NULL: none. */
struct limit_waiter *limit_pick(struct limit_room *room);
/* Gives up waiting; nothing if it stands in no line. */
void limit_remove(struct limit_room *room, struct limit_waiter *waiter);

#endif
