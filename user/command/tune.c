/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lru, lru_crawler, slabs: what tunes parts of memcached that we do not have. What is right is
 * answered as memcached answers it, so that start-up scripts go on working, and changes nothing:
 * expiry needs no crawler, a log has no slabs, and the policy is chosen at the start (--eviction).
 * Items are all of class 1.
 */
#include "command/impl.h"

#include <stdlib.h>

#include "protocol/decimal.h"

#define LRU_SHARES_MAX 80
#define FACTOR_TEXT_MAX 32

static bool is(struct span word, const char *text)
{
	return span_equal(word, span_str(text));
}

static bool read_factor(struct span word, double *ret)
{
	char text[FACTOR_TEXT_MAX];
	char *end;

	if (word.len == 0 || word.len >= sizeof(text))
		return false;
	memcpy(text, word.ptr, word.len);
	text[word.len] = '\0';
	*ret = strtod(text, &end);
	return *end == '\0';
}

/* lru tune <hot %> <warm %> <hot age factor> <warm age factor> */
static enum request_status tune(struct span args)
{
	double hot_factor, warm_factor;
	uint64_t hot, warm;

	if (!decimal_parse_u64(request_word(&args), &hot) ||
	    !decimal_parse_u64(request_word(&args), &warm) ||
	    !read_factor(request_word(&args), &hot_factor) ||
	    !read_factor(request_word(&args), &warm_factor))
		return STATUS_UNKNOWN_COMMAND;
	if (hot > LRU_SHARES_MAX || warm > LRU_SHARES_MAX || hot + warm > LRU_SHARES_MAX)
		return STATUS_LRU_SHARES;
	if (hot_factor <= 0 || warm_factor <= 0)
		return STATUS_LRU_FACTORS;
	return STATUS_OK;
}

void command_lru(const struct request *req, struct response *resp)
{
	enum request_status status = STATUS_UNKNOWN_COMMAND;
	struct span args = req->args;
	struct span what = request_word(&args);
	struct span mode;
	int64_t ttl_sec;

	if (is(what, "tune")) {
		status = tune(args);
	} else if (is(what, "mode")) {
		mode = request_word(&args);
		if (is(mode, "flat") || is(mode, "segmented"))
			status = STATUS_OK;
	} else if (is(what, "temp_ttl")) {
		if (decimal_parse_i64(request_word(&args), &ttl_sec))
			status = STATUS_OK;
	}
	req->compose->status(resp, req, status);
}

static enum request_status reassign(struct span args)
{
	struct span first = request_word(&args), second = request_word(&args);
	int64_t from, to;

	if (second.len == 0 || request_word(&args).len)
		return STATUS_UNKNOWN_COMMAND;
	if (!decimal_parse_i64(first, &from) || !decimal_parse_i64(second, &to))
		return STATUS_BAD_FORMAT;
	if (from == to)
		return STATUS_SLABS_SAME;
	/* 0 is memcached's pool of free pages. */
	if (from < 0 || to < 0 || from > COMMAND_CLASS || to > COMMAND_CLASS)
		return STATUS_SLABS_CLASS;
	return STATUS_SLABS_SPARE;
}

void command_slabs(const struct request *req, struct response *resp)
{
	enum request_status status = STATUS_UNKNOWN_COMMAND;
	struct span args = req->args;
	struct span what = request_word(&args);
	uint64_t mode;

	if (is(what, "reassign")) {
		status = reassign(args);
	} else if (is(what, "automove")) {
		if (!decimal_parse_u64(request_word(&args), &mode))
			status = STATUS_BAD_FORMAT;
		else if (mode <= 2)
			status = STATUS_OK;
	}
	req->compose->status(resp, req, status);
}

#define CRAWLER_SLEEP_MAX_US 1000000

bool command_read_classes(struct span text, bool *ret_has_items)
{
	uint64_t class;

	*ret_has_items = is(text, "all");
	if (*ret_has_items)
		return true;
	for (;;) {
		const uint8_t *comma = memchr(text.ptr, ',', text.len);
		size_t len = comma ? (size_t)(comma - text.ptr) : text.len;

		if (!decimal_parse_u64(span_of(text.ptr, len), &class) || class < 1 ||
		    class > COMMAND_CLASS_MAX)
			return false;
		*ret_has_items |= class == COMMAND_CLASS;
		if (!comma)
			return true;
		text = span_of(comma + 1, text.len - len - 1);
	}
}

static enum request_status crawler_number(struct span word, uint64_t max, enum request_status over)
{
	uint64_t number;

	if (!decimal_parse_u64(word, &number))
		return STATUS_BAD_FORMAT;
	return number <= max ? STATUS_OK : over;
}

enum command_next command_lru_crawler(struct command_worker *w, struct request *req,
				      struct response *resp)
{
	enum request_status status = STATUS_UNKNOWN_COMMAND;
	struct span args = req->args;
	struct span what = request_word(&args);
	struct span word = request_word(&args);
	bool has_items;

	if (word.len == 0) {
		if (is(what, "enable") || is(what, "disable"))
			status = STATUS_OK;
	} else if (is(what, "crawl")) {
		/* Memory of expired items is always on its way back: there is nothing to start. */
		status = command_read_classes(word, &has_items) ? STATUS_OK : STATUS_BAD_CLASS;
	} else if (is(what, "metadump")) {
		return command_crawler_dump(w, req, word, REQUEST_DUMP_META, resp);
	} else if (is(what, "mgdump")) {
		return command_crawler_dump(w, req, word, REQUEST_DUMP_MG, resp);
	} else if (is(what, "sleep")) {
		status = crawler_number(word, CRAWLER_SLEEP_MAX_US, STATUS_CRAWLER_SLEEP);
	} else if (is(what, "tocrawl")) {
		status = crawler_number(word, UINT64_MAX, STATUS_BAD_FORMAT);
	}
	req->compose->status(resp, req, status);
	return COMMAND_DONE;
}
