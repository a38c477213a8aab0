/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * flight - one question to an origin for all who want the same key.
 *
 * Does      asks the back-end for a key unless that is under way; puts what it says into the store
 *           if the key was left alone meanwhile; answers everybody who waits.
 * Shape     ask --> flight of its key (token taken, then the origin asked) --> store --> answers
 * Units     ns.
 * Errors    in an ask's answer: ANSWER_FAILED also where the breaker is open or too many flights
 *           are under way.
 * Owner     asks are the asker's wait's (base/wait.h). A value is counted: the flight has one
 *           reference, each ask another.
 * Threads   the origin's thread alone, but for flight_value_put and the counters: any.
 * Invariant one flight a key at a time, but that one whose key was changed takes no new asks: who
 *           asks after the change is told what the origin says after the change. Every ask is
 *           answered once. What is older than a change of the key is never stored.
 * Refresh   an ask for nobody joins what is under way and gives way to others: no more than half
 *           of the flights are refreshes, and none takes the lower half of what max_miss_qps lets
 *           through.
 * Source    docs/origins.md, "Read-through".
 */
#ifndef XC_ORIGIN_FLIGHT_H
#define XC_ORIGIN_FLIGHT_H

#include "abi/limits.h"
#include "base/wait.h"
#include "origin/breaker.h"
#include "origin/limit.h"
#include "origin/origin.h"
#include "route/routes.h"
#include "store/store.h"

struct flights;

struct flight_value {
	_Atomic uint32_t ref_cnt;
	uint64_t len;
	uint8_t bytes[];
};

void flight_value_put(struct flight_value *value); /* NULL-safe */

struct flight_ask {
	struct wait_part part; /* first */
	bool is_refresh;       /* nobody waits for it; it is freed instead of answered */
	uint64_t hash;
	uint32_t source;	/* which of the origin's statements */
	struct route_rule rule; /* its times; no text of it is read */
	/* The answer. */
	enum answer_kind kind;
	struct flight_value *value; /* ANSWER_FOUND */
	uint8_t key_len;
	uint8_t key[XC_KEY_MAX];
};

/* As wait_part.free. */
void flight_ask_free(struct wait_part *part);

struct flight_conf {
	struct store *store;
	struct store_thread *thread;
	const struct clock *clock;
	const struct origin_ops *ops;
	void *back;
	const struct origin_pattern *patterns; /* of each source */
	uint32_t timeout_ms;
	uint32_t flight_max;
	uint64_t seed;
	/*
	 * Hands over the asks that have come by now: one that came while the origin was at work
	 * joins the flight. NULL: there are none by then.
	 */
	void (*take_asks)(void *ctx);
	/* The breaker's state is another one; reason: what the origin said last. May be NULL. */
	void (*on_breaker)(void *ctx, enum breaker_state state, const char *reason);
	void *ctx;
};

/* X(field): written by the origin's thread alone, but where it says so. */
#define FLIGHT_COUNTS(X)                                                                           \
	X(asked)     /* keys that clients wanted; any thread's */                                  \
	X(queries)   /* put to the origin; other asks joined one */                                \
	X(refreshes) /* of them, for nobody who waits */                                           \
	X(pending)   /* asks answered with a change that it does not have yet */                   \
	X(found)                                                                                   \
	X(absent)                                                                                  \
	X(failed)                                                                                  \
	X(voided)  /* answers not stored: the key was changed meanwhile */                         \
	X(refused) /* not asked: the breaker is open, or too many are */                           \
	X(limited) /* of them, for the sake of max_miss_qps */                                     \
	X(stale)   /* served old, while a newer value was fetched; any thread's, as the next */    \
	X(stale_error) /* … and because none could be had */

struct flight_counts {
#define X(field) _Atomic uint64_t field;
	FLIGHT_COUNTS(X)
#undef X
	_Atomic uint32_t refreshing; /* on their way, or under way */
	_Atomic int breaker; /* enum breaker_state, when somebody asked last or was answered */
};

struct journal;

int flights_new(const struct flight_conf *conf, struct flights **ret);
/* After the back-end was closed, so that nothing is under way. NULL-safe. */
void flights_free(struct flights *flights);
/* Keys with a change that the origin does not have yet are answered from it. */
void flights_use_journal(struct flights *flights, struct journal *journal);
/* An ask is on its way. Any thread, as the next. */
void flights_expect(struct flights *flights);
/* … that is a refresh; false: enough of them are. */
bool flights_expect_refresh(struct flights *flights);
void flights_forget_refresh(struct flights *flights); /* it is not */
void flights_note_stale(struct flights *flights, bool failed);
void flights_ask(struct flights *flights, struct flight_ask *ask);
/* The origin's breaker, for other questions to it than flights; see breaker.h. */
bool flights_admit(struct flights *flights, uint32_t *ret_era);
void flights_finish(struct flights *flights, uint32_t era, enum breaker_end end,
		    const char *reason);
const struct flight_counts *flights_counts(const struct flights *flights);

#endif
