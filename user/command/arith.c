/* SPDX-License-Identifier: BSD-2-Clause */
/* incr, decr. */
#include "command/impl.h"

#include "protocol/decimal.h"

void command_count_arith(struct command_worker *w, bool decr, bool hit)
{
	struct command_counts *c = &w->counts;

	if (decr)
		command_count(hit ? &c->decr_hits : &c->decr_misses, 1);
	else
		command_count(hit ? &c->incr_hits : &c->incr_misses, 1);
}

static enum store_status change(struct command_worker *w, const struct request *req, uint64_t hash,
				uint64_t *ret_number, uint64_t *ret_cas)
{
	bool decr = req->verb == REQUEST_DECR;
	uint8_t digits[DECIMAL_MAX];
	struct store_put first;
	enum store_status status;

	do {
		status = store_arith(w->thread, req->key, hash, req->number, decr, req->cas,
				     ret_number, ret_cas);
		if (status != STORE_NOT_FOUND || !req->create)
			return status;
		first = (struct store_put){
			.key = req->key,
			.hash = hash,
			.mode = STORE_ADD,
			.expire_ns = command_expire_ns(w, command_route(w, req->key), req->exptime),
		};
		*ret_number = req->initial;
		status = store_put(w->thread, &first,
				   span_of(digits, decimal_put(digits, req->initial)), ret_cas);
	} while (status == STORE_NOT_STORED); /* someone else made it just now */
	return status;
}

void command_arith_failed(struct command_worker *w, const struct request *req,
			  struct response *resp, bool decr, enum store_status status)
{
	switch (status) {
	case STORE_NOT_FOUND:
		command_count_arith(w, decr, false);
		req->compose->status(resp, req, STATUS_NOT_FOUND);
		break;
	case STORE_EXISTS:
		req->compose->status(resp, req, STATUS_EXISTS);
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

void command_arith(struct command_worker *w, const struct request *req, struct response *resp)
{
	uint64_t hash = store_hash(w->store, req->key);
	bool decr = req->verb == REQUEST_DECR;
	const struct write_ask *made = command_made(w);
	enum store_status status = made ? made->status : STORE_OK;
	uint64_t number = made ? made->number : 0, cas = made ? made->stored.cas : 0;

	command_log_lookup(w, req->key);
	for (uint32_t tries = 0; !made; tries++) {
		status = change(w, req, hash, &number, &cas);
		if (status != STORE_AGAIN || !command_wait(w, resp, tries))
			break;
	}
	command_sample_write(w, req->key, hash);
	if (status != STORE_OK) {
		command_arith_failed(w, req, resp, decr, status);
		return;
	}
	command_count_arith(w, decr, true);
	req->compose->number(resp, req, number, cas);
}
