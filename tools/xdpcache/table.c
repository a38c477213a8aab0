/* SPDX-License-Identifier: BSD-2-Clause */
#include "table.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *table_count(char buf[TABLE_TEXT_MAX], uint64_t count)
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%" PRIu64, count);
	char *to = buf;

	for (int i = 0; i < len; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			*to++ = ',';
		*to++ = digits[i];
	}
	*to = '\0';
	return buf;
}

const char *table_bytes(char buf[TABLE_TEXT_MAX], uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double amount = (double)bytes;
	int unit = 0;

	while (amount >= 1024 && unit < 4) {
		amount /= 1024;
		unit++;
	}
	snprintf(buf, TABLE_TEXT_MAX, unit ? "%.1f %s" : "%.0f %s", amount, units[unit]);
	return buf;
}

const char *table_duration(char buf[TABLE_TEXT_MAX], uint64_t seconds)
{
	if (seconds < 60)
		snprintf(buf, TABLE_TEXT_MAX, "%" PRIu64 "s", seconds);
	else if (seconds < 3600)
		snprintf(buf, TABLE_TEXT_MAX, "%" PRIu64 "m %" PRIu64 "s", seconds / 60,
			 seconds % 60);
	else if (seconds < 86400)
		snprintf(buf, TABLE_TEXT_MAX, "%" PRIu64 "h %" PRIu64 "m", seconds / 3600,
			 seconds % 3600 / 60);
	else
		snprintf(buf, TABLE_TEXT_MAX, "%" PRIu64 "d %" PRIu64 "h", seconds / 86400,
			 seconds % 86400 / 3600);
	return buf;
}

const char *table_share(char buf[TABLE_TEXT_MAX], uint64_t part, uint64_t whole)
{
	if (whole == 0)
		return strcpy(buf, "-");
	snprintf(buf, TABLE_TEXT_MAX, "%.1f %%", 100.0 * (double)part / (double)whole);
	return buf;
}

const char *table_bar(char buf[TABLE_BAR_MAX], uint64_t part, uint64_t whole, uint32_t cells)
{
	static const char *const eighths[] = { " ", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█" };
	uint32_t fill;
	char *to = buf;

	if (cells > 40)
		cells = 40;
	if (part > whole)
		part = whole;
	fill = whole ? (uint32_t)((double)part / (double)whole * cells * 8 + 0.5) : 0;
	for (uint32_t i = 0; i < cells; i++) {
		uint32_t here = fill > 8 * i ? fill - 8 * i : 0;

		to = stpcpy(to, eighths[here > 8 ? 8 : here]);
	}
	*to = '\0';
	return buf;
}

void table_line(const char *fmt, ...)
{
	char line[TABLE_LINE_MAX];
	va_list args;
	size_t len;

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	for (len = strlen(line); len > 0 && line[len - 1] == ' '; len--)
		;
	printf("%.*s\n", (int)len, line);
}
