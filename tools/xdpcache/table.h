/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * table - numbers for people.
 *
 * Does      formats counts (1,234,567), bytes (12.3 MiB), durations (3h 12m) and shares (bars).
 * Owner     texts lie in the caller's buffer and are returned for use as an argument.
 */
#ifndef XC_XDPCACHE_TABLE_H
#define XC_XDPCACHE_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#define TABLE_TEXT_MAX 32
#define TABLE_LINE_MAX 1024
#define TABLE_BAR_MAX 160 /* 40 cells of up to three bytes, and the end */

const char *table_count(char buf[TABLE_TEXT_MAX], uint64_t count);
const char *table_bytes(char buf[TABLE_TEXT_MAX], uint64_t bytes);
const char *table_duration(char buf[TABLE_TEXT_MAX], uint64_t seconds);
/* "72.9 %"; "-" of nothing. */
const char *table_share(char buf[TABLE_TEXT_MAX], uint64_t part, uint64_t whole);
/* cells wide (40 at most), in eighths of a cell. */
const char *table_bar(char buf[TABLE_BAR_MAX], uint64_t part, uint64_t whole, uint32_t cells);
/* A line as printf makes it, without the blanks that an empty last column leaves at its end. */
__attribute__((format(printf, 1, 2))) void table_line(const char *fmt, ...);

#endif
