/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * origin - what a kind of origin has to be able to do: the face of SQLite, PostgreSQL, HTTP.
 *
 * Does      names the functions of a back-end and the question it is asked; splits a key into the
 *           parameters of a statement (struct origin_pattern).
 * Shape     an operator's route has a pattern and one statement for each thing it does:
 *             key = "product:{id}"      "product:17" -> $1 = "17"
 *             read = "SELECT body FROM product WHERE id = $1"
 *           Behind the key's parts comes, for a write, the value. Statements are known when the
 *           back-end is opened and named by their number from then on.
 * Units     deadlines in ns of the clock.
 * Errors    open: negative errno, and a sentence that says what is wrong and what to do. ask:
 *           -EAGAIN as many as may be wait; -ENOTCONN not reached; the query was not taken then.
 *           What became of a query is its answer.
 * Owner     the query and its parameters are the asker's and stay where they are until done was
 *           called; what an answer points to is the back-end's, until done returns.
 * Threads   all of a back-end: the one thread that opened it, whose loop it may use for its
 *           descriptors. That thread may wait for an embedded back-end, and for no other.
 * Invariant done is called once for each query that was taken, from turn or from a source of the
 *           loop, never from within ask, and at the latest in the first turn after its deadline.
 * Source    docs/origins.md.
 */
#ifndef XC_ORIGIN_ORIGIN_H
#define XC_ORIGIN_ORIGIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/loop.h"
#include "origin/answer.h"

#define ORIGIN_PARAM_MAX 16
#define ORIGIN_STATEMENT_MAX 192
#define ORIGIN_WHY_MAX 256

struct origin_statement {
	const char *text; /* with $1 … for its parameters */
	uint32_t param_cnt;
	bool as_json; /* the value is the whole row as a JSON object, not its first column */
	bool writes;
};

struct origin_query {
	/* The asker's. */
	uint32_t statement; /* which of the statements */
	struct span params[ORIGIN_PARAM_MAX];
	struct span version; /* of the value that is there: "has it changed?"; empty: none is */
	uint64_t deadline_ns;
	void (*done)(struct origin_query *query, const struct answer *answer);
	/* The back-end's. */
	struct origin_query *next;
	bool asked;
};

struct origin_setup {
	const char *target; /* a path, a connection string, the beginning of a URL */
	const struct origin_statement *statements; /* they outlive the back-end */
	uint32_t statement_cnt;
	uint32_t connection_cnt;
	uint32_t waiting_max; /* queries that were taken and have no answer yet */
	uint32_t timeout_ms;  /* no deadline is later than this */
	const struct clock *clock;
	uint64_t seed;
};

struct origin_ops {
	const char *kind; /* what a configuration calls it */
	int (*open)(const struct origin_setup *setup, struct loop *loop, void **ret,
		    char why[ORIGIN_WHY_MAX]);
	/* Answers what is still asked with FAILED. NULL-safe. */
	void (*close)(void *back);
	int (*ask)(void *back, struct origin_query *query);
	/* Lets time, and queries that were taken, take effect. */
	void (*turn)(void *back);
	/* When turn is to be called at the latest; UINT64_MAX: never, as it is; 0: now. */
	uint64_t (*next_ns)(const void *back);
};

/* --- keys --- */

#define ORIGIN_PATTERN_MAX 256

/* "product:{shop}:{id}": literal text and parts, which are as short as what follows lets them be.
 */
struct origin_pattern {
	const char *text;
	uint32_t part_cnt;
};

/* text stays where it is. On failure (-EINVAL) why says what to write instead. */
int origin_pattern_init(struct origin_pattern *pattern, const char *text, char why[ORIGIN_WHY_MAX]);
/* The key's parts, none of them empty, in their order; false: the key is not of this form. */
bool origin_pattern_split(const struct origin_pattern *pattern, struct span key,
			  struct span ret[ORIGIN_PARAM_MAX]);

#endif
