/* SPDX-License-Identifier: BSD-2-Clause */
#include "top_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "table.h"

#define SPARK_CELLS_MAX 60
#define KEY_COLUMNS_MIN 16
#define ROW_COLUMNS 61 /* of a key's line without the key */

/* --- pieces --- */

__attribute__((format(printf, 2, 3))) static void put(char ret[TOP_TEXT_MAX], const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(ret, TOP_TEXT_MAX, fmt, args);
	va_end(args);
}

void top_cut(char *text, uint32_t columns)
{
	uint32_t seen = 0;

	for (; *text; text++) {
		/* what follows within a character takes no column */
		if (((unsigned char)*text & 0xc0) != 0x80 && seen++ == columns) {
			*text = '\0';
			return;
		}
	}
}

/* The last `cells` values, scaled to the largest of all lines, so that lines compare. */
static const char *spark(const struct top_view *v, enum top_line line, uint32_t cells,
			 char ret[4 * SPARK_CELLS_MAX + 1])
{
	static const char *const blocks[] = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
	static const char *const marks[] = { ".", ":", "-", "=", "+", "*", "#", "@" };
	const struct top_history *history = v->history;
	uint32_t cnt = history->cnt < TOP_HISTORY ? history->cnt : TOP_HISTORY;
	double most = 1;
	char *to = ret;

	if (cells > SPARK_CELLS_MAX)
		cells = SPARK_CELLS_MAX;
	if (cnt > cells)
		cnt = cells;
	for (uint32_t back = cnt; back > 0; back--) {
		for (int other = 0; other < TOP_LINE_CNT; other++) {
			double value = history->gets[other][(history->cnt - back) % TOP_HISTORY];

			most = value > most ? value : most;
		}
	}
	for (uint32_t back = cnt; back > 0; back--) {
		double value = history->gets[line][(history->cnt - back) % TOP_HISTORY];
		uint32_t level = (uint32_t)(value / most * 7 + 0.5);

		if (value <= 0)
			to = stpcpy(to, " ");
		else
			to = stpcpy(to, v->utf8 ? blocks[level] : marks[level]);
	}
	*to = '\0';
	return ret;
}

static const char *time_of(char ret[TABLE_TEXT_MAX], uint64_t ns)
{
	if (ns == 0)
		return strcpy(ret, "-");
	if (ns < 1000000)
		snprintf(ret, TABLE_TEXT_MAX, "%.1f us", (double)ns / 1e3);
	else
		snprintf(ret, TABLE_TEXT_MAX, "%.1f ms", (double)ns / 1e6);
	return ret;
}

/* --- head --- */

static void head_title(const struct top_view *v, char ret[TOP_TEXT_MAX])
{
	const json_t *stats = v->now->stats;
	const json_t *fastpath = json_object_get(stats, "fastpath");
	const char *version =
		json_string_value(json_object_get(json_object_get(stats, "daemon"), "version"));
	const char *state = json_string_value(json_object_get(fastpath, "state"));
	char up[TABLE_TEXT_MAX];

	if (v->away || !stats)
		put(ret, "xdpcache top   NO DAEMON: %s", v->away ? v->away : "asking");
	else
		put(ret, "xdpcached %s   pid %llu   up %s   fast path %s   lease %llu of %llu ms",
		    version ? version : "?", (unsigned long long)top_number(stats, "daemon", "pid"),
		    table_duration(up, top_number(stats, "daemon", "uptime_sec")),
		    state ? state : "?",
		    (unsigned long long)top_number(stats, "fastpath", "lease_left_ms"),
		    (unsigned long long)top_number(stats, "fastpath", "lease_ms"));
}

static void head_gets(const struct top_view *v, enum top_line line, char ret[TOP_TEXT_MAX])
{
	static const char *const names[TOP_LINE_CNT] = { "kernel", "daemon", "not found" };
	char count[TABLE_TEXT_MAX], share[TABLE_TEXT_MAX], trend[4 * SPARK_CELLS_MAX + 1];
	double whole = 0;

	for (int each = 0; each < TOP_LINE_CNT; each++)
		whole += v->rates->gets[each];
	if (!v->rates->known || v->away)
		put(ret, "%-10s %12s", names[line], "-");
	else
		put(ret, "%-10s %12s %8s  %s", names[line],
		    table_count(count, (uint64_t)(v->rates->gets[line] + 0.5)),
		    table_share(share, (uint64_t)(v->rates->gets[line] * 1000),
				(uint64_t)(whole * 1000)),
		    spark(v, line, v->columns > 36 ? v->columns - 36 : 1, trend));
}

static void head_latency(const struct top_view *v, char ret[TOP_TEXT_MAX])
{
	char p50[TABLE_TEXT_MAX], p99[TABLE_TEXT_MAX], writes[TABLE_TEXT_MAX];

	put(ret, "%-10s p50 %s   p99 %s in the daemon   %s writes/s", "latency",
	    time_of(p50, v->rates->p50_ns), time_of(p99, v->rates->p99_ns),
	    table_count(writes, (uint64_t)(v->rates->writes + 0.5)));
}

