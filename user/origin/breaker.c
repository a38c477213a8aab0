/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The window is two halves, of which the newer is being counted in: what is looked at reaches back
 * between half a window and a whole one. So the answers from before an origin's death have left it
 * after one window, and failures prevail before that.
 */
#include "origin/breaker.h"

#include <assert.h>

/* A pause is off by up to so many percent, either way. */
#define PAUSE_SPREAD_PERCENT 20

void breaker_init(struct breaker *breaker, const struct breaker_conf *conf,
		  const struct clock *clock, uint64_t seed)
{
	assert(conf->window_ms >= 2 && conf->failure_min && conf->probe_cnt);
	assert(conf->pause_ms && conf->pause_ms <= conf->pause_max_ms);
	*breaker = (struct breaker){ .conf = *conf,
				     .clock = clock,
				     .pause_ms = conf->pause_ms,
				     .since_ns = clock_now_ns(clock),
				     .half_ns = clock_now_ns(clock) };
	rand_init(&breaker->rand, seed);
}

static void enter(struct breaker *breaker, enum breaker_state state, uint64_t now_ns)
{
	breaker->state = state;
	breaker->era++;
	breaker->running_cnt = 0;
	breaker->probed_cnt = 0;
	breaker->since_ns = now_ns;
	breaker->half_ns = now_ns;
	breaker->halves[0] = breaker->halves[1] = (struct breaker_half){ 0 };
}

static void open_up(struct breaker *breaker, uint64_t now_ns)
{
	uint64_t percent = 100 - PAUSE_SPREAD_PERCENT +
			   rand_below(&breaker->rand, 2 * PAUSE_SPREAD_PERCENT + 1);
	uint64_t next_ms = 2ULL * breaker->pause_ms;

	enter(breaker, BREAKER_OPEN, now_ns);
	breaker->opened_cnt++;
	breaker->until_ns = now_ns + breaker->pause_ms * NSEC_PER_MSEC * percent / 100;
	if (next_ms > breaker->conf.pause_max_ms)
		next_ms = breaker->conf.pause_max_ms;
	breaker->pause_ms = (uint32_t)next_ms;
}

static void turn_window(struct breaker *breaker, uint64_t now_ns)
{
	uint64_t half_ns = breaker->conf.window_ms * NSEC_PER_MSEC / 2;
	uint64_t passed = (now_ns - breaker->half_ns) / half_ns;

	if (!passed)
		return;
	breaker->halves[1] = passed == 1 ? breaker->halves[0] : (struct breaker_half){ 0 };
	breaker->halves[0] = (struct breaker_half){ 0 };
	breaker->half_ns += passed * half_ns;
}

static bool fails_too_much(const struct breaker *breaker)
{
	const struct breaker_half *half = breaker->halves;
	uint64_t failed = (uint64_t)half[0].failed_cnt + half[1].failed_cnt;
	uint64_t all = failed + half[0].answered_cnt + half[1].answered_cnt;

	return failed >= breaker->conf.failure_min &&
	       failed * 100 >= all * breaker->conf.failure_percent;
}

static bool can_be_silent(const struct breaker *breaker)
{
	return breaker->conf.quiet_ms && breaker->running_cnt >= breaker->conf.failure_min;
}

static uint64_t silent_ns(const struct breaker *breaker)
{
	return breaker->quiet_ns + breaker->conf.quiet_ms * NSEC_PER_MSEC;
}

enum breaker_state breaker_look(struct breaker *breaker)
{
	uint64_t now_ns = clock_now_ns(breaker->clock);

	switch (breaker->state) {
	case BREAKER_CLOSED:
		turn_window(breaker, now_ns);
		if (fails_too_much(breaker) ||
		    (can_be_silent(breaker) && now_ns >= silent_ns(breaker)))
			open_up(breaker, now_ns);
		break;
	case BREAKER_OPEN:
		if (now_ns >= breaker->until_ns)
			enter(breaker, BREAKER_HALF_OPEN, now_ns);
		break;
	case BREAKER_HALF_OPEN:
		break;
	}
	return breaker->state;
}

uint64_t breaker_next_ns(const struct breaker *breaker)
{
	if (breaker->state == BREAKER_OPEN)
		return breaker->until_ns;
	if (breaker->state == BREAKER_CLOSED && can_be_silent(breaker))
		return silent_ns(breaker);
	return UINT64_MAX;
}

bool breaker_admit(struct breaker *breaker, uint32_t *ret_era)
{
	enum breaker_state state = breaker_look(breaker);

	if (state == BREAKER_OPEN || (state == BREAKER_HALF_OPEN && breaker->running_cnt)) {
		breaker->refused_cnt++;
		return false;
	}
	if (!breaker->running_cnt++)
		breaker->quiet_ns = clock_now_ns(breaker->clock);
	*ret_era = breaker->era;
	return true;
}

static void finish_probe(struct breaker *breaker, enum breaker_end end, uint64_t now_ns)
{
	if (end == BREAKER_FAILED) {
		open_up(breaker, now_ns);
	} else if (end == BREAKER_ANSWERED && ++breaker->probed_cnt >= breaker->conf.probe_cnt) {
		enter(breaker, BREAKER_CLOSED, now_ns);
		breaker->pause_ms = breaker->conf.pause_ms;
	}
}

void breaker_finish(struct breaker *breaker, uint32_t era, enum breaker_end end)
{
	uint64_t now_ns = clock_now_ns(breaker->clock);

	/* Silence may have ended the era just now: an answer after it comes too late. */
	breaker_look(breaker);
	if (era != breaker->era)
		return;
	assert(breaker->running_cnt && breaker->state != BREAKER_OPEN);
	breaker->running_cnt--;
	if (breaker->state == BREAKER_HALF_OPEN) {
		finish_probe(breaker, end, now_ns);
		return;
	}
	if (end == BREAKER_ANSWERED) {
		breaker->halves[0].answered_cnt++;
		breaker->quiet_ns = now_ns;
	} else if (end == BREAKER_FAILED) {
		breaker->halves[0].failed_cnt++;
		breaker_look(breaker);
	}
}

const char *breaker_state_name(enum breaker_state state)
{
	static const char *const names[] = { "closed", "open", "half_open" };

	return names[state];
}
