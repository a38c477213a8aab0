/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A list that grows at its head by compare-and-swap and is taken as a whole: no message is ever
 * removed alone, so none can come back in between. Who finds it empty wakes the reader; the others
 * know that somebody has.
 */
#include "base/mailbox.h"

#include <stddef.h>

void mailbox_init(struct mailbox *box, struct loop *loop)
{
	atomic_init(&box->newest, NULL);
	box->loop = loop;
}

void mailbox_post(struct mailbox *box, struct mail *mail)
{
	struct mail *newest = atomic_load_explicit(&box->newest, memory_order_relaxed);

	do {
		mail->next = newest;
	} while (!atomic_compare_exchange_weak_explicit(
		&box->newest, &newest, mail, memory_order_acq_rel, memory_order_relaxed));
	if (!newest && box->loop)
		loop_kick(box->loop);
}

struct mail *mailbox_take(struct mailbox *box)
{
	struct mail *newest, *oldest = NULL;

	if (!atomic_load_explicit(&box->newest, memory_order_relaxed))
		return NULL;
	newest = atomic_exchange_explicit(&box->newest, NULL, memory_order_acq_rel);
	while (newest) {
		struct mail *next = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	return oldest;
}
