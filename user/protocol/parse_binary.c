/* SPDX-License-Identifier: BSD-2-Clause */
#include "protocol/parse_binary.h"

#include <errno.h>

#include "abi/limits.h"
#include "protocol/compose_binary.h"

#define STORE_EXTRAS 8	/* flags, expiry */
#define ARITH_EXTRAS 20 /* delta, initial value, expiry */
#define EXPIRY_EXTRAS 4
#define LEVEL_EXTRAS 4
/* incr and decr: an absent item stays absent. */
#define NO_ITEM 0xffffffff

_Static_assert(PARSE_BINARY_MAX == BINARY_HEADER_LEN + ARITH_EXTRAS + XC_KEY_MAX,
	       "the longest request without its value");

enum key_rule { KEY_NONE, KEY_ONE, KEY_MAY_BE };

struct row {
	enum request_verb verb;
	bool known;
	bool quiet;
	enum key_rule key;
	uint8_t extras_len;
	bool extras_may_miss;
	bool has_value;
};

/* verb, known, quiet, key, extras, without extras too, value */
static const struct row rows[] = {
	[BINARY_GET] = { REQUEST_GET, true, false, KEY_ONE, 0, false, false },
	[BINARY_GETQ] = { REQUEST_GET, true, true, KEY_ONE, 0, false, false },
	[BINARY_GETK] = { REQUEST_GET, true, false, KEY_ONE, 0, false, false },
	[BINARY_GETKQ] = { REQUEST_GET, true, true, KEY_ONE, 0, false, false },
	[BINARY_GAT] = { REQUEST_GAT, true, false, KEY_ONE, EXPIRY_EXTRAS, false, false },
	[BINARY_GATQ] = { REQUEST_GAT, true, true, KEY_ONE, EXPIRY_EXTRAS, false, false },
	[BINARY_GATK] = { REQUEST_GAT, true, false, KEY_ONE, EXPIRY_EXTRAS, false, false },
	[BINARY_GATKQ] = { REQUEST_GAT, true, true, KEY_ONE, EXPIRY_EXTRAS, false, false },
	[BINARY_TOUCH] = { REQUEST_TOUCH, true, false, KEY_ONE, EXPIRY_EXTRAS, false, false },
	[BINARY_SET] = { REQUEST_SET, true, false, KEY_ONE, STORE_EXTRAS, false, true },
	[BINARY_SETQ] = { REQUEST_SET, true, true, KEY_ONE, STORE_EXTRAS, false, true },
	[BINARY_ADD] = { REQUEST_ADD, true, false, KEY_ONE, STORE_EXTRAS, false, true },
	[BINARY_ADDQ] = { REQUEST_ADD, true, true, KEY_ONE, STORE_EXTRAS, false, true },
	[BINARY_REPLACE] = { REQUEST_REPLACE, true, false, KEY_ONE, STORE_EXTRAS, false, true },
	[BINARY_REPLACEQ] = { REQUEST_REPLACE, true, true, KEY_ONE, STORE_EXTRAS, false, true },
	[BINARY_APPEND] = { REQUEST_APPEND, true, false, KEY_ONE, 0, false, true },
	[BINARY_APPENDQ] = { REQUEST_APPEND, true, true, KEY_ONE, 0, false, true },
	[BINARY_PREPEND] = { REQUEST_PREPEND, true, false, KEY_ONE, 0, false, true },
	[BINARY_PREPENDQ] = { REQUEST_PREPEND, true, true, KEY_ONE, 0, false, true },
	[BINARY_DELETE] = { REQUEST_DELETE, true, false, KEY_ONE, 0, false, false },
	[BINARY_DELETEQ] = { REQUEST_DELETE, true, true, KEY_ONE, 0, false, false },
	[BINARY_INCR] = { REQUEST_INCR, true, false, KEY_ONE, ARITH_EXTRAS, false, false },
	[BINARY_INCRQ] = { REQUEST_INCR, true, true, KEY_ONE, ARITH_EXTRAS, false, false },
	[BINARY_DECR] = { REQUEST_DECR, true, false, KEY_ONE, ARITH_EXTRAS, false, false },
	[BINARY_DECRQ] = { REQUEST_DECR, true, true, KEY_ONE, ARITH_EXTRAS, false, false },
	[BINARY_QUIT] = { REQUEST_QUIT, true, false, KEY_NONE, 0, false, false },
	[BINARY_QUITQ] = { REQUEST_QUIT, true, true, KEY_NONE, 0, false, false },
	[BINARY_FLUSH] = { REQUEST_FLUSH_ALL, true, false, KEY_NONE, EXPIRY_EXTRAS, true, false },
	[BINARY_FLUSHQ] = { REQUEST_FLUSH_ALL, true, true, KEY_NONE, EXPIRY_EXTRAS, true, false },
	[BINARY_NOOP] = { REQUEST_META_NOOP, true, false, KEY_NONE, 0, false, false },
	[BINARY_VERSION] = { REQUEST_VERSION, true, false, KEY_NONE, 0, false, false },
	[BINARY_STAT] = { REQUEST_STATS, true, false, KEY_MAY_BE, 0, false, false },
	[BINARY_VERBOSITY] = { REQUEST_VERBOSITY, true, false, KEY_NONE, LEVEL_EXTRAS, false,
			       false },
	/* Nobody authenticates here; their lengths are judged all the same. */
	[BINARY_SASL_LIST] = { REQUEST_INVALID, true, false, KEY_NONE, 0, false, false },
	[BINARY_SASL_AUTH] = { REQUEST_INVALID, true, false, KEY_ONE, 0, false, true },
	[BINARY_SASL_STEP] = { REQUEST_INVALID, true, false, KEY_ONE, 0, false, true },
};

