/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * load - plays memcached clients, checks every reply, measures. `load --help` lists the options;
 * bench/README.md says how figures are taken.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "engine.h"
#include "report.h"

#define EXIT_WRONG 1
#define EXIT_USAGE 2
#define EXIT_UNABLE 3

static struct engine engine;
static struct figures figures;
static struct stats stats;

static void on_signal(int number)
{
	(void)number;
	engine_stop(&engine);
}

static int complain(const char *what, int error)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(-error));
	return error;
}

static int server_flush(const struct options *options)
{
	int error;

	if (!options->flush)
		return 0;
	error = stats_command(&options->server_tcp, "flush_all\r\n", "OK\r\n");
	return error ? complain("flush_all", error) : 0;
}

/* Counters before and after, the run between them. */
static int measure(const struct options *options, struct report *report)
{
	struct progress progress = { 0 };
	uint64_t evictions_before = 0, evictions_after = 0;
	bool known;
	int error;

	known = stats_field(&options->server_tcp, "evictions", &evictions_before) == 0;
	if (options->prefill) {
		error = engine_prefill(&engine);
		if (error)
			return complain("filling", error);
	}
	stats_fetch(&stats);
	report->before = stats.figures;
	if (options->progress) {
		engine.progress = report_progress;
		engine.progress_ctx = &progress;
	}
	error = engine_run(&engine);
	if (options->progress)
		report_progress_clear();
	if (engine.udp)
		report->udp = *udp_counts(engine.udp);
	if (stats_fetch(&stats))
		report->after = stats.figures;
	report->evictions_known =
		known && stats_field(&options->server_tcp, "evictions", &evictions_after) == 0;
	report->evictions = evictions_after - evictions_before;
	return error;
}

static int run(const struct options *options, struct workload *workload)
{
	struct report report = { .options = options, .figures = &figures };
	int error = server_flush(options);
	bool right;

	if (error)
		return EXIT_UNABLE;
	figures_init(&figures, clock_now_ns(clock_system()));
	error = engine_init(&engine, options, workload, &figures, &stats);
	if (error) {
		complain("cannot reach the server", error);
		return EXIT_UNABLE;
	}
	workload_describe(workload, report.workload, sizeof(report.workload));
	report.ended_early = measure(options, &report) != 0;
	right = report_judge(&report);
	if (options->json)
		report_print_json(&report, stdout);
	else
		report_print(&report, stdout);
	engine_fini(&engine);
	return right ? 0 : EXIT_WRONG;
}

int main(int argc, char **argv)
{
	struct options options;
	struct workload workload;
	struct keys keys;
	struct loop loop;
	bool leave;
	int status = EXIT_UNABLE;
	int error;

	if (options_parse(argc, argv, &options, &leave))
		return EXIT_USAGE;
	if (leave)
		return 0;
	if (keys_init(&keys) || loop_init(&loop)) {
		fprintf(stderr, "load: out of memory or descriptors\n");
		return EXIT_UNABLE;
	}
	stats_init(&stats, &loop, options.stats_cmd);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	error = workload_init(&workload, &options, &keys);
	if (error) {
		if (!options.trace) /* of a trace all has been said */
			complain("making keys", error);
	} else if (options.check) {
		status = 0;
	} else {
		status = run(&options, &workload);
	}
	workload_fini(&workload);
	stats_fini(&stats);
	loop_fini(&loop);
	keys_fini(&keys);
	return status;
}
