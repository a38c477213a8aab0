/* SPDX-License-Identifier: BSD-2-Clause */
#include "report.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"

static const char *const kind_names[FIGURES_KIND_CNT] = {
	[FIGURES_KERNEL] = "kernel", [FIGURES_DAEMON] = "daemon", [FIGURES_MISS] = "miss",
	[FIGURES_WRITE] = "write",   [FIGURES_FILL] = "fill",
};

#define PROGRESS_COLUMNS 79 /* of a terminal that does not say its width */
#define PROGRESS_LINE_MAX 512

static const double quantiles[] = { 0.5, 0.99, 0.999 };

#define QUANTILE_CNT (sizeof(quantiles) / sizeof(quantiles[0]))

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

static double seconds(const struct figures *figures)
{
	return (double)(figures->end_ns - figures->start_ns) / (double)NSEC_PER_SEC;
}

static double rate(const struct figures *figures)
{
	double sec = seconds(figures);

	return sec > 0 ? (double)figures->requests / sec : 0;
}

/* By the fast path's own count. */
static uint64_t kernel_hits(const struct report *report)
{
	return report->after.kernel_hits - report->before.kernel_hits;
}

static uint64_t kernel_absent(const struct report *report)
{
	return report->after.kernel_absent - report->before.kernel_absent;
}

/* --- judging ------------------------------------------------------------------------- */

static void refuse(struct report *report, bool condition, const char *reason)
{
	if (condition && report->reason_cnt < REPORT_REASON_MAX)
		report->reasons[report->reason_cnt++] = reason;
}

/* The fast path's own count against what arrived; exact unless datagrams went astray. */
static bool kernel_count_differs(const struct report *report)
{
	const struct figures *figures = report->figures;

	if (!report->options->kernel_ttl || !report->before.valid || !report->after.valid ||
	    figures->retried || figures->lost)
		return false;
	return kernel_hits(report) + kernel_absent(report) !=
	       figures->kernel_replies + report->udp.late_kernel;
}

bool report_judge(struct report *report)
{
	const struct figures *figures = report->figures;
	bool nothing_evicted = report->evictions_known && report->evictions == 0;

	report->reason_cnt = 0;
	refuse(report, report->ended_early, "the run ended early");
	refuse(report, figures->requests == 0, "nothing was answered");
	refuse(report, figures_wrong(figures) > 0, "wrong replies");
	refuse(report, report->udp.unexpected > 0, "replies to nothing that was asked");
	refuse(report, figures->lost > report->options->lost_max, "lost requests");
	refuse(report,
	       figures->verdicts[ORACLE_FALSE_MISS] && nothing_evicted && !figures->reconnects,
	       "misses of keys that were set, though nothing was evicted");
	refuse(report, kernel_count_differs(report),
	       "the fast path's count of answers is not that of the replies it sent");
	return report->reason_cnt == 0;
}

/* --- words --------------------------------------------------------------------------- */

/* Digits in groups of three. */
static const char *grouped(uint64_t number, char to[32])
{
	char digits[32];
	size_t len = (size_t)snprintf(digits, sizeof(digits), "%" PRIu64, number);
	size_t at = 0;

	for (size_t i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			to[at++] = ',';
		to[at++] = digits[i];
	}
	to[at] = '\0';
	return to;
}

static void rows_print(const struct report *report, FILE *out)
{
	const struct figures *figures = report->figures;
	char number[32];

	fprintf(out, "\n  %-8s %14s %8s %10s %10s %10s\n", "", "requests", "share", "p50 us",
		"p99 us", "p99.9 us");
	for (uint32_t i = 0; i < FIGURES_KIND_CNT; i++) {
		const struct histogram *times = &figures->times[i];
		bool told_apart = report->options->kernel_ttl != 0;

		if (i == FIGURES_KERNEL && !told_apart)
			continue;
		fprintf(out, "  %-8s %14s ",
			i == FIGURES_DAEMON && !told_apart ? "hit" : kind_names[i],
			grouped(times->cnt, number));
		if (i == FIGURES_FILL)
			fprintf(out, "%8s", "");
		else
			fprintf(out, "%7.2f%%", percent(times->cnt, figures->requests));
		for (uint32_t q = 0; q < QUANTILE_CNT; q++)
			fprintf(out, " %10.1f",
				(double)histogram_quantile(times, quantiles[q]) / 1000);
		fputc('\n', out);
	}
	fputs("  A miss: the key was not set yet, was deleted or had expired. A fill sets it.\n\n",
	      out);
}

static void server_print(const struct report *report, FILE *out)
{
	const struct stats_figures *after = &report->after;
	char number[32], other[32];

	if (!after->valid)
		return;
	fprintf(out, "memory     %.1f of %.1f MiB, %s items, %s expired\n",
		(double)after->bytes / (1 << 20), (double)after->limit_bytes / (1 << 20),
		grouped(after->items, number), grouped(after->expired, other));
	fprintf(out, "fast path  %s: it counts %s hits (%.2f%% of reads), ", after->state,
		grouped(kernel_hits(report), number),
		percent(kernel_hits(report), figures_reads(report->figures)));
	fprintf(out, "%s of keys known absent, ", grouped(kernel_absent(report), number));
	fprintf(out, "%s keys resident\n", grouped(after->kernel_entries, other));
}

