/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * parse_meta - lines of memcached's meta commands: mg ms md ma mn me.
 *
 * Does      reads what follows the verb, for parse_text, whose contract holds here too. ms becomes
 *           the storage command that its flags describe, with compose_meta for its reply.
 * Shape     stateless; spans of the request point into the caller's buffer. A key in base64 stays
 *           as it is written (key_base64); it has been checked.
 * Errors    a wrong line makes the request REQUEST_INVALID; an ms whose length could be read keeps
 *           it, so that its value is skipped.
 * Source    memcached doc/protocol.txt (1.6.45); where that is silent, 1.6.18's behaviour.
 */
#ifndef XC_PROTOCOL_PARSE_META_H
#define XC_PROTOCOL_PARSE_META_H

#include "protocol/request.h"

/* words: behind the verb. req->verb says which command it is, REQUEST_SET being ms. */
void parse_meta(struct span words, struct request *req);

#endif
