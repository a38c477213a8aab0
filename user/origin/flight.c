/* SPDX-License-Identifier: BSD-2-Clause */
#include "origin/flight.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "origin/journal.h"

#define BUCKET_CNT 4096

struct flight {
	struct origin_query query; /* first */
	struct flights *flights;
	struct flight *next; /* of its bucket */
	struct mail *asks;
	struct store_token token;
	struct route_rule rule;
	bool is_refresh;
	uint32_t era;
	uint8_t key[XC_KEY_MAX];
};

/* A reload may give it another rate. */
struct rate_of_source {
	uint32_t qps;
	struct limit_rate rate;
};

struct flights {
	struct flight_conf conf;
	struct breaker breaker;
	enum breaker_state told; /* conf.on_breaker */
	struct rand rand;
	uint32_t cnt;
	struct journal *journal; /* NULL: there is none */
	struct rate_of_source rates[ORIGIN_STATEMENT_MAX];
	struct flight_counts counts;
	struct flight *buckets[BUCKET_CNT];
};

static void count(_Atomic uint64_t *counter)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

static void note_breaker(struct flights *flights, const char *reason)
{
	const struct flight_conf *conf = &flights->conf;
	enum breaker_state state = breaker_look(&flights->breaker);
	/* Probes come and go: who watches is told of what lasts. */
	bool tells = state != BREAKER_HALF_OPEN && state != flights->told;

	atomic_store_explicit(&flights->counts.breaker, (int)state, memory_order_relaxed);
	if (tells && conf->on_breaker)
		conf->on_breaker(conf->ctx, state, reason);
	if (tells)
		flights->told = state;
}

bool flights_admit(struct flights *flights, uint32_t *ret_era)
{
	bool admitted = breaker_admit(&flights->breaker, ret_era);

	note_breaker(flights, "");
	return admitted;
}

void flights_finish(struct flights *flights, uint32_t era, enum breaker_end end, const char *reason)
{
	breaker_finish(&flights->breaker, era, end);
	note_breaker(flights, reason);
}

void flight_value_put(struct flight_value *value)
{
	if (value && atomic_fetch_sub(&value->ref_cnt, 1) == 1)
		alloc_free(value);
}

void flight_ask_free(struct wait_part *part)
{
	flight_value_put(((struct flight_ask *)part)->value);
	alloc_free(part);
}

int flights_new(const struct flight_conf *conf, struct flights **ret)
{
	struct flights *flights = alloc_zero(1, sizeof(*flights));

	if (!flights)
		return -ENOMEM;
	flights->conf = *conf;
	rand_init(&flights->rand, conf->seed);
	breaker_init(&flights->breaker, &BREAKER_CONF_DEFAULT, conf->clock, conf->seed + 1);
	*ret = flights;
	return 0;
}

void flights_use_journal(struct flights *flights, struct journal *journal)
{
	flights->journal = journal;
}

void flights_free(struct flights *flights)
{
	assert(!flights || flights->cnt == 0);
	alloc_free(flights);
}

const struct flight_counts *flights_counts(const struct flights *flights)
{
	return &flights->counts;
}

static void answer(struct flight_ask *ask, enum answer_kind kind, struct flight_value *value)
{
	if (value)
		atomic_fetch_add(&value->ref_cnt, 1);
	ask->kind = kind;
	ask->value = value;
	wait_answer(&ask->part);
}

/* --- the table --- */

static struct flight **bucket_of(struct flights *flights, uint64_t hash)
{
	return &flights->buckets[hash % BUCKET_CNT];
}

static void take_out(struct flights *flights, const struct flight *flight)
{
	struct flight **at = bucket_of(flights, flight->token.hash);

	while (*at && *at != flight)
		at = &(*at)->next;
	if (*at)
		*at = flight->next;
}

/* One that the ask may join. A flight whose key was changed is let fly on alone. */
static struct flight *find(struct flights *flights, const struct flight_ask *ask)
{
	const struct span key = span_of(ask->key, ask->key_len);
	struct flight *flight = *bucket_of(flights, ask->hash);

	while (flight && (flight->token.hash != ask->hash || !span_equal(flight->token.key, key)))
		flight = flight->next;
	if (!flight || !store_token_is_void(flights->conf.store, &flight->token))
		return flight;
	take_out(flights, flight);
	return NULL;
}

