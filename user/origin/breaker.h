/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * breaker - whether an origin is asked at all.
 *
 * Does      counts how an origin's queries end; stops asking one that fails or has gone silent,
 *           and finds out by single probes when it is back.
 * Shape     closed --(too many failures, or silence)--> open --(a pause)--> half open
 *           half open --(enough probes answered)--> closed; --(one fails)--> open, twice as long
 * Units     what was configured in ms, moments in ns of the clock.
 * Owner     one for each origin, in the caller's memory; allocates nothing.
 * Threads   the origin's thread alone.
 * Invariant an origin that fails or keeps silent from some moment on is asked no more after
 *           window_ms, however many queries it answered before, if failure_min queries end or wait
 *           meanwhile. Half open, at most one query is under way. How a query ends that was
 *           admitted before the last change of state changes nothing.
 * Source    docs/origins.md, "Breaker"; M. Nygard, "Release It!", for the three states.
 */
#ifndef XC_ORIGIN_BREAKER_H
#define XC_ORIGIN_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/rand.h"

struct breaker_conf {
	uint32_t window_ms;	  /* queries that ended longer ago count no more */
	uint32_t failure_min;	  /* fewer never open it */
	uint32_t failure_percent; /* of the window's queries */
	/*
	 * No answer for so long while failure_min wait is the origin's end: a host that has lost
	 * its power refuses nothing. 0: only queries that end are counted.
	 */
	uint32_t quiet_ms;
	uint32_t pause_ms;     /* open, before the first probe … */
	uint32_t pause_max_ms; /* … doubled by each probe that fails, up to this */
	uint32_t probe_cnt;    /* answers in a row that close it */
};

/* Opens within a second of the origin's death. */
#define BREAKER_CONF_DEFAULT                                                                       \
	((struct breaker_conf){ .window_ms = 1000,                                                 \
				.failure_min = 5,                                                  \
				.failure_percent = 50,                                             \
				.quiet_ms = 500,                                                   \
				.pause_ms = 1000,                                                  \
				.pause_max_ms = 15000,                                             \
				.probe_cnt = 3 })

enum breaker_state {
	BREAKER_CLOSED,
	BREAKER_OPEN,
	BREAKER_HALF_OPEN,
};

enum breaker_end {
	BREAKER_ANSWERED, /* also with "no such row": the origin is well */
	BREAKER_FAILED,	  /* refused, broken off, past its deadline */
	BREAKER_VOID,	  /* taken back by us: says nothing about the origin */
};

/* Half a window: all of an older one is forgotten at once. */
struct breaker_half {
	uint32_t answered_cnt;
	uint32_t failed_cnt;
};

struct breaker {
	struct breaker_conf conf;
	const struct clock *clock;
	struct rand rand;
	enum breaker_state state;
	uint32_t era;		       /* changes of state so far */
	uint32_t running_cnt;	       /* admitted in this era and not ended */
	uint32_t probed_cnt;	       /* half open: answers in a row */
	uint32_t pause_ms;	       /* of the next opening */
	uint64_t since_ns;	       /* the last change of state */
	uint64_t until_ns;	       /* open: when the pause ends */
	uint64_t quiet_ns;	       /* the last answer, or since when anybody waits for one */
	uint64_t half_ns;	       /* when the newer half of the window began */
	struct breaker_half halves[2]; /* the newer first */
	uint64_t opened_cnt;
	uint64_t refused_cnt;
};

/* The seed spreads the probes of several hosts. */
void breaker_init(struct breaker *breaker, const struct breaker_conf *conf,
		  const struct clock *clock, uint64_t seed);

/*
 * May a query be sent? If so the caller tells its end to breaker_finish, once, with the era that
 * was given here.
 */
bool breaker_admit(struct breaker *breaker, uint32_t *ret_era);
void breaker_finish(struct breaker *breaker, uint32_t era, enum breaker_end end);

/* Lets time take effect; the state from then on. */
enum breaker_state breaker_look(struct breaker *breaker);
/* When breaker_look may next find another state by time alone; UINT64_MAX: not before a query. */
uint64_t breaker_next_ns(const struct breaker *breaker);
const char *breaker_state_name(enum breaker_state state);

#endif
