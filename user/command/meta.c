/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mg, md, ma, me. ms is one of the storage commands (write.c).
 *
 * Flags act in the order they are written in: T behind N overrides its time, t tells the time to
 * live as it is by then, and R compares with what T has set if T is in front.
 */
#include "command/impl.h"

#include "protocol/compose_meta.h"
#include "protocol/decimal.h"

/* Whole seconds as a clock that ticks seconds would have left of its freshness; -1: no end. */
static int64_t ttl_sec(const struct command_worker *w, const struct route_rule *rule,
		       uint64_t expire_ns)
{
	uint64_t left_ns;

	if (expire_ns == 0)
		return -1;
	expire_ns = route_fresh_ns(rule, expire_ns);
	left_ns = expire_ns > w->now_ns + XC_EXPIRE_LATE_NS
			  ? expire_ns - w->now_ns - XC_EXPIRE_LATE_NS
			  : 0;
	return (int64_t)((left_ns + NSEC_PER_SEC - 1) / NSEC_PER_SEC);
}

static uint64_t idle_sec(const struct command_worker *w, uint64_t access_ns)
{
	uint64_t now_sec = w->now_ns / NSEC_PER_SEC, access_sec = access_ns / NSEC_PER_SEC;

	return now_sec > access_sec ? now_sec - access_sec : 0;
}

/* The flag `first` is written in front of the flag `second`. */
static bool comes_before(const struct request *req, char first, char second)
{
	for (uint32_t i = 0; i < req->meta.flag_cnt; i++) {
		if (req->meta.order[i] == first || req->meta.order[i] == second)
			return req->meta.order[i] == first;
	}
	return false;
}

/* What T and N ask for: one draw of a route's jitter each, which is kept and told alike. */
struct times {
	uint64_t touched_ns;
	uint64_t vivified_ns;
	const struct route_rule *rule; /* NULL: the key has no route */
};

static struct times times_of(struct command_worker *w, const struct request *req)
{
	const struct route *route = command_route(w, req->key);

	return (struct times){
		.touched_ns = command_expire_ns(w, route, req->exptime),
		.vivified_ns = command_vivify_ns(w, route, req->meta.vivify_exptime),
		.rule = route ? &route->rule : NULL,
	};
}

/* When an item that N makes expires. */
static uint64_t vivify_ns(const struct request *req, const struct times *times)
{
	bool touched = request_asks(req, 'T') && comes_before(req, 'N', 'T');

	return touched ? times->touched_ns : times->vivified_ns;
}

/* --- mg --- */

static struct store_fetch fetch_of(struct command_worker *w, const struct request *req,
				   const struct times *times)
{
	struct store_fetch how = {
		.key = req->key,
		.hash = store_hash(w->store, req->key),
		.unseen = request_asks(req, 'u'),
		.binary = req->key_base64,
		.touch = request_asks(req, 'T'),
		.expire_ns = times->touched_ns,
		.vivify = request_asks(req, 'N'),
		.vivify_ns = vivify_ns(req, times),
		.new_cas = req->meta.new_cas,
		.may_win = true,
		.recache_touched = comes_before(req, 'T', 'R'),
	};

	if (request_asks(req, 'R')) {
		uint64_t at_ns = command_expire_ns(w, NULL, req->meta.recache_exptime);
		const uint64_t step_ns = NSEC_PER_SEC - XC_EXPIRE_LATE_NS;

		/* So that it wins just when t is less than R: the last moment for which it is. */
		how.recache_ns =
			at_ns > step_ns ? at_ns - step_ns + route_window_ns(times->rule) : 0;
	}
	return how;
}

/* What came for this request and is not in the store. */
static bool fetched_elsewhere(const struct command_worker *w, const struct request *req,
			      uint64_t hash, struct store_fetched *ret)
{
	struct item_view view;

	if (!command_sought_view(w, req->key, hash, &view))
		return false;
	view.binary = req->key_base64;
	*ret = (struct store_fetched){ .item = view,
				       .expire_before_ns = w->now_ns,
				       .access_ns = w->now_ns };
	return true;
}

static void count_get(struct command_worker *w, const struct request *req, bool hit)
{
	command_tally(w, command_route(w, req->key), req->key, hit ? TALLY_HIT : TALLY_MISS);
	if (hit && request_asks(req, 'T')) {
		command_count(&w->counts.cmd_touch, 1);
		command_count(&w->counts.touch_hits, 1);
		return;
	}
	command_count(&w->counts.cmd_get, 1);
	if (hit)
		command_count(&w->counts.get_hits, 1);
	else
		command_count_miss(w);
}