/* --- landing --- */

static struct flight_value *new_value(uint64_t len)
{
	struct flight_value *value = alloc_resize(NULL, sizeof(*value) + len);

	if (!value)
		return NULL;
	atomic_init(&value->ref_cnt, 1);
	value->len = len;
	return value;
}

static struct flight_value *copy_value(struct span bytes)
{
	struct flight_value *value = new_value(bytes.len);

	if (value && bytes.len > 0)
		memcpy(value->bytes, bytes.ptr, bytes.len);
	return value;
}

static uint64_t least_ns(uint64_t ns, uint64_t ms)
{
	return ms < ns / NSEC_PER_MSEC ? ms * NSEC_PER_MSEC : ns;
}

/*
 * For so long the answer is kept: as the route says, or less if the origin says so. An origin that
 * wants it served old for a shorter time than the route has it old sooner: never longer served.
 */
static uint64_t kept_ns(struct flights *flights, const struct route_rule *rule,
			const struct answer *answer)
{
	const struct answer_age *age = &answer->age;
	uint64_t ttl_ns = route_spread_ns(rule, &flights->rand, rule->ttl_sec * NSEC_PER_SEC);
	uint64_t stale_ms = age->stale_ms;

	if (age->no_store)
		return 0;
	if (age->stale_if_error_ms != UINT64_MAX &&
	    (stale_ms == UINT64_MAX || stale_ms < age->stale_if_error_ms))
		stale_ms = age->stale_if_error_ms;
	return least_ns(ttl_ns, age->fresh_ms) + least_ns(route_window_ns(rule), stale_ms);
}

/* What the origin does not have, or does not want kept, goes. Then there is nothing to change. */
static void drop(struct flight *flight)
{
	const struct flight_conf *conf = &flight->flights->conf;
	struct store_token *token = &flight->token;
	struct item_view view;

	if (!store_peek(conf->thread, token->key, token->hash, &view) ||
	    store_token_is_void(conf->store, token))
		return;
	/* Whoever writes it now gives it another cas. */
	if (store_remove(conf->thread, token->key, token->hash, view.cas) != STORE_OK)
		return;
	store_token_drop(conf->store, token);
	store_token_take(conf->thread, token, token->key, token->hash);
}

/* Into the store, or the note that there is nothing. Who waits is answered also without it. */
static void keep(struct flight *flight, const struct answer *answer)
{
	struct flights *flights = flight->flights;
	const struct route_rule *rule = &flight->rule;
	bool absent = answer->kind == ANSWER_ABSENT;
	uint64_t ns =
		absent ? rule->negative_ttl_sec * NSEC_PER_SEC : kept_ns(flights, rule, answer);
	struct store_put put = { .key = flight->token.key,
				 .hash = flight->token.hash,
				 .expire_ns = clock_now_ns(flights->conf.clock) + ns,
				 .mode = absent ? STORE_ADD : STORE_SET,
				 .absent = absent,
				 .token = &flight->token };
	enum store_status status;

	if (absent || ns == 0)
		drop(flight);
	if (ns == 0)
		return;
	status = store_put(flights->conf.thread, &put, answer->value, NULL);
	if (status == STORE_AGAIN && store_wait(flights->conf.thread, 0))
		status = store_put(flights->conf.thread, &put, answer->value, NULL);
	if (status == STORE_NOT_STORED)
		count(&flights->counts.voided);
}

static void land(struct flight *flight, enum answer_kind kind, struct flight_value *value)
{
	struct flights *flights = flight->flights;
	struct mail *mail = flight->asks;

	if (flight->is_refresh)
		flights_forget_refresh(flights);

	take_out(flights, flight);
	store_token_drop(flights->conf.store, &flight->token);
	while (mail) {
		struct mail *next = mail->next;

		answer((struct flight_ask *)mail, kind, value);
		mail = next;
	}
	flight_value_put(value);
	flights->cnt--;
	alloc_free(flight);
}

