/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One round: drain samples -> note what the kernel answered -> demote what new routes bar -> rates
 * of all keys -> mend vacant places -> ask the policy -> demote, promote, pin -> one grace period
 * for all places given up -> publish the list.
 */
#include "promote/promoter.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/log.h"
#include "fastpath/kmap.h"
#include "hotkey/tracker.h"
#include "promote/coherence.h"
#include "promote/policy.h"
#include "route/routes.h"
#include "store/store.h"

#define ROUND_MS 100
#define CANDIDATES 4096
#define ROWS_MAX 1024 /* listed, of residents and of candidates each */
#define PINS_MAX 256
/* A vacant place waits this long for its key to come back (delete, then set from the database). */
#define VACANT_STAY_MS 1000
/* Kernel rates are smoothed over about ten rounds. */
#define RATE_KEEP 0.9

static const char barred_why[] = "its route keeps it out of the kernel";
static const char no_place_why[] = "waits for a place";

struct pin {
	char key[XC_KEY_MAX];
	uint8_t key_len;
	const char *why; /* why it is not resident; NULL: it is */
};

/* A place in use. */
struct resident {
	uint32_t idx;
	uint32_t hits_seen;
	double kernel_rate;
	double read_rate; /* what the daemon still sees of it */
	double write_rate;
	uint64_t since_ns;
	uint64_t vacant_ns; /* 0: serving */
	bool pinned;
};

struct promoter {
	struct promoter_options options;
	struct store_thread *thread;
	pthread_t pthread;
	_Atomic bool stop;

	/* the round's own */
	struct resident *residents;
	uint32_t resident_cnt;
	uint32_t *resident_at; /* place -> index in residents */
	struct policy_resident *policy_residents;
	struct hot_key *hot;
	struct policy_candidate *candidates;
	uint32_t *candidate_hot; /* candidate -> index in hot */
	uint32_t hot_cnt, candidate_cnt;
	uint32_t listed[ROWS_MAX]; /* indices in residents */
	uint32_t place_wanted_cnt; /* by pins, in vain */
	uint64_t last_ns;
	struct swap_item *routes; /* the round's */
	uint32_t released;	  /* places of the kmap known to be free again */

	/* shared, under lock */
	pthread_mutex_t lock;
	pthread_cond_t wake, done;
	uint64_t round;
	bool asked;
	struct pin pins[PINS_MAX];
	uint32_t pin_cnt;
	struct promoter_row *rows;
	uint32_t row_cnt;
};

/* --- places --- */

struct target {
	struct promoter *promoter;
	uint32_t idx;
};

static bool serve(void *ctx, const struct item_view *view)
{
	const struct target *target = ctx;
	struct kmap *kmap = target->promoter->options.kmap;
	struct kmap_item item;

	if (!coherence_item(kmap, view, &item))
		return false;
	kmap_switch(kmap, target->idx, &item);
	return true;
}

static void stop_serving(void *ctx)
{
	const struct target *target = ctx;

	kmap_unlink(target->promoter->options.kmap, target->idx);
}

static void resident_add(struct promoter *p, uint32_t idx, uint64_t now_ns)
{
	p->resident_at[idx] = p->resident_cnt;
	p->residents[p->resident_cnt++] = (struct resident){
		.idx = idx,
		.hits_seen = kmap_hits(p->options.kmap, idx),
		.since_ns = now_ns,
	};
}

static bool barred(const struct promoter *p, struct span key)
{
	return p->routes && !route_promotes(routes_find(routes_of(p->routes), key));
}

/* Gives the place up. Under the key's lock, so that no write switches an entry that is leaving. */
static void demote(struct promoter *p, uint32_t r)
{
	struct target target = { .promoter = p, .idx = p->residents[r].idx };
	struct span key;
	uint64_t hash;

	kmap_state(p->options.kmap, target.idx, &key, &hash);
	store_drop_resident(p->thread, key, hash, stop_serving, &target);
	kmap_remove(p->options.kmap, target.idx);
	p->residents[r] = p->residents[--p->resident_cnt];
	p->resident_at[p->residents[r].idx] = r;
}

static uint32_t negative_ttl_sec(const struct promoter *p, struct span key)
{
	const struct route *route = p->routes ? routes_find(routes_of(p->routes), key) : NULL;

	return route ? route->rule.negative_ttl_sec : p->options.negative_ttl_sec;
}

