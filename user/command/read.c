/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * get, gets, gat, gats, touch. A retrieval stops when its reply is full and goes on where it
 * stopped, so that any number of keys is answered in bounded memory.
 */
#include "command/impl.h"

void command_put_value(struct command_worker *w, struct response *resp,
		       const struct item_view *view)
{
	uint64_t pos = 0;

	if (view->value)
		response_lend(resp, span_of(view->value, view->value_len));
	while (!view->value && pos < view->value_len) {
		struct span part = store_value_part(w->store, view, pos);

		response_lend(resp, part);
		pos += part.len;
	}
}

static struct compose_item item_of(const struct item_view *view)
{
	return (struct compose_item){
		.key = view->key,
		.value_len = view->value_len,
		.cas = view->cas,
		.flags = view->flags,
	};
}

static void add_item(struct command_worker *w, const struct request *req, struct response *resp,
		     const struct item_view *view)
{
	const struct compose_item item = item_of(view);

	req->compose->item(resp, req, &item);
	command_put_value(w, resp, view);
	req->compose->item_end(resp, req);
}

void command_count_miss(struct command_worker *w)
{
	command_count(&w->counts.get_misses, 1);
	switch (store_miss(w->thread)) {
	case STORE_MISS_EXPIRED:
		command_count(&w->counts.get_expired, 1);
		break;
	case STORE_MISS_FLUSHED:
		command_count(&w->counts.get_flushed, 1);
		break;
	case STORE_MISS_ABSENT:
		break;
	}
}

static bool find(struct command_worker *w, struct span key, uint64_t hash, struct item_view *ret)
{
	bool found = store_find(w->thread, key, hash, ret);
	/* What was fetched for this very request was not there. */
	bool hit = found && !command_sought(w, key, hash);

	command_tally(w, command_route(w, key), key, hit ? TALLY_HIT : TALLY_MISS);
	command_count(&w->counts.cmd_get, 1);
	if (hit)
		command_count(&w->counts.get_hits, 1);
	else
		command_count_miss(w);
	command_log_fetch(w, key, hit ? ret : NULL);
	command_sample_read(w, key, hash);
	return found || command_sought_view(w, key, hash, ret);
}

/* The view is of the item with its new expiry; its value is what it was. */
static enum store_status touch(struct command_worker *w, struct span key, uint64_t hash,
			       int64_t exptime, struct response *resp, struct item_view *ret)
{
	uint64_t expire_ns = command_expire_ns(w, command_route(w, key), exptime);
	enum store_status status;

	command_log_lookup(w, key);
	for (uint32_t tries = 0;; tries++) {
		status = store_touch(w->thread, key, hash, expire_ns, ret);
		if (status != STORE_AGAIN || !command_wait(w, resp, tries))
			break;
	}
	command_count(&w->counts.cmd_touch, 1);
	if (status == STORE_OK)
		command_count(&w->counts.touch_hits, 1);
	else if (status == STORE_NOT_FOUND)
		command_count(&w->counts.touch_misses, 1);
	else
		command_count(&w->counts.store_no_memory, 1);
	command_sample_write(w, key, hash);
	return status;
}

static enum store_status get_and_touch(struct command_worker *w, const struct request *req,
				       struct span key, uint64_t hash, struct response *resp,
				       struct item_view *ret)
{
	enum store_status status = touch(w, key, hash, req->exptime, resp, ret);

	if (status == STORE_OK || status == STORE_NOT_FOUND)
		command_tally(w, command_route(w, key), key,
			      status == STORE_OK ? TALLY_HIT : TALLY_MISS);
	if (status == STORE_NOT_FOUND && command_sought_view(w, key, hash, ret))
		status = STORE_OK;
	return status;
}

