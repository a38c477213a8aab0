/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * utf8 - which bytes are text.
 *
 * Does      measures the character that a string begins with.
 * Owner     pure.
 * Source    RFC 3629, section 4.
 */
#ifndef XC_BASE_UTF8_H
#define XC_BASE_UTF8_H

#include <stdint.h>

/*
 * Bytes of the UTF-8 character at the beginning of a NUL-terminated text. 0: there is none, or one
 * that steers a terminal (a control character).
 */
uint32_t utf8_character_len(const unsigned char *text);

#endif
