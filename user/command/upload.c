/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Values that arrive in pieces. Room for them is taken when their first line has come, and nobody
 * else can use it until the last byte has: so all that are under way together may hold an eighth of
 * the log and no more (one alone may hold what it needs). A client that is silent, or nearly so,
 * while others want its room loses it.
 */
#include "command/impl.h"

#include <assert.h>

#include "base/alloc.h"
#include "cluster/forward.h"

#define SHARE_OF_LOG 8
/* Under pressure an upload is given up after this long without a byte … */
#define SILENT_MAX_NS (10 * NSEC_PER_SEC)
/* … and, when it has lasted longer than that, if it is slower than this on average. */
#define BYTES_PER_SEC_MIN (64U << 10)

/* Whoever is to look at it, or to be told of it, wants it whole. */
static bool in_heap(const struct command_worker *w, const struct request *req)
{
	return command_is_append(req) || command_goes_through(w, req);
}

/* What the upload keeps others from using. */
static uint64_t charge_of(const struct command_worker *w, const struct request *req)
{
	bool in_log = !in_heap(w, req) && !command_is_elsewhere(w, req->key);

	return in_log ? store_pending_bytes(w->store, req->value_len) : req->value_len;
}

static bool charge(struct command_worker *w, struct command_upload *upload)
{
	_Atomic uint64_t *held = &w->command->upload_bytes;
	uint64_t bytes = charge_of(w, &upload->req);
	uint64_t before = atomic_fetch_add(held, bytes);

	if (before > 0 && before + bytes > store_log_bytes(w->store) / SHARE_OF_LOG) {
		atomic_fetch_sub(held, bytes);
		atomic_store_explicit(&w->command->upload_wanted_ns, w->now_ns,
				      memory_order_relaxed);
		return false;
	}
	upload->charged = bytes;
	return true;
}

static void uncharge(struct command_worker *w, struct command_upload *upload)
{
	atomic_fetch_sub(&w->command->upload_bytes, upload->charged);
	upload->charged = 0;
}

static enum store_status reserve(struct command_worker *w, struct command_upload *upload,
				 struct response *resp)
{
	const struct request *req = &upload->req;
	enum store_status status = STORE_OK;
	struct store_put put;

	if (!charge(w, upload))
		return STORE_AGAIN;
	if (in_heap(w, req)) {
		upload->heap = alloc_resize(NULL, req->value_len);
		if (!upload->heap)
			status = STORE_NO_MEMORY;
	} else {
		put = command_put_of(w, req);
		status = store_reserve(w->thread, &put, &upload->pending);
		/* Asks the reclaimer; what the reply has borrowed must outlive that. */
		if (status == STORE_AGAIN && response_detach(resp) && store_wait(w->thread, 0))
			status = store_reserve(w->thread, &put, &upload->pending);
	}
	if (status != STORE_OK)
		uncharge(w, upload);
	return status;
}

/* The value is gathered behind its line, and the whole goes to the key's node. */
static enum command_upload_state start_forward(struct command_worker *w,
					       struct command_upload *upload, bool last_try,
					       struct response *resp)
{
	const struct request *req = &upload->req;

	if (!charge(w, upload)) {
		if (!last_try)
			return COMMAND_UPLOAD_BUSY;
		req->compose->status(resp, req, STATUS_NO_MEMORY_STORING);
		return COMMAND_UPLOAD_ANSWERED;
	}
	upload->ask = command_forward_start(w, req, resp);
	if (upload->ask)
		return COMMAND_UPLOAD_GOES;
	uncharge(w, upload);
	return COMMAND_UPLOAD_ANSWERED;
}

/* The line's end is there as "\r\n", or as what the other node refuses as this one would. */
static enum command_next finish_forward(struct command_worker *w, struct command_upload *upload,
					bool bad_end, struct response *resp)
{
	const struct request *req = &upload->req;
	uint32_t end_len = request_value_end_len(req);

	if (upload->sent) {
		command_forward_answer(w, req, resp);
	} else {
		memcpy(upload->ask->request + upload->ask->request_len - end_len,
		       bad_end ? "\0\0" : "\r\n", end_len);
		upload->sent = true;
		if (command_forward_send(w, upload->ask, req, resp))
			return COMMAND_WAITS;
	}
	uncharge(w, upload);
	return COMMAND_DONE;
}

enum command_upload_state command_upload_start(struct command_worker *w, const struct request *req,
					       struct command_upload *upload, bool last_try,
					       struct response *resp)
{
	struct store_stored refused = { .value_len = req->value_len };
	enum store_status status;

