/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/swap.h"

#include <stddef.h>

/* Caller holds the lock and frees what is returned once it has let go of it. */
static struct swap_item *put(struct swap_item *item)
{
	return item && --item->ref_cnt == 0 ? item : NULL;
}

static void free_item(struct swap_item *item)
{
	if (item)
		item->free(item);
}

void swap_init(struct swap *swap)
{
	pthread_mutex_init(&swap->lock, NULL);
	atomic_init(&swap->current, NULL);
}

void swap_fini(struct swap *swap)
{
	swap_replace(swap, NULL);
	pthread_mutex_destroy(&swap->lock);
}

void swap_replace(struct swap *swap, struct swap_item *item)
{
	struct swap_item *last;

	pthread_mutex_lock(&swap->lock);
	last = put(atomic_load_explicit(&swap->current, memory_order_relaxed));
	if (item)
		item->ref_cnt = 1;
	atomic_store_explicit(&swap->current, item, memory_order_relaxed);
	pthread_mutex_unlock(&swap->lock);
	free_item(last);
}

void swap_exchange(struct swap *swap, struct swap_item **held)
{
	struct swap_item *last;

	/* The lock also orders: what was written before swap_replace is seen behind it. */
	pthread_mutex_lock(&swap->lock);
	last = put(*held);
	*held = atomic_load_explicit(&swap->current, memory_order_relaxed);
	if (*held)
		(*held)->ref_cnt++;
	pthread_mutex_unlock(&swap->lock);
	free_item(last);
}

void swap_drop(struct swap *swap, struct swap_item **held)
{
	struct swap_item *last;

	pthread_mutex_lock(&swap->lock);
	last = put(*held);
	*held = NULL;
	pthread_mutex_unlock(&swap->lock);
	free_item(last);
}
