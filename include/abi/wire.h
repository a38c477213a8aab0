/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * wire - memcached bytes that both parsers know.
 *
 * Does      the UDP frame header, the fixed words of the text protocol as integers in memory order,
 *           and some numbers of the binary protocol.
 * Units     network order where the field says __be.
 * Source    memcached doc/protocol.txt, "UDP protocol", "Retrieval command"; protocol-binary.txt.
 */
#ifndef XC_ABI_WIRE_H
#define XC_ABI_WIRE_H

#include <linux/types.h>

/* Every UDP datagram, both ways, starts with this. */
struct xc_udp_frame {
	__be16 request_id; /* echoed */
	__be16 seq;	   /* datagram number, from 0 */
	__be16 total;	   /* datagrams in this message */
	__be16 reserved;   /* 0 */
};

_Static_assert(sizeof(struct xc_udp_frame) == 8, "the UDP frame header is 8 bytes");

#define XC_PORT_DEFAULT 11211

/* Little-endian images of fixed words; the program builds for little-endian BPF targets only
 * (asserted there). */
#define XC_WORD_GET 0x20746567U	    /* "get " */
#define XC_WORD_GETS 0x73746567U    /* "gets" */
#define XC_WORD_VALU 0x554c4156U    /* "VALU" */
#define XC_WORD_E_SP 0x2045U	    /* "E " */
#define XC_WORD_CRLF 0x0a0dU	    /* "\r\n" */
#define XC_WORD_CRLF_EN 0x4e450a0dU /* "\r\nEN" */
#define XC_WORD_D_CR 0x0d44U	    /* "D\r" */
#define XC_WORD_EN 0x4e45U	    /* "EN" */
#define XC_WORD_MG 0x20676dU	    /* "mg ", three bytes */

/* Binary protocol: first byte of a request and of a reply, and what the program answers. */
#define XC_BINARY_REQUEST 0x80
#define XC_BINARY_REPLY 0x81
#define XC_BINARY_HEADER_LEN 24
#define XC_BINARY_NOT_FOUND 0x0001 /* status, and its text */
#define XC_BINARY_NOT_FOUND_TEXT "Not found"
#define XC_BINARY_GET 0x00
#define XC_BINARY_GETQ 0x09
#define XC_BINARY_NOOP 0x0a
#define XC_BINARY_GETK 0x0c
#define XC_BINARY_GETKQ 0x0d

#endif