/* Has the key's place serve what the store has, were it only that it has nothing. 0: it serves. */
static int make_resident(struct promoter *p, struct span key, uint64_t hash, struct target *target)
{
	uint64_t ttl_ns = negative_ttl_sec(p, key) * NSEC_PER_SEC;
	int err = store_make_resident(p->thread, key, hash, serve, target);

	if (err != -ENOENT || ttl_ns == 0 ||
	    store_note_absent(p->thread, key, hash, clock_now_ns(p->options.clock) + ttl_ns) !=
		    STORE_OK)
		return err;
	return store_make_resident(p->thread, key, hash, serve, target);
}

/* Why the kernel cannot answer for the key; NULL: it can. */
static const char *unfit(const struct promoter *p, struct span key, uint64_t hash)
{
	struct kmap_item item;
	struct item_view view;

	if (barred(p, key))
		return barred_why;
	if (!store_peek(p->thread, key, hash, &view))
		return negative_ttl_sec(p, key) ? NULL : "not in the store";
	if (view.stale || view.won)
		return "waits for a client to bring its new value";
	if (view.binary)
		return "its key was given in base64";
	if (!coherence_item(p->options.kmap, &view, &item))
		return "value or key does not fit a datagram the kernel answers";
	return NULL;
}

/* NULL: the key is resident now; else why not. */
static const char *promote(struct promoter *p, struct span key, uint64_t hash, uint64_t now_ns)
{
	struct target target = { .promoter = p };
	const char *why = unfit(p, key, hash);
	int err;

	if (why)
		return why;
	err = kmap_insert(p->options.kmap, key, hash, &target.idx);
	if (err)
		return err == -ENOSPC ? no_place_why : "kernel map refused it";
	resident_add(p, target.idx, now_ns);
	/* Deleted or grown meanwhile: the place is mended or given up in a later round. */
	err = make_resident(p, key, hash, &target);
	return err ? "changed while it was being promoted" : NULL;
}

/* Reads a second, whoever answers them. */
static double rate_of(const struct resident *resident)
{
	return resident->kernel_rate + resident->read_rate;
}

/* --- steps of a round --- */

static void note_kernel_hits(struct promoter *p, uint64_t now_ns)
{
	double elapsed_sec = (double)(now_ns - p->last_ns) / NSEC_PER_SEC;

	for (uint32_t r = 0; r < p->resident_cnt; r++) {
		struct resident *resident = &p->residents[r];
		uint32_t hits = kmap_hits(p->options.kmap, resident->idx);
		uint32_t new_hits = hits - resident->hits_seen;
		double rate = elapsed_sec > 0
				      ? ((double)new_hits * (1 << XC_HIT_SHIFT)) / elapsed_sec
				      : 0;
		struct span key;
		uint64_t hash;
		enum kmap_state state;

		resident->hits_seen = hits;
		resident->kernel_rate = RATE_KEEP * resident->kernel_rate + (1 - RATE_KEEP) * rate;
		resident->read_rate = resident->write_rate = 0;
		state = kmap_state(p->options.kmap, resident->idx, &key, &hash);
		if (new_hits == 0 || state == KMAP_FREE)
			continue;
		store_note_hits(p->thread, key, hash, new_hits);
		if (p->options.on_hits)
			p->options.on_hits(p->options.on_hits_ctx, key,
					   (uint64_t)new_hits << XC_HIT_SHIFT,
					   state == KMAP_ABSENT);
	}
	p->last_ns = now_ns;
}

static void pick_routes(struct promoter *p)
{
	if (!p->options.routes || !swap_pick(p->options.routes, &p->routes))
		return;
	for (uint32_t r = p->resident_cnt; r > 0; r--) {
		struct span key;
		uint64_t hash;

		if (kmap_state(p->options.kmap, p->residents[r - 1].idx, &key, &hash) !=
			    KMAP_FREE &&
		    barred(p, key))
			demote(p, r - 1);
	}
}

/* That the key has no item is worth a place only while it is asked for. */
static int make_resident_again(struct promoter *p, const struct resident *resident, struct span key,
			       uint64_t hash, struct target *target)
{
	if (resident->pinned || rate_of(resident) >= p->options.threshold)
		return make_resident(p, key, hash, target);
	return store_make_resident(p->thread, key, hash, serve, target);
}

