/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xdpcache hot threshold [N|default] [--save]
 * xdpcache hot budget [--entries N|default] [--bytes N|default] [--save]
 * Without a number both show what is in force.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd_hot.h"
#include "table.h"

/* "120", "64k", "8m", "1g" or "default", which is 0. */
static bool parse_amount(const char *text, bool suffixes, json_int_t *ret)
{
	static const char units[] = "kmgKMG";
	unsigned long long amount;
	const char *unit;
	char *end;

	if (!strcmp(text, "default")) {
		*ret = 0;
		return true;
	}
	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	amount = strtoull(text, &end, 10);
	unit = *end && suffixes ? strchr(units, *end) : NULL;
	if (unit) {
		amount <<= 10 * ((unit - units) % 3 + 1);
		end++;
	}
	*ret = (json_int_t)amount;
	return !errno && *end == '\0' && amount > 0 && amount < 1ULL << 62;
}

static void print_threshold(const json_t *r)
{
	char now[TABLE_TEXT_MAX], start[TABLE_TEXT_MAX];

	printf("A key is hot from %s reads a second (%s at the start).\n",
	       table_count(now, hot_number(r, "threshold")),
	       table_count(start, hot_number(r, "threshold_start")));
}

static void print_budget(const json_t *r)
{
	char a[TABLE_TEXT_MAX], b[TABLE_TEXT_MAX];
	uint64_t entries = hot_number(r, "entries"), entry_bytes = hot_number(r, "entry_bytes");
	uint64_t budget = hot_number(r, "entries_budget");

	printf("%-10s %s of %s keys in the kernel, %s of %s\n", "taken", table_count(a, entries),
	       table_count(b, budget),
	       table_bytes((char[TABLE_TEXT_MAX]){ 0 }, entries * entry_bytes),
	       table_bytes((char[TABLE_TEXT_MAX]){ 0 }, budget * entry_bytes));
	printf("%-10s %s keys, as many as the maps have places\n", "at most",
	       table_count(a, hot_number(r, "entries_max")));
	printf("%-10s %s bytes, whatever its value's size: the kernel reads the daemon's copy\n",
	       "a key takes", table_count(a, entry_bytes));
	if (hot_number(r, "entries_set"))
		printf("%-10s %s\n", "--entries", table_count(a, hot_number(r, "entries_set")));
	if (hot_number(r, "bytes_set"))
		printf("%-10s %s\n", "--bytes", table_bytes(a, hot_number(r, "bytes_set")));
	printf("%-10s %s; banned: %s\n", "pinned", table_count(a, hot_number(r, "pinned")),
	       table_count(b, hot_number(r, "banned")));
}

static int change(const struct cli *cli, json_t *request, bool save,
		  void (*print)(const json_t *result))
{
	json_t *result;

	json_object_set_new(request, "cmd", json_string("hot_limits"));
	if (save)
		json_object_set_new(request, "save", json_true());
	if (hot_ask(cli, request, &result))
		return CLI_FAILED;
	hot_show(cli, result, print);
	json_decref(result);
	return CLI_DONE;
}

int hot_threshold(const struct cli *cli, int argc, char **argv)
{
	bool save = hot_take_flag(&argc, argv, "--save");
	json_t *request = json_object();
	json_int_t amount;

	if (argc > 1 || (argc == 1 && !parse_amount(argv[0], false, &amount))) {
		json_decref(request);
		if (argc > 1)
			return hot_usage();
		fprintf(stderr,
			"xdpcache hot threshold: \"%s\": write reads a second, such as 100, or "
			"default\n",
			argv[0]);
		return CLI_USAGE;
	}
	if (argc == 1)
		json_object_set_new(request, "threshold", json_integer(amount));
	return change(cli, request, save, print_threshold);
}

int hot_budget(const struct cli *cli, int argc, char **argv)
{
	bool save = hot_take_flag(&argc, argv, "--save");
	json_t *request = json_object();
	json_int_t amount;

	for (int at = 0; at < argc; at += 2) {
		bool bytes = !strcmp(argv[at], "--bytes");

		if ((!bytes && strcmp(argv[at], "--entries")) || at + 1 == argc) {
			json_decref(request);
			return hot_usage();
		}
		if (!parse_amount(argv[at + 1], bytes, &amount)) {
			fprintf(stderr,
				"xdpcache hot budget: %s \"%s\": write a number such as %s, or "
				"default\n",
				argv[at], argv[at + 1], bytes ? "64m" : "10000");
			json_decref(request);
			return CLI_USAGE;
		}
		json_object_set_new(request, argv[at] + 2, json_integer(amount));
	}
	return change(cli, request, save, print_budget);
}
