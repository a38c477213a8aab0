/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * watch, and the events of items that watchers see: memcached's lines, and its ways. It looks an
 * item up before it changes it, and its watchers see that as a fetch of its own; so do ours.
 */
#include "command/impl.h"

#include <inttypes.h>

#define CLASS_FIELD "clsid=1"

enum command_next command_watch(struct command_worker *w, struct request *req,
				struct response *resp)
{
	struct span args = req->args;
	struct span word;

	if (w->command->options.settings.no_watch) {
		req->compose->status(resp, req, STATUS_WATCH_REFUSED);
		return COMMAND_DONE;
	}
	req->number = 0;
	while ((word = request_word(&args)).len) {
		uint32_t kind = eventlog_kind(word);

		if (!kind) {
			req->compose->status(resp, req, STATUS_UNKNOWN_COMMAND);
			return COMMAND_DONE;
		}
		req->number |= kind;
	}
	if (!req->number)
		req->number = EVENTLOG_FETCHERS;
	return COMMAND_WATCH;
}

static void log_fetch(struct command_worker *w, struct span key, const char *status, uint64_t len)
{
	eventlog_write(w->command->options.events, EVENTLOG_FETCHERS, "item_get", key,
		       "status=%s " CLASS_FIELD " cfd=%d size=%" PRIu64, status,
		       command_client_fd(w), len);
}

void command_log_fetch(struct command_worker *w, struct span key, const struct item_view *item)
{
	static const char *const misses[] = {
		[STORE_MISS_ABSENT] = "not_found",
		[STORE_MISS_EXPIRED] = "expired",
		[STORE_MISS_FLUSHED] = "flushed",
	};

	if (!eventlog_wants(w->command->options.events, EVENTLOG_FETCHERS))
		return;
	if (item)
		log_fetch(w, key, "found", item->value_len);
	else
		log_fetch(w, key, misses[store_miss(w->thread)], 0);
}

void command_log_lookup(struct command_worker *w, struct span key)
{
	struct item_view item;
	bool found;

	if (!eventlog_wants(w->command->options.events, EVENTLOG_FETCHERS))
		return;
	found = store_peek(w->thread, key, store_hash(w->store, key), &item);
	command_log_fetch(w, key, found ? &item : NULL);
}

static const char *store_text(enum store_status status)
{
	switch (status) {
	case STORE_OK:
		return "stored";
	case STORE_NOT_FOUND:
		return "not_found";
	case STORE_EXISTS:
		return "exists";
	case STORE_TOO_LARGE:
		return "too_large";
	case STORE_AGAIN:
	case STORE_NO_MEMORY:
		return "no_memory";
	case STORE_NOT_STORED:
	case STORE_NOT_NUMBER:
		break;
	}
	return "not_stored";
}

static const char *command_text(enum request_verb verb)
{
	switch (verb) {
	case REQUEST_ADD:
		return "add";
	case REQUEST_REPLACE:
		return "replace";
	case REQUEST_APPEND:
		return "append";
	case REQUEST_PREPEND:
		return "prepend";
	case REQUEST_CAS:
		return "cas";
	default:
		return "set";
	}
}

void command_log_store(struct command_worker *w, const struct request *req,
		       enum store_status status, uint64_t expire_ns)
{
	uint64_t ttl_sec = 0;

	if (!eventlog_wants(w->command->options.events, EVENTLOG_MUTATIONS))
		return;
	if (expire_ns > w->now_ns)
		ttl_sec = (expire_ns - w->now_ns) / NSEC_PER_SEC;
	eventlog_write(w->command->options.events, EVENTLOG_MUTATIONS, "item_store", req->key,
		       "status=%s cmd=%s ttl=%" PRIu64 " " CLASS_FIELD " cfd=%d size=%" PRIu64,
		       store_text(status), command_text(req->verb), ttl_sec, command_client_fd(w),
		       req->value_len);
}

void command_log_delete(struct command_worker *w, struct span key)
{
	if (!eventlog_wants(w->command->options.events, EVENTLOG_DELETIONS))
		return;
	eventlog_write(w->command->options.events, EVENTLOG_DELETIONS, "deleted", key,
		       "cmd=delete " CLASS_FIELD " cfd=%d", command_client_fd(w));
}

/* Under the key's lock, in the reclaimer's thread. */
static void on_change(void *ctx, struct store_event *event)
{
	const struct item_view *item = event->old_item;
	struct eventlog *events = ctx;
	int64_t ttl_sec = -1, idle_sec;
	uint64_t now_ns;

	if (event->change != STORE_CHANGE_EVICT || !eventlog_wants(events, EVENTLOG_EVICTIONS))
		return;
	now_ns = clock_now_ns(clock_system());
	if (item->expire_ns)
		ttl_sec = (int64_t)(item->expire_ns - now_ns) / (int64_t)NSEC_PER_SEC;
	idle_sec = (int64_t)(now_ns - item->access_ns) / (int64_t)NSEC_PER_SEC;
	eventlog_write(events, EVENTLOG_EVICTIONS, "eviction", item->key,
		       "fetch=%s ttl=%" PRId64 " la=%" PRId64 " " CLASS_FIELD " size=%" PRIu64,
		       item->fetched ? "yes" : "no", ttl_sec, idle_sec, item->value_len);
}

struct store_watcher command_eviction_watcher(struct eventlog *events)
{
	return (struct store_watcher){ .on_change = on_change, .ctx = events };
}
