/* SPDX-License-Identifier: BSD-2-Clause */
#include "protocol/compose_dump.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "abi/limits.h"
#include "base/percent.h"
#include "protocol/base64.h"

/* Any line without its key. */
#define WORDS_MAX 224
#define LINE_MAX (WORDS_MAX + PERCENT_MAX(XC_KEY_MAX))
_Static_assert(BASE64_LEN(XC_KEY_MAX) < PERCENT_MAX(XC_KEY_MAX), "either form of a key fits");

static size_t put_cache(char *line, const struct compose_dump_item *item)
{
	size_t len = 5;

	memcpy(line, "ITEM ", len);
	memcpy(line + len, item->key.ptr, item->key.len);
	len += item->key.len;
	return len + (size_t)sprintf(line + len, " [%" PRIu64 " b; %" PRId64 " s]\r\n",
				     item->value_len, item->expire_sec);
}

static size_t put_meta(char *line, const struct compose_dump_item *item)
{
	size_t len = 4;

	memcpy(line, "key=", len);
	len += percent_encode(line + len, item->key);
	return len + (size_t)sprintf(line + len,
				     " exp=%" PRId64 " la=%" PRId64 " cas=%" PRIu64
				     " fetch=%s cls=1 size=%" PRIu64 " flags=%" PRIu32 "\n",
				     item->expire_sec ? item->expire_sec : -1, item->access_sec,
				     item->cas, item->fetched ? "yes" : "no", item->bytes,
				     item->flags);
}

static size_t put_mg(char *line, const struct compose_dump_item *item)
{
	size_t len = 3;

	memcpy(line, "mg ", len);
	if (item->binary) {
		len += base64_encode(item->key, (uint8_t *)line + len);
		memcpy(line + len, " b", 2);
		len += 2;
	} else {
		memcpy(line + len, item->key.ptr, item->key.len);
		len += item->key.len;
	}
	memcpy(line + len, "\r\n", 2);
	return len + 2;
}

void compose_dump_item(struct response *resp, enum request_dump form,
		       const struct compose_dump_item *item)
{
	char *line = (char *)response_reserve(resp, LINE_MAX);
	size_t len = 0;

	if (!line)
		return;
	switch (form) {
	case REQUEST_DUMP_CACHE:
		len = put_cache(line, item);
		break;
	case REQUEST_DUMP_META:
		len = put_meta(line, item);
		break;
	case REQUEST_DUMP_MG:
		len = put_mg(line, item);
		break;
	}
	response_commit(resp, (uint32_t)len);
}

void compose_dump_end(struct response *resp, enum request_dump form)
{
	if (form == REQUEST_DUMP_MG)
		response_put(resp, "EN\r\n", 4);
	else
		response_put(resp, "END\r\n", 5);
}