	*upload = (struct command_upload){ .req = *req, .start_ns = w->now_ns };
	upload->req.key = command_key(req, upload->key);
	memmove(upload->key, upload->req.key.ptr, upload->req.key.len);
	upload->req.key.ptr = upload->key;
	if (req->meta.opaque.len) {
		memcpy(upload->opaque, req->meta.opaque.ptr, req->meta.opaque.len);
		upload->req.meta.opaque.ptr = upload->opaque;
	}
	if (command_is_elsewhere(w, upload->req.key))
		return start_forward(w, upload, last_try, resp);
	status = reserve(w, upload, resp);
	if (status == STORE_OK)
		return COMMAND_UPLOAD_GOES;
	if (status == STORE_AGAIN && !last_try)
		return COMMAND_UPLOAD_BUSY;
	command_note_request(w, req->verb);
	refused.expire_ns = command_expire_ns(w, NULL, req->exptime);
	command_write_answer(w, &upload->req, resp, status, &refused);
	return COMMAND_UPLOAD_ANSWERED;
}

void command_upload_fill(struct command_worker *w, struct command_upload *upload, struct span bytes)
{
	upload->filled += bytes.len;
	if (upload->ask) {
		if (bytes.len)
			memcpy(upload->ask->request + upload->req.raw.len + upload->filled -
				       bytes.len,
			       bytes.ptr, bytes.len);
		return;
	}
	if (!upload->heap) {
		store_fill(w->thread, &upload->pending, bytes);
		return;
	}
	assert(upload->filled <= upload->req.value_len);
	memcpy(upload->heap + upload->filled - bytes.len, bytes.ptr, bytes.len);
}

static enum command_next finish_heap(struct command_worker *w, struct command_upload *upload,
				     bool bad_end, struct response *resp)
{
	struct request *req = &upload->req;

	req->value = span_of(upload->heap, upload->filled);
	req->value_bad = bad_end;
	switch (command_through(w, req, resp)) {
	case THROUGH_WAITS:
		return COMMAND_WAITS;
	case THROUGH_NOTHING:
		command_write(w, req, resp);
		if (command_made(w))
			command_spend_wait(w);
		break;
	case THROUGH_DONE:
		break;
	}
	command_note_request(w, req->verb);
	command_upload_abandon(w, upload);
	return COMMAND_DONE;
}

enum command_next command_upload_finish(struct command_worker *w, struct command_upload *upload,
					bool bad_end, struct response *resp)
{
	struct store_stored stored = { .value_len = upload->req.value_len,
				       .expire_ns = upload->pending.put.expire_ns };
	struct request *req = &upload->req;
	enum store_status status;

	if (upload->ask)
		return finish_forward(w, upload, bad_end, resp);
	if (upload->heap || bad_end)
		return finish_heap(w, upload, bad_end, resp);
	command_note_request(w, req->verb);
	if (command_flush_at_ns(w))
		command_flush_due(w);
	command_log_lookup(w, req->key);
	command_count(&w->counts.cmd_set, 1);
	command_tally(w, command_route(w, req->key), req->key, TALLY_SET);
	command_sample_write(w, req->key, upload->pending.put.hash);
	status = store_commit(w->thread, &upload->pending, &stored.cas);
	command_write_answer(w, req, resp, status, &stored);
	uncharge(w, upload);
	return COMMAND_DONE;
}

void command_upload_abandon(struct command_worker *w, struct command_upload *upload)
{
	if (upload->ask) {
		if (!upload->sent)
			forward_ask_free(&upload->ask->part);
	} else if (upload->heap)
		alloc_free(upload->heap);
	else
		store_abandon(w->thread, &upload->pending);
	upload->heap = NULL;
	uncharge(w, upload);
}

bool command_upload_is_overdue(const struct command_worker *w, const struct command_upload *upload,
			       uint64_t last_ns)
{
	uint64_t held = atomic_load_explicit(&w->command->upload_bytes, memory_order_relaxed);
	uint64_t wanted_ns =
		atomic_load_explicit(&w->command->upload_wanted_ns, memory_order_relaxed);
	uint64_t age_ns = w->now_ns - upload->start_ns;

	/* Nobody has been in want of room lately, and for most values there would be some. */
	if (held < store_log_bytes(w->store) / SHARE_OF_LOG / 2 &&
	    (wanted_ns == 0 || wanted_ns + SILENT_MAX_NS < w->now_ns))
		return false;
	if (w->now_ns - last_ns > SILENT_MAX_NS)
		return true;
	return age_ns > SILENT_MAX_NS &&
	       upload->filled / (age_ns / NSEC_PER_SEC) < BYTES_PER_SEC_MIN;
}
