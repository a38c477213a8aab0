/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The reclaimer: one background thread that keeps segments free, so that no worker ever evicts.
 *
 * A round picks a batch of sealed segments, in this order of reason: flushed, expired whole, (only
 * when free segments run short) most dead bytes, and only then the policy's oldest. Each is taken
 * out of its queue and emptied: every item still in the index is unlinked, or copied to the young
 * end of a queue. Then the round waits once: until every thread of ours has been quiescent, and
 * until every kernel program that started before has returned. Only then are the segments free. One
 * wait a batch, because the kernel's takes 8 to 28 ms.
 */
#include <time.h>
#include <unistd.h>

#include "store/impl.h"

#define BATCH_MAX 64
/* Segments of blocks that are drained in one round. */
#define DRAIN_MAX 16
/* Items whose buckets are fetched from memory at the same time. */
#define PREFETCH_MAX 16
#define ROUND_IDLE_MS 100
/* Segments with at least 1/8 of their bytes dead are cleaned before any live item is evicted. */
#define DEAD_SHARE 8
#define EPOCH_POLL_NS 50000
/* Free segments below which nothing more is copied before the emptied ones are released. */
#define COPY_ROOM 2
/* The policy's answers are weighed over this many segments. */
#define JUDGED_SEGMENTS 64
#define RANDOM_TRIES 64

enum reason {
	REASON_FLUSHED,
	REASON_EXPIRED,
	REASON_DEAD,
	REASON_LIMIT, /* lies above the limit */
	REASON_EVICT,
};

void store_wake_reclaimer(struct store *store)
{
	pthread_mutex_lock(&store->wake_lock);
	store->wake_asked = true;
	pthread_cond_signal(&store->wake);
	pthread_mutex_unlock(&store->wake_lock);
}

/* --- what a round has and lacks --- */

struct round {
	uint32_t emptied[BATCH_MAX];
	uint32_t cnt;
	uint32_t chains; /* buried chains, linked by segment_link.buried */
	uint32_t chain_blocks;
	uint32_t moved; /* pieces of chains, replaced by copies; linked by segment_link.buried */
	uint32_t moved_cnt;
	uint32_t drained_cnt; /* segments of blocks that will be free below the limit */
	uint32_t above_cnt;   /* of the emptied ones: above the limit, so not free afterwards */
	bool evict_whole;     /* a segment, whatever is free: the index is full */
	bool flush_left;      /* some flushed segment is still open or being written */
};

/*
 * Segments still to be freed; those of this round, and of chains buried by now, are on their way.
 * Free blocks count, too: large values take them first, and drain_needed() makes segments of them.
 */
static uint32_t lacking(struct store *store, const struct round *round)
{
	uint32_t target =
		store_free_target(store) + atomic_load(&store->demand) + store_limit_step(store);
	uint32_t coming, blocks;

	pthread_mutex_lock(&store->pool.lock);
	blocks = store->dead_blocks + round->chain_blocks + store->pool.block_free_cnt;
	coming = store->pool.free.cnt + round->cnt - round->above_cnt +
		 blocks / segment_block_cnt(&store->pool);
	pthread_mutex_unlock(&store->pool.lock);
	return coming < target ? target - coming : 0;
}

/* --- emptying one segment --- */

enum fate {
	FATE_MOVED,
	FATE_STAYS, /* there is no room for a copy */
	FATE_FLUSHED,
	FATE_EXPIRED,
	FATE_EVICTED,
};

/*
 * The policy's answer, but for one rule: over time at least 1/8 of what it is asked about leaves.
 * Items that are all asked for faster than they go round would keep eviction busy and free
 * nothing.
 */
static struct evict_verdict judge(struct store *store, const struct evict_item *item,
				  uint32_t bytes)
{
	uint64_t segment = segment_bytes(&store->pool);
	struct evict_verdict verdict = store->evict.policy->judge(&store->evict, item);

	if (store->judged_bytes > JUDGED_SEGMENTS * segment) {
		store->judged_bytes /= 2;
		store->kept_bytes /= 2;
	}
	store->judged_bytes += bytes;
	if (store->kept_bytes + bytes > store->judged_bytes / 8 * 7 + segment)
		verdict.survives = false;
	if (verdict.survives)
		store->kept_bytes += bytes;
	return verdict;
}

