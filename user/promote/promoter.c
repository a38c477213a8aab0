/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One round: drain samples -> note what the kernel answered -> demote what new routes and bans bar
 * -> rates of all keys -> mend vacant places -> ask the policy -> demote, promote, pin -> publish
 * (rows.c) -> one grace period for all places given up.
 */
#include "promote/promoter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "fastpath/kmap.h"
#include "promote/coherence.h"
#include "promote/impl.h"
#include "route/routes.h"

#define ROUND_MS 100
#define CANDIDATES 4096
/* A vacant place waits this long for its key to come back (delete, then set from the database). */
#define VACANT_STAY_MS 1000

/* --- what is known of a key --- */

static const struct route *route_of(const struct promoter *p, struct span key)
{
	return p->routes ? routes_find(routes_of(p->routes), key) : NULL;
}

static enum policy_reason rule_of(const struct promoter *p, struct span key)
{
	const struct route *route = route_of(p, key);

	if (!p->options.kmap)
		return POLICY_NO_FASTPATH;
	if (p->options.is_here && !p->options.is_here(p->options.ctx, key))
		return POLICY_ELSEWHERE;
	if (route_promotes(route))
		return POLICY_HOT;
	return route->rule.auth ? POLICY_AUTH : POLICY_ROUTE;
}

static uint32_t negative_ttl_sec(const struct promoter *p, struct span key)
{
	const struct route *route = route_of(p, key);

	/* What is not here may be at the origin. */
	if (route && route->rule.source)
		return 0;
	return route ? route->rule.negative_ttl_sec : p->options.negative_ttl_sec;
}

void know_key(const struct promoter *p, struct span key, uint64_t hash, struct policy_key *ret,
	      uint64_t *ret_value_len)
{
	uint64_t now_ns = clock_now_ns(p->options.clock);
	const struct route *route = route_of(p, key);
	uint64_t fresh_ns;
	struct item_view view;
	struct kmap_item item;

	*ret_value_len = 0;
	ret->rule = rule_of(p, key);
	ret->item = POLICY_HOT;
	ret->ttl_ms = 0;
	ret->absent = false;
	if (!store_peek(p->thread, key, hash, &view)) {
		ret->absent = negative_ttl_sec(p, key) > 0;
		ret->item = ret->absent ? POLICY_HOT : POLICY_ABSENT;
		return;
	}
	*ret_value_len = view.value_len;
	fresh_ns = route_fresh_ns(route ? &route->rule : NULL, view.expire_ns);
	if (fresh_ns)
		ret->ttl_ms = fresh_ns > now_ns ? (fresh_ns - now_ns) / NSEC_PER_MSEC + 1 : 1;
	if (p->options.kmap)
		ret->item = coherence_judge(p->options.kmap, &view, &item);
}

double rate_of(const struct resident *resident)
{
	return resident->kernel.slow.mean + resident->read_rate;
}

static void note_move(struct promoter *p, struct span key, bool in, enum policy_reason reason,
		      double rate)
{
	struct promoter_move *move;

	pthread_mutex_lock(&p->moves_lock);
	move = &p->moves[p->move_cnt++ % PROMOTER_MOVE_MAX];
	*move = (struct promoter_move){ .key_len = (uint8_t)key.len,
					.in = in,
					.reason = reason,
					.rate = rate,
					.at_ns = clock_now_ns(p->options.clock) };
	memcpy(move->key, key.ptr, key.len);
	pthread_mutex_unlock(&p->moves_lock);
}

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

	if (coherence_judge(kmap, view, &item) != POLICY_HOT)
		return false;
	kmap_switch(kmap, target->idx, &item);
	return true;
}

static void stop_serving(void *ctx)
{
	const struct target *target = ctx;

	kmap_unlink(target->promoter->options.kmap, target->idx);
}

