/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * span - a borrowed run of bytes.
 *
 * Does      pairs a pointer with a length, so that no room passes bare pointers or relies on a
 *           terminator.
 * Owner     the span owns nothing; whoever returns one says how long its bytes stay.
 */
#ifndef XC_BASE_SPAN_H
#define XC_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
	const uint8_t *ptr;
	size_t len;
};

static inline struct span span_of(const void *ptr, size_t len)
{
	return (struct span){ .ptr = ptr, .len = len };
}

static inline struct span span_str(const char *text)
{
	return span_of(text, strlen(text));
}

static inline bool span_equal(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

#endif
