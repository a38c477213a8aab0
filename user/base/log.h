/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * log - what the operator reads.
 *
 * Does      writes one line: level, module, message (with key=value details). To stderr; journald
 *           reads the "<n>" priority prefix when stderr is its stream (JOURNAL_STREAM is set).
 * Shape     text: info main: ready: tcp=11211 udp=0
 *           JSON: {"ts":"2026-11-23T18:00:00.000000Z","level":"info","module":"main",
 *           "message":"ready: tcp=11211 udp=0","tcp":11211,"udp":0}, in one line.
 * Rule      nothing logs per request. A start-up error says what to do next.
 * Threads   any; a line is written with one write(2).
 */
#ifndef XC_BASE_LOG_H
#define XC_BASE_LOG_H

#include <stdarg.h>

enum log_level {
	LOG_ERROR,
	LOG_WARN,
	LOG_INFO,
	LOG_DEBUG,
};

enum log_format { LOG_TEXT, LOG_JSON };

/* How lines are written; default LOG_TEXT. */
void log_set_format(enum log_format format);
/* Lines above this level are dropped; default LOG_INFO. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

__attribute__((format(printf, 3, 4))) void log_line(enum log_level level, const char *module,
						    const char *fmt, ...);
__attribute__((format(printf, 3, 0))) void log_vline(enum log_level level, const char *module,
						     const char *fmt, va_list args);

#endif