static void wrong_print(const struct report *report, FILE *out)
{
	const struct figures *figures = report->figures;

	for (uint32_t i = ORACLE_WRONG_FIRST; i < ORACLE_VERDICT_CNT; i++) {
		if (figures->verdicts[i])
			fprintf(out, "wrong      %" PRIu64 " %s\n", figures->verdicts[i],
				oracle_names[i]);
	}
	if (figures->broken || figures->refused)
		fprintf(out, "wrong      %" PRIu64 " break the protocol, %" PRIu64 " refused\n",
			figures->broken, figures->refused);
	for (uint32_t i = 0; i < figures->wrong_listed; i++)
		fprintf(out, "  %2u. %s\n", i + 1, figures->wrong_list[i]);
}

void report_print(const struct report *report, FILE *out)
{
	const struct figures *figures = report->figures;
	char number[32], other[32];

	fprintf(out, "workload   %s\n", report->workload);
	fprintf(out, "ran        %.1f s, %s requests, %s a second\n", seconds(figures),
		grouped(figures->requests, number), grouped((uint64_t)rate(figures), other));
	rows_print(report, out);
	fprintf(out, "verified   %s values, %.1f MiB; ",
		grouped(figures->times[FIGURES_KERNEL].cnt + figures->times[FIGURES_DAEMON].cnt,
			number),
		(double)figures->value_bytes / (1 << 20));
	fprintf(out,
		"wrong %" PRIu64 ", lost %" PRIu64 "\n           sent again %" PRIu64
		", late %" PRIu64 ", unexpected %" PRIu64 "\n",
		figures_wrong(figures), figures->lost, figures->retried, report->udp.late,
		report->udp.unexpected);
	fprintf(out, "           misses of keys that should have been there: %" PRIu64,
		figures->verdicts[ORACLE_FALSE_MISS]);
	if (report->evictions_known)
		fprintf(out, "; evicted meanwhile: %" PRIu64, report->evictions);
	fputc('\n', out);
	if (figures->reconnects)
		fprintf(out, "           connections opened again: %" PRIu64 "\n",
			figures->reconnects);
	server_print(report, out);
	wrong_print(report, out);
	for (uint32_t i = 0; i < report->reason_cnt; i++)
		fprintf(out, "FAILED     %s\n", report->reasons[i]);
	if (!report->reason_cnt)
		fprintf(out, "result     every reply was right\n");
}

/* --- JSON ---------------------------------------------------------------------------- */

static json_t *times_json(const struct histogram *times)
{
	return json_pack("{s:I, s:f, s:f, s:f, s:f, s:f}", "count", (json_int_t)times->cnt,
			 "mean_us", histogram_mean(times) / 1000, "p50_us",
			 (double)histogram_quantile(times, 0.5) / 1000, "p99_us",
			 (double)histogram_quantile(times, 0.99) / 1000, "p999_us",
			 (double)histogram_quantile(times, 0.999) / 1000, "max_us",
			 (double)histogram_quantile(times, 1) / 1000);
}

static json_t *reads_json(const struct figures *figures)
{
	static struct histogram all;

	histogram_init(&all);
	histogram_merge(&all, &figures->times[FIGURES_KERNEL]);
	histogram_merge(&all, &figures->times[FIGURES_DAEMON]);
	histogram_merge(&all, &figures->times[FIGURES_MISS]);
	return times_json(&all);
}

static json_t *server_json(const struct report *report)
{
	const struct stats_figures *after = &report->after;

	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "state", after->state,
			 "kernel_hits", (json_int_t)kernel_hits(report), "kernel_absent",
			 (json_int_t)kernel_absent(report), "entries",
			 (json_int_t)after->kernel_entries, "items", (json_int_t)after->items,
			 "bytes", (json_int_t)after->bytes, "limit_bytes",
			 (json_int_t)after->limit_bytes, "expired", (json_int_t)after->expired);
}

