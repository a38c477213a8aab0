/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/wait.h"

#include <stddef.h>

#include "base/alloc.h"
#include "base/clock.h"

/* Deadlines are kept to this: looking at all of them at each turn would cost more than it gives. */
#define LOOK_NS (10 * NSEC_PER_MSEC)

void waits_init(struct waits *waits, struct loop *loop, uint32_t max)
{
	*waits = (struct waits){ .max = max };
	mailbox_init(&waits->box, loop);
}

static void take(struct wait_part *part)
{
	struct wait *wait = part->wait;

	part->came = true;
	if (!wait) {
		part->free(part);
		return;
	}
	if (--wait->open_cnt > 0 || wait->over)
		return;
	wait->over = true;
	wait->resume(wait->ctx);
}

static void take_all(struct waits *waits)
{
	struct mail *mail = mailbox_take(&waits->box);

	while (mail) {
		struct mail *next = mail->next;

		take((struct wait_part *)mail);
		mail = next;
	}
}

void waits_fini(struct waits *waits)
{
	take_all(waits);
}

void waits_turn(struct waits *waits, uint64_t now_ns)
{
	take_all(waits);
	if (!waits->first || now_ns < waits_next_ns(waits))
		return;
	waits->look_ns = now_ns;
	for (struct wait *wait = waits->first, *next; wait; wait = next) {
		next = wait->next;
		if (wait->over || now_ns < wait->deadline_ns)
			continue;
		wait->over = true;
		wait->resume(wait->ctx);
	}
}

uint64_t waits_next_ns(const struct waits *waits)
{
	return waits->first ? waits->look_ns + LOOK_NS : UINT64_MAX;
}

struct wait *wait_begin(struct waits *waits, uint64_t deadline_ns, void (*resume)(void *ctx),
			void *ctx)
{
	struct wait *wait = waits->cnt < waits->max ? alloc_zero(1, sizeof(*wait)) : NULL;

	if (!wait)
		return NULL;
	*wait = (struct wait){ .home = waits,
			       .next = waits->first,
			       .deadline_ns = deadline_ns,
			       .resume = resume,
			       .ctx = ctx };
	if (wait->next)
		wait->next->prev = wait;
	waits->first = wait;
	waits->cnt++;
	return wait;
}

void wait_add(struct wait *wait, struct wait_part *part)
{
	part->home = wait->home;
	part->wait = wait;
	part->came = false;
	part->link = wait->parts;
	wait->parts = part;
	wait->open_cnt++;
	wait->over = false;
}

void wait_answer(struct wait_part *part)
{
	mailbox_post(&part->home->box, &part->mail);
}

void wait_end(struct wait *wait)
{
	struct waits *waits;

	if (!wait)
		return;
	waits = wait->home;
	if (wait->prev)
		wait->prev->next = wait->next;
	else
		waits->first = wait->next;
	if (wait->next)
		wait->next->prev = wait->prev;
	waits->cnt--;
	while (wait->parts) {
		struct wait_part *part = wait->parts;

		wait->parts = part->link;
		part->wait = NULL;
		if (part->came)
			part->free(part);
	}
	alloc_free(wait);
}
