/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * answer - how a question to an origin ended.
 *
 * Does      says the same of every kind of origin, so that who asks need not know which it was.
 * Units     ages in ms.
 * Owner     spans and texts are the back-end's, until the function that was given them returns.
 * Threads   the origin's thread.
 */
#ifndef XC_ORIGIN_ANSWER_H
#define XC_ORIGIN_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

enum answer_kind {
	ANSWER_FOUND,	/* value */
	ANSWER_ABSENT,	/* the origin has none; or a write that changed nothing */
	ANSWER_DONE,	/* a write was made */
	ANSWER_FAILED,	/* not reached, too busy, too late: another time it may work */
	ANSWER_REFUSED, /* it will never work: the origin said no to this very question */
};

/* What the origin itself says about how long its answer is good; UINT64_MAX: it says nothing. */
struct answer_age {
	uint64_t fresh_ms;
	uint64_t stale_ms;	    /* … and may still be given while a new one is fetched */
	uint64_t stale_if_error_ms; /* … and while the origin fails */
	bool no_store;
};

#define ANSWER_AGE_UNSAID                                                                          \
	((struct answer_age){                                                                      \
		.fresh_ms = UINT64_MAX, .stale_ms = UINT64_MAX, .stale_if_error_ms = UINT64_MAX })

struct answer {
	enum answer_kind kind;
	struct span value;
	struct span version; /* what to ask "has it changed?" with next time; empty: nothing */
	bool unchanged;	     /* FOUND, and what was asked about is still right: no value */
	struct answer_age age;
	const char *reason; /* FAILED, REFUSED: for an operator's eyes; else "" */
};

#endif