static void on_answer(struct origin_query *query, const struct answer *answer)
{
	struct flight *flight = (struct flight *)query;
	struct flights *flights = flight->flights;
	struct flight_value *value = NULL;
	enum answer_kind kind = answer->kind;
	bool failed = kind == ANSWER_FAILED;

	flights_finish(flights, flight->era, failed ? BREAKER_FAILED : BREAKER_ANSWERED,
		       answer->reason);
	if (kind == ANSWER_FOUND) {
		value = copy_value(answer->value);
		kind = value ? kind : ANSWER_FAILED;
	}
	if (flights->conf.take_asks)
		flights->conf.take_asks(flights->conf.ctx);
	if (kind == ANSWER_FOUND || kind == ANSWER_ABSENT)
		keep(flight, answer);
	count(kind == ANSWER_FOUND    ? &flights->counts.found
	      : kind == ANSWER_ABSENT ? &flights->counts.absent
				      : &flights->counts.failed);
	land(flight, kind, value);
}

/* --- taking off --- */

/* A token of the bucket that its route fills. */
static bool may_ask(struct flights *flights, const struct flight_ask *ask)
{
	struct rate_of_source *source = &flights->rates[ask->source];
	uint32_t qps = ask->rule.max_miss_qps;

	if (source->qps != qps)
		limit_rate_init(&source->rate, qps, qps ? qps : 1);
	source->qps = qps;
	if (limit_rate_take(&source->rate, clock_now_ns(flights->conf.clock),
			    ask->is_refresh ? LIMIT_BACKGROUND : LIMIT_CLIENT) == 0)
		return true;
	count(&flights->counts.limited);
	return false;
}

/* The token before the question: a change that comes behind it is one the answer may not know. */
static struct flight *begin(struct flights *flights, const struct flight_ask *ask)
{
	const struct flight_conf *conf = &flights->conf;
	struct flight *flight;
	struct span key;
	uint32_t era;
	int err;

	if (flights->cnt == conf->flight_max || !breaker_admit(&flights->breaker, &era))
		return NULL;
	flight = may_ask(flights, ask) ? alloc_zero(1, sizeof(*flight)) : NULL;
	if (!flight) {
		breaker_finish(&flights->breaker, era, BREAKER_VOID);
		return NULL;
	}
	flight->flights = flights;
	flight->is_refresh = ask->is_refresh;
	flight->rule = ask->rule;
	flight->era = era;
	memcpy(flight->key, ask->key, ask->key_len);
	key = span_of(flight->key, ask->key_len);
	store_token_take(conf->thread, &flight->token, key, ask->hash);
	flight->query.statement = ask->source;
	flight->query.deadline_ns = clock_now_ns(conf->clock) + conf->timeout_ms * NSEC_PER_MSEC;
	flight->query.done = on_answer;
	origin_pattern_split(&conf->patterns[ask->source], key, flight->query.params);
	err = conf->ops->ask(conf->back, &flight->query);
	if (err) {
		breaker_finish(&flights->breaker, era,
			       err == -EAGAIN ? BREAKER_VOID : BREAKER_FAILED);
		store_token_drop(conf->store, &flight->token);
		alloc_free(flight);
		return NULL;
	}
	flights->cnt++;
	flight->next = *bucket_of(flights, ask->hash);
	*bucket_of(flights, ask->hash) = flight;
	count(&flights->counts.queries);
	if (ask->is_refresh)
		count(&flights->counts.refreshes);
	return flight;
}

bool flights_expect_refresh(struct flights *flights)
{
	_Atomic uint32_t *cnt = &flights->counts.refreshing;

	if (atomic_fetch_add(cnt, 1) < (flights->conf.flight_max + 1) / 2)
		return true;
	atomic_fetch_sub(cnt, 1);
	return false;
}

void flights_forget_refresh(struct flights *flights)
{
	atomic_fetch_sub(&flights->counts.refreshing, 1);
}

void flights_note_stale(struct flights *flights, bool failed)
{
	atomic_fetch_add_explicit(failed ? &flights->counts.stale_error : &flights->counts.stale, 1,
				  memory_order_relaxed);
}

void flights_expect(struct flights *flights)
{
	atomic_fetch_add_explicit(&flights->counts.asked, 1, memory_order_relaxed);
}

