/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The one file-scope mutable state of the log (house rule: log level may be global). */
static _Atomic enum log_level level_max = LOG_INFO;

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&level_max, level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
	return atomic_load_explicit(&level_max, memory_order_relaxed);
}

void log_vline(enum log_level level, const char *module, const char *fmt, va_list args)
{
	static const char *const names[] = { "error", "warn", "info", "debug" };
	static const int priorities[] = { 3, 4, 6, 7 };
	char line[1024];
	size_t len = 0;
	int n;

	if (level > log_get_level())
		return;
	if (getenv("JOURNAL_STREAM"))
		len = (size_t)snprintf(line, sizeof(line), "<%d>", priorities[level]);
	len += (size_t)snprintf(line + len, sizeof(line) - len, "%s %s: ", names[level], module);
	n = vsnprintf(line + len, sizeof(line) - len - 1, fmt, args);
	if (n > 0)
		len += (size_t)n;
	if (len > sizeof(line) - 2)
		len = sizeof(line) - 2;
	while (len > 0 && line[len - 1] == '\n')
		len--;
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
