/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * W-TinyLFU over segments. New items enter the window, a hundredth of the log. When its oldest
 * segment is reclaimed, each item is compared with one that lately lay at the old end of the main
 * queues: only if it is asked for more often it enters the probation queue. There, what has been
 * asked for since it came goes to the protected queue; of the rest, an item stays for another round
 * if it beats what is being let in. The protected queue takes up to four fifths.
 *
 * How often a key is asked for is counted up to SKETCH_MAX: in its item's use while it is here, so
 * that a read writes nothing else, and in the sketch when it has left. The sketch forgets half of
 * everything every ten turnovers of touches; an item's count is halved each time it goes round.
 *
 * Differences from the paper: a duel's opponent is a recent one, not the very next victim; counts
 * of items that are here age by their rounds.
 *
 * Source: Einziger, Friedman, Manes, "TinyLFU", ACM ToS 13(4), 2017.
 */
#include "store/evict.h"

enum {
	QUEUE_WINDOW,
	QUEUE_PROBATION,
	QUEUE_PROTECTED,
};

#define WINDOW_SHARE 100U
#define PROTECTED_PERCENT 80U /* of main */
#define AGE_TURNOVERS 10U

/* Of an item's use. */
#define COUNT_MASK 0xfU
#define TOUCHED 0x10U /* since it came to its queue */
_Static_assert(COUNT_MASK == SKETCH_MAX && TOUCHED <= INDEX_USE_MAX, "a use holds both");

#define DUELS (sizeof(((struct evict_tinylfu *)0)->tail))

static int tinylfu_init(struct evict *evict)
{
	return sketch_init(&evict->sketch, evict->memory_cnt);
}

static uint8_t tinylfu_place(struct evict *evict, uint64_t hash)
{
	(void)hash;
	/* Nobody need be turned away before the log is full. */
	return atomic_load_explicit(&evict->tinylfu.full, memory_order_relaxed) ? QUEUE_WINDOW
										: QUEUE_PROBATION;
}

static uint8_t tinylfu_first_use(struct evict *evict, struct evict_thread *thread, uint64_t hash)
{
	uint8_t cnt = sketch_estimate(&evict->sketch, hash);

	if (cnt < SKETCH_MAX)
		cnt++;
	sketch_raise(&evict->sketch, hash, cnt);
	evict_touch(evict, thread);
	return cnt;
}

static uint8_t tinylfu_on_hit(struct evict *evict, struct evict_thread *thread, uint8_t use,
			      uint32_t hits)
{
	uint32_t cnt = (use & COUNT_MASK) + (hits < SKETCH_MAX ? hits : SKETCH_MAX);

	evict_touch(evict, thread);
	return (uint8_t)((cnt < SKETCH_MAX ? cnt : SKETCH_MAX) | TOUCHED);
}

/* Halves what is remembered, every AGE_TURNOVERS. */
static void age(struct evict *evict)
{
	struct evict_tinylfu *state = &evict->tinylfu;
	uint64_t touches = atomic_load_explicit(&evict->touch_cnt, memory_order_relaxed);

	if (touches - state->aged_at <
	    AGE_TURNOVERS * atomic_load_explicit(&evict->capacity, memory_order_relaxed))
		return;
	state->aged_at = touches;
	sketch_halve(&evict->sketch);
	atomic_store_explicit(&evict->lru.era, (evict_era(evict) + 1) % EVICT_ERAS,
			      memory_order_relaxed);
	for (uint32_t i = 0; i < DUELS; i++) {
		state->tail[i] /= 2;
		state->admitted[i] /= 2;
	}
}

static uint8_t tinylfu_victim_queue(struct evict *evict,
				    const struct evict_queue queues[SEGMENT_QUEUES])
{
	uint32_t window = queues[QUEUE_WINDOW].segment_cnt;
	uint32_t probation = queues[QUEUE_PROBATION].segment_cnt;
	uint32_t guarded = queues[QUEUE_PROTECTED].segment_cnt;

	atomic_store_explicit(&evict->tinylfu.full, true, memory_order_relaxed);
	age(evict);
	if (window > 0 && window * WINDOW_SHARE >= window + probation + guarded)
		return QUEUE_WINDOW;
	if (probation == 0 || guarded * 100 > (probation + guarded) * PROTECTED_PERCENT)
		return QUEUE_PROTECTED;
	return QUEUE_PROBATION;
}

/* The item's count, halved as often as the sketch was since the item came to its segment. */
static uint8_t aged_count(const struct evict *evict, const struct evict_item *item)
{
	return (uint8_t)((item->use & COUNT_MASK) >>
			 (uint8_t)(evict_era(evict) - item->era) % EVICT_ERAS);
}

static struct evict_verdict tinylfu_leave(struct evict *evict, uint64_t hash, uint8_t cnt)
{
	sketch_raise(&evict->sketch, hash, cnt);
	return (struct evict_verdict){ .survives = false };
}

static struct evict_verdict tinylfu_judge(struct evict *evict, const struct evict_item *item)
{
	struct evict_tinylfu *state = &evict->tinylfu;
	uint8_t cnt = aged_count(evict, item);

	if (item->queue == QUEUE_WINDOW) {
		if (cnt <= state->tail[rand_below(&evict->rand, DUELS)])
			return tinylfu_leave(evict, item->hash, cnt);
		state->admitted[state->admitted_at++ % DUELS] = cnt;
		return (struct evict_verdict){ .survives = true,
					       .queue = QUEUE_PROBATION,
					       .use = cnt };
	}
	if (item->use & TOUCHED)
		return (struct evict_verdict){ .survives = true,
					       .queue = QUEUE_PROTECTED,
					       .use = cnt };
	state->tail[state->tail_at++ % DUELS] = cnt;
	if (cnt <= state->admitted[rand_below(&evict->rand, DUELS)])
		return tinylfu_leave(evict, item->hash, cnt);
	return (struct evict_verdict){ .survives = true, .queue = QUEUE_PROBATION, .use = cnt / 2 };
}

const struct evict_policy evict_policy_tinylfu = {
	.name = "tinylfu",
	.queues_kept = 3,
	.init = tinylfu_init,
	.place = tinylfu_place,
	.first_use = tinylfu_first_use,
	.on_hit = tinylfu_on_hit,
	.victim_queue = tinylfu_victim_queue,
	.judge = tinylfu_judge,
};
