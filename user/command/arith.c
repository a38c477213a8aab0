/* SPDX-License-Identifier: BSD-2-Clause */
/* incr, decr. */
#include "command/impl.h"

void command_count_arith(struct command_worker *w, bool decr, bool hit)
{
	struct command_counts *c = &w->counts;

	if (decr)
		command_count(hit ? &c->decr_hits : &c->decr_misses, 1);
	else
		command_count(hit ? &c->incr_hits : &c->incr_misses, 1);
}

void command_arith(struct command_worker *w, const struct request *req, struct response *resp)
{
	uint64_t hash = store_hash(w->store, req->key);
	bool decr = req->verb == REQUEST_DECR;
	enum store_status status;
	uint64_t number = 0;

	command_log_lookup(w, req->key);
	for (uint32_t tries = 0;; tries++) {
		status =
			store_arith(w->thread, req->key, hash, req->number, decr, 0, &number, NULL);
		if (status != STORE_AGAIN || !command_wait(w, resp, tries))
			break;
	}
	command_sample_write(w, req->key, hash);
	switch (status) {
	case STORE_OK:
		command_count_arith(w, decr, true);
		req->compose->number(resp, req, number);
		break;
	case STORE_NOT_FOUND:
		command_count_arith(w, decr, false);
		req->compose->status(resp, req, STATUS_NOT_FOUND);
		break;
	case STORE_NOT_NUMBER:
		req->compose->status(resp, req, STATUS_NOT_NUMBER);
		break;
	default:
		command_count(&w->counts.store_no_memory, 1);
		req->compose->status(resp, req, STATUS_NO_MEMORY);
		break;
	}
}
