/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests whose answer has to come from elsewhere. A request is looked over before it is carried
 * out: what is not here is asked for, all of it at once, and nothing is done until the answers have
 * come. Then the request is carried out from its start, with what has come.
 */
#include "command/impl.h"

void command_leave(struct command_client *client)
{
	wait_end(client->wait);
	client->wait = NULL;
}

void command_drop_spent(struct command_worker *w)
{
	while (w->spent) {
		struct wait *wait = w->spent;

		w->spent = wait->link;
		wait_end(wait);
	}
}

/* The request is done with; its reply may still borrow what has come. */
void command_spend_wait(struct command_worker *w)
{
	struct wait *wait = w->client->wait;

	wait->link = w->spent;
	w->spent = wait;
	w->client->wait = NULL;
}

static void on_answers(void *ctx)
{
	struct command_client *client = ctx;

	client->resume(client);
}

bool command_wait_until(struct command_worker *w, uint64_t deadline_ns)
{
	struct command_client *client = w->client;

	if (!client->wait)
		client->wait = wait_begin(&w->waits, deadline_ns, on_answers, client);
	else if (client->wait->deadline_ns < deadline_ns)
		client->wait->deadline_ns = deadline_ns;
	return client->wait != NULL;
}

/* A key here, of a route that may have an origin. */
static bool has_origin(const struct command_worker *w)
{
	return w->client && w->client->resume && w->view.routes &&
	       routes_of(w->view.routes)->has_source;
}

enum command_seek command_seek(struct command_worker *w, const struct request *req)
{
	const bool seeks = has_origin(w);
	struct span keys = req->keys;

	if (req->key.len && seeks && !command_seek_key(w, req->key))
		return SEEK_FAILED;
	for (struct span key = request_word(&keys); key.len; key = request_word(&keys)) {
		if (command_is_elsewhere(w, key)) {
			if (!command_forward_key(w, req, key))
				return SEEK_AWAY;
		} else if (seeks && !command_seek_key(w, key)) {
			return SEEK_FAILED;
		}
	}
	return w->client && command_client_waits(w->client) ? SEEK_WAITS : SEEK_NOTHING;
}