/* What the key's route says of its place. True: its entry is to be switched for it. */
static bool obey_route(const struct promoter *p, struct resident *resident, struct span key)
{
	const struct route *route = route_of(p, key);

	kmap_set_route(p->options.kmap, resident->idx, route ? route->number : 0);
	resident->ahead_ns = route ? route->rule.refresh_ahead_sec * NSEC_PER_SEC : 0;
	return kmap_set_early(p->options.kmap, resident->idx,
			      route ? route_window_ns(&route->rule) : 0);
}

static void resident_add(struct promoter *p, uint32_t idx, struct span key, uint64_t now_ns)
{
	p->resident_at[idx] = p->resident_cnt;
	p->residents[p->resident_cnt++] = (struct resident){
		.idx = idx,
		.hits_seen = kmap_hits(p->options.kmap, idx),
		.since_ns = now_ns,
	};
	obey_route(p, &p->residents[p->resident_cnt - 1], key);
}

/* Gives the place up. Under the key's lock, so that no write switches an entry that is leaving. */
static void demote(struct promoter *p, uint32_t r, enum policy_reason reason)
{
	struct target target = { .promoter = p, .idx = p->residents[r].idx };
	struct span key;
	uint64_t hash;

	kmap_state(p->options.kmap, target.idx, &key, &hash);
	note_move(p, key, false, reason, rate_of(&p->residents[r]));
	store_drop_resident(p->thread, key, hash, stop_serving, &target);
	kmap_remove(p->options.kmap, target.idx);
	p->residents[r] = p->residents[--p->resident_cnt];
	p->resident_at[p->residents[r].idx] = r;
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

/* `reason`, which it deserves a place for, when it has one now; else why not. */
static enum policy_reason promote(struct promoter *p, struct span key, uint64_t hash,
				  enum policy_reason reason, double rate)
{
	struct target target = { .promoter = p };
	int err = kmap_insert(p->options.kmap, key, hash, &target.idx);

	if (err)
		return err == -ENOSPC ? POLICY_NO_ROOM : POLICY_REFUSED;
	resident_add(p, target.idx, key, clock_now_ns(p->options.clock));
	p->residents[p->resident_cnt - 1].read_rate = rate; /* as it is listed in this round */
	note_move(p, key, true, reason, rate);
	/* Deleted or grown meanwhile: the place is mended or given up in a later round. */
	err = make_resident(p, key, hash, &target);
	return err ? POLICY_CHANGED : reason;
}

/* --- steps of a round --- */

/* Nobody else sees that somebody still wants it. */
static void refresh_ahead(struct promoter *p, struct resident *resident, struct span key,
			  uint64_t hash, uint64_t now_ns)
{
	uint64_t expire_ns = kmap_expire_ns(p->options.kmap, resident->idx);
	const struct route *route;

	if (!resident->ahead_ns || !p->options.on_ends_soon || !expire_ns ||
	    now_ns + resident->ahead_ns < expire_ns || now_ns - resident->asked_ns < NSEC_PER_SEC)
		return;
	resident->asked_ns = now_ns;
	route = route_of(p, key);
	if (route)
		p->options.on_ends_soon(p->options.ctx, route, key, hash);
}

static void note_kernel_hits(struct promoter *p, uint64_t now_ns)
{
	struct rate_step step;

	if (now_ns == p->last_ns)
		return;
	rate_step_init(&step, (double)(now_ns - p->last_ns) / NSEC_PER_SEC);
	for (uint32_t r = 0; r < p->resident_cnt; r++) {
		struct resident *resident = &p->residents[r];
		uint32_t hits = kmap_hits(p->options.kmap, resident->idx);
		uint32_t new_hits = hits - resident->hits_seen;
		uint64_t stamp_ns = kmap_last_hit_ns(p->options.kmap, resident->idx);
		struct span key;
		uint64_t hash;
		enum kmap_state state;

		resident->hits_seen = hits;
		rate_add(&resident->kernel, &step, new_hits, stamp_ns != resident->stamp_ns);
		resident->stamp_ns = stamp_ns;
		resident->read_rate = resident->write_rate = 0;
		state = kmap_state(p->options.kmap, resident->idx, &key, &hash);
		if (new_hits == 0 || state == KMAP_FREE)
			continue;
		store_note_hits(p->thread, key, hash, new_hits);
		refresh_ahead(p, resident, key, hash, now_ns);
		if (p->options.on_hits)
			p->options.on_hits(p->options.ctx, key, (uint64_t)new_hits << XC_HIT_SHIFT,
					   state == KMAP_ABSENT);
	}
	p->last_ns = now_ns;
}

static void pick_routes(struct promoter *p)
{
	if (!p->options.routes || !swap_pick(p->options.routes, &p->routes))
		return;
	for (uint32_t r = p->resident_cnt; r > 0; r--) {
		enum policy_reason rule;
		struct span key;
		uint64_t hash;

		if (kmap_state(p->options.kmap, p->residents[r - 1].idx, &key, &hash) == KMAP_FREE)
			continue;
		rule = rule_of(p, key);
		/* A place comes back by itself when its entry has to be another one. */
		if (obey_route(p, &p->residents[r - 1], key) && rule == POLICY_HOT)
			rule = POLICY_CHANGED;
		if (rule != POLICY_HOT)
			demote(p, r - 1, rule);
	}
}

/* What operators have changed since the last round. */
static void pick_wishes(struct promoter *p)
{
	uint32_t banned[PROMOTER_WISH_MAX], banned_cnt = 0;

	pthread_mutex_lock(&p->lock);
	limits_in_force(p, &p->threshold, &p->entry_max);
	for (uint32_t i = 0; i < p->wish_cnt; i++) {
		struct wish *wish = &p->wishes[i];
		struct span key = span_of(wish->what.key, wish->what.key_len);
		uint32_t idx;

		wish->read_rate = wish->write_rate = 0;
		if (p->options.kmap && wish->what.ban &&
		    kmap_find(p->options.kmap, key, wish->hash, &idx))
			banned[banned_cnt++] = idx;
	}
	pthread_mutex_unlock(&p->lock);
	for (uint32_t i = 0; i < banned_cnt; i++)
		demote(p, p->resident_at[banned[i]], POLICY_BANNED);
}

/* Why nothing is served from the place. */
static enum policy_reason why_vacant(const struct promoter *p, struct span key, uint64_t hash)
{
	struct policy_key known = { 0 };
	uint64_t value_len;

	know_key(p, key, hash, &known, &value_len);
	return known.absent ? POLICY_ABSENT : known.item;
}

/* That the key has no item is worth a place only while it is asked for. */
static int make_resident_again(struct promoter *p, const struct resident *resident, struct span key,
			       uint64_t hash, struct target *target)
{
	if (resident->pinned || rate_of(resident) >= p->threshold)
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
			demote(p, r - 1, why_vacant(p, key, hash));
	}
}

