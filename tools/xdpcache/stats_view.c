/* SPDX-License-Identifier: BSD-2-Clause */
#include "stats_view.h"

#include <stdio.h>
#include <string.h>

#include "abi/outcome.h"
#include "base/clock.h"
#include "fastpath/counters.h"
#include "table.h"

#define BAR_CELLS 16 /* with rates a line has 80 columns */

/* What is printed: the numbers, those of last time, and how. */
struct view {
	const json_t *now;
	const json_t *before; /* NULL: the first time */
	uint64_t elapsed_ns;
	bool tty;
};

/* "fastpath", "hits"; or with a group between: "fastpath", "passes", "pass_miss". */
static uint64_t value_of(const json_t *root, const char *section, const char *group,
			 const char *name)
{
	const json_t *object = json_object_get(root, section);

	if (group)
		object = json_object_get(object, group);
	return (uint64_t)json_integer_value(json_object_get(object, name));
}

static uint64_t value(const struct view *v, const char *section, const char *name)
{
	return value_of(v->now, section, NULL, name);
}

/* "  1,234/s", or nothing the first time. */
static const char *rate(const struct view *v, char buf[TABLE_TEXT_MAX + 4], uint64_t now,
			uint64_t before)
{
	buf[0] = '\0';
	if (v->before && v->elapsed_ns > 0 && now >= before) {
		table_count(buf, (uint64_t)((double)(now - before) * (double)NSEC_PER_SEC /
						    (double)v->elapsed_ns +
					    0.5));
		strcat(buf, "/s");
	}
	return buf;
}

/* name, count, share of whole, rate and bar. */
static void print_share(const struct view *v, const char *name, uint64_t part, uint64_t part_before,
			uint64_t whole)
{
	char count[TABLE_TEXT_MAX], share[TABLE_TEXT_MAX], speed[TABLE_TEXT_MAX + 4],
		bar[TABLE_BAR_MAX] = "";

	if (v->tty)
		table_bar(bar, part, whole, BAR_CELLS);
	table_line("  %-22s %14s %8s %11s  %s", name, table_count(count, part),
		   table_share(share, part, whole), rate(v, speed, part, part_before), bar);
}

static void print_head(const struct view *v)
{
	const json_t *daemon = json_object_get(v->now, "daemon");
	const char *version = json_string_value(json_object_get(daemon, "version"));
	char up[TABLE_TEXT_MAX];

	if (!daemon) {
		printf("no daemon; what follows is from the pins\n\n");
		return;
	}
	printf("xdpcached %s   pid %llu   up %s   %llu threads   %llu connections\n\n", version,
	       (unsigned long long)value(v, "daemon", "pid"),
	       table_duration(up, value(v, "daemon", "uptime_sec")),
	       (unsigned long long)value(v, "daemon", "threads"),
	       (unsigned long long)value(v, "daemon", "connections"));
}

/*
 * The kernel's counters outlive daemons: they add up with this daemon's only if it is the first
 * since the maps were made.
 */
static bool same_span(const struct view *v)
{
	return json_object_get(v->now, "daemon") && value(v, "fastpath", "owner_epoch") <= 1;
}

static void print_gets(const struct view *v)
{
	uint64_t now[4], before[4], whole = 0;
	static const struct {
		const char *title, *section, *name;
	} rows[4] = {
		{ "answered in the kernel", "fastpath", "hits" },
		{ "answered by the daemon", "daemon", "get_hits" },
		{ "known absent, by the kernel", "fastpath", "absent" },
		{ "not found", "daemon", "get_misses" },
	};

	for (int i = 0; i < 4; i++) {
		now[i] = value(v, rows[i].section, rows[i].name);
		before[i] = value_of(v->before, rows[i].section, NULL, rows[i].name);
		whole += now[i];
	}
	if (!same_span(v))
		whole = 0;
	printf("GETs\n");
	for (int i = 0; i < 4; i++) {
		if (json_object_get(v->now, rows[i].section))
			print_share(v, rows[i].title, now[i], before[i], whole);
	}
	printf("\n");
}

static void print_interface(const json_t *interface)
{
	const char *mode = json_string_value(json_object_get(interface, "mode"));
	const char *reason = json_string_value(json_object_get(interface, "reason"));
	bool off = !mode || !strcmp(mode, "off");

	table_line("    %-16s %-8s %-4s %-10s %s",
		   json_string_value(json_object_get(interface, "name")), mode ? mode : "?",
		   json_is_true(json_object_get(interface, "tc")) ? "tc" : "-",
		   off							 ? "-"
		   : json_is_true(json_object_get(interface, "by_link")) ? "bpf_link"
									 : "netlink",
		   reason ? reason : "");
}

