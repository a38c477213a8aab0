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

enum command_seek command_seek(struct command_worker *w, const struct request *req)
{
	struct span keys = req->keys;

	for (struct span key = request_word(&keys); key.len; key = request_word(&keys)) {
		if (command_is_elsewhere(w, key) && !command_forward_key(w, req, key))
			return SEEK_AWAY;
	}
	return w->client && command_client_waits(w->client) ? SEEK_WAITS : SEEK_NOTHING;
}
