/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * swap - a thing that is replaced as a whole while threads use it.
 *
 * Does      hands out the current one; keeps an old one until the last thread has let go of it.
 * Shape     what is swapped begins with a struct swap_item. Each thread has a pointer of its own to
 *           the one it uses and looks for a newer one where it holds nothing out of it: a worker
 *           at the turn of its loop, the promoter at the start of a round.
 * Owner     swap_replace takes the caller's item over; it is freed by whoever lets go of it last.
 * Threads   swap_replace: one thread at a time. swap_pick, swap_drop: any.
 * Invariant what a thread has picked stays as it is until its next swap_pick or swap_drop.
 */
#ifndef XC_BASE_SWAP_H
#define XC_BASE_SWAP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct swap_item {
	uint32_t ref_cnt; /* under the swap's lock */
	void (*free)(struct swap_item *item);
};

struct swap {
	pthread_mutex_t lock;
	struct swap_item *_Atomic current; /* NULL: there is none */
};

void swap_init(struct swap *swap);
/* No thread holds anything of it any more. */
void swap_fini(struct swap *swap);
void swap_replace(struct swap *swap, struct swap_item *item);
/* The slow half of swap_pick. */
void swap_exchange(struct swap *swap, struct swap_item **held);

/* Makes *held (at first NULL) the current one; true if it was another. One load when it was not. */
static inline bool swap_pick(struct swap *swap, struct swap_item **held)
{
	if (atomic_load_explicit(&swap->current, memory_order_relaxed) == *held)
		return false;
	swap_exchange(swap, held);
	return true;
}

/* The thread uses none any more. */
void swap_drop(struct swap *swap, struct swap_item **held);

#endif
