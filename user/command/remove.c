/* SPDX-License-Identifier: BSD-2-Clause */
/* delete. */
#include "command/impl.h"

void command_remove(struct command_worker *w, const struct request *req, struct response *resp)
{
	uint64_t hash = store_hash(w->store, req->key);
	const struct write_ask *made = command_made(w);
	enum store_status status = made ? made->status : STORE_OK;

	command_log_lookup(w, req->key);
	for (uint32_t tries = 0; !made; tries++) {
		status = store_remove(w->thread, req->key, hash, req->cas);
		if (status != STORE_AGAIN || !command_wait(w, resp, tries))
			break;
	}
	command_tally(w, command_route(w, req->key), req->key, TALLY_DELETE);
	command_sample_write(w, req->key, hash);
	if (status != STORE_EXISTS)
		command_count(
			status == STORE_OK ? &w->counts.delete_hits : &w->counts.delete_misses, 1);
	switch (status) {
	case STORE_OK:
		command_log_delete(w, req->key);
		req->compose->status(resp, req, STATUS_DELETED);
		break;
	case STORE_NOT_FOUND:
		req->compose->status(resp, req, STATUS_NOT_FOUND);
		break;
	case STORE_EXISTS:
		req->compose->status(resp, req, STATUS_EXISTS);
		break;
	default:
		req->compose->status(resp, req, STATUS_NO_MEMORY);
		break;
	}
}