/* A hot key without a place; lock held. */
static void gather_one(struct promoter *p, uint32_t h, struct span key)
{
	const struct hot_key *hot = &p->hot[h];
	struct policy_key *known = &p->policy_keys[p->candidate_cnt];
	struct candidate *candidate = &p->candidates[p->candidate_cnt];
	struct wish *wish = wish_find(p, key, hot->hash);

	if (wish) {
		wish->read_rate = hot->read_rate;
		wish->write_rate = hot->write_rate;
		return;
	}
	*candidate = (struct candidate){ .hot = h };
	*known = (struct policy_key){ .read_rate = hot->read_rate,
				      .read_doubt = hot->read_doubt,
				      .write_rate = hot->write_rate };
	/* The cold are not worth a look at their items, unless they are listed. */
	if (hot->read_rate >= p->threshold || p->candidate_cnt < ROWS_MAX)
		know_key(p, key, hot->hash, known, &candidate->value_len);
	p->candidate_cnt++;
}

static void gather(struct promoter *p)
{
	p->hot_cnt = tracker_top(p->options.tracker, p->hot, CANDIDATES);
	p->candidate_cnt = 0;
	pthread_mutex_lock(&p->lock);
	for (uint32_t h = 0; h < p->hot_cnt; h++) {
		struct span key = span_of(p->hot[h].key, p->hot[h].key_len);
		uint32_t idx;

		if (p->options.kmap && kmap_find(p->options.kmap, key, p->hot[h].hash, &idx)) {
			struct resident *resident = &p->residents[p->resident_at[idx]];

			resident->read_rate = p->hot[h].read_rate;
			resident->write_rate = p->hot[h].write_rate;
		} else {
			gather_one(p, h, key);
		}
	}
	pthread_mutex_unlock(&p->lock);
}

