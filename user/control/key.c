/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * JSON strings are UTF-8 and keys are any bytes, some of which would steer a terminal: a key that
 * is no plain UTF-8 text is shown with its odd bytes as \xNN, and exactly in "key_hex", which is
 * taken instead of "key".
 */
#include "control/key.h"

#include <stdio.h>
#include <string.h>

static void hex_of(const char *key, uint32_t len, char ret[2 * XC_KEY_MAX + 1])
{
	for (uint32_t i = 0; i < len; i++)
		snprintf(ret + 2 * i, 3, "%02x", (unsigned char)key[i]);
	ret[2 * len] = '\0';
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Bytes of a hexadecimal text; 0: it is none, or too long. */
static uint32_t bytes_of(const char *hex, char ret[XC_KEY_MAX])
{
	size_t len = strlen(hex);

	if (len % 2 || len > 2 * XC_KEY_MAX)
		return 0;
	for (size_t i = 0; i < len; i += 2) {
		int high = hex_digit(hex[i]), low = hex_digit(hex[i + 1]);

		if (high < 0 || low < 0)
			return 0;
		ret[i / 2] = (char)(high << 4 | low);
	}
	return (uint32_t)(len / 2);
}

/* Nothing in it that a terminal obeys: keys of the binary protocol may hold that, UTF-8 more. */
static bool is_plain(const char *key, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)key[i];

		if (c <= ' ' || c == 0x7f)
			return false;
		/* U+0080 to U+009F */
		if (c == 0xc2 && i + 1 < len && (unsigned char)key[i + 1] < 0xa0)
			return false;
	}
	return true;
}

void control_set_key(json_t *row, const char *key, uint32_t len)
{
	json_t *text = is_plain(key, len) ? json_stringn(key, len) : NULL;
	char shown[4 * XC_KEY_MAX + 1], hex[2 * XC_KEY_MAX + 1];
	size_t at = 0;

	if (text) {
		json_object_set_new(row, "key", text);
		return;
	}
	for (uint32_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)key[i];

		at += (size_t)snprintf(shown + at, sizeof(shown) - at,
				       c > ' ' && c < 0x7f ? "%c" : "\\x%02x", c);
	}
	hex_of(key, len, hex);
	json_object_set_new(row, "key", json_string(shown));
	json_object_set_new(row, "key_hex", json_string(hex));
}

bool control_key(const json_t *request, char key[XC_KEY_MAX], struct span *ret,
		 char error[CONTROL_ERROR_MAX])
{
	const json_t *text = json_object_get(request, "key");
	const char *hex = json_string_value(json_object_get(request, "key_hex"));
	size_t len = json_string_length(text);

	if (hex) {
		len = bytes_of(hex, key);
	} else if (len <= XC_KEY_MAX) {
		memcpy(key, len ? json_string_value(text) : "", len);
	}
	if (len == 0 || len > XC_KEY_MAX) {
		snprintf(error, CONTROL_ERROR_MAX,
			 "\"key\" is not a key: 1 to %d bytes are expected", XC_KEY_MAX);
		return false;
	}
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)key[i] <= ' ' || key[i] == 0x7f) {
			snprintf(error, CONTROL_ERROR_MAX,
				 "a key holds no blanks and no control characters");
			return false;
		}
	}
	*ret = span_of(key, len);
	return true;
}
