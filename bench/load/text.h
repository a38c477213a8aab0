/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * text - the client's side of memcached's text protocol.
 *
 * Does      writes get, set and delete requests; parses their replies.
 * Owner     spans in a reply point into the bytes parsed.
 * Errors    text_parse: -EAGAIN (incomplete), -EBADMSG (no reply to that request).
 * Source    memcached doc/protocol.txt.
 */
#ifndef XC_LOAD_TEXT_H
#define XC_LOAD_TEXT_H

#include <stdint.h>

#include "base/span.h"

/* "set ", key, flags, exptime, length, line ends. */
#define TEXT_REQUEST_MAX 320

enum text_request {
	TEXT_GET,
	TEXT_SET,
	TEXT_DELETE,
};

enum text_kind {
	TEXT_VALUE,
	TEXT_MISS,
	TEXT_DONE,     /* STORED, DELETED */
	TEXT_NOT_DONE, /* NOT_STORED, NOT_FOUND */
	TEXT_REFUSED,  /* ERROR, CLIENT_ERROR, SERVER_ERROR */
};

struct text_reply {
	enum text_kind kind;
	uint32_t flags;
	struct span key;
	struct span value; /* TEXT_REFUSED: the line */
};

struct text_store {
	uint32_t flags;
	uint32_t ttl_sec;
	uint32_t value_len;
};

/* All return the bytes written; to has TEXT_REQUEST_MAX of room. A set's value follows apart. */
uint32_t text_compose_get(uint8_t *to, struct span key);
uint32_t text_compose_delete(uint8_t *to, struct span key);
uint32_t text_compose_set(uint8_t *to, struct span key, const struct text_store *store);

/* The bytes that the first reply in `bytes` takes, or a negative errno. */
int64_t text_parse(enum text_request request, struct span bytes, struct text_reply *ret);

#endif