/* What becomes of an item of the index; a copy is in place on return. Its bucket is locked. */
static enum fate settle_item(struct store_thread *t, struct index_slot *slot, uint64_t hash,
			     const struct segment *seg, enum reason reason)
{
	struct store *store = t->store;
	uint32_t flush_gen = atomic_load(&store->flush_gen);
	uint64_t loc = index_slot_loc(slot), new_loc;
	struct item_header *item = item_at(store->pool.base, loc);
	struct evict_item asked = { .hash = hash,
				    .queue = seg->queue,
				    .era = seg->era,
				    .use = (uint8_t)index_slot_use(slot) };
	struct evict_verdict verdict = { .survives = true,
					 .queue = evict_home(&store->evict, &asked),
					 .use = asked.use };

	if (item_is_flushed(store, loc))
		return FATE_FLUSHED;
	if (!item_is_live(store, loc))
		return FATE_EXPIRED;
	if (reason == REASON_EVICT)
		verdict = judge(store, &asked, item_bytes(item));
	if (!verdict.survives)
		return FATE_EVICTED;
	new_loc = store_copy_item(t, loc, item_expire_ds(item), verdict.queue);
	if (!new_loc)
		return reason == REASON_EVICT ? FATE_EVICTED : FATE_STAYS;
	if (item_is_flushed(store, loc)) {
		store_drop_copy(t, new_loc);
		return FATE_FLUSHED;
	}
	index_slot_set_use(slot, verdict.use);
	store_switch(t, slot, hash, new_loc, flush_gen, STORE_CHANGE_MOVE, true);
	store_item_done(store, new_loc);
	return FATE_MOVED;
}

/* False if the item stays where it is. */
static bool empty_item(struct store_thread *t, uint64_t loc, uint64_t hash,
		       const struct segment *seg, enum reason reason)
{
	struct store *store = t->store;
	struct index_lock lock = index_lock(&store->index, hash);
	enum fate fate = FATE_MOVED;
	struct index_slot slot;

	/* Not there: replaced or removed since. */
	if (index_find_place(&store->index, &lock, loc, &slot))
		fate = settle_item(t, &slot, hash, seg, reason);
	switch (fate) {
	case FATE_FLUSHED:
		store_unlink(t, &lock, &slot, STORE_CHANGE_REMOVE);
		break;
	case FATE_EXPIRED:
		store_unlink(t, &lock, &slot, STORE_CHANGE_EXPIRE);
		break;
	case FATE_EVICTED:
		store_unlink(t, &lock, &slot, STORE_CHANGE_EVICT);
		break;
	case FATE_MOVED:
	case FATE_STAYS:
		break;
	}
	index_unlock(&lock);
	return fate != FATE_STAYS;
}

/*
 * Evicting all items of a segment whose items hold much more than itself would give up more than is
 * needed: it stops where that is reached.
 */
static bool is_enough(struct store *store, const struct round *round, const struct segment *seg)
{
	return !round->evict_whole && seg->chain_blocks > segment_block_cnt(&store->pool) &&
	       lacking(store, round) == 0;
}

/* False if something of it stays. */
static bool empty_segment(struct store_thread *t, const struct round *round, uint32_t idx,
			  enum reason reason)
{
	struct segment_pool *pool = &t->store->pool;
	struct segment *seg = &pool->segments[idx];
	uint64_t loc = segment_loc(pool, idx) + sizeof(struct segment_header);
	uint64_t end = segment_loc(pool, idx) + seg->used;

	while (loc < end && atomic_load_explicit(&seg->live_bytes, memory_order_acquire) > 0) {
		uint64_t locs[PREFETCH_MAX], hashes[PREFETCH_MAX];
		uint32_t cnt = 0;

		/* Their buckets lie anywhere: wait for many at the same time. */
		for (; loc < end && cnt < PREFETCH_MAX;
		     loc += item_bytes(item_at(pool->base, loc))) {
			uint32_t word0 = item_word0(item_at(pool->base, loc));

			if (!(word0 & ITEM_COMMITTED) || (word0 & ITEM_DEAD))
				continue;
			locs[cnt] = loc;
			hashes[cnt] = store_hash_at(t->store, loc);
			store_prefetch_slot(t->store, hashes[cnt++]);
		}
		for (uint32_t i = 0; i < cnt; i++) {
			if (reason == REASON_EVICT && is_enough(t->store, round, seg)) {
				/* Cleaning would take the rest to the young end. */
				seg->begun = !t->store->evict.policy->random_victim;
				return false;
			}
			if (!empty_item(t, locs[i], hashes[i], seg, reason))
				return false;
		}
	}
	return true;
}

