/* SPDX-License-Identifier: BSD-2-Clause */
#include "protocol/compose_meta.h"

#include <stdio.h>

#include "abi/limits.h"
#include "protocol/base64.h"
#include "protocol/compose_text.h"
#include "protocol/decimal.h"

#define KEY_TEXT_MAX BASE64_LEN(XC_KEY_MAX)
/* A space, a letter and a number, for each flag; key and opaque are longer. */
#define LINE_MAX (META_FLAG_MAX * (2 + DECIMAL_MAX) + KEY_TEXT_MAX + 2 + META_OPAQUE_MAX + 64)
#define DEBUG_MAX (KEY_TEXT_MAX + 256)

static uint8_t *put_flag(uint8_t *to, char letter)
{
	*to++ = ' ';
	*to++ = (uint8_t)letter;
	return to;
}

static uint8_t *put_value(uint8_t *to, char letter, uint64_t number)
{
	to = put_flag(to, letter);
	return to + decimal_put(to, number);
}

static uint8_t *put_ttl(uint8_t *to, int64_t ttl_sec)
{
	if (ttl_sec >= 0)
		return put_value(to, 't', (uint64_t)ttl_sec);
	to = put_flag(to, 't');
	memcpy(to, "-1", 2);
	return to + 2;
}

static uint8_t *put_bytes(uint8_t *to, struct span bytes)
{
	memcpy(to, bytes.ptr, bytes.len);
	return to + bytes.len;
}

static uint8_t *put_key(uint8_t *to, struct span key, bool is_binary)
{
	to = put_flag(to, 'k');
	if (!is_binary)
		return put_bytes(to, key);
	return put_flag(to + base64_encode(key, to), 'b');
}

static uint8_t *put_opaque(uint8_t *to, const struct request *req)
{
	*to++ = ' ';
	return put_bytes(to, req->meta.opaque);
}

/* What has nothing to do with an item. */
static uint8_t *put_echo(uint8_t *to, const struct request *req, char letter)
{
	if (letter == 'O')
		return put_opaque(to, req);
	if (letter == 'k')
		return put_key(to, req->key, req->key_base64);
	return to;
}

static void end_line(struct response *resp, uint8_t *start, uint8_t *end)
{
	*end++ = '\r';
	*end++ = '\n';
	response_commit(resp, (uint32_t)(end - start));
}

/* NULL: the status is told in words. */
static const char *code_of(const struct request *req, enum request_status status)
{
	bool is_read = req->verb == REQUEST_META_GET || req->verb == REQUEST_META_DEBUG;

	switch (status) {
	case STATUS_STORED:
	case STATUS_DELETED:
		return "HD";
	case STATUS_OK:
		return "MN";
	case STATUS_NOT_STORED:
		return "NS";
	case STATUS_EXISTS:
		return "EX";
	case STATUS_NOT_FOUND:
		return is_read ? "EN" : "NF";
	default:
		return NULL;
	}
}

static bool is_silent(const struct request *req, enum request_status status)
{
	if (!request_asks(req, 'q'))
		return false;
	return status == STATUS_STORED || status == STATUS_DELETED ||
	       (status == STATUS_NOT_FOUND && req->verb == REQUEST_META_GET);
}

/* stored: NULL where nothing was to be. */
static void put_status(struct response *resp, const struct request *req, enum request_status status,
		       const struct compose_stored *stored)
{
	uint8_t *start, *pos;

	if (is_silent(req, status))
		return;
	start = response_reserve(resp, LINE_MAX);
	if (!start)
		return;
	pos = put_bytes(start, span_str(code_of(req, status)));
	for (uint32_t i = 0; i < req->meta.flag_cnt; i++) {
		char letter = req->meta.order[i];

		if (stored && letter == 'c')
			pos = put_value(pos, letter, stored->cas);
		else if (stored && letter == 's')
			pos = put_value(pos, letter, stored->value_len);
		else
			pos = put_echo(pos, req, letter);
	}
	end_line(resp, start, pos);
}

static void meta_status(struct response *resp, const struct request *req,
			enum request_status status)
{
	/* A value that was refused has no cas, and the length that it came with. */
	const struct compose_stored refused = { .value_len = req->value_len };

	if (code_of(req, status))
		put_status(resp, req, status, request_has_value(req) ? &refused : NULL);
	else
		compose_text.status(resp, req, status);
}

static void meta_stored(struct response *resp, const struct request *req,
			const struct compose_stored *stored)
{
	put_status(resp, req, STATUS_STORED, stored);
}

static uint8_t *put_item_flag(uint8_t *to, const struct request *req, char letter,
			      const struct compose_meta_item *item)
{
	if (letter == 'c')
		return put_value(to, letter, item->cas);
	if (req->verb == REQUEST_META_ARITH)
		return put_echo(to, req, letter);
	switch (letter) {
	case 'f':
		return put_value(to, letter, item->flags);
	case 'h':
		return put_value(to, letter, item->fetched);
	case 'l':
		return put_value(to, letter, item->idle_sec);
	case 's':
		return put_value(to, letter, item->value_len);
	case 'k':
		return put_key(to, item->key, item->key_binary);
	default:
		return put_echo(to, req, letter);
	}
}

void compose_meta_item(struct response *resp, const struct request *req,
		       const struct compose_meta_item *item)
{
	uint8_t *start = response_reserve(resp, LINE_MAX);
	int64_t ttl_sec = item->ttl_sec;
	uint8_t *pos;

	if (!start)
		return;
	pos = put_bytes(start, span_str(item->with_value ? "VA " : "HD"));
	if (item->with_value)
		pos += decimal_put(pos, item->value_len);
	for (uint32_t i = 0; i < req->meta.flag_cnt; i++) {
		char letter = req->meta.order[i];

		if (letter == 'T')
			ttl_sec = item->touched_ttl_sec;
		else if (letter == 'N' && item->made)
			ttl_sec = item->vivified_ttl_sec;
		else if (letter == 't')
			pos = put_ttl(pos, ttl_sec);
		else
			pos = put_item_flag(pos, req, letter, item);
	}
	if (item->won_before)
		pos = put_flag(pos, 'Z');
	if (item->stale)
		pos = put_flag(pos, 'X');
	if (item->won_now)
		pos = put_flag(pos, 'W');
	end_line(resp, start, pos);
}

void compose_meta_debug(struct response *resp, const struct request *req,
			const struct compose_meta_debug *item)
{
	uint8_t *start = response_reserve(resp, DEBUG_MAX);
	uint8_t *pos;

	(void)req;
	if (!start)
		return;
	pos = put_bytes(start, span_str("ME "));
	pos = item->key_binary ? pos + base64_encode(item->key, pos) : put_bytes(pos, item->key);
	pos += snprintf((char *)pos, DEBUG_MAX - (size_t)(pos - start),
			" exp=%lld la=%llu cas=%llu fetch=%s size=%llu stale=%s won=%s kernel=%s",
			(long long)item->ttl_sec, (unsigned long long)item->idle_sec,
			(unsigned long long)item->cas, item->fetched ? "yes" : "no",
			(unsigned long long)item->size, item->stale ? "yes" : "no",
			item->won ? "yes" : "no", item->in_kernel ? "yes" : "no");
	end_line(resp, start, pos);
}

const struct compose compose_meta = {
	.status = meta_status,
	.stored = meta_stored,
};
