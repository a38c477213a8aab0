/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * policy - which keys should enter and leave the kernel, and why.
 *
 * Does      pure functions: what is known of one key -> whether it deserves a place, or what is
 *           against it; all candidates, all residents, the budget -> whom to promote, whom to
 *           demote.
 * Units     rates in requests a second.
 * Rules     first what no rate outweighs: a ban, a route, an item that the kernel cannot serve. A
 *           pin then deserves a place. Others need `threshold` reads a second that are sure, no
 *           more writes than reads, and POLICY_TTL_MIN_MS to live. Hottest first; with the budget
 *           used up the coldest resident makes room for a candidate whose sure rate is at least
 *           POLICY_MARGIN times what the resident's may be (the candidate follows once the place
 *           is free). Over the budget, the coldest leave
 *           down to it. Nobody leaves so before POLICY_STAY_MS, pins never. At most
 *           POLICY_CHURN_MAX of each a round.
 * Threads   any; no state.
 * Invariant every reason that an operator is shown is what these functions decided by: there is no
 *           second account of the rules.
 */
#ifndef XC_PROMOTE_POLICY_H
#define XC_PROMOTE_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#define POLICY_MARGIN 2.0
#define POLICY_STAY_MS 2000
#define POLICY_CHURN_MAX 256
/* A place costs two map calls and a grace period to give and take. */
#define POLICY_TTL_MIN_MS 500

/* X(constant, name for programs, text, what an operator can do about it) */
#define POLICY_REASONS(X)                                                                          \
	/* it deserves a place */                                                                  \
	X(POLICY_HOT, "hot", "hot", "")                                                            \
	X(POLICY_PINNED, "pinned", "pinned", "xdpcache hot unpin KEY leaves it to its rate")       \
	X(POLICY_HOT_ABSENT, "hot_absent", "hot, and it has no item",                              \
	  "set it, if it shall have one")                                                          \
	X(POLICY_PINNED_ABSENT, "pinned_absent", "pinned; it has no item", "set it")               \
	/* it has one */                                                                           \
	X(POLICY_KEPT, "kept", "was hot; stays until its place is needed", "")                     \
	X(POLICY_RETURNING, "returning", "waiting for the key to come back", "")                   \
	/* it gets none */                                                                         \
	X(POLICY_NO_FASTPATH, "no_fastpath", "no fast path",                                       \
	  "start the daemon with --interface; xdpcache doctor says what is missing")               \
	X(POLICY_BANNED, "banned", "banned by an operator", "xdpcache hot unban KEY")              \
	X(POLICY_ROUTE, "route", "its route keeps it out of the kernel",                           \
	  "promote = true in that route, then reload")                                             \
	X(POLICY_AUTH, "auth", "its route keeps it out of the kernel: auth",                       \
	  "what must be authenticated for is never in the kernel; another prefix, or auth = "      \
	  "false")                                                                                 \
	X(POLICY_ELSEWHERE, "elsewhere", "another node of the cluster answers for it",             \
	  "xdpcache cluster ring KEY says which; ask there")                                       \
	X(POLICY_ABSENT, "absent", "not in the store", "set it; a pin waits for it")               \
	X(POLICY_STALE, "stale", "invalidated: waits for a client to bring its new value",         \
	  "it returns with the next set")                                                          \
	X(POLICY_WON, "won", "one client was told to bring its new value",                         \
	  "it returns with the next set")                                                          \
	X(POLICY_BASE64, "base64", "its key was given in base64", "write it with its key as text") \
	X(POLICY_TOO_LARGE, "too_large",                                                           \
	  "value or key does not fit a datagram the kernel answers",                               \
	  "make the value smaller: split it, or compress it in the client")                        \
	X(POLICY_KEY_BYTES, "key_bytes", "its key holds bytes that no line of text can",           \
	  "use a key without blanks and control characters")                                       \
	X(POLICY_COLD, "cold", "below the threshold",                                              \
	  "xdpcache hot pin KEY, or lower it: xdpcache hot threshold N")                           \
	X(POLICY_UNSURE, "unsure",                                                                 \
	  "may be hot: too few of its requests were looked at to be sure",                         \
	  "look again in a second")                                                                \
	X(POLICY_WRITES, "writes", "more writes than reads",                                       \
	  "each write would change the kernel's entry, too; xdpcache hot pin KEY insists")         \
	X(POLICY_ENDS_SOON, "ends_soon", "its TTL ends too soon to be worth a place",              \
	  "a longer TTL, or xdpcache hot pin KEY")                                                 \
	X(POLICY_SOON, "soon", "hot: enters within a few tenths of a second", "")                  \
	X(POLICY_NO_ROOM, "no_room", "waits for a place: all are taken by hotter or pinned keys",  \
	  "a larger budget: xdpcache hot budget; or xdpcache hot pin KEY")                         \
	X(POLICY_CHANGED, "changed", "changed while it was being promoted", "look again")          \
	X(POLICY_REFUSED, "refused", "the kernel's map refused it", "see the daemon's log")        \
	/* it had one */                                                                           \
	X(POLICY_DISPLACED, "displaced", "made room for a hotter or a pinned key",                 \
	  "a larger budget: xdpcache hot budget; or xdpcache hot pin KEY")                         \
	X(POLICY_OVER_BUDGET, "over_budget", "the budget was lowered", "xdpcache hot budget")

enum policy_reason {
#define X(constant, name, text, advice) constant,
	POLICY_REASONS(X)
#undef X
		POLICY_REASON_CNT,
};

/* All that is judged of a key. Zeroed: nothing is against it, and nobody asks for it. */
struct policy_key {
	double read_rate;  /* whoever answers them */
	double read_doubt; /* so much less it may be */
	double write_rate;
	uint64_t ttl_ms;	 /* left of its life; 0: no end */
	enum policy_reason rule; /* of its route, or no fast path at all; POLICY_HOT: none */
	enum policy_reason item; /* why the kernel cannot serve it; POLICY_HOT: it can */
	bool absent;		 /* nothing is stored, and the kernel may say so */
	bool pinned;
	bool banned;
};

struct policy_resident {
	double rate;	  /* kernel and daemon reads: almost surely not more */
	uint64_t stay_ms; /* since it was promoted */
	bool pinned;
};

struct policy_input {
	const struct policy_key *candidates; /* hottest first */
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
	uint32_t excess_cnt; /* so many of them, from the first, leave because of the budget */
	/* one that policy_deserves(): promoted now; room for candidate_cnt, the caller's */
	enum policy_reason *reasons;
};

/* What is against the key; policy_deserves(): nothing is. */
enum policy_reason policy_judge(const struct policy_key *key, double threshold);
/* True if a key of which this was said deserves a place. */
bool policy_deserves(enum policy_reason reason);
/* The same as policy_judge of a key that has a place, where being cold costs nobody anything. */
enum policy_reason policy_judge_resident(const struct policy_key *key, double threshold);
void policy_pick(const struct policy_input *input, struct policy_actions *ret);

const char *policy_name(enum policy_reason reason);
const char *policy_text(enum policy_reason reason);
const char *policy_advice(enum policy_reason reason); /* empty: nothing to do */

#endif