/* --- choosing --- */

static bool may_take(const struct segment *seg)
{
	return segment_state(seg) == SEGMENT_SEALED &&
	       atomic_load_explicit(&seg->pending_cnt, memory_order_acquire) == 0;
}

static bool is_flushed(const struct store *store, const struct segment *seg)
{
	return atomic_load(&store->flush_pending) &&
	       segment_seq(seg) <= atomic_load(&store->flush_seq);
}

/* Bytes of a sealed segment that a copy of the rest would win. */
static uint32_t dead_bytes(const struct segment_pool *pool, const struct segment *seg)
{
	uint32_t all = seg->used - (uint32_t)sizeof(struct segment_header);

	if (seg->sealed_early)
		all = segment_payload(pool);
	return all - atomic_load(&seg->live_bytes);
}

/* The sealed segment with the most dead bytes, if they are worth a copy of the rest. */
static uint32_t most_dead(struct store *store)
{
	uint32_t best = SEGMENT_NONE;
	uint32_t best_dead = segment_payload(&store->pool) / DEAD_SHARE;

	for (uint32_t i = 1; i < store->pool.cnt; i++) {
		struct segment *seg = &store->pool.segments[i];
		uint32_t dead;

		if (!may_take(seg) || seg->begun)
			continue;
		dead = dead_bytes(&store->pool, seg);
		if (dead > best_dead) {
			best = i;
			best_dead = dead;
		}
	}
	return best;
}

/* pool->lock is held. */
static uint32_t oldest_of(const struct store *store, uint8_t queue)
{
	uint32_t idx = store->pool.queues[queue].head;

	while (idx != SEGMENT_NONE && !may_take(&store->pool.segments[idx]))
		idx = store->pool.segments[idx].next;
	return idx;
}

/* A sealed segment drawn at random; pool->lock is held. */
static uint32_t any_sealed(struct store *store)
{
	uint32_t idx = SEGMENT_NONE;

	for (uint32_t tries = 0; tries < RANDOM_TRIES && idx == SEGMENT_NONE; tries++) {
		idx = (uint32_t)rand_below(&store->evict.rand, store->pool.cnt);
		if (!may_take(&store->pool.segments[idx]))
			idx = SEGMENT_NONE;
	}
	return idx;
}

/* pool->lock is held. */
static void describe_queues(const struct store_thread *t, struct evict_queue *ret)
{
	const struct segment_pool *pool = &t->store->pool;

	for (uint32_t q = 0; q < SEGMENT_QUEUES; q++) {
		const struct segment_list *list = &pool->queues[q];

		ret[q] = (struct evict_queue){
			.segment_cnt = list->cnt + list->chain_blocks / segment_block_cnt(pool),
			.has_sealed = list->cnt > 0,
			.era = pool->segments[list->head].era
		};
		for (uint32_t c = 0; c < TTL_CLASS_CNT; c++) {
			uint32_t idx = t->open[q][c];

			if (idx != SEGMENT_NONE)
				ret[q].segment_cnt += 1 + pool->segments[idx].chain_blocks /
								  segment_block_cnt(pool);
		}
	}
}

static uint32_t policy_victim(struct store_thread *t)
{
	struct store *store = t->store;
	const struct evict_policy *policy = store->evict.policy;
	struct evict_queue queues[SEGMENT_QUEUES];
	uint32_t idx = SEGMENT_NONE;
	uint8_t queue;

	pthread_mutex_lock(&store->pool.lock);
	describe_queues(t, queues);
	pthread_mutex_unlock(&store->pool.lock);
	queue = policy->victim_queue(&store->evict, queues);
	/* What is left there are copies of the reclaimer's own, in a segment not yet full. */
	if (!queues[queue].has_sealed)
		store_seal_queue(t, queue);

	pthread_mutex_lock(&store->pool.lock);
	if (policy->random_victim)
		idx = any_sealed(store);
	if (idx == SEGMENT_NONE)
		idx = oldest_of(store, queue);
	for (uint8_t q = 0; q < SEGMENT_QUEUES && idx == SEGMENT_NONE; q++)
		idx = oldest_of(store, q);
	pthread_mutex_unlock(&store->pool.lock);
	return idx;
}

/* --- a round --- */

