/* SPDX-License-Identifier: BSD-2-Clause */
#include "protocol/compose_text.h"

#include <assert.h>
#include <string.h>

#include "abi/limits.h"
#include "protocol/decimal.h"

/* "VALUE <key> <flags> <bytes> <cas>\r\n" */
#define ITEM_LINE_MAX (XC_HEAD_LEN + XC_KEY_MAX + 3 * (1 + DECIMAL_MAX) + 2)

static const char *const status_texts[STATUS_CNT] = {
	[STATUS_STORED] = "STORED",
	[STATUS_NOT_STORED] = "NOT_STORED",
	[STATUS_EXISTS] = "EXISTS",
	[STATUS_NOT_FOUND] = "NOT_FOUND",
	[STATUS_DELETED] = "DELETED",
	[STATUS_TOUCHED] = "TOUCHED",
	[STATUS_OK] = "OK",
	[STATUS_RESET] = "RESET",
	[STATUS_UNKNOWN_COMMAND] = "ERROR",
	[STATUS_BAD_FORMAT] = "CLIENT_ERROR bad command line format",
	[STATUS_BAD_DELETE] =
		"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]",
	[STATUS_BAD_CHUNK] = "CLIENT_ERROR bad data chunk",
	[STATUS_BAD_EXPTIME] = "CLIENT_ERROR invalid exptime argument",
	[STATUS_BAD_DELTA] = "CLIENT_ERROR invalid numeric delta argument",
	[STATUS_BAD_LINE] = "CLIENT_ERROR line too long",
	[STATUS_NOT_NUMBER] = "CLIENT_ERROR cannot increment or decrement non-numeric value",
	[STATUS_TOO_LARGE] = "SERVER_ERROR object too large for cache",
	[STATUS_NO_MEMORY_STORING] = "SERVER_ERROR out of memory storing object",
	[STATUS_NO_MEMORY] = "SERVER_ERROR out of memory",
	[STATUS_FLUSH_REFUSED] = "CLIENT_ERROR flush_all not allowed",
	[STATUS_SHUTDOWN_REFUSED] = "ERROR: shutdown not enabled",
	[STATUS_SHUTDOWN_MODE] = "CLIENT_ERROR invalid shutdown mode",
	[STATUS_MEMLIMIT_SMALL] = "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m",
	[STATUS_MEMLIMIT_UNIT] = "MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes",
	[STATUS_MEMLIMIT_FAILED] = "MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust",
	[STATUS_META_BAD_TOKEN] = "CLIENT_ERROR bad token in command line format",
	[STATUS_META_BAD_KEY] = "CLIENT_ERROR error decoding key",
	[STATUS_META_BAD_FLAG] = "CLIENT_ERROR invalid flag",
	[STATUS_META_DUPLICATE] = "CLIENT_ERROR duplicate flag",
	[STATUS_META_ARITH_FLAG] = "CLIENT_ERROR invalid or duplicate flag",
	[STATUS_META_TOO_MANY] = "CLIENT_ERROR options flags are too long",
	[STATUS_META_BAD_INITIAL] = "CLIENT_ERROR invalid numeric initial value",
	[STATUS_META_BAD_DELTA] = "CLIENT_ERROR invalid numeric delta value",
	[STATUS_META_MODE_LEN] = "CLIENT_ERROR incorrect length for M token",
	[STATUS_META_SET_MODE] = "CLIENT_ERROR invalid mode for ms M token",
	[STATUS_META_ARITH_MODE] = "CLIENT_ERROR invalid mode for ma M token",
	[STATUS_META_LONG_OPAQUE] = "CLIENT_ERROR opaque token too long",
	[STATUS_TLS_OFF] = "Error TLS not enabled",
	[STATUS_CERTS_STAY] =
		"SERVER_ERROR certificates not refreshed, the log says why; the old ones stay",
	[STATUS_DUMP_REFUSED] = "CLIENT_ERROR stats cachedump not allowed",
	[STATUS_DUMP_FORMAT] = "CLIENT_ERROR bad command line",
	[STATUS_DUMP_CLASS] = "CLIENT_ERROR Illegal slab id",
	[STATUS_METADUMP_REFUSED] = "ERROR metadump not allowed",
	[STATUS_MGDUMP_REFUSED] = "ERROR key dump not allowed",
	[STATUS_BAD_CLASS] = "BADCLASS invalid class id",
	[STATUS_CRAWLER_SLEEP] = "CLIENT_ERROR sleep must be one second or less",
	[STATUS_LRU_SHARES] = "ERROR hot and warm pcts must not exceed 80",
	[STATUS_LRU_FACTORS] = "ERROR hot/warm age factors must be greater than 0",
	[STATUS_SLABS_CLASS] = "BADCLASS invalid src or dst class id",
	[STATUS_SLABS_SAME] = "SAME src and dst class are identical",
	[STATUS_SLABS_SPARE] = "NOSPARE source class has no spare pages",
	[STATUS_WATCH_REFUSED] = "CLIENT_ERROR watch commands not allowed",
	[STATUS_WATCH_FULL] = "WATCHER_TOO_MANY log watcher limit reached",
	[STATUS_DETAIL_USAGE] = "CLIENT_ERROR usage: stats detail on|off|dump",
	[STATUS_NODE_AWAY] = "SERVER_ERROR the key's node does not answer",
	[STATUS_NODE_OTHER] = "SERVER_ERROR another node's key",
	[STATUS_NODE_LARGE] = "SERVER_ERROR object too large for another node's key, ask that node",
	[STATUS_ORIGIN_FAILED] = "SERVER_ERROR the origin does not answer",
	[STATUS_ORIGIN_REFUSED] = "SERVER_ERROR the origin refused the change",
	[STATUS_ORIGIN_UNSURE] = "SERVER_ERROR the origin did not confirm the change",
	[STATUS_UDP_REFUSED] = "CLIENT_ERROR command not allowed over UDP",
	[STATUS_UDP_MULTI_PACKET] = "SERVER_ERROR multi-packet request not supported",
	[STATUS_UNAUTHENTICATED] = "CLIENT_ERROR unauthenticated",
	[STATUS_AUTH_TERMINATION] = "CLIENT_ERROR bad command line termination",
	[STATUS_AUTH_FORMAT] = "CLIENT_ERROR bad authentication token format",
	[STATUS_AUTH_REFUSED] = "CLIENT_ERROR authentication failure",
	[STATUS_AUTHENTICATED] = "STORED",
	[STATUS_SASL_MECHANISMS] = "PLAIN",
	[STATUS_UDP_TOO_LARGE] = "SERVER_ERROR response too large for UDP",
};

