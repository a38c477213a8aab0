/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * client - a small blocking memcached client for tests.
 *
 * Does      sends exactly the bytes it is given over TCP (in one piece or cut) and over UDP (behind
 *           the frame header), and takes whole replies, which it knows by their text alone.
 * Shape     a text reply ends at its first line, except that VALUE brings its data and goes on, as
 *           STAT does, and VA brings its data. Datagrams of one UDP reply are put in order and
 *           joined.
 * Errors    what should not happen in a test (no reply in time, a reply that is no reply) prints
 *           and aborts.
 * Owner     the caller; a reply stays until the next call on the same client.
 * Threads   one a client.
 */
#ifndef XC_TESTS_CLIENT_H
#define XC_TESTS_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

#define CLIENT_WAIT_SEC 20
#define CLIENT_BUF (4U << 20)

struct client {
	int tcp, udp;
	uint16_t id;  /* of the last UDP request */
	uint8_t *buf; /* what came over TCP */
	size_t used;  /* of that, handed out */
	size_t filled;
	uint8_t *datagrams; /* the joined UDP reply */
};

/* host is an address, IPv4 or IPv6. */
void client_open(struct client *client, const char *host, uint16_t port);
void client_close(struct client *client);

/* Sends; pipelined requests need no reply in between. */
void client_tcp_send(struct client *client, struct span request);
/* The next reply. */
struct span client_tcp_take(struct client *client);
struct span client_tcp(struct client *client, struct span request);
/* Two segments, cut before byte `cut`; the second when the server had time to read the first. */
struct span client_tcp_cut(struct client *client, struct span request, size_t cut);

/* The reply's text, without frame headers. False: no whole reply within wait_ms. */
bool client_udp_try(struct client *client, struct span text, int wait_ms, struct span *ret);
struct span client_udp(struct client *client, struct span text);
/* One reply datagram as it came, frame header too; the request id is the caller's. */
struct span client_udp_raw(struct client *client, struct span datagram);

/* Length of the first whole reply in the bytes, 0 when it is not all there. */
size_t client_reply_len(struct span bytes);

#endif
