/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wait - requests that wait for answers from other threads.
 *
 * Does      keeps what a request asked for until all of it has come, its time is over or its client
 *           has left; says when to go on with it.
 * Shape     struct waits, one a thread that serves; struct wait, one a request; struct wait_part,
 *           one an answer under way, the head of whatever it asks and brings back.
 * Units     moments in ns, of the caller's clock.
 * Errors    wait_begin: NULL when out of memory, or as many wait as may.
 * Owner     a part is its wait's, also while another thread works on it: that thread changes
 *           nothing but what it was asked for, and calls wait_answer once, whatever happens. A part
 *           that comes back to nobody is freed then.
 * Threads   wait_answer: any. All else: the thread of the waits.
 * Invariant resume is called once for each wait, from waits_turn: when its last part has come or at
 *           its deadline, unless wait_end comes first. No client waits longer than that, whatever
 *           becomes of the thread that was asked.
 */
#ifndef XC_BASE_WAIT_H
#define XC_BASE_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mailbox.h"

struct wait_part {
	struct mail mail; /* first */
	struct waits *home;
	struct wait *wait; /* NULL: nobody waits for it any more */
	struct wait_part *link;
	bool came;
	void (*free)(struct wait_part *part);
};

struct wait {
	struct wait *prev, *next; /* waits->first */
	struct wait *link;	  /* the caller's */
	struct waits *home;
	struct wait_part *parts;
	uint32_t open_cnt; /* parts that have not come */
	bool over;	   /* resume was called */
	uint64_t deadline_ns;
	void (*resume)(void *ctx);
	void *ctx;
};

struct waits {
	struct mailbox box;
	struct wait *first;
	uint32_t cnt;
	uint32_t max;
	uint64_t look_ns; /* when deadlines were looked at last */
};

void waits_init(struct waits *waits, struct loop *loop, uint32_t max);
/* Frees the parts that came back too late. No wait is left, and no part is with another thread. */
void waits_fini(struct waits *waits);
/* Takes what has come, and ends what waits for too long. */
void waits_turn(struct waits *waits, uint64_t now_ns);
/* When to call it again at the latest, as far as deadlines go; UINT64_MAX: none. */
uint64_t waits_next_ns(const struct waits *waits);

/* Ends by wait_end. */
struct wait *wait_begin(struct waits *waits, uint64_t deadline_ns, void (*resume)(void *ctx),
			void *ctx);
/* Before the part is handed to the thread that answers it. A wait that was over is not any more. */
void wait_add(struct wait *wait, struct wait_part *part);
/* The part is as it is to be. */
void wait_answer(struct wait_part *part);
/* Frees the wait and what came. NULL-safe. */
void wait_end(struct wait *wait);

#endif
