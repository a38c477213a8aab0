/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stats cachedump, lru_crawler metadump and mgdump: lists of items. The store is walked a bucket at
 * a time, some buckets a step, and between two steps other clients have their turn; an item that is
 * there from the first step to the last is listed, others may be.
 */
#include "command/impl.h"
#include "protocol/compose_dump.h"
#include "protocol/decimal.h"

/* In a store that has shrunk most buckets are empty: a step ends all the same. */
#define STEP_BUCKETS 1024
/* As memcached bounds it: it was made to look at, not to take everything. */
#define CACHEDUMP_BYTES_MAX (2U << 20)

struct dump {
	struct command_worker *w;
	struct request *req;
	struct response *resp;
	uint64_t wall_ns;
};

static int64_t wall_sec(const struct dump *dump, uint64_t at_ns)
{
	int64_t after_ns = (int64_t)(at_ns - dump->w->now_ns);

	return ((int64_t)dump->wall_ns + after_ns) / (int64_t)NSEC_PER_SEC;
}

static bool dump_item(void *ctx, const struct item_view *view)
{
	struct dump *dump = ctx;
	struct compose_dump_item item = {
		.key = view->key,
		.access_sec = wall_sec(dump, view->access_ns),
		.cas = view->cas,
		.value_len = view->value_len,
		.bytes = store_item_bytes(dump->w->store, view),
		.flags = view->flags,
		.fetched = view->fetched,
		.binary = view->binary,
	};

	if (view->expire_ns)
		item.expire_sec = wall_sec(dump, view->expire_ns);
	if (dump->req->dump == REQUEST_DUMP_CACHE) {
		if (dump->req->number == 0 || dump->req->dump_bytes > CACHEDUMP_BYTES_MAX)
			return false;
		dump->req->number--;
		dump->req->dump_bytes += item.key.len;
	}
	compose_dump_item(dump->resp, dump->req->dump, &item);
	return true;
}

enum command_next command_dump(struct command_worker *w, struct request *req, struct response *resp)
{
	struct dump dump = { .w = w,
			     .req = req,
			     .resp = resp,
			     .wall_ns = clock_wall_ns(w->command->options.clock) };

	for (uint32_t i = 0; i < STEP_BUCKETS && !response_full(resp); i++) {
		if (!store_walk(w->thread, &req->cursor, dump_item, &dump)) {
			compose_dump_end(resp, req->dump);
			return COMMAND_DONE;
		}
	}
	return COMMAND_MORE;
}

/* What there is, is of class COMMAND_CLASS. */
static enum command_next dump_class(struct command_worker *w, struct request *req,
				    struct response *resp, uint64_t class)
{
	if (class != COMMAND_CLASS) {
		compose_dump_end(resp, req->dump);
		return COMMAND_DONE;
	}
	req->verb = REQUEST_DUMP;
	return command_dump(w, req, resp);
}

enum command_next command_cachedump(struct command_worker *w, struct request *req, struct span args,
				    struct response *resp)
{
	enum request_status status = STATUS_OK;
	struct span class_word = request_word(&args), limit_word = request_word(&args);
	uint64_t class = 0, limit = 0;

	if (w->command->options.settings.no_dump)
		status = STATUS_DUMP_REFUSED;
	else if (limit_word.len == 0)
		status = STATUS_DUMP_FORMAT;
	else if (!decimal_parse_u64(class_word, &class) || !decimal_parse_u64(limit_word, &limit))
		status = STATUS_BAD_FORMAT;
	else if (class > COMMAND_CLASS_MAX)
		status = STATUS_DUMP_CLASS;
	if (status != STATUS_OK) {
		req->compose->status(resp, req, status);
		return COMMAND_DONE;
	}
	req->dump = REQUEST_DUMP_CACHE;
	req->number = limit ? limit : UINT64_MAX;
	return dump_class(w, req, resp, class);
}

enum command_next command_crawler_dump(struct command_worker *w, struct request *req,
				       struct span classes, enum request_dump form,
				       struct response *resp)
{
	enum request_status status = STATUS_OK;
	bool has_items = true;

	if (w->command->options.settings.no_dump)
		status =
			form == REQUEST_DUMP_META ? STATUS_METADUMP_REFUSED : STATUS_MGDUMP_REFUSED;
	else if (!span_equal(classes, span_str("hash")) &&
		 !command_read_classes(classes, &has_items))
		status = STATUS_BAD_CLASS;
	if (status != STATUS_OK) {
		req->compose->status(resp, req, status);
		return COMMAND_DONE;
	}
	req->dump = form;
	return dump_class(w, req, resp, has_items ? COMMAND_CLASS : 0);
}
