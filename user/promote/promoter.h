/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * promoter - decides which keys the kernel serves, and sees to it.
 *
 * Does      a thread that, ten times a second, takes what is hot (hotkey/tracker), what the
 *           kernel answered (fastpath/kmap) and what operators wish, asks the policy, and applies
 *           its answer; tells who is in the kernel, who came and went, and why.
 * Shape     a wish pins a key or bans it: one wish a key, the last one counts.
 * Errors    promoter_pin, promoter_ban: -ENOSPC too many wishes, -EMSGSIZE not a legal key.
 * Owner     sole caller of kmap_insert / kmap_remove / kmap_release.
 * Threads   its own thread; all below promoter_stop from any thread.
 * Invariant a promotion that races a write loses: entries are switched under the key's lock
 *           (coherence.h). A key whose route bars it, that is banned or that another node answers
 *           for is not promoted, pinned or not, and within a round of a reload that bars it no
 *           longer resident.
 * Source    docs/coherence.md, docs/hot-keys.md.
 */
#ifndef XC_PROMOTE_PROMOTER_H
#define XC_PROMOTE_PROMOTER_H

#include <stdbool.h>
#include <stdint.h>

#include "abi/limits.h"
#include "base/clock.h"
#include "base/span.h"
#include "promote/policy.h"

#define PROMOTER_WISH_MAX 512
#define PROMOTER_THRESHOLD_MAX 100000000 /* reads a second */
#define PROMOTER_MOVE_MAX 512		 /* remembered */

struct kmap;
struct promoter;
struct route;
struct store;
struct xc_routes;
struct swap;
struct tracker;

struct promoter_wish {
	char key[XC_KEY_MAX];
	uint8_t key_len;
	bool ban; /* else a pin */
};

/* What operators may change while it runs; 0: as at the start. */
struct promoter_limits {
	uint32_t threshold; /* reads a second that make a key hot */
	uint32_t entry_max; /* keys resident */
	uint64_t byte_max;  /* of kernel memory that they take; the lower of the two counts */
};

struct promoter_options {
	struct store *store;
	struct kmap *kmap; /* NULL: no fast path; keys are still ranked and listed */
	struct tracker *tracker;
	struct swap *routes; /* which keys may not be resident; NULL: all may */
	const struct clock *clock;
	uint32_t entry_max;	   /* residency budget, at most kmap_entry_cnt() */
	uint32_t threshold;	   /* reads a second that make a key hot */
	uint32_t place_bytes;	   /* kernel memory of one resident key */
	uint32_t negative_ttl_sec; /* of keys of no route; see struct route_rule */
	void (*grace)(void *ctx);  /* an RCU grace period */
	void *grace_ctx;
	/*
	 * This node answers for the key; NULL: for all. What is another's is never resident: the
	 * kernel would say of it what only its owner knows.
	 */
	bool (*is_here)(void *ctx, struct span key);
	/*
	 * Told of what the kernel answered since the last round, estimated; absent: that the key
	 * has no item. May be NULL.
	 */
	void (*on_hits)(void *ctx, struct span key, uint64_t hits, bool absent);
	/*
	 * The kernel answers for the key, and what it answers is old soon: within refresh_ahead of
	 * the key's route. Once a second at most. May be NULL.
	 */
	void (*on_ends_soon)(void *ctx, const struct route *route, struct span key, uint64_t hash);
	/* What the kernel counted by route numbers since it was loaded; NULL: nothing. */
	int (*read_routes)(void *ctx, struct xc_routes *ret);
	/* Told of what it answered of a route's keys since the last round. */
	void (*on_route_hits)(void *ctx, const struct route *route, uint64_t hits, uint64_t absent);
	void *ctx; /* of these five */
	/* In force from the start; borrowed during promoter_start. */
	struct promoter_limits limits;
	const struct promoter_wish *wishes;
	uint32_t wish_cnt;
};

struct promoter_row {
	char key[XC_KEY_MAX];
	uint8_t key_len;
	double read_rate; /* served by the daemon, a second */
	double write_rate;
	double kernel_rate; /* served by the kernel, a second */
	uint64_t value_len;
	uint64_t ttl_ms; /* 0: no end, or not in the store */
	bool resident;
	bool absent; /* resident as a key that has no item */
	bool pinned;
	bool banned;
	enum policy_reason reason; /* why it is or is not in the kernel */
};

struct promoter_budget {
	struct promoter_limits set; /* by operators */
	uint32_t threshold;	    /* in force */
	uint32_t threshold_start;
	uint32_t entry_max; /* in force */
	uint32_t entry_start;
	uint32_t place_cnt; /* that the maps have */
	uint32_t place_bytes;
	uint32_t resident_cnt;
	uint32_t pin_cnt, ban_cnt;
};

/* A key that came into the kernel or left it. */
struct promoter_move {
	char key[XC_KEY_MAX];
	uint8_t key_len;
	bool in;
	enum policy_reason reason;
	double rate; /* reads a second then */
	uint64_t at_ns;
};

int promoter_start(const struct promoter_options *options, struct promoter **ret);
void promoter_stop(struct promoter *promoter); /* NULL-safe; residents stay in the maps */

/*
 * Keeps the key resident whenever it exists and fits; where there is no place the coldest key that
 * is not pinned makes room. Returns after the next round has seen it; *ret_reason is POLICY_PINNED
 * or POLICY_PINNED_ABSENT when it is resident then, else why it is not.
 */
int promoter_pin(struct promoter *promoter, struct span key, enum policy_reason *ret_reason);
int promoter_unpin(struct promoter *promoter, struct span key);
/* Keeps the key out of the kernel; it has left it on return. */
int promoter_ban(struct promoter *promoter, struct span key);
int promoter_unban(struct promoter *promoter, struct span key);
/* Returns how many there are; at most max are written. */
uint32_t promoter_wishes(struct promoter *promoter, struct promoter_wish *ret, uint32_t max);

/* Residents, wishes and hot keys, hottest first. */
uint32_t promoter_list(struct promoter *promoter, struct promoter_row *rows, uint32_t max);
/* Any key, as the policy judges it in the next round. -ETIMEDOUT: there was none within 2 s. */
int promoter_explain(struct promoter *promoter, struct span key, struct promoter_row *ret);

/* -ERANGE: more entries than the maps have places, or fewer bytes than one takes. */
int promoter_set_limits(struct promoter *promoter, const struct promoter_limits *limits);
void promoter_budget(struct promoter *promoter, struct promoter_budget *ret);

/*
 * What moved since number *since, oldest first; *since becomes the number to go on with. What is no
 * longer remembered is skipped: then *ret_missed (may be NULL) says how many. A number that is not
 * given out yet, such as UINT64_MAX, means from now on.
 */
uint32_t promoter_moves(struct promoter *promoter, uint64_t *since, struct promoter_move *ret,
			uint32_t max, uint64_t *ret_missed);

#endif
