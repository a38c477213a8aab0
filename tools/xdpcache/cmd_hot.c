/* SPDX-License-Identifier: BSD-2-Clause */
/* xdpcache hot …; --hex where a key is no UTF-8 text. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli.h"
#include "client.h"
#include "cmd_hot.h"
#include "table.h"

#define KEY_COLUMNS_MAX 40
#define KEY_COLUMNS_MIN 16
#define OTHER_COLUMNS 73 /* of a row without its key, with most reasons */
#define LIST_MAX_ROWS 1024

int hot_usage(void)
{
	fprintf(stderr,
		"xdpcache hot: write one of\n"
		"  xdpcache hot list [MAX] [--by bytes]\n"
		"                                hot and resident keys, hottest first\n"
		"  xdpcache hot explain KEY      why KEY is, or is not, in the kernel\n"
		"  xdpcache hot pin KEY          keep KEY in the kernel\n"
		"  xdpcache hot unpin KEY        leave KEY to its rate again\n"
		"  xdpcache hot ban KEY          keep KEY out of the kernel\n"
		"  xdpcache hot unban KEY        undo that\n"
		"  xdpcache hot VERB --hex HEX   a key that is no text, as hot list shows it\n"
		"  xdpcache hot threshold [N]    reads a second that make a key hot\n"
		"  xdpcache hot budget [--entries N] [--bytes N]\n"
		"                                most keys in the kernel, most memory for them\n"
		"  xdpcache hot watch            who comes into the kernel, who leaves, and why\n"
		"pin, ban, their opposites and the limits take --save: also after a restart.\n");
	return CLI_USAGE;
}

uint64_t hot_number(const json_t *row, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(row, name));
}

/* On a terminal what it leaves beside the rest. */
static int key_columns(void)
{
	struct winsize size = { 0 };
	int left;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
		return KEY_COLUMNS_MAX;
	left = size.ws_col - OTHER_COLUMNS;
	return left > KEY_COLUMNS_MAX	? KEY_COLUMNS_MAX
	       : left < KEY_COLUMNS_MIN ? KEY_COLUMNS_MIN
					: left;
}

/* Who answers for it, and what operators wish. */
static const char *where_in(const json_t *row)
{
	bool resident = json_is_true(json_object_get(row, "resident"));

	if (json_is_true(json_object_get(row, "pinned")))
		return resident ? "kernel +" : "daemon +";
	if (json_is_true(json_object_get(row, "banned")))
		return resident ? "kernel x" : "daemon x";
	return resident ? "kernel" : "daemon";
}

/* A key too long for its column ends in an ellipsis; --json has it whole. */
static void print_row(const json_t *row, int columns)
{
	const char *key = json_string_value(json_object_get(row, "key"));
	char reads[TABLE_TEXT_MAX], kernel[TABLE_TEXT_MAX], writes[TABLE_TEXT_MAX],
		bytes[TABLE_TEXT_MAX], rate[TABLE_TEXT_MAX];
	bool cut = strlen(key) > (size_t)columns;

	columns -= cut;
	printf("%-*.*s%s %9s %9s %9s %10s %10s  %-9s %s\n", columns, columns, key, cut ? "…" : "",
	       table_count(kernel, hot_number(row, "kernel_reads_sec")),
	       table_count(reads, hot_number(row, "reads_sec")),
	       table_count(writes, hot_number(row, "writes_sec")),
	       table_bytes(bytes, hot_number(row, "value_bytes")),
	       table_bytes(rate, hot_number(row, "bytes_sec")), where_in(row),
	       json_string_value(json_object_get(row, "why")));
}

