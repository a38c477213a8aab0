/* SPDX-License-Identifier: BSD-2-Clause */
#include "protocol/compose_binary.h"

#include "abi/limits.h"
#include "protocol/binary.h"

#define FLAGS_LEN 4
#define NUMBER_LEN 8

struct code {
	uint16_t status;
	const char *text; /* NULL: no error */
};

static struct code not_stored(const struct request *req)
{
	if (req->verb == REQUEST_ADD)
		return (struct code){ BINARY_EXISTS, "Data exists for key." };
	if (req->verb == REQUEST_REPLACE)
		return (struct code){ BINARY_NOT_FOUND, "Not found" };
	return (struct code){ BINARY_NOT_STORED, "Not stored." };
}

static struct code code_of(const struct request *req, enum request_status status)
{
	switch (status) {
	case STATUS_STORED:
	case STATUS_DELETED:
	case STATUS_TOUCHED:
	case STATUS_OK:
	case STATUS_RESET:
		return (struct code){ BINARY_OK, NULL };
	case STATUS_NOT_STORED:
		return not_stored(req);
	case STATUS_EXISTS:
		return (struct code){ BINARY_EXISTS, "Data exists for key." };
	case STATUS_NOT_FOUND:
	case STATUS_DUMP_REFUSED:
	case STATUS_DETAIL_USAGE:
		return (struct code){ BINARY_NOT_FOUND, "Not found" };
	case STATUS_UNKNOWN_COMMAND:
		/* stats of a kind that there is not */
		if (req->verb == REQUEST_STATS)
			return (struct code){ BINARY_NOT_FOUND, "Not found" };
		return (struct code){ BINARY_UNKNOWN_COMMAND, "Unknown command" };
	case STATUS_NOT_NUMBER:
		return (struct code){ BINARY_NOT_NUMBER,
				      "Non-numeric server-side value for incr or decr" };
	case STATUS_TOO_LARGE:
	case STATUS_UDP_TOO_LARGE:
		return (struct code){ BINARY_TOO_LARGE, "Too large." };
	case STATUS_NO_MEMORY_STORING:
		return (struct code){ BINARY_NO_MEMORY, "Out of memory allocating item" };
	case STATUS_NO_MEMORY:
		return (struct code){ BINARY_NO_MEMORY, "Out of memory incrementing value" };
	case STATUS_AUTHENTICATED:
		return (struct code){ BINARY_OK, "Authenticated" };
	case STATUS_SASL_MECHANISMS:
		return (struct code){ BINARY_OK, "PLAIN" };
	case STATUS_AUTH_REFUSED:
	case STATUS_FLUSH_REFUSED:
		return (struct code){ BINARY_AUTH_FAILURE, "Auth failure." };
	case STATUS_NODE_AWAY:
		return (struct code){ BINARY_TEMPORARY, "The key's node does not answer" };
	case STATUS_NODE_OTHER:
		return (struct code){ BINARY_TEMPORARY, "Another node's key" };
	case STATUS_NODE_LARGE:
		return (struct code){ BINARY_TOO_LARGE, "Too large for another node's key" };
	case STATUS_ORIGIN_FAILED:
		return (struct code){ BINARY_TEMPORARY, "The origin does not answer" };
	case STATUS_ORIGIN_REFUSED:
		return (struct code){ BINARY_NOT_STORED, "The origin refused the change" };
	case STATUS_ORIGIN_UNSURE:
		return (struct code){ BINARY_TEMPORARY, "The origin did not confirm the change" };
	case STATUS_UDP_REFUSED:
		return (struct code){ BINARY_NOT_SUPPORTED, "Not supported over UDP" };
	default: /* what is left are words of text commands, and requests that are wrong */
		return (struct code){ BINARY_INVALID, "Invalid arguments" };
	}
}

struct lengths {
	uint32_t extras;
	uint32_t key;
	uint64_t value;
};

/* The header, and room behind it for `room` bytes; the caller commits what it has put there. */
static uint8_t *put_header(struct response *resp, const struct request *req, uint16_t status,
			   uint64_t cas, const struct lengths *len, uint32_t room)
{
	uint8_t *to = response_reserve(resp, BINARY_HEADER_LEN + room);

	if (!to)
		return NULL;
	to[0] = BINARY_REPLY;
	to[1] = req->opcode;
	binary_put16(to + 2, (uint16_t)len->key);
	to[4] = (uint8_t)len->extras;
	to[5] = 0;
	binary_put16(to + 6, status);
	binary_put32(to + 8, (uint32_t)(len->extras + len->key + len->value));
	memcpy(to + 12, &req->opaque_be, sizeof(req->opaque_be));
	binary_put64(to + 16, cas);
	return to + BINARY_HEADER_LEN;
}