/* Places that a delete, an eviction or an oversized value emptied: serve again, or give up. */
static void mend_vacant(struct promoter *p, uint64_t now_ns)
{
	for (uint32_t r = p->resident_cnt; r > 0; r--) {
		struct resident *resident = &p->residents[r - 1];
		struct target target = { .promoter = p, .idx = resident->idx };
		struct span key;
		uint64_t hash;

		if (kmap_state(p->options.kmap, resident->idx, &key, &hash) != KMAP_VACANT) {
			resident->vacant_ns = 0;
			continue;
		}
		if (make_resident_again(p, resident, key, hash, &target) == 0) {
			resident->vacant_ns = 0;
			continue;
		}
		if (resident->vacant_ns == 0)
			resident->vacant_ns = now_ns;
		if (now_ns - resident->vacant_ns >= VACANT_STAY_MS * NSEC_PER_MSEC)
			demote(p, r - 1);
	}
}

static void gather(struct promoter *p)
{
	p->hot_cnt = tracker_top(p->options.tracker, p->hot, CANDIDATES);
	p->candidate_cnt = 0;
	for (uint32_t h = 0; h < p->hot_cnt; h++) {
		struct span key = span_of(p->hot[h].key, p->hot[h].key_len);
		uint32_t idx;

		if (kmap_find(p->options.kmap, key, p->hot[h].hash, &idx)) {
			struct resident *resident = &p->residents[p->resident_at[idx]];

			resident->read_rate = p->hot[h].read_rate;
			resident->write_rate = p->hot[h].write_rate;
			continue;
		}
		p->candidates[p->candidate_cnt] = (struct policy_candidate){
			.read_rate = p->hot[h].read_rate,
			.write_rate = p->hot[h].write_rate,
			.barred = barred(p, key),
		};
		p->candidate_hot[p->candidate_cnt++] = h;
	}
}

static int descending(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return left < right ? 1 : left > right ? -1 : 0;
}

static void apply_policy(struct promoter *p, uint64_t now_ns)
{
	struct policy_actions actions;
	struct policy_input input = {
		.candidates = p->candidates,
		.candidate_cnt = p->candidate_cnt,
		.residents = p->policy_residents,
		.resident_cnt = p->resident_cnt,
		.entry_max = p->options.entry_max > p->place_wanted_cnt
				     ? p->options.entry_max - p->place_wanted_cnt
				     : 0,
		.threshold = p->options.threshold,
	};

	for (uint32_t r = 0; r < p->resident_cnt; r++) {
		const struct resident *resident = &p->residents[r];

		p->policy_residents[r] = (struct policy_resident){
			.rate = rate_of(resident),
			.stay_ms = (now_ns - resident->since_ns) / NSEC_PER_MSEC,
			.pinned = resident->pinned,
		};
	}
	policy_pick(&input, &actions);
	/* From the highest index down: demote() fills a hole with the last one. */
	qsort(actions.demote, actions.demote_cnt, sizeof(actions.demote[0]), descending);
	for (uint32_t i = 0; i < actions.demote_cnt; i++)
		demote(p, actions.demote[i]);
	for (uint32_t i = 0; i < actions.promote_cnt; i++) {
		const struct hot_key *hot = &p->hot[p->candidate_hot[actions.promote[i]]];

		promote(p, span_of(hot->key, hot->key_len), hot->hash, now_ns);
	}
}

static void apply_pins(struct promoter *p, uint64_t now_ns)
{
	for (uint32_t r = 0; r < p->resident_cnt; r++)
		p->residents[r].pinned = false;
	p->place_wanted_cnt = 0;
	pthread_mutex_lock(&p->lock);
	for (uint32_t i = 0; i < p->pin_cnt; i++) {
		struct pin *pin = &p->pins[i];
		struct span key = span_of(pin->key, pin->key_len);
		uint64_t hash = store_hash(p->options.store, key);
		uint32_t idx;

		pin->why = NULL;
		if (!kmap_find(p->options.kmap, key, hash, &idx))
			pin->why = promote(p, key, hash, now_ns);
		p->place_wanted_cnt += pin->why == no_place_why;
		if (kmap_find(p->options.kmap, key, hash, &idx))
			p->residents[p->resident_at[idx]].pinned = true;
	}
	pthread_mutex_unlock(&p->lock);
}

/* --- the list --- */

