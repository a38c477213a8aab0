/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * parse_binary - requests of memcached's binary protocol.
 *
 * Does      turns header, extras and key into a struct request. A value is not its affair: it says
 *           how long it is, the caller takes it from behind what was consumed.
 * Shape     stateless; spans of the request point into the caller's buffer. Key and extras are
 *           looked at only when header and opcode agree on their lengths, so that no length is ever
 *           computed from two that contradict each other.
 * Errors    > 0 bytes consumed, -EAGAIN more are needed, -EBADMSG no request: close. The request is
 *           unchanged then. A request that is complete but wrong is consumed, as REQUEST_INVALID
 *           with its error; request.close where what follows cannot be trusted.
 * Source    memcached doc/protocol-binary.txt; where that is silent, memcached 1.6.18's behaviour.
 *           docs/protocol.md lists where we differ, and why.
 */
#ifndef XC_PROTOCOL_PARSE_BINARY_H
#define XC_PROTOCOL_PARSE_BINARY_H

#include <sys/types.h>

#include "protocol/binary.h"
#include "protocol/request.h"

/* No key, and no request without its value, is longer than these say. */
#define PARSE_BINARY_MAX (BINARY_HEADER_LEN + 20 + 250)

ssize_t parse_binary(struct span in, struct request *ret);

static inline bool parse_binary_is_request(struct span in)
{
	return in.len > 0 && in.ptr[0] == BINARY_REQUEST;
}

#endif