static void fail(struct request *req, enum request_status error, bool close)
{
	req->verb = REQUEST_INVALID;
	req->error = error;
	req->close = close;
	req->noreply = false;
}

static bool lengths_fit(const struct row *row, uint32_t key_len, uint32_t extras_len,
			uint32_t body_len)
{
	if (extras_len != row->extras_len && !(row->extras_may_miss && extras_len == 0))
		return false;
	if ((row->key == KEY_NONE && key_len > 0) || (row->key == KEY_ONE && key_len == 0))
		return false;
	return row->has_value || body_len == key_len + extras_len;
}

static void read_extras(const uint8_t *extras, uint32_t extras_len, struct request *req)
{
	switch (req->verb) {
	case REQUEST_SET:
	case REQUEST_ADD:
	case REQUEST_REPLACE:
		req->flags = binary_get32(extras);
		req->exptime = binary_get32(extras + 4);
		/* Whatever it was called: with a cas it is only to replace that very item. */
		if (req->cas)
			req->verb = REQUEST_CAS;
		break;
	case REQUEST_INCR:
	case REQUEST_DECR:
		req->number = binary_get64(extras);
		req->initial = binary_get64(extras + 8);
		req->exptime = binary_get32(extras + 16);
		req->create = req->exptime != NO_ITEM;
		break;
	case REQUEST_VERBOSITY:
		req->number = binary_get32(extras);
		break;
	default:
		if (extras_len)
			req->exptime = binary_get32(extras);
		req->has_exptime = req->verb == REQUEST_FLUSH_ALL && extras_len > 0;
		break;
	}
}

ssize_t parse_binary(struct span in, struct request *ret)
{
	struct request req = { .compose = &compose_binary, .value_bare = true };
	uint32_t key_len, extras_len, body_len;
	const struct row *row;
	ssize_t len = BINARY_HEADER_LEN;

	if (in.len > 0 && in.ptr[0] != BINARY_REQUEST)
		return -EBADMSG;
	if (in.len < BINARY_HEADER_LEN)
		return -EAGAIN;
	req.opcode = in.ptr[1];
	key_len = binary_get16(in.ptr + 2);
	extras_len = in.ptr[4];
	body_len = binary_get32(in.ptr + 8);
	memcpy(&req.opaque_be, in.ptr + 12, sizeof(req.opaque_be));
	req.cas = binary_get64(in.ptr + 16);
	row = req.opcode < sizeof(rows) / sizeof(rows[0]) ? &rows[req.opcode] : NULL;
	if (key_len + extras_len > body_len) {
		fail(&req, STATUS_UNKNOWN_COMMAND, true);
	} else if (key_len > XC_KEY_MAX) {
		fail(&req, STATUS_BAD_FORMAT, true);
	} else if (row && row->known && !lengths_fit(row, key_len, extras_len, body_len)) {
		fail(&req, STATUS_BAD_FORMAT, true);
	} else if (!row || row->verb == REQUEST_INVALID) {
		fail(&req, STATUS_UNKNOWN_COMMAND, false);
		req.value_len = body_len;
		req.value_skipped = true;
	} else {
		len += key_len + extras_len;
		if (in.len < (size_t)len)
			return -EAGAIN;
		req.verb = row->verb;
		req.noreply = row->quiet;
		req.value_len = body_len - key_len - extras_len;
		read_extras(in.ptr + BINARY_HEADER_LEN, extras_len, &req);
		req.key = span_of(in.ptr + BINARY_HEADER_LEN + extras_len, key_len);
		if (req.verb == REQUEST_STATS)
			req.args = req.key;
	}
	*ret = req;
	return len;
}