static const char *why_resident(const struct promoter *p, const struct resident *resident,
				enum kmap_state state)
{
	if (state == KMAP_VACANT)
		return "waiting for the key to come back";
	if (resident->pinned)
		return state == KMAP_ABSENT ? "pinned; it has no item" : "pinned";
	if (state == KMAP_ABSENT)
		return "hot, and it has no item";
	return rate_of(resident) >= p->options.threshold
		       ? "hot"
		       : "was hot; stays until its place is needed";
}

static void row_of_resident(struct promoter *p, const struct resident *resident,
			    struct promoter_row *row)
{
	struct item_view view;
	struct span key = { 0 };
	uint64_t hash = 0;
	enum kmap_state state = kmap_state(p->options.kmap, resident->idx, &key, &hash);

	*row = (struct promoter_row){
		.key_len = (uint8_t)key.len,
		.read_rate = resident->read_rate,
		.write_rate = resident->write_rate,
		.kernel_rate = resident->kernel_rate,
		.resident = state == KMAP_SERVING || state == KMAP_ABSENT,
		.absent = state == KMAP_ABSENT,
		.pinned = resident->pinned,
		.why = why_resident(p, resident, state),
	};
	memcpy(row->key, key.ptr, key.len);
	if (store_peek(p->thread, key, hash, &view))
		row->value_len = view.value_len;
}

static double listed_rate(const struct promoter *p, uint32_t at)
{
	return rate_of(&p->residents[p->listed[at]]);
}

/* listed[at] to its place in a heap of `cnt` whose root is the coldest. */
static void sift_down(struct promoter *p, uint32_t at, uint32_t cnt)
{
	for (uint32_t child; (child = 2 * at + 1) < cnt; at = child) {
		uint32_t own = p->listed[at];

		child += child + 1 < cnt && listed_rate(p, child + 1) < listed_rate(p, child);
		if (listed_rate(p, at) <= listed_rate(p, child))
			return;
		p->listed[at] = p->listed[child];
		p->listed[child] = own;
	}
}

/* The hottest residents, as many as are listed, in any order. Returns how many. */
static uint32_t pick_listed(struct promoter *p)
{
	uint32_t cnt = p->resident_cnt < ROWS_MAX ? p->resident_cnt : ROWS_MAX;

	for (uint32_t r = 0; r < cnt; r++)
		p->listed[r] = r;
	if (p->resident_cnt == cnt)
		return cnt;
	for (uint32_t at = cnt / 2; at > 0; at--)
		sift_down(p, at - 1, cnt);
	for (uint32_t r = cnt; r < p->resident_cnt; r++) {
		if (rate_of(&p->residents[r]) <= listed_rate(p, 0))
			continue;
		p->listed[0] = r;
		sift_down(p, 0, cnt);
	}
	return cnt;
}

static const char *why_not(const struct promoter *p, const struct hot_key *hot)
{
	const struct policy_candidate candidate = { .read_rate = hot->read_rate,
						    .write_rate = hot->write_rate };
	const char *why;

	if (!p->options.kmap)
		return "no fast path";
	why = unfit(p, span_of(hot->key, hot->key_len), hot->hash);
	if (why)
		return why;
	if (hot->read_rate < p->options.threshold)
		return "below the threshold";
	if (!policy_is_hot(&candidate, p->options.threshold))
		return "more writes than reads";
	if (p->resident_cnt >= p->options.entry_max)
		return "budget used up by hotter keys";
	return "just became hot";
}

static int by_rate(const void *a, const void *b)
{
	const struct promoter_row *left = a, *right = b;
	double l = left->read_rate + left->kernel_rate, r = right->read_rate + right->kernel_rate;

	return l < r ? 1 : l > r ? -1 : 0;
}

/* Of a pin that is not in the kernel. */
static void row_of_pin(struct promoter *p, const struct pin *pin, struct promoter_row *row)
{
	struct span key = span_of(pin->key, pin->key_len);
	struct item_view view;

	*row = (struct promoter_row){ .key_len = pin->key_len, .pinned = true, .why = pin->why };
	memcpy(row->key, pin->key, pin->key_len);
	if (store_peek(p->thread, key, store_hash(p->options.store, key), &view))
		row->value_len = view.value_len;
}

static void row_of_candidate(struct promoter *p, const struct hot_key *hot,
			     struct promoter_row *row)
{
	struct item_view view;

