/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Keys of other nodes. A command of one key goes to the key's node as the bytes it came in, and the
 * reply comes back as the bytes it is; so it can be any command of any protocol. Of a list of keys
 * those of other nodes are asked for one by one, all at once, and what is said of each is put
 * between what is here: the "END" of each reply is left out.
 */
#include "command/impl.h"

#include <inttypes.h>
#include <stdio.h>

#include "cluster/forward.h"

/* The node's thread keeps the time; this is for one that does not. */
#define SLACK_NS (200 * NSEC_PER_MSEC)
#define END_LEN 5 /* "END\r\n" */
#define VERB_MAX 32

bool command_is_elsewhere(const struct command_worker *w, struct span key)
{
	const struct forward *forward = w->command->options.forward;
	uint16_t node;

	return forward && !forward->is_here(forward->ctx, key, &node);
}

/* Hands it over, or frees it. */
static bool send(struct command_worker *w, struct forward_ask *ask)
{
	const struct forward *forward = w->command->options.forward;
	uint64_t deadline_ns = w->now_ns + forward->timeout_ms * NSEC_PER_MSEC + SLACK_NS;

	if (!command_wait_until(w, deadline_ns)) {
		forward_ask_free(&ask->part);
		return false;
	}
	wait_add(w->client->wait, &ask->part);
	forward->ask(forward->ctx, ask);
	return true;
}

/* --- one key --- */

static struct forward_ask *own_ask(const struct command_worker *w)
{
	struct wait *wait = w->client ? w->client->wait : NULL;

	if (!wait || !wait->parts || wait->parts->free != forward_ask_free)
		return NULL;
	return (struct forward_ask *)wait->parts;
}

static bool names_a_key(const struct request *req)
{
	return req->key.len && req->raw.len && req->verb != REQUEST_INVALID;
}

void command_forward_answer(struct command_worker *w, const struct request *req,
			    struct response *resp)
{
	const struct forward_ask *ask = own_ask(w);

	if (ask->part.came && ask->answered)
		response_lend(resp, span_of(ask->reply, ask->reply_len));
	else
		req->compose->status(resp, req, STATUS_NODE_AWAY);
	command_spend_wait(w);
}

/* With the bytes of it that are there, and room for `len` in all. */
static struct forward_ask *start(struct command_worker *w, const struct request *req, size_t len,
				 struct response *resp)
{
	const struct forward *forward = w->command->options.forward;
	struct forward_ask *ask;
	uint16_t node;

	if (!w->client || !w->client->resume || w->client->is_node) {
		req->compose->status(resp, req, STATUS_NODE_OTHER);
		return NULL;
	}
	forward->is_here(forward->ctx, req->key, &node);
	ask = forward_ask_new(node, len);
	if (!ask) {
		req->compose->status(resp, req, STATUS_NO_MEMORY);
		return NULL;
	}
	memcpy(ask->request, req->raw.ptr, req->raw.len);
	ask->request_len = len;
	return ask;
}

struct forward_ask *command_forward_start(struct command_worker *w, const struct request *req,
					  struct response *resp)
{
	uint64_t len = req->raw.len + req->value_len + request_value_end_len(req);

	if (len > w->command->options.forward->request_max) {
		req->compose->status(resp, req, STATUS_NODE_LARGE);
		return NULL;
	}
	return start(w, req, len, resp);
}

bool command_forward_send(struct command_worker *w, struct forward_ask *ask,
			  const struct request *req, struct response *resp)
{
	if (send(w, ask))
		return true;
	req->compose->status(resp, req, STATUS_NO_MEMORY);
	return false;
}

enum command_forward command_forward(struct command_worker *w, const struct request *req,
				     struct response *resp)
{
	struct forward_ask *ask;

	if (!w->command->options.forward || !names_a_key(req))
		return FORWARD_NOTHING;
	if (own_ask(w)) {
		command_forward_answer(w, req, resp);
		return FORWARD_DONE;
	}
	if (!command_is_elsewhere(w, req->key))
		return FORWARD_NOTHING;
	ask = start(w, req, req->raw.len, resp);
	return ask && command_forward_send(w, ask, req, resp) ? FORWARD_WAITS : FORWARD_DONE;
}

/* --- a list of keys --- */

const struct forward_ask *command_forwarded(const struct command_worker *w, struct span key)
{
	struct wait_part *part = w->client && w->client->wait ? w->client->wait->parts : NULL;

	for (; part; part = part->link) {
		const struct forward_ask *ask = (struct forward_ask *)part;

		if (part->free == forward_ask_free && span_equal(ask->key, key))
			return ask;
	}
	return NULL;
}

static uint32_t put_verb(const struct request *req, char ret[VERB_MAX])
{
	static const char *const words[] = { [REQUEST_GET] = "get",
					     [REQUEST_GETS] = "gets",
					     [REQUEST_GAT] = "gat",
					     [REQUEST_GATS] = "gats" };

	if (req->verb == REQUEST_GET || req->verb == REQUEST_GETS)
		return (uint32_t)snprintf(ret, VERB_MAX, "%s ", words[req->verb]);
	return (uint32_t)snprintf(ret, VERB_MAX, "%s %" PRId64 " ", words[req->verb], req->exptime);
}

bool command_forward_key(struct command_worker *w, const struct request *req, struct span key)
{
	const struct forward *forward = w->command->options.forward;
	const struct forward_ask *came = command_forwarded(w, key);
	struct forward_ask *ask;
	char verb[VERB_MAX];
	uint32_t verb_len;
	uint16_t node;

	if (came)
		return !w->client->wait->over || (came->part.came && came->answered);
	if (!w->client || !w->client->resume || w->client->is_node)
		return false;
	forward->is_here(forward->ctx, key, &node);
	ask = forward_ask_new(node, VERB_MAX + key.len + 2);
	if (!ask)
		return false;
	verb_len = put_verb(req, verb);
	memcpy(ask->request, verb, verb_len);
	memcpy(ask->request + verb_len, key.ptr, key.len);
	memcpy(ask->request + verb_len + key.len, "\r\n", 2);
	ask->request_len = verb_len + key.len + 2;
	ask->key = span_of(ask->request + verb_len, key.len);
	return send(w, ask);
}

bool command_put_forwarded(const struct forward_ask *ask, struct response *resp)
{
	size_t len = ask->reply_len;
	bool whole = len >= END_LEN && memcmp(ask->reply + len - END_LEN, "END\r\n", END_LEN) == 0;

	response_lend(resp, span_of(ask->reply, whole ? len - END_LEN : len));
	return whole;
}