static void answer_get(struct command_worker *w, const struct request *req, struct response *resp,
		       const struct times *times, const struct store_fetched *fetched)
{
	const struct item_view *view = &fetched->item;
	const struct compose_meta_item item = {
		.key = view->key,
		.key_binary = view->binary,
		.with_value = request_asks(req, 'v') &&
			      !(request_asks(req, 'C') && req->cas == view->cas),
		.value_len = view->value_len,
		.cas = view->cas,
		.flags = view->flags,
		.idle_sec = idle_sec(w, fetched->access_ns),
		.fetched = fetched->fetched,
		.ttl_sec = ttl_sec(w, times->rule, fetched->expire_before_ns),
		.touched_ttl_sec = ttl_sec(w, times->rule, times->touched_ns),
		.vivified_ttl_sec = ttl_sec(w, NULL, times->vivified_ns),
		.made = fetched->made,
		.won_before = fetched->won_before,
		.stale = view->stale,
		.won_now = fetched->won_now,
	};

	compose_meta_item(resp, req, &item);
	if (!item.with_value)
		return;
	command_put_value(w, resp, view);
	response_put(resp, "\r\n", 2);
}

void command_meta_get(struct command_worker *w, const struct request *req, struct response *resp)
{
	const struct times times = times_of(w, req);
	const struct store_fetch how = fetch_of(w, req, &times);
	struct store_fetched fetched;
	enum store_status status;

	for (uint32_t tries = 0;; tries++) {
		status = store_fetch(w->thread, &how, &fetched);
		if (status != STORE_AGAIN || !command_wait(w, resp, tries))
			break;
	}
	command_log_fetch(w, req->key, status == STORE_OK && !fetched.made ? &fetched.item : NULL);
	command_sample_read(w, req->key, how.hash);
	switch (status) {
	case STORE_OK:
		count_get(w, req, !command_sought(w, req->key, how.hash));
		answer_get(w, req, resp, &times, &fetched);
		break;
	case STORE_NOT_FOUND:
		count_get(w, req, false);
		if (fetched_elsewhere(w, req, how.hash, &fetched))
			answer_get(w, req, resp, &times, &fetched);
		else
			req->compose->status(resp, req, STATUS_NOT_FOUND);
		break;
	default:
		command_count(&w->counts.store_no_memory, 1);
		req->compose->status(resp, req, STATUS_NO_MEMORY);
		break;
	}
}

/* --- md --- */

static enum store_status drop(struct command_worker *w, const struct request *req, uint64_t hash,
			      const struct times *times)
{
	struct store_invalidate how = {
		.key = req->key,
		.hash = hash,
		.cas = req->cas,
		.new_cas = req->meta.new_cas,
		.stale = request_asks(req, 'I'),
		.drop_value = request_asks(req, 'x'),
		.touch = request_asks(req, 'T'),
		.expire_ns = times->touched_ns,
	};
	struct item_view view;

	/* No item has cas 0, and to the store that means any. */
	if (request_asks(req, 'C') && req->cas == 0)
		return store_peek(w->thread, req->key, hash, &view) ? STORE_EXISTS
								    : STORE_NOT_FOUND;
	if (how.stale || how.drop_value)
		return store_invalidate(w->thread, &how);
	return store_remove(w->thread, req->key, hash, req->cas);
}

void command_meta_delete(struct command_worker *w, const struct request *req, struct response *resp)
{
	uint64_t hash = store_hash(w->store, req->key);
	enum request_status told = STATUS_NO_MEMORY;
	const struct write_ask *made = command_made(w);
	const struct times times = times_of(w, req);
	enum store_status status = STORE_OK;

	command_log_lookup(w, req->key);
	command_tally(w, command_route(w, req->key), req->key, TALLY_DELETE);
	if (made)
		status = made->status;
	for (uint32_t tries = 0; !made; tries++) {
		status = drop(w, req, hash, &times);
		if (status != STORE_AGAIN || !command_wait(w, resp, tries))
			break;
	}
	command_sample_write(w, req->key, hash);
	if (status == STORE_OK) {
		told = STATUS_DELETED;
		if (!request_asks(req, 'I')) {
			command_log_delete(w, req->key);
			command_count(&w->counts.delete_hits, 1);
		}
	} else if (status == STORE_NOT_FOUND || status == STORE_EXISTS) {
		told = status == STORE_EXISTS ? STATUS_EXISTS : STATUS_NOT_FOUND;
		command_count(&w->counts.delete_misses, 1);
	}
	req->compose->status(resp, req, told);
}

/* --- ma --- */

struct number {
	uint64_t number;
	uint64_t cas;
	uint64_t expire_before_ns;
	bool made;
};

/* STORE_NOT_STORED: someone else has made it. */
static enum store_status seed(struct command_worker *w, const struct request *req, uint64_t hash,
			      const struct times *times, struct number *ret)
{
	uint8_t text[DECIMAL_MAX];
	const struct store_put put = {
		.key = req->key,
		.hash = hash,
		.expire_ns = vivify_ns(req, times),
		.mode = STORE_ADD,
		.new_cas = req->meta.new_cas,
		.binary = req->key_base64,
	};
	uint32_t len = decimal_put(text, req->meta.initial);

	*ret = (struct number){ .number = req->meta.initial, .made = true };
	return store_put(w->thread, &put, span_of(text, len), &ret->cas);
}

