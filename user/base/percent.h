/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * percent - bytes as text without blanks or control characters.
 *
 * Does      keeps letters, digits and "-._~", writes every other byte as %XX.
 * Units     bytes; up to three of text for each one.
 * Owner     pure.
 * Source    RFC 3986, section 2.1: memcached's name for it is URI encoded.
 */
#ifndef XC_BASE_PERCENT_H
#define XC_BASE_PERCENT_H

#include <stddef.h>

#include "base/span.h"

#define PERCENT_MAX(len) (3 * (len))

/* No terminator; returns how many bytes were written. */
size_t percent_encode(char *to, struct span bytes);

#endif
