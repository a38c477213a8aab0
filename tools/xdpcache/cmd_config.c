/* SPDX-License-Identifier: BSD-2-Clause */
/* xdpcache config check [FILE] | check --cluster FILE | show --effective | show --config FILE. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "client.h"
#include "config.h"

#define CONFIG_FILE_DEFAULT "/etc/xdpcache/xdpcached.conf"

static int usage(void)
{
	fprintf(stderr, "xdpcache config: write one of\n"
			"  xdpcache config check [FILE]        what is wrong in it and in conf.d "
			"beside it\n"
			"                                      (" CONFIG_FILE_DEFAULT ")\n"
			"  xdpcache config check --cluster FILE  what is wrong in a cluster's file "
			"of nodes\n"
			"  xdpcache config show --effective    what the running daemon uses\n"
			"  xdpcache config show --config FILE  what a daemon started with FILE "
			"would use\n");
	return CLI_USAGE;
}

/* Collects for --json, or prints as it comes. */
struct findings {
	json_t *list; /* NULL: print */
	uint32_t error_cnt;
};

static void find(void *ctx, enum log_level level, const char *line)
{
	struct findings *findings = ctx;
	const char *kind = level == LOG_ERROR ? "error" : level == LOG_WARN ? "warning" : "note";

	findings->error_cnt += level == LOG_ERROR;
	if (findings->list)
		json_array_append_new(findings->list,
				      json_pack("{s:s, s:s}", "level", kind, "message", line));
	else
		fprintf(stderr, "%s: %s\n", kind, line);
}

static void print_checked(const struct cli *cli, const char *path, int rc,
			  const struct findings *findings)
{
	if (cli->json) {
		json_t *root = json_pack("{s:s, s:b, s:o}", "file", path, "ok", rc == 0, "findings",
					 findings->list);

		json_dumpf(root, stdout, JSON_INDENT(2));
		printf("\n");
		json_decref(root);
	} else if (rc) {
		fprintf(stderr, "%s: %u to correct\n", path, findings->error_cnt);
	} else {
		printf("%s: fine\n", path);
	}
}

static int check(const struct cli *cli, const char *path)
{
	struct findings findings = { .list = cli->json ? json_array() : NULL };
	const struct config_sink sink = { .line = find, .ctx = &findings };
	struct config config = { 0 };
	int rc = config_check(path, &sink, &config);

	print_checked(cli, path, rc, &findings);
	if (rc && !cli->json && access(path, F_OK) < 0)
		fprintf(stderr, "A sample comes with the source: tools/packaging/xdpcached.conf; "
				"another file is checked with: xdpcache config check FILE\n");
	config_fini(&config);
	return rc ? CLI_FAILED : CLI_DONE;
}

static int check_cluster(const struct cli *cli, const char *path)
{
	struct findings findings = { .list = cli->json ? json_array() : NULL };
	const struct config_sink sink = { .line = find, .ctx = &findings };
	struct config_cluster cluster = { 0 };
	int rc = config_cluster_load(path, &sink, &cluster);

	print_checked(cli, path, rc, &findings);
	config_cluster_fini(&cluster);
	return rc ? CLI_FAILED : CLI_DONE;
}

static int show_file(const struct cli *cli, const char *path)
{
	struct findings findings = { .list = NULL };
	const struct config_sink sink = { .line = find, .ctx = &findings };
	struct config config = { 0 };

	if (config_check(path, &sink, &config))
		return CLI_FAILED;
	config_print(&config, stdout, cli->json);
	config_fini(&config);
	return CLI_DONE;
}

/* A value as a file has it. */
static void print_value(const json_t *value)
{
	char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_INDENT(0));

	printf("%s", text ? text : "");
	free(text);
}

static void print_sections(json_t *root)
{
	json_t *sources = json_object_get(root, "sources");
	const char *section, *name, *source;
	json_t *group, *value;
	char path[128];

	json_object_foreach(root, section, group)
	{
		if (group == sources || !json_is_object(group))
			continue;
		printf("%s:\n{\n", section);
		json_object_foreach(group, name, value)
		{
			snprintf(path, sizeof(path), "%s.%s", section, name);
			source = json_string_value(json_object_get(sources, path));
			printf("\t%s = ", name);
			print_value(value);
			printf(source ? ";\t# %s\n" : ";\n", source);
		}
		printf("};\n");
	}
	config_print_routes(root, stdout);
}

static int show_effective(const struct cli *cli)
{
	char error[CLIENT_ERROR_MAX];
	json_t *result;

	if (client_ask(cli->control, json_pack("{s:s}", "cmd", "config"), &result, error)) {
		fprintf(stderr,
			"xdpcache config show: %s\n"
			"A file's settings are shown without a daemon: xdpcache config show "
			"--config FILE\n",
			error);
		return CLI_FAILED;
	}
	if (cli->json) {
		json_dumpf(result, stdout, JSON_INDENT(2));
		printf("\n");
	} else {
		print_sections(result);
	}
	json_decref(result);
	return CLI_DONE;
}

int cmd_config(const struct cli *cli, int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "check") && !strcmp(argv[2], "--cluster"))
		return check_cluster(cli, argv[3]);
	if (argc >= 2 && argc <= 3 && !strcmp(argv[1], "check"))
		return check(cli, argc == 3 ? argv[2] : CONFIG_FILE_DEFAULT);
	if (argc == 3 && !strcmp(argv[1], "show") && !strcmp(argv[2], "--effective"))
		return show_effective(cli);
	if (argc == 4 && !strcmp(argv[1], "show") && !strcmp(argv[2], "--config"))
		return show_file(cli, argv[3]);
	return usage();
}
