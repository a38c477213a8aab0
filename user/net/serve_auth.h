/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * serve_auth - what a client may say before it has proved who it is, and the proof.
 *
 * Does      text (-Y): "set <any> <any> <any> <bytes>\r\n<user> <password>\r\n", nothing else.
 *           binary (-S): the SASL requests, with the mechanism PLAIN; version; nothing else.
 * Errors    replies are memcached's. A text client may try again; a binary one that asks for
 *           anything else is closed.
 * Threads   the connection's worker.
 * Source    memcached 1.6.18, proto_text.c and proto_bin.c; RFC 4616 (PLAIN).
 */
#ifndef XC_NET_SERVE_AUTH_H
#define XC_NET_SERVE_AUTH_H

#include <stdbool.h>
#include <stdint.h>

#include "net/serve.h"

struct request;

/* The next step of a text connection that is not authenticated. */
enum serve_step serve_auth_text(struct conn *c, struct buffer *in);
/* True: a binary request of `len` bytes and its value is for serve_auth_binary. */
bool serve_auth_wants(const struct conn *c, const struct request *req);
enum serve_step serve_auth_binary(struct conn *c, struct buffer *in, const struct request *req,
				  uint64_t len);

#endif
