/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * base64 - keys of any bytes, written as text.
 *
 * Does      encodes and decodes with the standard alphabet, padded.
 * Units     bytes.
 * Source    RFC 4648 section 4; unlike memcached's decoder this one takes no other characters.
 */
#ifndef XC_PROTOCOL_BASE64_H
#define XC_PROTOCOL_BASE64_H

#include "base/span.h"

#define BASE64_LEN(len) (((len) + 2) / 3 * 4)

/* Of what the text stands for; 0: it is no base64, or empty. */
size_t base64_decoded_len(struct span text);
/* base64_decoded_len(text) bytes, which are more than 0. */
void base64_decode(struct span text, uint8_t *to);
/* Returns BASE64_LEN(bytes.len). */
size_t base64_encode(struct span bytes, uint8_t *to);

#endif
