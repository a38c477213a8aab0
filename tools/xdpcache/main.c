/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xdpcache: finds the subcommand, takes the options that all of them share, runs it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "control/server.h"
#include "fastpath/pins.h"

static const struct cli_command commands[] = {
	{ "load", "--interface IF...", "load the kernel program and attach it, without a daemon",
	  cmd_load },
	{ "unload", "[--force]", "detach the program, remove its hooks and pins", cmd_unload },
	{ "status", "", "what is attached where, who owns it, how long its lease runs",
	  cmd_status },
	{ "stats", "[--watch [SECONDS]]", "counters of the daemon and of the kernel", cmd_stats },
	{ "hot", "list|pin KEY|unpin KEY", "keys the kernel serves, and why", cmd_hot },
	{ "config", "check|show", "what is configured", cmd_config },
	{ "doctor", "[--interface IF...]", "check this host, and say what to do about it",
	  cmd_doctor },
};

#define COMMAND_CNT (sizeof(commands) / sizeof(commands[0]))

static void help(FILE *out)
{
	fprintf(out, "usage: xdpcache COMMAND [options]\n\n");
	for (size_t i = 0; i < COMMAND_CNT; i++)
		fprintf(out, "  %-8s %-24s %s\n", commands[i].name, commands[i].args,
			commands[i].help);
	fprintf(out, "\nevery command:\n"
		     "  --json            print one JSON value\n"
		     "  --control PATH    the daemon's control socket (" CONTROL_PATH_DEFAULT ")\n"
		     "  --pin-root DIR    where maps are pinned (" PINS_ROOT_DEFAULT ")\n"
		     "  --instance NAME   which instance (default)\n"
		     "  --help            this text\n"
		     "  --version\n");
}

/* Takes a shared option with a value; returns how many words it was, 0 for none of ours. */
static int take_option(struct cli *cli, int argc, char **argv, int at)
{
	const struct {
		const char *name;
		const char **value;
	} options[] = {
		{ "--control", &cli->control },
		{ "--pin-root", &cli->pin_root },
		{ "--instance", &cli->instance },
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		size_t len = strlen(options[i].name);

		if (strncmp(argv[at], options[i].name, len))
			continue;
		if (argv[at][len] == '=') {
			*options[i].value = argv[at] + len + 1;
			return 1;
		}
		if (argv[at][len] != '\0')
			continue;
		if (at + 1 == argc) {
			fprintf(stderr, "xdpcache: %s needs a value\n", options[i].name);
			exit(CLI_USAGE);
		}
		*options[i].value = argv[at + 1];
		return 2;
	}
	return 0;
}

/* Removes the shared options from argv; returns what is left. */
static int take_options(struct cli *cli, int argc, char **argv)
{
	int left = 0;

	for (int at = 1; at < argc;) {
		int words;

		if (strcmp(argv[at], "--json") == 0) {
			cli->json = true;
			at++;
			continue;
		}
		if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) {
			help(stdout);
			exit(CLI_DONE);
		}
		if (strcmp(argv[at], "--version") == 0 || strcmp(argv[at], "-V") == 0) {
			printf("xdpcache " XC_VERSION "\n");
			exit(CLI_DONE);
		}
		words = take_option(cli, argc, argv, at);
		if (words)
			at += words;
		else
			argv[left++] = argv[at++];
	}
	argv[left] = NULL;
	return left;
}

int main(int argc, char **argv)
{
	struct cli cli = { .control = CONTROL_PATH_DEFAULT,
			   .pin_root = PINS_ROOT_DEFAULT,
			   .instance = "default" };
	int left = take_options(&cli, argc, argv);

	for (size_t i = 0; left > 0 && i < COMMAND_CNT; i++) {
		if (strcmp(argv[0], commands[i].name) == 0)
			return commands[i].run(&cli, left, argv);
	}
	if (left > 0)
		fprintf(stderr, "xdpcache: no command \"%s\"\n\n", argv[0]);
	help(stderr);
	return CLI_USAGE;
}
