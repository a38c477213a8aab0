/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xdpcache stats [--watch [SECONDS]]. From the daemon; where none runs, the fast path's part from
 * the pins, which outlive it.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "abi/outcome.h"
#include "base/clock.h"
#include "cli.h"
#include "client.h"
#include "stats_view.h"

struct stats_args {
	bool watch;
	uint32_t every_sec;
};

static int usage(void)
{
	fprintf(stderr,
		"xdpcache stats: write one of\n"
		"  xdpcache stats                    counters, once\n"
		"  xdpcache stats --watch [SECONDS]  again and again, with rates (every second)\n");
	return CLI_USAGE;
}

static int parse(int argc, char **argv, struct stats_args *ret)
{
	char *end = NULL;
	long every = 1;

	*ret = (struct stats_args){ .watch = argc > 1, .every_sec = 1 };
	if (argc == 1)
		return 0;
	if (argc > 3 || strcmp(argv[1], "--watch"))
		return -EINVAL;
	if (argc == 3)
		every = strtol(argv[2], &end, 10);
	if ((end && *end) || every < 1 || every > 3600)
		return -EINVAL;
	ret->every_sec = (uint32_t)every;
	return 0;
}

/*
 * The daemon's stats, or from the pins {"fastpath":…}. Says on standard error why there is
 * nothing, once: ret_told is kept by the caller.
 */
static int take(const struct cli *cli, json_t **ret, bool *ret_told)
{
	char error[CLIENT_ERROR_MAX];
	int rc = client_ask(cli->control, json_pack("{s:s}", "cmd", "stats"), ret, error);
	bool down = client_no_daemon(rc);

	if (rc == 0)
		return 0;
	if (!*ret_told)
		fprintf(stderr, "xdpcache stats: %s\n", error);
	*ret_told = true;
	if (!down)
		return rc;
	return stats_from_pins(cli, ret);
}

static void show(const struct cli *cli, const struct stats_args *args, const json_t *now,
		 const json_t *before, uint64_t elapsed_ns)
{
	bool tty = isatty(STDOUT_FILENO);

	if (cli->json) {
		json_dumpf(now, stdout, args->watch ? JSON_COMPACT : JSON_INDENT(2));
		printf("\n");
	} else {
		if (args->watch && tty)
			printf("\033[H\033[2J"); /* home, clear */
		stats_view_print(now, before, elapsed_ns, tty);
		if (args->watch && !tty)
			printf("\n");
	}
	fflush(stdout);
}

int cmd_stats(const struct cli *cli, int argc, char **argv)
{
	const struct clock *clock = clock_system();
	struct stats_args args;
	json_t *now = NULL, *before = NULL;
	uint64_t now_ns, before_ns = 0;
	bool told = false;
	int rc;

	if (parse(argc, argv, &args))
		return usage();
	do {
		rc = take(cli, &now, &told);
		if (rc)
			break;
		now_ns = clock_now_ns(clock);
		show(cli, &args, now, before, now_ns - before_ns);
		json_decref(before);
		before = now;
		before_ns = now_ns;
		now = NULL;
	} while (args.watch && !ferror(stdout) && sleep(args.every_sec) == 0);
	json_decref(before);
	return rc ? CLI_FAILED : CLI_DONE;
}
