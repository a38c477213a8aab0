/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * compose_dump - the lines in which items are listed.
 *
 * Does      writes one item's line in each of memcached's three forms, and their ends.
 * Shape     stats cachedump:       ITEM <key> [<bytes> b; <expiry> s]\r\n  ...  END\r\n
 *           lru_crawler metadump:  key=<key> exp=<expiry> la=<time> cas=<n> fetch=<yes|no> cls=1
 *                                  size=<bytes> flags=<n>\n  ...  END\r\n
 *           lru_crawler mgdump:    mg <key>\r\n, or mg <base64> b\r\n  ...  EN\r\n
 *           Keys of metadump are percent-encoded (RFC 3986). Times are Unix seconds; an item
 *           without expiry has 0 in the first form, -1 in the second.
 * Owner     pure but for the response.
 * Source    memcached doc/protocol.txt; 1.6.18 writes the second form's lines without \r, and
 *           knows neither flags= nor mgdump, which later versions have.
 */
#ifndef XC_PROTOCOL_COMPOSE_DUMP_H
#define XC_PROTOCOL_COMPOSE_DUMP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "protocol/request.h"
#include "protocol/response.h"

struct compose_dump_item {
	struct span key;
	int64_t expire_sec; /* 0: never */
	int64_t access_sec;
	uint64_t cas;
	uint64_t value_len;
	uint64_t bytes; /* of the item in the log */
	uint32_t flags;
	bool fetched;
	bool binary; /* its key was given in base64 */
};

void compose_dump_item(struct response *resp, enum request_dump form,
		       const struct compose_dump_item *item);
void compose_dump_end(struct response *resp, enum request_dump form);

#endif
