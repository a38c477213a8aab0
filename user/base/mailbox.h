/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mailbox - work that other threads hand to a loop's thread.
 *
 * Does      takes messages from any thread without waiting, wakes the loop of whoever reads them.
 * Shape     a message begins with, or holds, a struct mail; it is in one mailbox at a time.
 * Owner     messages are the sender's until mailbox_post, then the reader's.
 * Threads   mailbox_post: any. mailbox_take: the loop's thread, or any once no loop runs.
 * Invariant messages of one sender come in the order in which they were sent. A message that was
 *           posted is found by the reader's next mailbox_take, or the loop is awake for it.
 *           Nothing is allocated and nothing is refused: how many there can be is bounded by how
 *           many messages the senders have.
 */
#ifndef XC_BASE_MAILBOX_H
#define XC_BASE_MAILBOX_H

#include <stdatomic.h>

#include "base/loop.h"

struct mail {
	struct mail *next;
};

struct mailbox {
	struct mail *_Atomic newest;
	struct loop *loop; /* NULL: nobody has to be woken */
};

void mailbox_init(struct mailbox *box, struct loop *loop);
void mailbox_post(struct mailbox *box, struct mail *mail);
/* All there are, linked by `next`, the oldest first; NULL: none. */
struct mail *mailbox_take(struct mailbox *box);

#endif