void report_print_json(const struct report *report, FILE *out)
{
	const struct figures *figures = report->figures;
	json_t *root = json_pack(
		"{s:s, s:f, s:I, s:f, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "workload",
		report->workload, "seconds", seconds(figures), "requests",
		(json_int_t)figures->requests, "requests_per_sec", rate(figures), "ok",
		report->reason_cnt == 0, "wrong", (json_int_t)figures_wrong(figures), "lost",
		(json_int_t)figures->lost, "retried", (json_int_t)figures->retried, "late",
		(json_int_t)report->udp.late, "unexpected", (json_int_t)report->udp.unexpected,
		"false_misses", (json_int_t)figures->verdicts[ORACLE_FALSE_MISS], "reconnects",
		(json_int_t)figures->reconnects);
	json_t *reasons = json_array();
	json_t *wrongs = json_object();

	for (uint32_t i = 0; i < report->reason_cnt; i++)
		json_array_append_new(reasons, json_string(report->reasons[i]));
	for (uint32_t i = ORACLE_WRONG_FIRST; i < ORACLE_VERDICT_CNT; i++)
		json_object_set_new(wrongs, oracle_names[i],
				    json_integer((json_int_t)figures->verdicts[i]));
	json_object_set_new(root, "failed", reasons);
	json_object_set_new(root, "wrong_by_kind", wrongs);
	json_object_set_new(root, "reads", reads_json(figures));
	for (uint32_t i = 0; i < FIGURES_KIND_CNT; i++)
		json_object_set_new(root, kind_names[i], times_json(&figures->times[i]));
	if (report->evictions_known)
		json_object_set_new(root, "evictions", json_integer((json_int_t)report->evictions));
	if (report->after.valid)
		json_object_set_new(root, "server", server_json(report));
	json_dumpf(root, out, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	fputc('\n', out);
	json_decref(root);
}

/* --- the line ------------------------------------------------------------------------ */

static int columns(void)
{
	struct winsize size = { 0 };

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1)
		return size.ws_col - 1;
	return PROGRESS_COLUMNS;
}

/* A line that never wraps: what has no room is left out from its start on, with all after it. */
struct line {
	char text[PROGRESS_LINE_MAX];
	int len;
	int room;
};

__attribute__((format(printf, 2, 3))) static void add(struct line *line, const char *fmt, ...)
{
	char *at = line->text + line->len;
	int left = line->room - line->len;
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(at, sizeof(line->text) - (size_t)line->len, fmt, args);
	va_end(args);
	if (len <= left) {
		line->len += len;
	} else {
		*at = '\0';
		line->room = line->len;
	}
}

static void split_add(struct line *line, const struct progress *progress,
		      const struct engine *engine)
{
	const struct figures *figures = engine->figures;
	uint64_t cnt[FIGURES_KIND_CNT];
	uint64_t reads;

	for (uint32_t i = 0; i < FIGURES_KIND_CNT; i++)
		cnt[i] = figures->times[i].cnt - progress->cnt[i];
	reads = cnt[FIGURES_KERNEL] + cnt[FIGURES_DAEMON] + cnt[FIGURES_MISS];
	if (engine->options->kernel_ttl)
		add(line, "  kernel %.1f%%", percent(cnt[FIGURES_KERNEL], reads));
	add(line, engine->options->kernel_ttl ? "  daemon %.1f%%" : "  hit %.1f%%",
	    percent(cnt[FIGURES_DAEMON], reads));
	add(line, "  miss %.1f%%", percent(cnt[FIGURES_MISS], reads));
	add(line, "  p50 %.0f us", (double)histogram_quantile(&figures->window, 0.5) / 1000);
	add(line, "  p99 %.0f us", (double)histogram_quantile(&figures->window, 0.99) / 1000);
}

static void line_print(const struct progress *progress, const struct engine *engine,
		       uint64_t now_ns)
{
	const struct figures *figures = engine->figures;
	const struct stats_figures *stats = &engine->stats->figures;
	double sec = (double)(now_ns - progress->at_ns) / (double)NSEC_PER_SEC;
	uint64_t requests = figures->requests - progress->requests;
	struct line line = { .room = columns() };
	char number[32];

	if (line.room >= PROGRESS_LINE_MAX)
		line.room = PROGRESS_LINE_MAX - 1;
	add(&line, "%.1f s", (double)(now_ns - figures->start_ns) / (double)NSEC_PER_SEC);
	if (figures_wrong(figures) || figures->lost)
		add(&line, "  WRONG %" PRIu64 " LOST %" PRIu64, figures_wrong(figures),
		    figures->lost);
	add(&line, "  %s/s", grouped((uint64_t)((double)requests / sec), number));
	split_add(&line, progress, engine);
	/* What the server said before the run is no news of it. */
	if (stats->valid && engine->stats->answer_cnt > engine->stats_before_cnt) {
		add(&line, "  %s resident", grouped(stats->kernel_entries, number));
		add(&line, "  %.0f MiB", (double)stats->bytes / (1 << 20));
	}
	fprintf(stderr, "\r\033[K%s", line.text);
	fflush(stderr);
}

void report_progress(void *ctx, const struct engine *engine, uint64_t now_ns)
{
	struct progress *progress = ctx;
	struct figures *figures = engine->figures;

	if (progress->at_ns)
		line_print(progress, engine, now_ns);
	progress->at_ns = now_ns;
	progress->requests = figures->requests;
	for (uint32_t i = 0; i < FIGURES_KIND_CNT; i++)
		progress->cnt[i] = figures->times[i].cnt;
	histogram_init(&figures->window);
}

void report_progress_clear(void)
{
	fputs("\r\033[K", stderr);
}