static int descending(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return left < right ? 1 : left > right ? -1 : 0;
}

static void apply_actions(struct promoter *p, struct policy_actions *actions)
{
	bool over = p->resident_cnt > p->entry_max;

	for (uint32_t i = 0; i < actions->demote_cnt; i++)
		p->residents[actions->demote[i]].leaves =
			over && i < actions->excess_cnt ? POLICY_OVER_BUDGET : POLICY_DISPLACED;
	/* From the highest index down: demote() fills a hole with the last one. */
	qsort(actions->demote, actions->demote_cnt, sizeof(actions->demote[0]), descending);
	for (uint32_t i = 0; i < actions->demote_cnt; i++)
		demote(p, actions->demote[i], p->residents[actions->demote[i]].leaves);
	for (uint32_t i = 0; i < actions->promote_cnt; i++) {
		uint32_t c = actions->promote[i];
		const struct hot_key *hot = &p->hot[p->candidates[c].hot];

		actions->reasons[c] = promote(p, span_of(hot->key, hot->key_len), hot->hash,
					      actions->reasons[c], hot->read_rate);
	}
}

static void apply_policy(struct promoter *p, uint64_t now_ns)
{
	struct policy_actions actions = { .reasons = p->candidate_reasons };
	struct policy_input input = {
		.candidates = p->policy_keys,
		.candidate_cnt = p->candidate_cnt,
		.residents = p->policy_residents,
		.resident_cnt = p->resident_cnt,
		.entry_max =
			p->entry_max > p->place_wanted_cnt ? p->entry_max - p->place_wanted_cnt : 0,
		.threshold = p->threshold,
	};

	for (uint32_t r = 0; r < p->resident_cnt; r++) {
		const struct resident *resident = &p->residents[r];

		p->policy_residents[r] = (struct policy_resident){
			.rate = rate_most(&resident->kernel) + resident->read_rate,
			.stay_ms = (now_ns - resident->since_ns) / NSEC_PER_MSEC,
			.pinned = resident->pinned,
		};
	}
	policy_pick(&input, &actions);
	apply_actions(p, &actions);
}

/* Of a pin that has no place. */
static enum policy_reason apply_pin(struct promoter *p, const struct wish *wish)
{
	struct policy_key known = { .read_rate = wish->read_rate,
				    .write_rate = wish->write_rate,
				    .pinned = true };
	struct span key = span_of(wish->what.key, wish->what.key_len);
	enum policy_reason reason;
	uint64_t value_len;

	know_key(p, key, wish->hash, &known, &value_len);
	reason = policy_judge(&known, p->threshold);
	return policy_deserves(reason) ? promote(p, key, wish->hash, reason, wish->read_rate)
				       : reason;
}

