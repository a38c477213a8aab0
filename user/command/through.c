/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Changes of keys whose origin is told of them first. The origin's thread judges the change, has
 * the origin make it and makes it in the store; then the request is carried out from its start, and
 * finds that it is done (command_made).
 */
#include "command/impl.h"

const struct write_ask *command_made(const struct command_worker *w)
{
	struct wait_part *part = w->client && w->client->wait ? w->client->wait->parts : NULL;

	while (part && part->free != write_ask_free)
		part = part->link;
	return (const struct write_ask *)part;
}

static bool removes(const struct request *req)
{
	if (req->verb == REQUEST_META_DELETE)
		return !request_asks(req, 'I') && !request_asks(req, 'x');
	return req->verb == REQUEST_DELETE;
}

static bool changes(const struct request *req)
{
	switch (req->verb) {
	case REQUEST_SET:
	case REQUEST_ADD:
	case REQUEST_REPLACE:
	case REQUEST_APPEND:
	case REQUEST_PREPEND:
	case REQUEST_CAS:
	case REQUEST_INCR:
	case REQUEST_DECR:
	case REQUEST_META_ARITH:
		return !req->value_bad;
	default:
		return false;
	}
}

/* The rule of a route whose origin is told of such a request; NULL: none is. */
static const struct route_rule *rule_of(const struct command_worker *w, const struct request *req)
{
	const struct route *route;

	if (!w->view.routes || !routes_of(w->view.routes)->has_write)
		return NULL;
	route = command_route(w, req->key);
	if (!route || !(removes(req) ? route->rule.removes : changes(req) && route->rule.writes) ||
	    !origins_takes(w->command->options.origins, route->rule.source, req->key))
		return NULL;
	return &route->rule;
}

bool command_goes_through(const struct command_worker *w, const struct request *req)
{
	return rule_of(w, req) != NULL;
}

static struct store_preview preview_of(struct command_worker *w, const struct request *req)
{
	struct store_preview how = { .put = command_put_of(w, req), .data = req->value };
	const struct route *route = command_route(w, req->key);

	switch (req->verb) {
	case REQUEST_META_ARITH:
		command_meta_preview(w, req, &how);
		break;
	case REQUEST_INCR:
	case REQUEST_DECR:
		how.kind = STORE_PREVIEW_NUMBER;
		how.delta = (struct store_delta){ .delta = req->number,
						  .decr = req->verb == REQUEST_DECR,
						  .cas = req->cas };
		how.put.cas = 0;
		how.make = req->create;
		how.make_expire_ns = command_expire_ns(w, route, req->exptime);
		how.initial = req->initial;
		break;
	case REQUEST_APPEND:
	case REQUEST_PREPEND:
		how.kind = STORE_PREVIEW_JOIN;
		how.make = request_asks(req, 'N');
		how.make_expire_ns = command_expire_ns(w, route, req->meta.vivify_exptime);
		break;
	default:
		break;
	}
	return how;
}

static bool is_absent(const struct command_worker *w, struct span key, uint64_t hash)
{
	const struct flight_ask *sought = command_sought(w, key, hash);

	return store_is_noted(w->thread, key, hash) ||
	       (sought && sought->part.came && sought->kind == ANSWER_ABSENT);
}

static bool post(struct command_worker *w, const struct request *req, const struct route_rule *rule)
{
	struct origins *origins = w->command->options.origins;
	const struct store_preview how = preview_of(w, req);
	struct write_ask *ask = write_ask_new(&how);
	uint64_t deadline_ns =
		w->now_ns + origins_timeout_ms(origins, rule->source) * NSEC_PER_MSEC;

	if (!ask || !command_wait_until(w, deadline_ns)) {
		if (ask)
			write_ask_free(&ask->part);
		return false;
	}
	ask->source = rule->source;
	ask->removes = removes(req);
	ask->absent = ask->removes && is_absent(w, req->key, how.put.hash);
	ask->cas = req->cas;
	ask->deadline_ns = deadline_ns;
	wait_add(w->client->wait, &ask->part);
	origins_write(origins, ask);
	return true;
}

/* What it comes to depends on what is there, which only the origin may know. */
static bool looks(const struct route_rule *rule, const struct request *req)
{
	return req->verb != REQUEST_SET && (rule->behind || !removes(req));
}

static enum command_through fail(struct command_worker *w, const struct request *req,
				 struct response *resp, enum request_status status)
{
	if (request_has_value(req)) {
		command_count(&w->counts.cmd_set, 1);
		command_tally(w, command_route(w, req->key), req->key, TALLY_SET);
	}
	req->compose->status(resp, req, status);
	if (w->client && w->client->wait)
		command_spend_wait(w);
	return THROUGH_DONE;
}

enum command_through command_through(struct command_worker *w, const struct request *req,
				     struct response *resp)
{
	const struct route_rule *rule = rule_of(w, req);
	const struct write_ask *made;

	if (!rule)
		return THROUGH_NOTHING;
	made = command_made(w);
	if (made && made->part.came && made->end == WRITE_ENDED)
		return THROUGH_NOTHING;
	if (made)
		return fail(w, req, resp,
			    made->part.came && made->end == WRITE_REFUSED ? STATUS_ORIGIN_REFUSED
									  : STATUS_ORIGIN_UNSURE);
	if (!w->client || !w->client->resume)
		return fail(w, req, resp, STATUS_ORIGIN_FAILED);
	if (looks(rule, req)) {
		if (!command_seek_key(w, req->key))
			return fail(w, req, resp, STATUS_ORIGIN_FAILED);
		if (command_client_waits(w->client))
			return THROUGH_WAITS;
	}
	return post(w, req, rule) ? THROUGH_WAITS : fail(w, req, resp, STATUS_NO_MEMORY);
}
