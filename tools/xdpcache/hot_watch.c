/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xdpcache hot watch: a line for each key that comes into the kernel or leaves it. The daemon
 * remembers the last moves; asked four times a second, none is lost but in a storm, and then it
 * says how many. A daemon that goes away is waited for.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "cmd_hot.h"
#include "table.h"

#define EVERY_US 250000

static void print_move(const json_t *move)
{
	time_t at = time(NULL) - (time_t)(hot_number(move, "age_ms") / 1000);
	char rate[TABLE_TEXT_MAX], clock[16];
	struct tm local;

	strftime(clock, sizeof(clock), "%H:%M:%S", localtime_r(&at, &local));
	printf("%s  %s %9s/s  %s   %s\n", clock,
	       json_is_true(json_object_get(move, "in")) ? "+" : "-",
	       table_count(rate, hot_number(move, "reads_sec")),
	       json_string_value(json_object_get(move, "key")),
	       json_string_value(json_object_get(move, "why")));
}

static void show_moves(const struct cli *cli, const json_t *result)
{
	const json_t *moves = json_object_get(result, "moves");

	if (hot_number(result, "missed"))
		fprintf(stderr, "xdpcache hot: %llu moves came too fast and are left out\n",
			(unsigned long long)hot_number(result, "missed"));
	for (size_t i = 0; i < json_array_size(moves); i++) {
		if (cli->json) {
			json_dumpf(json_array_get(moves, i), stdout, JSON_COMPACT);
			printf("\n");
		} else {
			print_move(json_array_get(moves, i));
		}
	}
	fflush(stdout);
}

int hot_watch(const struct cli *cli, int argc, char **argv)
{
	char error[CLIENT_ERROR_MAX];
	json_int_t since = -1; /* from now on */
	bool told = false;

	(void)argv;
	if (argc > 0)
		return hot_usage();
	while (!ferror(stdout)) {
		json_t *request = json_pack("{s:s}", "cmd", "hot_moves"), *result;
		int rc;

		if (since >= 0)
			json_object_set_new(request, "since", json_integer(since));
		rc = client_ask(cli->control, request, &result, error);
		if (rc) {
			if (!told)
				fprintf(stderr, "xdpcache hot: %s\n", error);
			if (!client_is_away(rc))
				return CLI_FAILED;
			told = true;
			if (client_no_daemon(rc))
				since = 0; /* of the daemon that comes: all */
		} else {
			if (told)
				fprintf(stderr, "xdpcache hot: the daemon is back\n");
			told = false;
			show_moves(cli, result);
			since = (json_int_t)hot_number(result, "next");
			json_decref(result);
		}
		usleep(EVERY_US);
	}
	return CLI_FAILED;
}
