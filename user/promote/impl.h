/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * impl - what the files of the promoter share.
 *
 * Does      promoter.c runs the rounds, rows.c says what each round found, ask.c answers other
 *           threads.
 * Owner     struct promoter: the round's own fields are the promoter thread's; those under lock
 *           belong to whoever holds it.
 */
#ifndef XC_PROMOTE_IMPL_H
#define XC_PROMOTE_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/swap.h"
#include "hotkey/tracker.h"
#include "promote/promoter.h"
#include "promote/rate.h"
#include "store/store.h"

#define ROWS_MAX 1024 /* listed, of residents and of candidates each */

struct wish {
	struct promoter_wish what;
	uint64_t hash;
	enum policy_reason reason; /* of a pin: POLICY_PINNED, or why it is not resident */
	double read_rate, write_rate;
};

/* A place in use. */
struct resident {
	uint32_t idx;
	uint32_t hits_seen;
	struct rate kernel; /* what the kernel answers */
	uint64_t stamp_ns;  /* of the last hit, as last seen */
	double read_rate;   /* what the daemon still sees of it */
	double write_rate;
	uint64_t since_ns;
	uint64_t vacant_ns; /* 0: serving */
	uint64_t ahead_ns;  /* its route's refresh_ahead */
	uint64_t asked_ns;  /* on_ends_soon */
	bool pinned;
	enum policy_reason leaves; /* the round's: why the policy gives its place away */
};

/* A hot key without a place or a wish. Beside it in the round: what the policy judges. */
struct candidate {
	uint32_t hot; /* index */
	uint64_t value_len;
};

/* What one thread at a time wants explained. */
struct question {
	bool taken;  /* somebody waits for its answer */
	bool is_new; /* for the next round */
	char key[XC_KEY_MAX];
	uint8_t key_len;
	struct promoter_row row;
};

struct promoter {
	struct promoter_options options;
	struct store_thread *thread;
	pthread_t pthread;
	_Atomic bool stop;

	/* the round's own */
	struct resident *residents;
	uint32_t resident_cnt;
	uint32_t *resident_at; /* place -> index in residents */
	struct policy_resident *policy_residents;
	struct hot_key *hot;
	struct candidate *candidates;
	struct policy_key *policy_keys;	       /* of each candidate */
	enum policy_reason *candidate_reasons; /* what the policy said */
	uint32_t hot_cnt, candidate_cnt;
	uint32_t listed[ROWS_MAX]; /* indices in residents */
	uint32_t place_wanted_cnt; /* by pins, in vain */
	uint64_t last_ns;
	struct swap_item *routes; /* the round's */
	struct xc_routes *kernel; /* as read last; NULL: not counted */
	uint32_t released;	  /* places of the kmap known to be free again */
	uint32_t threshold;	  /* the round's */
	uint32_t entry_max;

	/* shared, under lock */
	pthread_mutex_t lock;
	pthread_cond_t wake, done;
	uint64_t round;
	bool asked;
	struct promoter_limits limits;
	struct wish wishes[PROMOTER_WISH_MAX];
	uint32_t wish_cnt;
	struct question question;
	struct promoter_row *rows;
	uint32_t row_cnt;
	uint32_t counted_residents; /* after the last round */

	/* shared, under a lock of their own: moves happen while the other one is held */
	pthread_mutex_t moves_lock;
	struct promoter_move moves[PROMOTER_MOVE_MAX]; /* number n lies in n % MAX */
	uint64_t move_cnt;			       /* ever */
};

/* NULL: there is none. Lock held. */
struct wish *wish_find(struct promoter *p, struct span key, uint64_t hash);
/* Lock held, or before the thread runs. */
int wish_add(struct promoter *p, struct span key, bool ban);
/* The limits that hold now. Lock held. */
void limits_in_force(const struct promoter *p, uint32_t *ret_threshold, uint32_t *ret_entry_max);

/*
 * All that is judged of a key but its rates, which are the caller's; *ret_value_len 0 where it is
 * not in the store. Promoter thread.
 */
void know_key(const struct promoter *p, struct span key, uint64_t hash, struct policy_key *ret,
	      uint64_t *ret_value_len);
/* Reads a second, whoever answers them. */
double rate_of(const struct resident *resident);

/* Before the first round. */
int routes_start(struct promoter *p);
/* Tells what the kernel has answered of the routes of the round before. */
void routes_note(struct promoter *p);

/* The round's rows, and the answers to all questions; tells those who wait. */
void rows_publish(struct promoter *p);

#endif