static void print_list(const json_t *result)
{
	const json_t *keys = json_object_get(result, "keys");
	int columns = key_columns();
	bool pinned = false, banned = false;

	if (json_array_size(keys) == 0) {
		printf("No key is hot, resident or pinned.\n");
		return;
	}
	printf("%-*s %9s %9s\n", columns, "", "KERNEL", "DAEMON");
	printf("%-*s %9s %9s %9s %10s %10s  %-9s %s\n", columns, "KEY", "GET/S", "GET/S", "WRITE/S",
	       "VALUE", "BYTES/S", "IN", "WHY");
	for (size_t i = 0; i < json_array_size(keys); i++) {
		print_row(json_array_get(keys, i), columns);
		pinned |= json_is_true(json_object_get(json_array_get(keys, i), "pinned"));
		banned |= json_is_true(json_object_get(json_array_get(keys, i), "banned"));
	}
	if (pinned || banned)
		printf("\n%s%s%s by an operator\n", pinned ? "+ pinned" : "",
		       pinned && banned ? ", " : "", banned ? "x banned" : "");
}

int hot_ask(const struct cli *cli, json_t *request, json_t **ret)
{
	char error[CLIENT_ERROR_MAX];
	int rc = client_ask(cli->control, request, ret, error);

	if (rc)
		fprintf(stderr, "xdpcache hot: %s\n", error);
	return rc;
}

void hot_show(const struct cli *cli, const json_t *result, void (*print)(const json_t *result))
{
	if (cli->json) {
		json_dumpf(result, stdout, JSON_INDENT(2));
		printf("\n");
	} else {
		print(result);
	}
}

static int list(const struct cli *cli, int argc, char **argv)
{
	bool by_bytes =
		argc >= 2 && !strcmp(argv[argc - 2], "--by") && !strcmp(argv[argc - 1], "bytes");
	json_t *request, *result;
	char *end = NULL;
	long max;

	argc -= 2 * by_bytes;
	max = argc > 0 ? strtol(argv[0], &end, 10) : 50;
	if (argc > 1 || (end && *end))
		return hot_usage();
	if (max < 1 || max > LIST_MAX_ROWS) {
		fprintf(stderr, "xdpcache hot list: write a number from 1 to %d\n", LIST_MAX_ROWS);
		return CLI_USAGE;
	}
	request = json_pack("{s:s, s:i}", "cmd", "hot_list", "max", (int)max);
	if (by_bytes)
		json_object_set_new(request, "by", json_string("bytes"));
	if (hot_ask(cli, request, &result))
		return CLI_FAILED;
	hot_show(cli, result, print_list);
	json_decref(result);
	return CLI_DONE;
}

/* Two digits a byte, one byte or more. */
static bool is_hex(const char *text)
{
	size_t len = strlen(text);

	return len && len % 2 == 0 && strspn(text, "0123456789abcdefABCDEF") == len;
}

/* What came of it: a pin of a key that is not there, or does not fit, waits. */
static void print_pinned(const json_t *result)
{
	const char *why = json_string_value(json_object_get(result, "why"));

	if (!strcmp(json_string_value(json_object_get(result, "reason")), "pinned_absent"))
		printf("Pinned: the kernel says that it has no item, and serves it once it is "
		       "set.\n");
	else if (json_is_true(json_object_get(result, "resident")))
		printf("Pinned: the kernel serves it from now on.\n");
	else
		printf("Pinned, but not in the kernel: %s. It goes there once it exists and fits "
		       "(xdpcache hot list).\n",
		       why ? why : "reason unknown");
}

static void print_plain(const json_t *result)
{
	if (json_object_get(result, "pinned"))
		printf("Unpinned.\n");
	else if (json_is_true(json_object_get(result, "banned")))
		printf("Banned: the kernel does not serve it any more; the daemon does.\n");
	else
		printf("No longer banned.\n");
}

