/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * set, add, replace, append, prepend, cas of a value that is there whole; upload.c has those that
 * arrive in pieces.
 */
#include "command/impl.h"

#include <assert.h>

bool command_is_append(const struct request *req)
{
	return req->verb == REQUEST_APPEND || req->verb == REQUEST_PREPEND;
}

struct store_put command_put_of(struct command_worker *w, const struct request *req)
{
	static const enum store_mode modes[REQUEST_VERB_CNT] = {
		[REQUEST_SET] = STORE_SET,
		[REQUEST_ADD] = STORE_ADD,
		[REQUEST_REPLACE] = STORE_REPLACE,
		[REQUEST_CAS] = STORE_CAS,
	};

	return (struct store_put){
		.key = req->key,
		.hash = store_hash(w->store, req->key),
		.flags = req->flags,
		.expire_ns = command_expire_ns(w, command_route(w, req->key), req->exptime),
		.value_len = req->value_len,
		.mode = modes[req->verb],
		.cas = req->cas,
		.new_cas = req->meta.new_cas,
		.prepend = req->verb == REQUEST_PREPEND,
		.binary = req->key_base64,
		.allow_stale = request_asks(req, 'I'),
	};
}

/* Appends; where there is nothing to append to, makes it if the client said for how long. */
static enum store_status append(struct command_worker *w, const struct request *req,
				const struct store_put *put, struct store_stored *ret)
{
	struct store_put first = *put;
	enum store_status status;

	first.mode = STORE_ADD;
	first.expire_ns =
		command_expire_ns(w, command_route(w, req->key), req->meta.vivify_exptime);
	do {
		status = store_join(w->thread, put, req->value, ret);
		if ((status != STORE_NOT_STORED && status != STORE_NOT_FOUND) ||
		    !request_asks(req, 'N'))
			return status;
		ret->value_len = req->value.len;
		ret->expire_ns = first.expire_ns;
		status = store_put(w->thread, &first, req->value, &ret->cas);
	} while (status == STORE_NOT_STORED); /* someone else made it just now */
	return status;
}

static void count_cas(struct command_worker *w, enum store_status status)
{
	if (status == STORE_OK)
		command_count(&w->counts.cas_hits, 1);
	else if (status == STORE_EXISTS)
		command_count(&w->counts.cas_badval, 1);
	else if (status == STORE_NOT_FOUND)
		command_count(&w->counts.cas_misses, 1);
}

/* A set that could not be kept must not leave the value it was to replace. */
static void forget(struct command_worker *w, const struct request *req)
{
	if (req->verb == REQUEST_SET)
		store_remove(w->thread, req->key, store_hash(w->store, req->key), 0);
}

void command_write_answer(struct command_worker *w, const struct request *req,
			  struct response *resp, enum store_status status,
			  const struct store_stored *stored)
{
	enum request_status text = STATUS_STORED;
	struct compose_stored told;

	command_log_store(w, req, status, stored->expire_ns);
	if (req->verb == REQUEST_CAS)
		count_cas(w, status);
	switch (status) {
	case STORE_OK:
		told = (struct compose_stored){ .cas = stored->cas,
						.value_len = stored->value_len };
		req->compose->stored(resp, req, &told);
		return;
	case STORE_EXISTS:
		text = STATUS_EXISTS;
		break;
	case STORE_NOT_FOUND:
		text = command_is_append(req) ? STATUS_NOT_STORED : STATUS_NOT_FOUND;
		break;
	case STORE_TOO_LARGE:
		/* memcached's answer to an append that grows past the limit. */
		text = command_is_append(req) ? STATUS_NOT_STORED : STATUS_TOO_LARGE;
		command_count(&w->counts.store_too_large, 1);
		forget(w, req);
		break;
	case STORE_AGAIN:
	case STORE_NO_MEMORY:
		text = STATUS_NO_MEMORY_STORING;
		command_count(&w->counts.store_no_memory, 1);
		forget(w, req);
		break;
	case STORE_NOT_STORED:
	case STORE_NOT_NUMBER:
		text = STATUS_NOT_STORED;
		break;
	}
	req->compose->status(resp, req, text);
}

/*
 * What memcached would hold for it, which is what -I bounds there: header, cas, key and NUL, flags
 * if any, value and CR LF.
 */
static uint64_t memcached_bytes(const struct request *req)
{
	return 48 + 8 + req->key.len + 1 + (req->flags ? 4 : 0) + req->value_len + 2;
}

bool command_admit(struct command_worker *w, const struct request *req, struct response *resp)
{
	uint8_t raw[XC_KEY_MAX];
	struct request own;

	if (req->verb == REQUEST_INVALID) {
		command_note_request(w, req->verb);
		req->compose->status(resp, req, req->error);
		return false;
	}
	own = *req;
	own.key = command_key(req, raw);
	if (memcached_bytes(&own) <= w->command->options.settings.item_max)
		return true;
	command_note_request(w, req->verb);
	command_log_store(w, &own, STORE_TOO_LARGE, command_expire_ns(w, NULL, own.exptime));
	command_tally(w, command_route(w, own.key), own.key, TALLY_SET);
	command_count(&w->counts.store_too_large, 1);
	forget(w, &own);
	req->compose->status(resp, &own, STATUS_TOO_LARGE);
	return false;
}

void command_write(struct command_worker *w, const struct request *req, struct response *resp)
{
	struct store_stored stored = { .value_len = req->value_len };
	const struct write_ask *made = command_made(w);
	enum store_status status = STORE_OK;
	struct store_put put;

	command_log_lookup(w, req->key);
	command_count(&w->counts.cmd_set, 1);
	command_tally(w, command_route(w, req->key), req->key, TALLY_SET);
	if (req->value_bad) {
		req->compose->status(resp, req, STATUS_BAD_CHUNK);
		return;
	}
	assert(req->value.len == req->value_len);
	put = command_put_of(w, req);
	stored.expire_ns = put.expire_ns;
	if (made) {
		status = made->status;
		stored = made->stored;
	}
	for (uint32_t tries = 0; !made; tries++) {
		if (command_is_append(req))
			status = append(w, req, &put, &stored);
		else
			status = store_put(w->thread, &put, req->value, &stored.cas);
		if (status != STORE_AGAIN || !command_wait(w, resp, tries))
			break;
	}
	command_sample_write(w, req->key, put.hash);
	command_write_answer(w, req, resp, status, &stored);
}