/* What the chains of the items left in a detached segment hold. */
static void count_chains(struct store *store, uint32_t idx)
{
	struct segment *seg = &store->pool.segments[idx];
	uint64_t loc = segment_loc(&store->pool, idx) + sizeof(struct segment_header);
	uint64_t end = segment_loc(&store->pool, idx) + seg->used;

	seg->chain_blocks = 0;
	while (loc < end) {
		struct item_header *item = item_at(store->pool.base, loc);
		uint32_t word0 = item_word0(item);

		if ((word0 & ITEM_COMMITTED) && !(word0 & ITEM_DEAD) && (word0 & ITEM_CHAINED)) {
			struct chain_shape shape =
				chain_shape(store, item_chain_of(item).value_len);

			seg->chain_blocks += chain_blocks(store, &shape);
		}
		loc += item_bytes(item);
	}
}

static bool take(struct store_thread *t, struct round *round, uint32_t idx, enum reason reason)
{
	segment_detach(&t->store->pool, idx);
	if (!empty_segment(t, round, idx, reason)) {
		count_chains(t->store, idx);
		segment_attach(&t->store->pool, idx);
		return false;
	}
	round->emptied[round->cnt++] = idx;
	return true;
}

/* All that is left lies in open segments: ask for them. */
static void ask_to_seal(struct store_thread *t)
{
	atomic_fetch_add(&t->store->seal_gen, 1);
	store_seal_open(t, true);
	segment_nudge(&t->store->pool);
}

static bool move_piece(struct store_thread *t, struct round *round, uint32_t piece)
{
	if (!chain_move_piece(t, piece))
		return false;
	/* Its next piece stays: a reader may be on the way there. */
	piece_link(&t->store->pool, piece)->buried = round->moved;
	round->moved = piece;
	round->moved_cnt++;
	return true;
}

/* Moves a segment's blocks into others; false: some stay, and others may be taken again. */
static bool drain(struct store_thread *t, struct round *round, uint32_t idx)
{
	struct segment_pool *pool = &t->store->pool;
	uint32_t block_map = segment_drain(pool, idx, true);
	bool all = true;

	for (uint32_t block = 0; block < segment_block_cnt(pool); block++) {
		if (block_map & 1U << block)
			all &= move_piece(t, round, piece_block(idx, block));
	}
	return all;
}

/*
 * Free blocks are no free segments. Where those are short and blocks are not, the emptiest segments
 * are drained; one that is less than half empty only where it is pressing: eviction counts on all
 * free blocks, so a large value that waits for whole segments would wait forever.
 */
static void drain_needed(struct store_thread *t, struct round *round)
{
	struct segment_pool *pool = &t->store->pool;
	uint32_t block_cnt = segment_block_cnt(pool), tried_cnt = 0, idx;
	uint32_t demand = atomic_load(&t->store->demand);
	uint32_t target = store_free_target(t->store) + demand;
	uint32_t tried[DRAIN_MAX];

	while (tried_cnt + round->drained_cnt < DRAIN_MAX &&
	       segment_block_free_cnt(pool) >= 2 * block_cnt) {
		uint32_t coming = segment_free_cnt(pool) + round->cnt + round->drained_cnt;

		if (coming >= target)
			break;
		idx = segment_emptiest(pool, demand || coming < target / 2 ? 1 : block_cnt / 2);
		if (idx == SEGMENT_NONE)
			break;
		if (drain(t, round, idx))
			round->drained_cnt++;
		else
			tried[tried_cnt++] = idx;
	}
	while (tried_cnt > 0)
		segment_drain(pool, tried[--tried_cnt], false);
}

/* Segments above the limit: what is in them moves below. */
static void take_above(struct store_thread *t, struct round *round)
{
	struct segment_pool *pool = &t->store->pool;
	bool open_left = false;

	for (uint32_t i = pool->cnt - 1; i >= atomic_load(&pool->limit); i--) {
		enum segment_state state = segment_state(&pool->segments[i]);

		open_left |= state == SEGMENT_OPEN;
		if (state != SEGMENT_CHAIN && state != SEGMENT_BLOCKS &&
		    !may_take(&pool->segments[i]))
			continue;
		if (round->cnt == BATCH_MAX || round->moved_cnt >= BATCH_MAX ||
		    segment_free_cnt(pool) < COPY_ROOM)
			break;
		if (state == SEGMENT_CHAIN)
			move_piece(t, round, piece_whole(i));
		else if (state == SEGMENT_BLOCKS)
			drain(t, round, i);
		else
			round->above_cnt += take(t, round, i, REASON_LIMIT);
	}
	if (open_left)
		ask_to_seal(t);
}

