/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Keys that are asked for and not there, of routes that have an origin. What the store could not
 * keep of the origin's answers is answered from what has come.
 */
#include "command/impl.h"

#include "base/alloc.h"

const struct flight_ask *command_sought(const struct command_worker *w, struct span key,
					uint64_t hash)
{
	struct wait_part *part = w->client && w->client->wait ? w->client->wait->parts : NULL;

	for (; part; part = part->link) {
		const struct flight_ask *ask = (struct flight_ask *)part;

		if (part->free == flight_ask_free && ask->hash == hash &&
		    span_equal(key, span_of(ask->key, ask->key_len)))
			return ask;
	}
	return NULL;
}

bool command_sought_view(const struct command_worker *w, struct span key, uint64_t hash,
			 struct item_view *ret)
{
	const struct flight_ask *ask = command_sought(w, key, hash);

	if (!ask || !ask->part.came || ask->kind != ANSWER_FOUND)
		return false;
	*ret = (struct item_view){ .key = key,
				   .value = ask->value->bytes,
				   .value_len = ask->value->len,
				   .expire_ns = w->now_ns,
				   /* No item has it: whoever compares with it is refused. */
				   .cas = 1 };
	return true;
}

/* The route whose origin is to be asked; NULL: none, or it is known what the key has. */
static const struct route *missing(struct command_worker *w, struct span key, uint64_t hash)
{
	const struct route *route = command_route(w, key);
	struct item_view view;

	if (!route || route->rule.source == 0 ||
	    !origins_takes(w->command->options.origins, route->rule.source, key) ||
	    store_peek(w->thread, key, hash, &view) || store_is_noted(w->thread, key, hash))
		return NULL;
	return route;
}

/* False: it cannot be asked. */
static bool ask(struct command_worker *w, const struct route_rule *rule, struct span key,
		uint64_t hash)
{
	struct origins *origins = w->command->options.origins;
	struct flight_ask *ask = alloc_zero(1, sizeof(*ask));
	uint64_t deadline_ns =
		w->now_ns + origins_timeout_ms(origins, rule->source) * NSEC_PER_MSEC;

	if (!ask || !command_wait_until(w, deadline_ns)) {
		alloc_free(ask);
		return false;
	}
	ask->part.free = flight_ask_free;
	ask->hash = hash;
	ask->source = rule->source;
	ask->rule = *rule;
	ask->key_len = (uint8_t)key.len;
	memcpy(ask->key, key.ptr, key.len);
	wait_add(w->client->wait, &ask->part);
	origins_ask(origins, ask);
	return true;
}

bool command_seek_key(struct command_worker *w, struct span key)
{
	uint64_t hash = store_hash(w->store, key);
	const struct route *route = missing(w, key, hash);
	const struct flight_ask *sought;

	if (!route)
		return true;
	sought = command_sought(w, key, hash);
	if (!sought)
		return ask(w, &route->rule, key, hash);
	if (!w->client->wait->over)
		return true;
	return sought->part.came && (sought->kind == ANSWER_FOUND || sought->kind == ANSWER_ABSENT);
}
