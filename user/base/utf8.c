/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/utf8.h"

uint32_t utf8_character_len(const unsigned char *text)
{
	uint32_t len = text[0] < 0x80 ? 1 : text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;

	if (len == 1)
		return text[0] >= ' ' && text[0] != 0x7f;
	if (text[0] < 0xc2 || text[0] > 0xf4)
		return 0;
	for (uint32_t i = 1; i < len; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	}
	/* Longer than need be, a surrogate, beyond Unicode, or a control character. */
	if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f) ||
	    (text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f) ||
	    (text[0] == 0xc2 && text[1] < 0xa0))
		return 0;
	return len;
}