/* Segments that nobody needs any more, whether or not memory is short. */
static void take_finished(struct store_thread *t, struct round *round)
{
	struct store *store = t->store;
	uint64_t now_ns = clock_now_ns(store->options.clock);

	for (uint32_t i = 1; i < store->pool.cnt && round->cnt < BATCH_MAX; i++) {
		struct segment *seg = &store->pool.segments[i];
		uint32_t last_ds;

		if (!may_take(seg)) {
			enum segment_state state = segment_state(seg);

			round->flush_left |= (state == SEGMENT_OPEN || state == SEGMENT_SEALED) &&
					     is_flushed(store, seg);
			continue;
		}
		last_ds = atomic_load(&seg->expire_max_ds);
		if (is_flushed(store, seg))
			take(t, round, i, REASON_FLUSHED);
		else if (last_ds != UINT32_MAX && now_ns >= item_ns_from_ds(last_ds))
			take(t, round, i, REASON_EXPIRED);
		else if (atomic_load(&seg->live_bytes) == 0)
			take(t, round, i, REASON_DEAD);
	}
	if (round->cnt == BATCH_MAX)
		round->flush_left = true;
}

static void take_needed(struct store_thread *t, struct round *round)
{
	struct store *store = t->store;
	bool may_clean = true;

	round->evict_whole = atomic_exchange(&store->index_full, false);
	while (round->cnt < BATCH_MAX && (round->evict_whole || lacking(store, round) > 0)) {
		uint32_t free_cnt = segment_free_cnt(&store->pool);
		uint32_t idx = SEGMENT_NONE;

		/* Copies take free segments: what this round has emptied comes first then. */
		if (free_cnt < COPY_ROOM && round->cnt > 0)
			return;
		if (may_clean && !round->evict_whole && free_cnt > 0)
			idx = most_dead(store);
		if (idx != SEGMENT_NONE) {
			may_clean = take(t, round, idx, REASON_DEAD);
			continue;
		}
		if (store->options.no_evict) {
			atomic_store(&store->exhausted, round->cnt == 0);
			return;
		}
		idx = policy_victim(t);
		if (idx == SEGMENT_NONE) {
			if (round->cnt == 0)
				ask_to_seal(t);
			return;
		}
		take(t, round, idx, REASON_EVICT);
		round->evict_whole = false;
	}
	atomic_store(&store->exhausted, false);
}

/* Every thread has been quiescent since, and holds nothing from before. False: the store stops. */
static bool wait_threads(struct store *store)
{
	uint64_t epoch = atomic_fetch_add(&store->epoch, 1) + 1;
	const struct timespec poll = { .tv_nsec = EPOCH_POLL_NS };

	for (uint32_t i = 0; i < store->options.thread_max; i++) {
		const struct store_thread *t = &store->threads[i];

		/* In this order: a thread says what it holds before it sees more. */
		while (atomic_load_explicit(&t->seen, memory_order_acquire) < epoch ||
		       atomic_load_explicit(&t->held, memory_order_acquire) < epoch) {
			if (atomic_load(&store->reclaimer_stop))
				return false;
			nanosleep(&poll, NULL);
		}
	}
	return true;
}

static void release_round(struct store *store, struct round *round)
{
	for (uint32_t i = 0; i < round->cnt; i++)
		segment_release(&store->pool, round->emptied[i]);
	chain_release_moved(store, round->moved);
	chain_release_all(store, round->chains);
	atomic_fetch_add(&store->reclaimed_segment_cnt, round->cnt);
}

/* Someone may still be reading: the next round, if there is one, finds them empty; pieces, too. */
static void give_up_round(struct store *store, struct round *round)
{
	for (uint32_t i = 0; i < round->cnt; i++)
		segment_attach(&store->pool, round->emptied[i]);
	pthread_mutex_lock(&store->pool.lock);
	while (round->chains != PIECE_NONE) {
		struct segment_link *link = piece_link(&store->pool, round->chains);
		uint32_t next = link->buried;

		link->buried = store->dead_chains;
		store->dead_chains = round->chains;
		round->chains = next;
	}
	store->dead_blocks += round->chain_blocks;
	store->moved_pieces = round->moved; /* earlier ones, too */
	pthread_mutex_unlock(&store->pool.lock);
}

