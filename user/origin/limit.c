/* SPDX-License-Identifier: BSD-2-Clause */
#include "origin/limit.h"

#include <assert.h>
#include <stddef.h>

#include "base/clock.h"

void limit_rate_init(struct limit_rate *rate, uint32_t qps, uint32_t burst)
{
	/* Rounded up: never more than qps. */
	uint64_t token_ns = qps ? (NSEC_PER_SEC + qps - 1) / qps : 0;

	assert(burst);
	*rate = (struct limit_rate){ .token_ns = token_ns, .burst_ns = token_ns * burst };
}

uint64_t limit_rate_take(struct limit_rate *rate, uint64_t now_ns, enum limit_who who)
{
	uint64_t full_ns = rate->full_ns > now_ns ? rate->full_ns : now_ns;
	uint64_t limit_ns = now_ns + rate->burst_ns;

	if (!rate->token_ns)
		return 0;
	/* Of a bucket that holds a single token there is no half. */
	if (who == LIMIT_BACKGROUND && rate->burst_ns >= 2 * rate->token_ns)
		limit_ns -= rate->burst_ns / 2;
	full_ns += rate->token_ns;
	if (full_ns > limit_ns)
		return full_ns - limit_ns;
	rate->full_ns = full_ns;
	return 0;
}

void limit_room_init(struct limit_room *room, uint32_t running_max, uint32_t background_max,
		     uint32_t waiting_max)
{
	assert(running_max && background_max <= running_max);
	*room = (struct limit_room){ .running_max = running_max,
				     .background_max = background_max,
				     .waiting_max = waiting_max };
}

static void line_append(struct limit_line *line, struct limit_waiter *waiter)
{
	waiter->next = NULL;
	waiter->prev = line->last;
	if (line->last)
		line->last->next = waiter;
	else
		line->first = waiter;
	line->last = waiter;
	line->cnt++;
}

static void line_remove(struct limit_line *line, struct limit_waiter *waiter)
{
	if (waiter->prev)
		waiter->prev->next = waiter->next;
	else
		line->first = waiter->next;
	if (waiter->next)
		waiter->next->prev = waiter->prev;
	else
		line->last = waiter->prev;
	line->cnt--;
}

static bool has_place(const struct limit_room *room, enum limit_who who)
{
	const uint32_t *running = room->running_cnt;

	if (running[LIMIT_CLIENT] + running[LIMIT_BACKGROUND] >= room->running_max)
		return false;
	return who == LIMIT_CLIENT ||
	       (running[LIMIT_BACKGROUND] < room->background_max && !room->lines[LIMIT_CLIENT].cnt);
}

enum limit_verdict limit_enter(struct limit_room *room, struct limit_waiter *waiter,
			       enum limit_who who)
{
	struct limit_line *line = &room->lines[who];

	waiter->who = who;
	waiter->waits = false;
	if (!line->cnt && has_place(room, who)) {
		room->running_cnt[who]++;
		return LIMIT_ENTERED;
	}
	if (line->cnt >= room->waiting_max) {
		room->refused_cnt[who]++;
		return LIMIT_FULL;
	}
	waiter->waits = true;
	line_append(line, waiter);
	return LIMIT_WAITS;
}

void limit_leave(struct limit_room *room, enum limit_who who)
{
	assert(room->running_cnt[who]);
	room->running_cnt[who]--;
}

struct limit_waiter *limit_pick(struct limit_room *room)
{
	for (uint32_t who = 0; who < LIMIT_WHO_CNT; who++) {
		struct limit_waiter *first = room->lines[who].first;

		if (!first || !has_place(room, who))
			continue;
		limit_remove(room, first);
		room->running_cnt[who]++;
		return first;
	}
	return NULL;
}

void limit_remove(struct limit_room *room, struct limit_waiter *waiter)
{
	if (!waiter->waits)
		return;
	waiter->waits = false;
	line_remove(&room->lines[waiter->who], waiter);
}
