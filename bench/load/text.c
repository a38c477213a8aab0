/* SPDX-License-Identifier: BSD-2-Clause */
#include "text.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>

#include "abi/limits.h"

/* The longest line that is a reply: "VALUE key flags length"; errors may be longer. */
#define LINE_MAX_LEN 2048
#define VALUE_MAX (1U << 30)

_Static_assert(XC_KEY_MAX + 64 <= TEXT_REQUEST_MAX, "a set's line fits");

uint32_t text_compose_get(uint8_t *to, struct span key)
{
	memcpy(to, "get ", 4);
	memcpy(to + 4, key.ptr, key.len);
	memcpy(to + 4 + key.len, "\r\n", 2);
	return (uint32_t)key.len + 6;
}

uint32_t text_compose_delete(uint8_t *to, struct span key)
{
	memcpy(to, "delete ", 7);
	memcpy(to + 7, key.ptr, key.len);
	memcpy(to + 7 + key.len, "\r\n", 2);
	return (uint32_t)key.len + 9;
}

uint32_t text_compose_set(uint8_t *to, struct span key, const struct text_store *store)
{
	uint32_t len = 4 + (uint32_t)key.len;

	memcpy(to, "set ", 4);
	memcpy(to + 4, key.ptr, key.len);
	return len + (uint32_t)snprintf((char *)to + len, TEXT_REQUEST_MAX - len, " %u %u %u\r\n",
					store->flags, store->ttl_sec, store->value_len);
}

/* A blank and a decimal number; moves *pos behind them. */
static bool number_parse(const uint8_t **pos, const uint8_t *end, uint64_t max, uint64_t *ret)
{
	const uint8_t *at = *pos;
	uint64_t number = 0;

	if (at == end || *at++ != ' ' || at == end || *at < '0' || *at > '9')
		return false;
	for (; at < end && *at >= '0' && *at <= '9'; at++) {
		number = number * 10 + (*at - '0');
		if (number > max)
			return false;
	}
	*pos = at;
	*ret = number;
	return true;
}

/* line: "VALUE key flags length". */
static int64_t value_parse(struct span bytes, struct span line, struct text_reply *ret)
{
	const uint8_t *end = line.ptr + line.len;
	const uint8_t *key = line.ptr + 6;
	const uint8_t *pos = memchr(key, ' ', (size_t)(end - key));
	uint64_t flags, len;
	size_t whole;

	if (!pos || pos == key)
		return -EBADMSG;
	ret->key = span_of(key, (size_t)(pos - key));
	if (!number_parse(&pos, end, UINT32_MAX, &flags) ||
	    !number_parse(&pos, end, VALUE_MAX, &len) || pos != end)
		return -EBADMSG;
	whole = line.len + 2 + len + 7;
	if (bytes.len < whole)
		return -EAGAIN;
	if (memcmp(end + 2 + len, "\r\nEND\r\n", 7) != 0)
		return -EBADMSG;
	ret->kind = TEXT_VALUE;
	ret->flags = (uint32_t)flags;
	ret->value = span_of(end + 2, len);
	return (int64_t)whole;
}

static bool starts(struct span line, const char *word)
{
	size_t len = strlen(word);

	return line.len >= len && memcmp(line.ptr, word, len) == 0;
}

static int64_t word_parse(enum text_request request, struct span line, struct text_reply *ret)
{
	static const struct {
		enum text_request request;
		const char *word;
		enum text_kind kind;
	} words[] = {
		{ TEXT_GET, "END", TEXT_MISS },
		{ TEXT_SET, "STORED", TEXT_DONE },
		{ TEXT_SET, "NOT_STORED", TEXT_NOT_DONE },
		{ TEXT_DELETE, "DELETED", TEXT_DONE },
		{ TEXT_DELETE, "NOT_FOUND", TEXT_NOT_DONE },
	};

	ret->value = line;
	for (uint32_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (words[i].request == request && span_equal(line, span_str(words[i].word))) {
			ret->kind = words[i].kind;
			return (int64_t)line.len + 2;
		}
	}
	if (!starts(line, "ERROR") && !starts(line, "CLIENT_ERROR") &&
	    !starts(line, "SERVER_ERROR"))
		return -EBADMSG;
	ret->kind = TEXT_REFUSED;
	return (int64_t)line.len + 2;
}

int64_t text_parse(enum text_request request, struct span bytes, struct text_reply *ret)
{
	size_t window = bytes.len < LINE_MAX_LEN ? bytes.len : LINE_MAX_LEN;
	const uint8_t *end = window ? memchr(bytes.ptr, '\n', window) : NULL;
	struct span line;

	if (!end)
		return bytes.len < LINE_MAX_LEN ? -EAGAIN : -EBADMSG;
	if (end == bytes.ptr || end[-1] != '\r')
		return -EBADMSG;
	line = span_of(bytes.ptr, (size_t)(end - bytes.ptr) - 1);
	if (request == TEXT_GET && starts(line, "VALUE "))
		return value_parse(bytes, line, ret);
	return word_parse(request, line, ret);
}