/* No segment that holds items from before the flush is left in the index. */
static bool flush_is_done(struct store *store)
{
	bool done = true;

	pthread_mutex_lock(&store->pool.lock);
	for (uint32_t i = 1; i < store->pool.cnt && done; i++) {
		const struct segment *seg = &store->pool.segments[i];
		enum segment_state state = segment_state(seg);

		done = (state != SEGMENT_OPEN && state != SEGMENT_SEALED) ||
		       !is_flushed(store, seg);
	}
	pthread_mutex_unlock(&store->pool.lock);
	return done;
}

static void collect_chains(struct store *store, struct round *round)
{
	pthread_mutex_lock(&store->pool.lock);
	round->chains = store->dead_chains;
	round->chain_blocks = store->dead_blocks;
	store->dead_chains = PIECE_NONE;
	store->dead_blocks = 0;
	pthread_mutex_unlock(&store->pool.lock);
}

/* True if there was something to do. */
static bool run_round(struct store_thread *t)
{
	struct store *store = t->store;
	struct round round = { .chains = PIECE_NONE, .moved = store->moved_pieces };
	uint64_t taken_cnt = segment_taken_cnt(&store->pool);
	bool growing;

	store_trim(store); /* of what the round before released, or the limit parked */
	growing = store_move_limit(store);
	store_seal_open(t, false);
	take_finished(t, &round);
	if (!round.flush_left && atomic_load(&store->flush_pending)) {
		pthread_mutex_lock(&store->flush_lock);
		/* Unlinked whole: nothing in the index lies in a flushed segment any more. */
		if (flush_is_done(store))
			atomic_store(&store->flush_pending, false);
		pthread_mutex_unlock(&store->flush_lock);
	}
	take_above(t, &round);
	take_needed(t, &round);
	drain_needed(t, &round);
	collect_chains(store, &round);
	if (round.cnt == 0 && round.moved == PIECE_NONE && round.chains == PIECE_NONE)
		return growing;
	store->moved_pieces = PIECE_NONE;

	store_offline(t);
	if (!wait_threads(store)) {
		give_up_round(store, &round);
		store_online(t);
		return false;
	}
	if (store->options.log.grace)
		store->options.log.grace(store->options.log.ctx);
	store_online(t);
	store_tune_headroom(store, segment_taken_cnt(&store->pool) - taken_cnt);
	release_round(store, &round);
	if (segment_free_cnt(&store->pool) >=
	    store_free_target(store) + atomic_load(&store->demand))
		atomic_store(&store->demand, 0);
	return true;
}

static void sleep_until_asked(struct store *store)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += ROUND_IDLE_MS * (long)NSEC_PER_MSEC;
	if (until.tv_nsec >= (long)NSEC_PER_SEC) {
		until.tv_nsec -= (long)NSEC_PER_SEC;
		until.tv_sec++;
	}
	pthread_mutex_lock(&store->wake_lock);
	if (!store->wake_asked)
		pthread_cond_timedwait(&store->wake, &store->wake_lock, &until);
	store->wake_asked = false;
	pthread_mutex_unlock(&store->wake_lock);
}

static void *reclaimer_main(void *arg)
{
	struct store *store = arg;
	struct store_thread *t = &store->threads[store->options.thread_max];

	while (!atomic_load(&store->reclaimer_stop)) {
		bool busy;

		store_online(t);
		busy = run_round(t);
		store_offline(t);
		if (!busy)
			sleep_until_asked(store);
	}
	return NULL;
}

void store_reclaim_turn(struct store *store)
{
	struct store_thread *t = &store->threads[store->options.thread_max];
	bool asked;

	pthread_mutex_lock(&store->wake_lock);
	asked = store->wake_asked;
	store->wake_asked = false;
	pthread_mutex_unlock(&store->wake_lock);
	if (!asked)
		return;
	store_online(t);
	while (run_round(t))
		;
	store_offline(t);
}

int store_reclaim_start(struct store *store)
{
	int err;

	atomic_store(&store->reclaimer_stop, false);
	err = pthread_create(&store->reclaimer, NULL, reclaimer_main, store);
	if (err)
		return -err;
	pthread_setname_np(store->reclaimer, "xc-reclaim");
	store->reclaimer_runs = true;
	return 0;
}

void store_reclaim_stop(struct store *store)
{
	if (!store->reclaimer_runs)
		return;
	atomic_store(&store->reclaimer_stop, true);
	store_wake_reclaimer(store);
	pthread_join(store->reclaimer, NULL);
	store->reclaimer_runs = false;
}
