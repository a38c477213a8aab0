/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * udp_frame - the 8 bytes in front of every datagram.
 *
 * Does      reads a request's frame header, writes a reply's, and says how many datagrams a reply
 *           takes.
 * Units     host order here; network order on the wire (abi/wire.h).
 * Errors    -EBADMSG: too short to be a request, -ENOTSUP: one of several datagrams.
 * Owner     pure functions.
 * Source    memcached doc/protocol.txt, "UDP protocol".
 */
#ifndef XC_PROTOCOL_UDP_FRAME_H
#define XC_PROTOCOL_UDP_FRAME_H

#include <stdint.h>

#include "abi/wire.h"
#include "base/span.h"

#define UDP_FRAME_LEN sizeof(struct xc_udp_frame)
/* A reply that does not fit one datagram of the path goes out in datagrams of this size. */
#define UDP_SPLIT_MAX 1400
/*
 * Text of the largest reply that can be allowed, and what loopback gets: CVE-2018-1000115 taught
 * what happens without a bound.
 */
#define UDP_REPLY_MAX (1U << 20)
/* The least that can be asked for: a reply of one datagram is never refused. */
#define UDP_REPLY_MIN 2048

struct udp_frame {
	uint16_t request_id;
	uint16_t seq;
	uint16_t total;
};

_Static_assert(UDP_REPLY_MAX / (UDP_SPLIT_MAX - sizeof(struct xc_udp_frame)) < UINT16_MAX,
	       "the largest reply's datagrams can be numbered");

/*
 * ret_body: what follows the header. On -ENOTSUP both outputs are set, so that it can be answered.
 */
int udp_frame_parse(struct span datagram, struct udp_frame *ret, struct span *ret_body);
void udp_frame_put(uint8_t to[UDP_FRAME_LEN], const struct udp_frame *frame);
/* Datagrams for a reply of text_len bytes when one datagram may carry datagram_max in all. */
uint16_t udp_frame_total(uint64_t text_len, uint32_t datagram_max);

#endif