static void head_memory(const struct top_view *v, char ret[TOP_TEXT_MAX])
{
	const json_t *stats = v->now->stats;
	char used[TABLE_TEXT_MAX], limit[TABLE_TEXT_MAX], items[TABLE_TEXT_MAX],
		evicted[TABLE_TEXT_MAX];

	put(ret, "%-10s %s of %s   %s items   %s evicted/s", "memory",
	    table_bytes(used, top_number(stats, "memory", "total_bytes")),
	    table_bytes(limit, top_number(stats, "daemon", "limit_bytes")),
	    table_count(items, top_number(stats, "daemon", "items")),
	    table_count(evicted, (uint64_t)(v->rates->evicted + 0.5)));
}

static void head_places(const struct top_view *v, char ret[TOP_TEXT_MAX])
{
	const json_t *limits = v->now->limits;
	char taken[TABLE_TEXT_MAX], budget[TABLE_TEXT_MAX], threshold[TABLE_TEXT_MAX];

	put(ret, "%-10s %s of %s keys   hot from %s/s   %llu pinned   %llu banned", "in kernel",
	    table_count(taken, top_number(limits, NULL, "entries")),
	    table_count(budget, top_number(limits, NULL, "entries_budget")),
	    table_count(threshold, top_number(limits, NULL, "threshold")),
	    (unsigned long long)top_number(limits, NULL, "pinned"),
	    (unsigned long long)top_number(limits, NULL, "banned"));
}

static uint32_t key_columns(const struct top_view *v)
{
	uint32_t left = v->columns > ROW_COLUMNS ? v->columns - ROW_COLUMNS : 0;

	return left < KEY_COLUMNS_MIN ? KEY_COLUMNS_MIN : left > 60 ? 60 : left;
}

void top_head(const struct top_view *v, uint32_t line, char ret[TOP_TEXT_MAX])
{
	int columns = (int)key_columns(v);

	switch (line) {
	case 0:
		head_title(v, ret);
		break;
	case 1:
	case 2:
	case 3:
		head_gets(v, (enum top_line)(line - 1), ret);
		break;
	case 4:
		head_latency(v, ret);
		break;
	case 5:
		head_memory(v, ret);
		break;
	case 6:
		head_places(v, ret);
		break;
	default:
		put(ret, "   %-*s %8s %8s %7s %9s  %-8s %s", columns, "KEY", "KERNEL/S", "DAEMON/S",
		    "WRITE/S", "VALUE", "IN", "WHY");
	}
	for (size_t len = strlen(ret); len > 0 && ret[len - 1] == ' '; len--)
		ret[len - 1] = '\0';
	top_cut(ret, v->columns);
}

/* --- keys --- */

static const char *movement(const struct top_view *v, const json_t *row, uint32_t place)
{
	int32_t moved = v->before->keys ? top_moved(v->before, row, place) : 0;

	if (moved == INT32_MAX)
		return "*";
	if (moved > 0)
		return v->utf8 ? "↑" : "^";
	if (moved < 0)
		return v->utf8 ? "↓" : "v";
	return " ";
}

void top_row(const struct top_view *v, const json_t *row, uint32_t place, char ret[TOP_TEXT_MAX])
{
	const char *key = json_string_value(json_object_get(row, "key"));
	const char *reason = json_string_value(json_object_get(row, "reason"));
	char shown[TOP_TEXT_MAX / 2], kernel[TABLE_TEXT_MAX], daemon[TABLE_TEXT_MAX],
		writes[TABLE_TEXT_MAX], size[TABLE_TEXT_MAX];
	uint32_t columns = key_columns(v), width;
	const char *wish = json_is_true(json_object_get(row, "pinned"))	  ? " +"
			   : json_is_true(json_object_get(row, "banned")) ? " x"
									  : "";
	char in[16];

	snprintf(shown, sizeof(shown), "%s", key ? key : "");
	top_cut(shown, columns);
	/* printf pads by bytes */
	width = columns;
	for (const char *at = shown; *at; at++)
		width += ((unsigned char)*at & 0xc0) == 0x80;
	snprintf(in, sizeof(in), "%s%s",
		 json_is_true(json_object_get(row, "resident")) ? "kernel" : "daemon", wish);
	put(ret, " %s %-*s %8s %8s %7s %9s  %-8s %s", movement(v, row, place), (int)width, shown,
	    table_count(kernel, top_number(row, NULL, "kernel_reads_sec")),
	    table_count(daemon, top_number(row, NULL, "reads_sec")),
	    table_count(writes, top_number(row, NULL, "writes_sec")),
	    table_bytes(size, top_number(row, NULL, "value_bytes")), in, reason ? reason : "");
	top_cut(ret, v->columns);
}