	*row = (struct promoter_row){
		.key_len = hot->key_len,
		.read_rate = hot->read_rate,
		.write_rate = hot->write_rate,
		.why = why_not(p, hot),
	};
	memcpy(row->key, hot->key, hot->key_len);
	if (store_peek(p->thread, span_of(hot->key, hot->key_len), hot->hash, &view))
		row->value_len = view.value_len;
}

static void publish(struct promoter *p)
{
	uint32_t listed_cnt = pick_listed(p), cnt = 0;

	pthread_mutex_lock(&p->lock);
	for (uint32_t at = 0; at < listed_cnt; at++)
		row_of_resident(p, &p->residents[p->listed[at]], &p->rows[cnt++]);
	for (uint32_t i = 0; i < p->pin_cnt; i++) {
		if (p->pins[i].why)
			row_of_pin(p, &p->pins[i], &p->rows[cnt++]);
	}
	for (uint32_t c = 0; c < p->candidate_cnt && c < ROWS_MAX; c++) {
		const struct hot_key *hot = &p->hot[p->candidate_hot[c]];
		uint32_t idx;

		/* It may have been promoted in this round. */
		if (!p->options.kmap ||
		    !kmap_find(p->options.kmap, span_of(hot->key, hot->key_len), hot->hash, &idx))
			row_of_candidate(p, hot, &p->rows[cnt++]);
	}
	qsort(p->rows, cnt, sizeof(*p->rows), by_rate);
	p->row_cnt = cnt < ROWS_MAX ? cnt : ROWS_MAX;
	p->round++;
	pthread_cond_broadcast(&p->done);
	pthread_mutex_unlock(&p->lock);
}

/* Without a fast path there is nothing to promote into; what is hot is still worth knowing. */
static void gather_all(struct promoter *p)
{
	p->hot_cnt = tracker_top(p->options.tracker, p->hot, CANDIDATES);
	p->candidate_cnt = p->hot_cnt;
	for (uint32_t h = 0; h < p->hot_cnt; h++)
		p->candidate_hot[h] = h;
}

static void run_round(struct promoter *p)
{
	uint64_t now_ns = clock_now_ns(p->options.clock);
	uint32_t removed;

	tracker_drain(p->options.tracker);
	if (!p->options.kmap) {
		gather_all(p);
		publish(p);
		return;
	}
	note_kernel_hits(p, now_ns);
	pick_routes(p);
	gather(p);
	mend_vacant(p, now_ns);
	apply_policy(p, now_ns);
	apply_pins(p, now_ns);
	publish(p);
	removed = kmap_removed_cnt(p->options.kmap);
	if (removed != p->released) {
		store_offline(p->thread);
		p->options.grace(p->options.grace_ctx);
		store_online(p->thread);
		kmap_release(p->options.kmap, removed);
		p->released = removed;
	}
}

static void *promoter_main(void *arg)
{
	struct promoter *p = arg;

	while (!atomic_load(&p->stop)) {
		struct timespec until;

		store_online(p->thread);
		run_round(p);
		store_offline(p->thread);
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += ROUND_MS * (long)NSEC_PER_MSEC;
		until.tv_sec += until.tv_nsec / (long)NSEC_PER_SEC;
		until.tv_nsec %= (long)NSEC_PER_SEC;
		pthread_mutex_lock(&p->lock);
		if (!p->asked && !atomic_load(&p->stop))
			pthread_cond_timedwait(&p->wake, &p->lock, &until);
		p->asked = false;
		pthread_mutex_unlock(&p->lock);
	}
	return NULL;
}

/* --- life --- */

static void promoter_free(struct promoter *p)
{
	store_thread_free(p->thread);
	if (p->options.routes)
		swap_drop(p->options.routes, &p->routes);
	alloc_free(p->residents);
	alloc_free(p->resident_at);
	alloc_free(p->policy_residents);
	alloc_free(p->hot);
	alloc_free(p->candidates);
	alloc_free(p->candidate_hot);
	alloc_free(p->rows);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->wake);
	pthread_cond_destroy(&p->done);
	alloc_free(p);
}

static void adopt_residents(struct promoter *p)
{
	uint64_t now_ns = clock_now_ns(p->options.clock);

	for (uint32_t idx = 0; idx < kmap_entry_cnt(p->options.kmap); idx++) {
		struct span key;
		uint64_t hash;

		if (kmap_state(p->options.kmap, idx, &key, &hash) != KMAP_FREE)
			resident_add(p, idx, now_ns);
	}
}