static struct store_delta delta_of(const struct request *req, uint64_t hash,
				   const struct times *times)
{
	return (struct store_delta){
		.key = req->key,
		.hash = hash,
		.delta = req->number,
		.decr = req->decr,
		.touch = request_asks(req, 'T'),
		.cas = req->cas,
		.new_cas = req->meta.new_cas,
		.expire_ns = times->touched_ns,
	};
}

void command_meta_preview(struct command_worker *w, const struct request *req,
			  struct store_preview *ret)
{
	const struct times times = times_of(w, req);
	uint64_t hash = store_hash(w->store, req->key);

	*ret = (struct store_preview){
		.kind = STORE_PREVIEW_NUMBER,
		.put = { .key = req->key,
			 .hash = hash,
			 .new_cas = req->meta.new_cas,
			 .binary = req->key_base64 },
		.delta = delta_of(req, hash, &times),
		.make = request_asks(req, 'N'),
		.make_expire_ns = vivify_ns(req, &times),
		.initial = req->meta.initial,
	};
}

static enum store_status change(struct command_worker *w, const struct request *req, uint64_t hash,
				const struct times *times, struct number *ret)
{
	const struct store_delta how = delta_of(req, hash, times);
	struct store_number changed;
	enum store_status status;

	do {
		status = store_change_number(w->thread, &how, &changed);
		if (status == STORE_OK)
			*ret = (struct number){ .number = changed.number,
						.cas = changed.cas,
						.expire_before_ns = changed.expire_before_ns };
		if (status != STORE_NOT_FOUND || !request_asks(req, 'N'))
			return status;
		status = seed(w, req, hash, times, ret);
	} while (status == STORE_NOT_STORED);
	return status;
}

static void answer_arith(struct command_worker *w, const struct request *req, struct response *resp,
			 const struct times *times, const struct number *number)
{
	uint8_t text[DECIMAL_MAX];
	uint32_t len = decimal_put(text, number->number);
	const struct compose_meta_item item = {
		.with_value = request_asks(req, 'v'),
		.value_len = len,
		.cas = number->cas,
		.ttl_sec = ttl_sec(w, times->rule, number->expire_before_ns),
		.touched_ttl_sec = ttl_sec(w, times->rule, times->touched_ns),
		.vivified_ttl_sec = ttl_sec(w, NULL, times->vivified_ns),
		.made = number->made,
	};

	if (request_asks(req, 'q'))
		return;
	compose_meta_item(resp, req, &item);
	if (!item.with_value)
		return;
	response_put(resp, text, len);
	response_put(resp, "\r\n", 2);
}

void command_meta_arith(struct command_worker *w, const struct request *req, struct response *resp)
{
	uint64_t hash = store_hash(w->store, req->key);
	const struct write_ask *made = command_made(w);
	struct times times = times_of(w, req);
	struct number number = { 0 };
	enum store_status status = STORE_OK;

	command_log_lookup(w, req->key);
	if (made) {
		status = made->status;
		number = (struct number){ .number = made->number,
					  .cas = made->stored.cas,
					  .expire_before_ns = made->expire_before_ns,
					  .made = made->made };
		/* Of the draws of the jitter, the one that was taken. */
		times.touched_ns = made->stored.expire_ns;
		times.vivified_ns = route_fresh_ns(times.rule, made->stored.expire_ns);
	}
	for (uint32_t tries = 0; !made; tries++) {
		status = change(w, req, hash, &times, &number);
		if (status != STORE_AGAIN || !command_wait(w, resp, tries))
			break;
	}
	command_sample_write(w, req->key, hash);
	if (status != STORE_OK) {
		command_arith_failed(w, req, resp, req->decr, status);
		return;
	}
	if (!number.made)
		command_count_arith(w, req->decr, true);
	answer_arith(w, req, resp, &times, &number);
}

/* --- me --- */

void command_meta_debug(struct command_worker *w, const struct request *req, struct response *resp)
{
	const struct store_fetch how = { .key = req->key,
					 .hash = store_hash(w->store, req->key),
					 .unseen = true };
	const struct route *route = command_route(w, req->key);
	struct compose_meta_debug told;
	struct store_fetched fetched;

	command_log_lookup(w, req->key);
	command_count(&w->counts.cmd_meta, 1);
	if (store_fetch(w->thread, &how, &fetched) != STORE_OK) {
		req->compose->status(resp, req, STATUS_NOT_FOUND);
		return;
	}
	told = (struct compose_meta_debug){
		.key = fetched.item.key,
		.key_binary = fetched.item.binary,
		.ttl_sec = ttl_sec(w, route ? &route->rule : NULL, fetched.item.expire_ns),
		.idle_sec = idle_sec(w, fetched.access_ns),
		.cas = fetched.item.cas,
		.fetched = fetched.fetched,
		.size = store_item_bytes(w->store, &fetched.item),
		.stale = fetched.item.stale,
		.won = fetched.item.won,
		.in_kernel = fetched.item.resident,
	};
	compose_meta_debug(resp, req, &told);
}
