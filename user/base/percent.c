/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/percent.h"

#include <stdbool.h>
#include <string.h>

/* isalnum would ask the locale. */
static bool is_kept(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       (c && strchr("-._~", c));
}

size_t percent_encode(char *to, struct span bytes)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t len = 0;

	for (size_t i = 0; i < bytes.len; i++) {
		uint8_t c = bytes.ptr[i];

		if (is_kept(c)) {
			to[len++] = (char)c;
			continue;
		}
		to[len++] = '%';
		to[len++] = digits[c >> 4];
		to[len++] = digits[c & 15];
	}
	return len;
}