int promoter_start(const struct promoter_options *options, struct promoter **ret)
{
	uint32_t places = options->kmap ? kmap_entry_cnt(options->kmap) : 1;
	struct promoter *p = alloc_zero(1, sizeof(*p));
	pthread_condattr_t attr;
	int err;

	if (!p)
		return -ENOMEM;
	p->options = *options;
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->wake, &attr);
	pthread_cond_init(&p->done, &attr);
	pthread_condattr_destroy(&attr);
	p->thread = store_thread_new(options->store);
	p->residents = alloc_zero(places, sizeof(*p->residents));
	p->resident_at = alloc_zero(places, sizeof(*p->resident_at));
	p->policy_residents = alloc_zero(places, sizeof(*p->policy_residents));
	p->hot = alloc_zero(CANDIDATES, sizeof(*p->hot));
	p->candidates = alloc_zero(CANDIDATES, sizeof(*p->candidates));
	p->candidate_hot = alloc_zero(CANDIDATES, sizeof(*p->candidate_hot));
	p->rows = alloc_zero(ROWS_MAX + PINS_MAX + ROWS_MAX, sizeof(*p->rows));
	if (!p->thread || !p->residents || !p->resident_at || !p->policy_residents || !p->hot ||
	    !p->candidates || !p->candidate_hot || !p->rows) {
		promoter_free(p);
		return -ENOMEM;
	}
	store_offline(p->thread);
	if (options->kmap)
		adopt_residents(p);
	p->last_ns = clock_now_ns(options->clock);
	err = pthread_create(&p->pthread, NULL, promoter_main, p);
	if (err) {
		promoter_free(p);
		return -err;
	}
	pthread_setname_np(p->pthread, "xc-promote");
	*ret = p;
	return 0;
}

void promoter_stop(struct promoter *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	atomic_store(&p->stop, true);
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->pthread, NULL);
	promoter_free(p);
}

/* --- pins --- */

static uint32_t pin_find(const struct promoter *p, struct span key)
{
	uint32_t i = 0;

	while (i < p->pin_cnt && !span_equal(key, span_of(p->pins[i].key, p->pins[i].key_len)))
		i++;
	return i;
}

/* Two rounds on: the first may have been half way when the change was made. */
static void wait_round(struct promoter *p)
{
	uint64_t until = p->round + 2;
	struct timespec limit;

	clock_gettime(CLOCK_MONOTONIC, &limit);
	limit.tv_sec += 2;
	while (p->round < until) {
		p->asked = true;
		pthread_cond_signal(&p->wake);
		if (pthread_cond_timedwait(&p->done, &p->lock, &limit))
			return;
	}
}

int promoter_pin(struct promoter *p, struct span key, const char **ret_why)
{
	int err = 0;

	if (key.len == 0 || key.len > XC_KEY_MAX)
		return -EMSGSIZE;
	pthread_mutex_lock(&p->lock);
	if (pin_find(p, key) == p->pin_cnt) {
		if (p->pin_cnt == PINS_MAX) {
			err = -ENOSPC;
		} else {
			struct pin *pin = &p->pins[p->pin_cnt++];

			*pin = (struct pin){ .key_len = (uint8_t)key.len,
					     .why = "not looked at yet" };
			memcpy(pin->key, key.ptr, key.len);
		}
	}
	if (!err) {
		uint32_t i;

		wait_round(p);
		i = pin_find(p, key); /* others may have unpinned meanwhile */
		*ret_why = i < p->pin_cnt ? p->pins[i].why : NULL;
	}
	pthread_mutex_unlock(&p->lock);
	return err;
}

int promoter_unpin(struct promoter *p, struct span key)
{
	uint32_t i;
	int err = 0;

	pthread_mutex_lock(&p->lock);
	i = pin_find(p, key);
	if (i < p->pin_cnt) {
		p->pins[i] = p->pins[--p->pin_cnt];
		wait_round(p);
	} else {
		err = -ENOENT;
	}
	pthread_mutex_unlock(&p->lock);
	return err;
}

uint32_t promoter_list(struct promoter *p, struct promoter_row *rows, uint32_t max)
{
	uint32_t cnt;

	pthread_mutex_lock(&p->lock);
	cnt = p->row_cnt < max ? p->row_cnt : max;
	memcpy(rows, p->rows, cnt * sizeof(*rows));
	pthread_mutex_unlock(&p->lock);
	return cnt;
}
