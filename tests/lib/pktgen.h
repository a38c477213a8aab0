/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pktgen - packets for tests, layer by layer.
 *
 * Does      builds a request frame from a description in which everything left 0 is what a correct
 *           client sends, and the reply frame that such a request must get. Sums are made here, by
 *           plain byte-wise code that shares nothing with the fast path.
 * Shape     Ethernet, tags, IPv4 or IPv6, UDP, memcached frame header, text, padding.
 * Units     lengths in bytes; ports, ids and addresses given in host order or as written.
 * Owner     packets are the caller's; nothing is allocated.
 */
#ifndef XC_TESTS_PKTGEN_H
#define XC_TESTS_PKTGEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

#define PKTGEN_MAX 4096
#define PKTGEN_TAG_MAX 3

struct pktgen_host {
	uint8_t mac[6];
	uint8_t ip4[4];
	uint8_t ip6[16];
};

extern const struct pktgen_host pktgen_client;
extern const struct pktgen_host pktgen_server;
extern const struct pktgen_host pktgen_stranger; /* in no allowlist */

#define PKTGEN_CLIENT_PORT 40001
#define PKTGEN_SERVER_PORT 11211

struct pktgen_packet {
	uint8_t bytes[PKTGEN_MAX];
	uint32_t len;
};

/* A request. 0 or NULL: as a correct client would have it. */
struct pktgen_request {
	const struct pktgen_host *from; /* pktgen_client */
	const struct pktgen_host *to;	/* pktgen_server */
	const uint8_t *mac_from;	/* instead of from's */
	const uint8_t *mac_to;		/* instead of to's */
	const uint8_t *ip_from;		/* instead of from's, 4 or 16 bytes */
	const uint8_t *ip_to;
	bool ip6;
	uint16_t tags[PKTGEN_TAG_MAX]; /* tag protocol ids, outermost first; 0 ends */
	uint16_t ether_type;
	uint8_t ip_first;    /* version and header length */
	uint8_t ip4_options; /* bytes of options; ip_first follows */
	uint16_t ip4_fragment;
	int next;	/* protocol; -1: 0, hop-by-hop options */
	int ip_len_add; /* what the IP length lies by */
	int udp_len_add;
	int from_port; /* -1: port 0 */
	int to_port;
	uint16_t id;
	uint16_t seq;
	int total; /* -1: 0 */
	uint16_t reserved;
	struct span text; /* what follows the frame header */
	uint32_t trailer; /* bytes of Ethernet padding, 0xa5 each */
};

/* What the reply has to say. */
struct pktgen_value {
	struct span key;
	struct span value;
	uint32_t flags;
	bool gets;
	uint64_t cas;
};

void pktgen_request(const struct pktgen_request *request, struct pktgen_packet *ret);
/* The reply to a correct request, byte for byte. */
void pktgen_reply(const struct pktgen_request *request, const struct pktgen_value *value,
		  struct pktgen_packet *ret);
/* The same with a text made elsewhere. */
void pktgen_reply_of(const struct pktgen_request *request, struct span text,
		     struct pktgen_packet *ret);
/* Text of the reply alone: "VALUE ... END\r\n"; returns its length. */
size_t pktgen_reply_text(const struct pktgen_value *value, uint8_t *ret, size_t max);
/* One value's part of it: without "END". */
size_t pktgen_value_text(const struct pktgen_value *value, uint8_t *ret, size_t max);

/* Sum of 16-bit words in memory order, an odd last byte padded with 0; folded, not inverted. */
uint16_t pktgen_sum(const void *bytes, size_t len);

#endif
