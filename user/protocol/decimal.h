/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * decimal - numbers as clients write them.
 *
 * Does      reads and writes decimal integers.
 * Shape     what is accepted is what memcached's strtol-based readers accept: white space in front,
 *           a sign, digits, then the end of the text or white space and anything after it.
 * Errors    false: no digits, junk behind them, or out of range; the output is unchanged.
 * Owner     pure functions.
 */
#ifndef XC_PROTOCOL_DECIMAL_H
#define XC_PROTOCOL_DECIMAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

#define DECIMAL_MAX 20 /* digits of 2^64 - 1 */

/* A negative number is refused. */
bool decimal_parse_u64(struct span text, uint64_t *ret);
bool decimal_parse_i64(struct span text, int64_t *ret);
/* No terminator; returns how many bytes were written, at most DECIMAL_MAX. */
uint32_t decimal_put(uint8_t *to, uint64_t number);

#endif