/* One key of a get or a gat. */
static enum store_status read_key(struct command_worker *w, const struct request *req,
				  struct span key, uint64_t hash, struct response *resp,
				  struct item_view *ret)
{
	if (req->verb == REQUEST_GAT || req->verb == REQUEST_GATS)
		return get_and_touch(w, req, key, hash, resp, ret);
	return find(w, key, hash, ret) ? STORE_OK : STORE_NOT_FOUND;
}

/* Keys of one request whose items are fetched from memory at the same time. */
#define BATCH_MAX 16

struct batch {
	struct span key[BATCH_MAX];
	uint64_t hash[BATCH_MAX];
	struct span rest[BATCH_MAX]; /* of the request's keys, behind each one */
	uint32_t cnt;
};

static void batch_fill(const struct command_worker *w, struct span keys, struct batch *ret)
{
	for (ret->cnt = 0; ret->cnt < BATCH_MAX; ret->cnt++) {
		struct span key = request_word(&keys);

		if (key.len == 0)
			break;
		ret->key[ret->cnt] = key;
		ret->hash[ret->cnt] = store_hash(w->store, key);
		ret->rest[ret->cnt] = keys;
	}
	if (ret->cnt < 2)
		return;
	for (uint32_t i = 0; i < ret->cnt; i++)
		store_prefetch_slot(w->store, ret->hash[i]);
	for (uint32_t i = 0; i < ret->cnt; i++)
		store_prefetch_item(w->store, ret->hash[i]);
}

/* A protocol that asks for one key a request is told of a miss, too. */
static void read_one(struct command_worker *w, const struct request *req, struct response *resp)
{
	uint64_t hash = store_hash(w->store, req->key);
	struct item_view view;

	switch (read_key(w, req, req->key, hash, resp, &view)) {
	case STORE_OK:
		add_item(w, req, resp, &view);
		return;
	case STORE_NOT_FOUND:
		req->compose->status(resp, req, STATUS_NOT_FOUND);
		return;
	default:
		req->compose->status(resp, req, STATUS_NO_MEMORY);
	}
}

enum command_next command_read(struct command_worker *w, struct request *req, struct response *resp)
{
	struct batch batch;

	if (req->key.len) {
		read_one(w, req, resp);
		return COMMAND_DONE;
	}

	for (batch_fill(w, req->keys, &batch); batch.cnt; batch_fill(w, req->keys, &batch)) {
		for (uint32_t i = 0; i < batch.cnt; i++) {
			const struct forward_ask *ask = command_forwarded(w, batch.key[i]);
			enum store_status status = STORE_NOT_FOUND;
			struct item_view view;

			req->keys = batch.rest[i];
			if (ask && !command_put_forwarded(ask, resp)) {
				req->verb = REQUEST_INVALID;
				return COMMAND_DONE;
			}
			if (!ask)
				status = read_key(w, req, batch.key[i], batch.hash[i], resp, &view);
			if (status == STORE_OK) {
				add_item(w, req, resp, &view);
			} else if (status != STORE_NOT_FOUND) {
				/* No miss: the item is there. The reply ends with the error. */
				req->verb = REQUEST_INVALID;
				req->error = STATUS_NO_MEMORY;
				req->compose->status(resp, req, req->error);
				return COMMAND_DONE;
			}
			if (response_full(resp))
				return COMMAND_MORE;
		}
	}
	if (!req->more)
		req->compose->end(resp, req);
	return COMMAND_DONE;
}

void command_touch(struct command_worker *w, const struct request *req, struct response *resp)
{
	uint64_t hash = store_hash(w->store, req->key);
	enum request_status status;
	struct compose_item item;
	struct item_view view;

	switch (touch(w, req->key, hash, req->exptime, resp, &view)) {
	case STORE_OK:
		item = item_of(&view);
		req->compose->touched(resp, req, &item);
		return;
	case STORE_NOT_FOUND:
		status = STATUS_NOT_FOUND;
		break;
	default:
		status = STATUS_NO_MEMORY;
		break;
	}
	req->compose->status(resp, req, status);
}