/* A pin's place, if it has one. */
static void note_pinned(struct promoter *p, struct wish *wish)
{
	struct span key = span_of(wish->what.key, wish->what.key_len);
	uint64_t hash;
	uint32_t idx;

	if (!kmap_find(p->options.kmap, key, wish->hash, &idx))
		return;
	p->residents[p->resident_at[idx]].pinned = true;
	wish->reason = kmap_state(p->options.kmap, idx, &key, &hash) == KMAP_ABSENT
			       ? POLICY_PINNED_ABSENT
			       : POLICY_PINNED;
}

static void apply_pins(struct promoter *p)
{
	for (uint32_t r = 0; r < p->resident_cnt; r++)
		p->residents[r].pinned = false;
	p->place_wanted_cnt = 0;
	pthread_mutex_lock(&p->lock);
	for (uint32_t i = 0; i < p->wish_cnt; i++) {
		struct wish *wish = &p->wishes[i];
		struct span key = span_of(wish->what.key, wish->what.key_len);
		uint32_t idx;

		if (wish->what.ban)
			continue;
		if (!kmap_find(p->options.kmap, key, wish->hash, &idx))
			wish->reason = apply_pin(p, wish);
		p->place_wanted_cnt += wish->reason == POLICY_NO_ROOM;
		note_pinned(p, wish);
	}
	pthread_mutex_unlock(&p->lock);
}

/* Without a fast path there is nothing to promote into; what is hot is still worth knowing. */
static void judge_all(struct promoter *p)
{
	for (uint32_t c = 0; c < p->candidate_cnt; c++)
		p->candidate_reasons[c] = policy_judge(&p->policy_keys[c], p->threshold);
	pthread_mutex_lock(&p->lock);
	for (uint32_t i = 0; i < p->wish_cnt; i++)
		p->wishes[i].reason = POLICY_NO_FASTPATH;
	pthread_mutex_unlock(&p->lock);
}

static void run_round(struct promoter *p)
{
	uint64_t now_ns = clock_now_ns(p->options.clock);
	uint32_t removed;

	tracker_drain(p->options.tracker);
	if (!p->options.kmap) {
		pick_wishes(p);
		gather(p);
		judge_all(p);
		rows_publish(p);
		return;
	}
	note_kernel_hits(p, now_ns);
	routes_note(p);
	pick_routes(p);
	pick_wishes(p);
	gather(p);
	mend_vacant(p, now_ns);
	apply_policy(p, now_ns);
	apply_pins(p);
	rows_publish(p);
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
	alloc_free(p->kernel);
	alloc_free(p->residents);
	alloc_free(p->resident_at);
	alloc_free(p->policy_residents);
	alloc_free(p->hot);
	alloc_free(p->candidates);
	alloc_free(p->policy_keys);
	alloc_free(p->candidate_reasons);
	alloc_free(p->rows);
	pthread_mutex_destroy(&p->lock);
	pthread_mutex_destroy(&p->moves_lock);
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
			resident_add(p, idx, key, now_ns);
	}
}

static void take_wishes(struct promoter *p)
{
	p->limits = p->options.limits;
	for (uint32_t i = 0; i < p->options.wish_cnt; i++) {
		const struct promoter_wish *wish = &p->options.wishes[i];

		wish_add(p, span_of(wish->key, wish->key_len), wish->ban);
	}
	p->options.wishes = NULL;
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
	pthread_mutex_init(&p->moves_lock, NULL);
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
	p->policy_keys = alloc_zero(CANDIDATES, sizeof(*p->policy_keys));
	p->candidate_reasons = alloc_zero(CANDIDATES, sizeof(*p->candidate_reasons));
	p->rows = alloc_zero(ROWS_MAX + PROMOTER_WISH_MAX + ROWS_MAX, sizeof(*p->rows));
	if (!p->thread || !p->residents || !p->resident_at || !p->policy_residents || !p->hot ||
	    !p->candidates || !p->policy_keys || !p->candidate_reasons || !p->rows ||
	    routes_start(p)) {
		promoter_free(p);
		return -ENOMEM;
	}
	store_offline(p->thread);
	take_wishes(p);
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
