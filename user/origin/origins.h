/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * origins - the origins of a daemon, each with a thread of its own.
 *
 * Does      opens back-ends, carries questions to their threads and the answers home.
 * Shape     an origin has sources: one for each route that names it, numbered from 1 over all.
 * Errors    origins_new: negative errno; why says which origin, what is wrong and what to do.
 * Owner     copies all that it is given. Asks belong to their wait (base/wait.h).
 * Threads   origins_ask, origins_counts: any. The others: the main thread.
 * Invariant an ask that was taken is answered, at the latest by origins_stop.
 * Source    docs/origins.md.
 */
#ifndef XC_ORIGIN_ORIGINS_H
#define XC_ORIGIN_ORIGINS_H

#include "origin/flight.h"
#include "origin/write.h"

#define ORIGINS_MAX 16

struct origins;

struct origins_conf {
	const char *name;
	const char *kind;
	const char *target;
	uint32_t timeout_ms;
	uint32_t waiting_max;
	uint32_t connection_cnt;
	const char *journal; /* path; NULL: nothing is written behind */
	uint32_t journal_delay_ms;
};

struct origins_source {
	uint32_t origin; /* which of them */
	const char *key; /* pattern */
	const char *read;
	bool as_json;
	const char *write;  /* the key's parts and the value; NULL: it is not told of changes, */
	const char *remove; /* … of removals */
	bool behind;	    /* by its journal, after clients were told */
};

struct origins_setup {
	const struct origins_conf *all;
	uint32_t cnt;
	const struct origins_source *sources; /* the first is number 1 */
	uint32_t source_cnt;
	struct store *store; /* a store_thread for each origin */
	const struct clock *clock;
};

/* NULL: there is no such kind. */
const struct origin_ops *origins_kind(const char *kind);
/* All of them, for a hint. */
const char *origins_kinds(void);

int origins_new(const struct origins_setup *setup, struct origins **ret, char why[ORIGIN_WHY_MAX]);
/* Threads begin here, and journals are read: privileges are gone by now. */
int origins_start(struct origins *origins, char why[ORIGIN_WHY_MAX]);
/* Nobody asks any more. NULL-safe, as the next. */
void origins_stop(struct origins *origins);
void origins_free(struct origins *origins);

/* The number of the source that is just so, of the origin of this name; 0: none. */
uint32_t origins_find(const struct origins *origins, const char *origin,
		      const struct origins_source *source);
/* False: the key is not of the form that the source has; the ask was not taken. */
bool origins_takes(const struct origins *origins, uint32_t source, struct span key);
/* Posts it; ask->source is the source's number. */
void origins_ask(struct origins *origins, struct flight_ask *ask);
/* Posts it; ask->source is the source's number, and it takes the key and is told of such. */
void origins_write(struct origins *origins, struct write_ask *ask);
/* Has the key's value fetched anew, for nobody in particular; not if much of that is under way. The
 * rule's source takes the key. Any thread. */
void origins_refresh(struct origins *origins, const struct route_rule *rule, struct span key,
		     uint64_t hash);
/* A client was served an item that is old: while it is refreshed, or for want of a newer one. */
void origins_note_stale(struct origins *origins, uint32_t source, bool failed);
/* The longest that an answer may take. */
uint32_t origins_timeout_ms(const struct origins *origins, uint32_t source);

uint32_t origins_cnt(const struct origins *origins);
const char *origins_name(const struct origins *origins, uint32_t idx);
const struct flight_counts *origins_counts(const struct origins *origins, uint32_t idx);
/* False: it has none. */
bool origins_journal_stats(const struct origins *origins, uint32_t idx, struct journal_stats *ret);
const struct write_counts *origins_write_counts(const struct origins *origins, uint32_t idx);

#endif