/* The answer has landed since the asker looked; it gets what is here. */
static bool is_here(struct flights *flights, struct flight_ask *ask)
{
	const struct span key = span_of(ask->key, ask->key_len);
	struct flight_value *value;
	struct item_view view;

	if (store_is_noted(flights->conf.thread, key, ask->hash)) {
		answer(ask, ANSWER_ABSENT, NULL);
		return true;
	}
	if (!store_peek(flights->conf.thread, key, ask->hash, &view) ||
	    route_age(&ask->rule, view.expire_ns, clock_now_ns(flights->conf.clock)) == ROUTE_LATE)
		return false;
	value = new_value(view.value_len);
	if (!value)
		return false;
	for (uint64_t at = 0; at < view.value_len;) {
		struct span part = store_value_part(flights->conf.store, &view, at);

		memcpy(value->bytes + at, part.ptr, part.len);
		at += part.len;
	}
	answer(ask, ANSWER_FOUND, value);
	flight_value_put(value);
	return true;
}

/* As what the origin would say if it had it. */
static void keep_pending(struct flights *flights, const struct flight_ask *ask,
			 const struct store_token *token, const struct journal_change *change)
{
	const struct route_rule *rule = &ask->rule;
	bool absent = change->kind == JOURNAL_REMOVE;
	uint64_t ns = absent ? rule->negative_ttl_sec * NSEC_PER_SEC
			     : route_spread_ns(rule, &flights->rand, rule->ttl_sec * NSEC_PER_SEC) +
				       route_window_ns(rule);
	const struct store_put put = { .key = token->key,
				       .hash = token->hash,
				       .flags = change->flags,
				       .expire_ns = clock_now_ns(flights->conf.clock) + ns,
				       .mode = absent ? STORE_ADD : STORE_SET,
				       .absent = absent,
				       .token = token };

	if (ns > 0)
		store_put(flights->conf.thread, &put, change->value, NULL);
}

/* What clients were promised and the origin does not have; it would say what was before. */
static bool is_pending(struct flights *flights, struct flight_ask *ask)
{
	const struct span key = span_of(ask->key, ask->key_len);
	const struct journal_record *record = NULL;
	struct flight_value *value = NULL;
	struct store_token token;

	if (!flights->journal)
		return false;
	store_token_take(flights->conf.thread, &token, key, ask->hash);
	record = journal_get(flights->journal, key);
	if (record)
		keep_pending(flights, ask, &token, &record->what);
	store_token_drop(flights->conf.store, &token);
	if (!record)
		return false;
	if (record->what.kind == JOURNAL_WRITE)
		value = copy_value(record->what.value);
	count(&flights->counts.pending);
	answer(ask,
	       value				     ? ANSWER_FOUND
	       : record->what.kind == JOURNAL_REMOVE ? ANSWER_ABSENT
						     : ANSWER_FAILED,
	       value);
	flight_value_put(value);
	journal_put(flights->journal, record);
	return true;
}

static bool is_fresh(struct flights *flights, const struct flight_ask *ask)
{
	const struct span key = span_of(ask->key, ask->key_len);
	struct item_view view;

	return store_is_noted(flights->conf.thread, key, ask->hash) ||
	       (store_peek(flights->conf.thread, key, ask->hash, &view) &&
		route_age(&ask->rule, view.expire_ns, clock_now_ns(flights->conf.clock)) ==
			ROUTE_FRESH);
}

/* Taken up at once, or not at all. */
static void refresh(struct flights *flights, struct flight_ask *ask)
{
	if (find(flights, ask) || is_fresh(flights, ask) || !begin(flights, ask))
		flights_forget_refresh(flights);
	note_breaker(flights, "");
	alloc_free(ask);
}

void flights_ask(struct flights *flights, struct flight_ask *ask)
{
	struct flight *flight;

	if (ask->is_refresh) {
		refresh(flights, ask);
		return;
	}
	if (is_pending(flights, ask))
		return;
	flight = find(flights, ask);
	if (!flight && is_here(flights, ask))
		return;
	if (!flight) {
		flight = begin(flights, ask);
		note_breaker(flights, "");
	}
	if (!flight) {
		count(&flights->counts.refused);
		answer(ask, ANSWER_FAILED, NULL);
		return;
	}
	ask->part.mail.next = flight->asks;
	flight->asks = &ask->part.mail;
}
