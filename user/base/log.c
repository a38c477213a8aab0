/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"

#define MESSAGE_MAX 1000 /* the rest is cut off */
/* The message and, once more at most, its details, each byte as \uNNNN; and what stands around. */
#define LINE_MAX_BYTES (2 * 6 * MESSAGE_MAX + 256)
#define NUMBER_MAX 15 /* digits that every reader of JSON keeps */

/* The file-scope mutable state of the log: it is the program's, not a room's. */
static _Atomic enum log_level level_max = LOG_INFO;
static _Atomic enum log_format format_now = LOG_TEXT;

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&level_max, level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
	return atomic_load_explicit(&level_max, memory_order_relaxed);
}

void log_set_format(enum log_format format)
{
	atomic_store_explicit(&format_now, format, memory_order_relaxed);
}

/* --- JSON --- */

static char *put_plain(char *to, const char *text)
{
	size_t len = strlen(text);

	memcpy(to, text, len);
	return to + len;
}

/* Up to six bytes for each one: what is no text stands as the character of its number. */
static char *put_escaped(char *to, const char *text, size_t len)
{
	const unsigned char *at = (const unsigned char *)text, *end = at + len;

	while (at < end) {
		uint32_t character_len = utf8_character_len(at);

		if (character_len == 0 || character_len > (size_t)(end - at)) {
			to += sprintf(to, "\\u%04x", *at++);
			continue;
		}
		if (*at == '"' || *at == '\\')
			*to++ = '\\';
		memcpy(to, at, character_len);
		to += character_len;
		at += character_len;
	}
	return to;
}

static char *put_time(char *to)
{
	uint64_t now_ns = clock_wall_ns(clock_system());
	time_t sec = (time_t)(now_ns / NSEC_PER_SEC);
	struct tm parts;

	gmtime_r(&sec, &parts);
	to += strftime(to, sizeof("2026-11-23T18:00:00"), "%Y-%m-%dT%H:%M:%S", &parts);
	return to + sprintf(to, ".%06uZ", (unsigned int)(now_ns % NSEC_PER_SEC / 1000));
}

static bool is_number(const char *text, size_t len)
{
	return len > 0 && len <= NUMBER_MAX && strspn(text, "0123456789") >= len &&
	       (text[0] != '0' || len == 1);
}

/* Length of the name in a word name=value; 0: the word is no detail, or its name is taken. */
static size_t detail_name_len(const char *word, const char *message)
{
	static const char *const own[] = { "ts", "level", "module", "message" };
	size_t len = strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789_");

	if (len == 0 || word[len] != '=')
		return 0;
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		if (strlen(own[i]) == len && !memcmp(own[i], word, len))
			return 0;
	}
	for (; message < word; message = strchr(message, ' ') + 1) {
		if (!memcmp(message, word, len + 1))
			return 0;
	}
	return len;
}

/* Details stand in the message as words name=value; each becomes a member of its own. */
static char *put_details(char *to, const char *message)
{
	const char *word = message, *next;

	for (; word; word = next ? next + 1 : NULL) {
		size_t name_len = detail_name_len(word, message), len;

		next = strchr(word, ' ');
		if (name_len == 0)
			continue;
		to += sprintf(to, ",\"%.*s\":", (int)name_len, word);
		word += name_len + 1;
		len = next ? (size_t)(next - word) : strlen(word);
		if (is_number(word, len)) {
			memcpy(to, word, len);
			to += len;
			continue;
		}
		*to++ = '"';
		to = put_escaped(to, word, len);
		*to++ = '"';
	}
	return to;
}

static size_t put_json(char *to, const char *level, const char *module, const char *message)
{
	char *at = put_plain(to, "{\"ts\":\"");

	at = put_time(at);
	at = put_plain(put_plain(at, "\",\"level\":\""), level);
	at = put_plain(put_plain(at, "\",\"module\":\""), module);
	at = put_plain(at, "\",\"message\":\"");
	at = put_escaped(at, message, strlen(message));
	*at++ = '"';
	at = put_details(at, message);
	*at++ = '}';
	return (size_t)(at - to);
}

/* --- lines --- */

void log_vline(enum log_level level, const char *module, const char *fmt, va_list args)
{
	static const char *const names[] = { "error", "warn", "info", "debug" };
	static const int priorities[] = { 3, 4, 6, 7 };
	char message[MESSAGE_MAX], line[LINE_MAX_BYTES];
	size_t len = 0;
	int n;

	if (level > log_get_level())
		return;
	if (getenv("JOURNAL_STREAM"))
		len = (size_t)snprintf(line, sizeof(line), "<%d>", priorities[level]);
	n = vsnprintf(message, sizeof(message), fmt, args);
	if (n < 0)
		message[0] = '\0';
	for (n = (int)strlen(message); n > 0 && message[n - 1] == '\n'; n--)
		message[n - 1] = '\0';
	if (atomic_load_explicit(&format_now, memory_order_relaxed) == LOG_JSON)
		len += put_json(line + len, names[level], module, message);
	else
		len += (size_t)snprintf(line + len, sizeof(line) - len, "%s %s: %s", names[level],
					module, message);
	line[len++] = '\n';
	if (write(STDERR_FILENO, line, len) < 0)
		return; /* nobody to tell */
}

void log_line(enum log_level level, const char *module, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	log_vline(level, module, fmt, args);
	va_end(args);
}