static void put_reply(struct response *resp, const struct request *req, uint16_t status,
		      uint64_t cas, struct span value)
{
	const struct lengths len = { .value = value.len };

	if (put_header(resp, req, status, cas, &len, 0)) {
		response_commit(resp, BINARY_HEADER_LEN);
		if (value.len)
			response_put(resp, value.ptr, value.len);
	}
}

static bool tells_key(const struct request *req)
{
	return req->opcode == BINARY_GETK || req->opcode == BINARY_GETKQ ||
	       req->opcode == BINARY_GATK || req->opcode == BINARY_GATKQ;
}

static void put_miss_with_key(struct response *resp, const struct request *req)
{
	const struct lengths len = { .key = (uint32_t)req->key.len };

	if (put_header(resp, req, BINARY_NOT_FOUND, 0, &len, 0)) {
		response_commit(resp, BINARY_HEADER_LEN);
		response_put(resp, req->key.ptr, req->key.len);
	}
}

static void binary_status(struct response *resp, const struct request *req,
			  enum request_status status)
{
	const struct code code = code_of(req, status);
	bool miss = request_is_retrieval(req) && status == STATUS_NOT_FOUND;

	if (req->noreply && (!code.text || miss))
		return;
	if (miss && tells_key(req))
		put_miss_with_key(resp, req);
	else
		put_reply(resp, req, code.status, 0,
			  code.text ? span_str(code.text) : span_of(NULL, 0));
}

static void binary_stored(struct response *resp, const struct request *req,
			  const struct compose_stored *stored)
{
	if (!req->noreply)
		put_reply(resp, req, BINARY_OK, stored->cas, span_of(NULL, 0));
}

static void put_item(struct response *resp, const struct request *req,
		     const struct compose_item *item, uint64_t value_len)
{
	struct lengths len = { .extras = FLAGS_LEN, .value = value_len };
	uint8_t *to;

	if (tells_key(req))
		len.key = (uint32_t)item->key.len;
	to = put_header(resp, req, BINARY_OK, item->cas, &len, FLAGS_LEN + XC_KEY_MAX);
	if (!to)
		return;
	binary_put32(to, item->flags);
	memcpy(to + FLAGS_LEN, item->key.ptr, len.key);
	response_commit(resp, BINARY_HEADER_LEN + FLAGS_LEN + len.key);
}

static void binary_item(struct response *resp, const struct request *req,
			const struct compose_item *item)
{
	put_item(resp, req, item, item->value_len);
}

static void binary_touched(struct response *resp, const struct request *req,
			   const struct compose_item *item)
{
	put_item(resp, req, item, 0);
}

static void binary_item_end(struct response *resp, const struct request *req)
{
	(void)resp;
	(void)req;
}

/* The list of stats ends with one that has no name. */
static void binary_end(struct response *resp, const struct request *req)
{
	put_reply(resp, req, BINARY_OK, 0, span_of(NULL, 0));
}

static void binary_number(struct response *resp, const struct request *req, uint64_t number,
			  uint64_t cas)
{
	uint8_t bytes[NUMBER_LEN];

	binary_put64(bytes, number);
	if (!req->noreply)
		put_reply(resp, req, BINARY_OK, cas, span_of(bytes, sizeof(bytes)));
}

static void binary_version(struct response *resp, const struct request *req, const char *version)
{
	put_reply(resp, req, BINARY_OK, 0, span_str(version));
}

static void binary_stat(struct response *resp, const struct request *req, const char *name,
			const char *value)
{
	const struct lengths len = { .key = (uint32_t)strlen(name), .value = strlen(value) };

	if (!put_header(resp, req, BINARY_OK, 0, &len, 0))
		return;
	response_commit(resp, BINARY_HEADER_LEN);
	response_put(resp, name, len.key);
	response_put(resp, value, len.value);
}

static void binary_line(struct response *resp, const struct request *req, const char *line)
{
	binary_stat(resp, req, "detailed", line);
}

static void binary_bye(struct response *resp, const struct request *req)
{
	binary_status(resp, req, STATUS_OK);
}

const struct compose compose_binary = {
	.status = binary_status,
	.stored = binary_stored,
	.item = binary_item,
	.item_end = binary_item_end,
	.touched = binary_touched,
	.end = binary_end,
	.number = binary_number,
	.version = binary_version,
	.stat = binary_stat,
	.line = binary_line,
	.bye = binary_bye,
};
