/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * policy - which keys should enter and leave the kernel.
 *
 * Does      a pure function: what is hot, what is resident, the budget -> whom to promote, whom
 *           to demote.
 * Units     rates in requests a second.
 * Rules     promote from `threshold` reads a second up, hottest first, unless writes outnumber
 *           reads or its route bars it. With the budget used up, demote the coldest resident for
 *           a candidate that is at least POLICY_MARGIN times as hot (the candidate follows once the
 *           place is free). Over the budget, demote the coldest down to it. Nobody leaves before
 *           POLICY_STAY_MS, pins never. At most POLICY_CHURN_MAX of each a round.
 * Threads   any; no state.
 */
#ifndef XC_PROMOTE_POLICY_H
#define XC_PROMOTE_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#define POLICY_MARGIN 2.0
#define POLICY_STAY_MS 2000
#define POLICY_CHURN_MAX 256

struct policy_candidate {
	double read_rate;
	double write_rate;
	bool barred; /* its route keeps it out */
};

struct policy_resident {
	double rate;	  /* kernel and daemon reads */
	uint64_t stay_ms; /* since it was promoted */
	bool pinned;
};

struct policy_input {
	const struct policy_candidate *candidates; /* hottest first */
	uint32_t candidate_cnt;
	const struct policy_resident *residents;
	uint32_t resident_cnt;
	uint32_t entry_max;
	double threshold;
};

struct policy_actions {
	uint32_t promote[POLICY_CHURN_MAX]; /* indices into candidates */
	uint32_t promote_cnt;
	uint32_t demote[POLICY_CHURN_MAX]; /* indices into residents */
	uint32_t demote_cnt;
};

/* True if the candidate is worth a place at all. */
bool policy_is_hot(const struct policy_candidate *candidate, double threshold);
void policy_pick(const struct policy_input *input, struct policy_actions *ret);

#endif
