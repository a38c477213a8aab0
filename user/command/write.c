/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * set, add, replace, append, prepend, cas: a value that is there whole, or one that arrives in
 * pieces.
 */
#include "command/impl.h"

#include <assert.h>

#include "base/alloc.h"

static bool is_append(const struct request *req)
{
	return req->verb == REQUEST_APPEND || req->verb == REQUEST_PREPEND;
}

static struct store_put make_put(const struct command_worker *w, const struct request *req)
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
		.expire_ns = command_expire_ns(w, req->exptime),
		.value_len = req->value_len,
		.mode = modes[req->verb],
		.cas = req->cas,
	};
}

static enum store_status append(struct command_worker *w, const struct request *req, uint64_t hash)
{
	if (req->verb == REQUEST_APPEND)
		return store_append(w->thread, req->key, hash, req->value, 0, NULL);
	return store_prepend(w->thread, req->key, hash, req->value, 0, NULL);
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

static void answer(struct command_worker *w, const struct request *req, struct response *resp,
		   enum store_status status)
{
	enum request_status text = STATUS_STORED;

	if (req->verb == REQUEST_CAS)
		count_cas(w, status);
	switch (status) {
	case STORE_OK:
		break;
	case STORE_EXISTS:
		text = STATUS_EXISTS;
		break;
	case STORE_NOT_FOUND:
		text = is_append(req) ? STATUS_NOT_STORED : STATUS_NOT_FOUND;
		break;
	case STORE_TOO_LARGE:
		/* memcached's answer to an append that grows past the limit. */
		text = is_append(req) ? STATUS_NOT_STORED : STATUS_TOO_LARGE;
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

bool command_admit(struct command_worker *w, const struct request *req, struct response *resp)
{
	if (req->value_len <= w->command->options.settings.item_max)
		return true;
	command_count(&w->counts.store_too_large, 1);
	forget(w, req);
	req->compose->status(resp, req, STATUS_TOO_LARGE);
	return false;
}

void command_write(struct command_worker *w, const struct request *req, struct response *resp)
{
	struct store_put put;
	enum store_status status;

	command_count(&w->counts.cmd_set, 1);
	if (req->value_bad) {
		req->compose->status(resp, req, STATUS_BAD_CHUNK);
		return;
	}
	assert(req->value.len == req->value_len);
	put = make_put(w, req);
	for (uint32_t tries = 0;; tries++) {
		if (is_append(req))
			status = append(w, req, put.hash);
		else
			status = store_put(w->thread, &put, req->value, NULL);
		if (status != STORE_AGAIN || !command_wait(w, resp, tries))
			break;
	}
	command_sample_write(w, req->key, put.hash);
	answer(w, req, resp, status);
}

bool command_upload_start(struct command_worker *w, const struct request *req,
			  struct command_upload *upload, struct response *resp)
{
	enum store_status status = STORE_OK;
	struct store_put put;

	upload->req = *req;
	memcpy(upload->key, req->key.ptr, req->key.len);
	upload->req.key.ptr = upload->key;
	upload->heap = NULL;
	upload->heap_len = 0;
	if (is_append(req)) {
		upload->heap = alloc_resize(NULL, req->value_len);
		if (!upload->heap)
			status = STORE_NO_MEMORY;
	} else {
		put = make_put(w, &upload->req);
		for (uint32_t tries = 0;; tries++) {
			status = store_reserve(w->thread, &put, &upload->pending);
			if (status != STORE_AGAIN || !command_wait(w, resp, tries))
				break;
		}
	}
	if (status == STORE_OK)
		return true;
	answer(w, &upload->req, resp, status);
	return false;
}

void command_upload_fill(struct command_worker *w, struct command_upload *upload, struct span bytes)
{
	if (!upload->heap) {
		store_fill(w->thread, &upload->pending, bytes);
		return;
	}
	assert(upload->heap_len + bytes.len <= upload->req.value_len);
	memcpy(upload->heap + upload->heap_len, bytes.ptr, bytes.len);
	upload->heap_len += bytes.len;
}

void command_upload_finish(struct command_worker *w, struct command_upload *upload, bool bad_end,
			   struct response *resp)
{
	struct request *req = &upload->req;

	if (upload->heap || bad_end) {
		req->value = span_of(upload->heap, upload->heap_len);
		req->value_bad = bad_end;
		command_write(w, req, resp);
		command_upload_abandon(w, upload);
		return;
	}
	if (command_flush_at_ns(w))
		command_flush_due(w);
	command_count(&w->counts.cmd_set, 1);
	command_sample_write(w, req->key, upload->pending.put.hash);
	answer(w, req, resp, store_commit(w->thread, &upload->pending, NULL));
}

void command_upload_abandon(struct command_worker *w, struct command_upload *upload)
{
	if (upload->heap)
		alloc_free(upload->heap);
	else
		store_abandon(w->thread, &upload->pending);
	upload->heap = NULL;
}