/* What is known of the key, then the verdict, then what can be done. */
static void print_explained(const json_t *r)
{
	const char *advice = json_string_value(json_object_get(r, "advice"));
	char a[TABLE_TEXT_MAX], b[TABLE_TEXT_MAX];

	printf("%s\n", json_string_value(json_object_get(r, "key")));
	printf("  %-10s %s: %s\n", "served by",
	       json_is_true(json_object_get(r, "resident")) ? "the kernel" : "the daemon",
	       json_string_value(json_object_get(r, "why")));
	printf("  %-10s %s a second (%s by the kernel); hot from %s\n", "reads",
	       table_count(a, hot_number(r, "reads_sec") + hot_number(r, "kernel_reads_sec")),
	       table_count(b, hot_number(r, "kernel_reads_sec")),
	       table_count((char[TABLE_TEXT_MAX]){ 0 }, hot_number(r, "threshold")));
	printf("  %-10s %s a second\n", "writes", table_count(a, hot_number(r, "writes_sec")));
	printf("  %-10s %s of %s at most\n", "value", table_bytes(a, hot_number(r, "value_bytes")),
	       table_bytes(b, hot_number(r, "value_max_bytes")));
	if (json_object_get(r, "ttl_ms"))
		printf("  %-10s %s.%llu s left\n", "TTL",
		       table_count(a, hot_number(r, "ttl_ms") / 1000),
		       (unsigned long long)(hot_number(r, "ttl_ms") % 1000 / 100));
	printf("  %-10s %s of %s taken\n", "places", table_count(a, hot_number(r, "entries")),
	       table_count(b, hot_number(r, "entries_budget")));
	if (advice && advice[0])
		printf("\nTo change it: %s.\n", advice);
}

static const struct verb {
	const char *name, *request;
	bool saves;
	void (*print)(const json_t *result);
} verbs[] = {
	{ "explain", "hot_explain", false, print_explained },
	{ "pin", "hot_pin", true, print_pinned },
	{ "unpin", "hot_unpin", true, print_plain },
	{ "ban", "hot_ban", true, print_plain },
	{ "unban", "hot_unban", true, print_plain },
};

bool hot_take_flag(int *argc, char **argv, const char *flag)
{
	for (int at = 0; at < *argc; at++) {
		if (strcmp(argv[at], flag))
			continue;
		for (--*argc; at < *argc; at++)
			argv[at] = argv[at + 1];
		return true;
	}
	return false;
}

/* A verb and a key. */
static int ask_of_key(const struct cli *cli, const struct verb *verb, int argc, char **argv)
{
	bool save = verb->saves && hot_take_flag(&argc, argv, "--save");
	bool hex = argc > 0 && !strcmp(argv[0], "--hex");
	const char *key = argc > 0 ? argv[argc - 1] : NULL;
	json_t *request, *result;

	if (argc != 1 + hex)
		return hot_usage();
	if (hex && !is_hex(key)) {
		fprintf(stderr, "xdpcache hot %s: \"%s\" is not hexadecimal: two digits a byte\n",
			verb->name, key);
		return CLI_USAGE;
	}
	request = json_pack("{s:s, s:s}", "cmd", verb->request, hex ? "key_hex" : "key", key);
	if (!request) {
		fprintf(stderr,
			"xdpcache hot %s: the key is not UTF-8 text: write it in hexadecimal, "
			"with --hex\n",
			verb->name);
		return CLI_USAGE;
	}
	if (save)
		json_object_set_new(request, "save", json_true());
	if (hot_ask(cli, request, &result))
		return CLI_FAILED;
	hot_show(cli, result, verb->print);
	json_decref(result);
	return CLI_DONE;
}

int cmd_hot(const struct cli *cli, int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(const struct cli *cli, int argc, char **argv);
	} others[] = {
		{ "list", list },
		{ "threshold", hot_threshold },
		{ "budget", hot_budget },
		{ "watch", hot_watch },
	};

	if (argc < 2)
		return hot_usage();
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		if (!strcmp(argv[1], others[i].name))
			return others[i].run(cli, argc - 2, argv + 2);
	}
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (!strcmp(argv[1], verbs[i].name))
			return ask_of_key(cli, &verbs[i], argc - 2, argv + 2);
	}
	return hot_usage();
}