/* The outcomes of one kind that have happened, in words. */
static void print_outcomes(const struct view *v, const char *group, const char *title)
{
	bool titled = false;

	for (int i = 0; i < XC_OUTCOME_CNT; i++) {
		const char *name = counters_name((enum xc_outcome)i);
		uint64_t now = value_of(v->now, "fastpath", group, name);
		uint64_t before = value_of(v->before, "fastpath", group, name);
		char count[TABLE_TEXT_MAX], speed[TABLE_TEXT_MAX + 4];

		if (now == 0)
			continue;
		if (!titled)
			printf("  %s\n", title);
		titled = true;
		table_line("    %-20s %14s%*s  %s", name, table_count(count, now),
			   v->before ? 12 : 0, rate(v, speed, now, before),
			   counters_meaning((enum xc_outcome)i));
	}
}

/* Of a sample, in the program alone. */
static void print_times(const struct view *v)
{
	static const struct {
		const char *name, *title;
	} rows[] = { { "hits", "answered" }, { "others", "passed or dropped" } };
	const json_t *times = json_object_get(json_object_get(v->now, "fastpath"), "times");
	bool titled = false;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const json_t *row = json_object_get(times, rows[i].name);
		json_int_t samples = json_integer_value(json_object_get(row, "samples"));

		if (samples == 0)
			continue;
		if (!titled)
			printf("  time in the program, of one request in %d\n", 1 << XC_TIME_SHIFT);
		titled = true;
		table_line("    %-20s %10lld ns, 99 of 100 within %lld ns", rows[i].title,
			   (long long)json_integer_value(json_object_get(row, "p50_ns")),
			   (long long)json_integer_value(json_object_get(row, "p99_ns")));
	}
}

static void print_fastpath(const struct view *v)
{
	const json_t *fastpath = json_object_get(v->now, "fastpath");
	const char *state = json_string_value(json_object_get(fastpath, "state"));
	char entries[TABLE_TEXT_MAX], max[TABLE_TEXT_MAX];
	const json_t *interfaces = json_object_get(fastpath, "interfaces");
	uint64_t lease_ms = value(v, "fastpath", "lease_ms");

	printf("Fast path: %s", state ? state : "?");
	if (state && strcmp(state, "off")) {
		printf("   %s of %s entries   lease %llu ms left",
		       table_count(entries, value(v, "fastpath", "entries")),
		       table_count(max, value(v, "fastpath", "entries_max")),
		       (unsigned long long)value(v, "fastpath", "lease_left_ms"));
		if (lease_ms)
			printf(" of %llu", (unsigned long long)lease_ms);
	}
	printf("\n");
	if (state && !strcmp(state, "orphaned"))
		printf("  no daemon renews the lease: every packet passes to the socket\n");
	for (size_t i = 0; i < json_array_size(interfaces); i++)
		print_interface(json_array_get(interfaces, i));
	print_outcomes(v, "hits_by", "answered");
	print_outcomes(v, "passes", "passed on, untouched");
	print_outcomes(v, "drops", "dropped");
	print_times(v);
}

static void print_store(const struct view *v)
{
	char a[TABLE_TEXT_MAX], b[TABLE_TEXT_MAX], speed[TABLE_TEXT_MAX + 4];
	uint64_t evictions = value(v, "daemon", "evictions");
	uint64_t expired = value(v, "daemon", "expired");
	uint64_t bytes = value(v, "daemon", "bytes");
	uint64_t limit = value(v, "daemon", "limit_bytes");
	char bar[TABLE_BAR_MAX] = "";

	if (!json_object_get(v->now, "store"))
		return;
	printf("\nStore\n");
	printf("  %-22s %14s\n", "items", table_count(a, value(v, "daemon", "items")));
	if (v->tty)
		table_bar(bar, bytes, limit, BAR_CELLS);
	table_line("  %-22s %14s of %-17s  %s", "memory", table_bytes(a, bytes),
		   table_bytes(b, limit), bar);
	table_line("  %-22s %14s          %11s", "evicted", table_count(a, evictions),
		   rate(v, speed, evictions, value_of(v->before, "daemon", NULL, "evictions")));
	table_line("  %-22s %14s          %11s", "expired", table_count(a, expired),
		   rate(v, speed, expired, value_of(v->before, "daemon", NULL, "expired")));
}

static void print_hot(const struct view *v)
{
	if (!json_object_get(v->now, "hot"))
		return;
	printf("\nHot keys: %llu in the kernel, %llu pinned (xdpcache hot list)\n",
	       (unsigned long long)value(v, "fastpath", "entries"),
	       (unsigned long long)value(v, "hot", "pinned"));
}

void stats_view_print(const json_t *now, const json_t *before, uint64_t elapsed_ns, bool tty)
{
	const struct view view = {
		.now = now, .before = before, .elapsed_ns = elapsed_ns, .tty = tty
	};

	print_head(&view);
	print_gets(&view);
	print_fastpath(&view);
	print_store(&view);
	print_hot(&view);
}