const char *compose_text_status(enum request_status status)
{
	assert(status < STATUS_CNT && status_texts[status]);
	return status_texts[status];
}

static void put_line(struct response *resp, const char *text)
{
	response_put(resp, text, strlen(text));
	response_put(resp, "\r\n", 2);
}

static void text_status(struct response *resp, const struct request *req,
			enum request_status status)
{
	if (!req->noreply)
		put_line(resp, compose_text_status(status));
}

static void text_stored(struct response *resp, const struct request *req,
			const struct compose_stored *stored)
{
	(void)stored;
	text_status(resp, req, STATUS_STORED);
}

static uint8_t *put_number(uint8_t *to, uint64_t number)
{
	*to++ = ' ';
	return to + decimal_put(to, number);
}

static void text_item(struct response *resp, const struct request *req,
		      const struct compose_item *item)
{
	uint8_t *start = response_reserve(resp, ITEM_LINE_MAX);
	uint8_t *pos = start;

	if (!start)
		return;
	memcpy(pos, "VALUE ", XC_HEAD_LEN);
	pos += XC_HEAD_LEN;
	memcpy(pos, item->key.ptr, item->key.len);
	pos = put_number(pos + item->key.len, item->flags);
	pos = put_number(pos, item->value_len);
	if (req->verb == REQUEST_GETS || req->verb == REQUEST_GATS)
		pos = put_number(pos, item->cas);
	*pos++ = '\r';
	*pos++ = '\n';
	response_commit(resp, (uint32_t)(pos - start));
}

static void text_item_end(struct response *resp, const struct request *req)
{
	(void)req;
	response_put(resp, "\r\n", 2);
}

static void text_end(struct response *resp, const struct request *req)
{
	(void)req;
	response_put(resp, "END\r\n", 5);
}

static void text_number(struct response *resp, const struct request *req, uint64_t number,
			uint64_t cas)
{
	uint8_t *to;
	uint32_t len;

	(void)cas;
	if (req->noreply)
		return;
	to = response_reserve(resp, DECIMAL_MAX + 2);
	if (!to)
		return;
	len = decimal_put(to, number);
	to[len++] = '\r';
	to[len++] = '\n';
	response_commit(resp, len);
}

static void text_version(struct response *resp, const struct request *req, const char *version)
{
	(void)req;
	response_put(resp, "VERSION ", 8);
	put_line(resp, version);
}

static void text_stat(struct response *resp, const struct request *req, const char *name,
		      const char *value)
{
	(void)req;
	response_put(resp, "STAT ", 5);
	response_put(resp, name, strlen(name));
	response_put(resp, " ", 1);
	put_line(resp, value);
}

static void text_line(struct response *resp, const struct request *req, const char *line)
{
	(void)req;
	put_line(resp, line);
}

static void text_touched(struct response *resp, const struct request *req,
			 const struct compose_item *item)
{
	(void)item;
	text_status(resp, req, STATUS_TOUCHED);
}

/* The end of the connection says it. */
static void text_bye(struct response *resp, const struct request *req)
{
	(void)resp;
	(void)req;
}

const struct compose compose_text = {
	.lists = true,
	.status = text_status,
	.stored = text_stored,
	.item = text_item,
	.item_end = text_item_end,
	.touched = text_touched,
	.end = text_end,
	.number = text_number,
	.version = text_version,
	.stat = text_stat,
	.line = text_line,
	.bye = text_bye,
};
