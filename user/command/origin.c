/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Keys that are asked for and not there, of routes that have an origin. What the store could not
 * keep of the origin's answers is answered from what has come.
 */
#include "command/impl.h"

#include "base/alloc.h"

#define REFRESH_PAUSE_NS (200 * NSEC_PER_MSEC)

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

/* Nobody waits for it. A key that many ask for is refreshed once in a while. */
static void refresh(struct command_worker *w, const struct route_rule *rule, struct span key,
		    uint64_t hash)
{
	struct refresh *last = &w->refreshes[hash % COMMAND_REFRESH_CNT];

	if (last->hash == hash && w->now_ns < last->until_ns)
		return;
	*last = (struct refresh){ .hash = hash, .until_ns = w->now_ns + REFRESH_PAUSE_NS };
	origins_refresh(w->command->options.origins, rule, key, hash);
}

enum here {
	HERE,	  /* or it is known that there is nothing */
	HERE_OLD, /* too old, unless there is nothing else */
	HERE_NOT,
};

/* Of a key of a route that has an origin. */
static enum here look(struct command_worker *w, const struct route_rule *rule, struct span key,
		      uint64_t hash)
{
	struct item_view view;

	if (!store_peek(w->thread, key, hash, &view))
		return store_is_noted(w->thread, key, hash) ? HERE : HERE_NOT;
	switch (route_age(rule, view.expire_ns, clock_now_ns(w->command->options.clock))) {
	case ROUTE_FRESH:
		break;
	case ROUTE_STALE:
		/* A request that has waited for its other keys was counted before. */
		if (!w->client->wait || !w->client->wait->over)
			origins_note_stale(w->command->options.origins, rule->source, false);
		/* fall through */
	case ROUTE_ENDS_SOON:
		refresh(w, rule, key, hash);
		break;
	case ROUTE_LATE:
		return HERE_OLD;
	}
	return HERE;
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

/* What was asked for has not come, or was not to be had: the old one, if there is one. */
static bool make_do(struct command_worker *w, const struct route_rule *rule, enum here here)
{
	if (here != HERE_OLD)
		return false;
	origins_note_stale(w->command->options.origins, rule->source, true);
	return true;
}

bool command_seek_key(struct command_worker *w, struct span key)
{
	const struct route *route = command_route(w, key);
	uint64_t hash = store_hash(w->store, key);
	const struct flight_ask *sought;
	enum here here;

	if (!route || route->rule.source == 0 ||
	    !origins_takes(w->command->options.origins, route->rule.source, key))
		return true;
	sought = command_sought(w, key, hash);
	/* What came for this very request is served, however soon it is old. */
	if (sought && sought->part.came && sought->kind == ANSWER_FOUND)
		return true;
	here = look(w, &route->rule, key, hash);
	if (here == HERE)
		return true;
	if (!sought)
		return ask(w, &route->rule, key, hash) || make_do(w, &route->rule, here);
	if (!w->client->wait->over || (sought->part.came && sought->kind == ANSWER_ABSENT))
		return true;
	return make_do(w, &route->rule, here);
}
