/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xdpcache: finds the subcommand, takes the options that all of them share, runs it.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "control/server.h"
#include "fastpath/pins.h"

static const char load_details[] =
	"Makes and pins the maps and attaches the program, for a daemon that starts later. Until\n"
	"a daemon has configured the maps every packet passes. Safe to repeat. Needs root.\n\n"
	"  --interface IF    interface to attach to; may be given several times\n"
	"  --xdp-mode MODE   auto (default): native, else generic, else off, each step said with\n"
	"                    its reason; native, generic: this one, or fail\n"
	"  -m MIB            the -m that the daemon will be given (64): the log and the places "
	"for\n"
	"                    keys are its shares\n"
	"  --hot-max N       so many places for keys\n";
static const char unload_details[] =
	"Ends the lease, detaches the program and the tc hook from every interface, removes the\n"
	"pins. Leaves what is not ours: other programs, other filters, a qdisc others use. Safe "
	"to\n"
	"repeat, works without a daemon. Needs root.\n\n"
	"  --force           also while a daemon uses the instance: that daemon stops\n";
static const char status_details[] =
	"Read from the pins; the running daemon is asked only for the reasons it had.\n\n"
	"  state             native, generic, mixed, off; orphaned: attached, but no daemon "
	"renews\n"
	"                    the lease, so every packet passes\n";
static const char stats_details[] =
	"  --watch [SECONDS] again and again, with rates (every second)\n\n"
	"Without a daemon: the fast path's part, from the pins.\n";
static const char hot_details[] =
	"  list [MAX] [--by bytes]\n"
	"                    hot and resident keys, hottest first (or by the bytes of their values "
	"a\n"
	"                    second), and why each is where it is\n"
	"  explain KEY       why KEY is, or is not, in the kernel, and what can be done\n"
	"  pin KEY           keep KEY in the kernel whenever it exists and fits\n"
	"  unpin KEY         leave KEY to its rate again\n"
	"  ban KEY           keep KEY out of the kernel; the daemon goes on serving it\n"
	"  unban KEY         leave KEY to its rate again\n"
	"  VERB --hex HEX    a key that is no text, as hot list shows it\n"
	"  threshold [N]     reads a second that make a key hot; default: as at the start\n"
	"  budget [--entries N] [--bytes N]\n"
	"                    most keys in the kernel, most kernel memory for them\n"
	"  watch             a line for each key that comes into the kernel or leaves it\n\n"
	"All of it at once, while requests are served. With --save behind pin, ban, their "
	"opposites,\n"
	"threshold and budget all that is in force then is kept for the next start, too.\n";
static const char top_details[] =
	"A screen of who answers (kernel, daemon, nobody), how long the daemon takes, memory, and\n"
	"the hot keys as they move. Needs no colours; 80x24 is enough. A daemon that restarts is\n"
	"waited for.\n\n"
	"  --interval SECONDS  how often it asks (1)\n"
	"  --once              the same as text, once; needs no terminal\n\n"
	"  up, down, k, j      select a key\n"
	"  p, b                pin it, ban it; again: undo that\n"
	"  e, Enter            explain it\n"
	"  s                   sort by reads, kernel, daemon, writes, size, key\n"
	"  space               pause\n"
	"  q                   quit\n";
static const char config_details[] =
	"  check [FILE]        what is wrong in it and in conf.d beside it\n"
	"  check --cluster FILE  what is wrong in a cluster's file of nodes\n"
	"  show --effective    what the running daemon uses\n"
	"  show --config FILE  what a daemon started with FILE would use\n";
static const char cluster_details[] =
	"  ring KEY           the nodes that KEY belongs to on the ring of libmemcached's "
	"clients,\n"
	"                     and why\n"
	"  ring --hex HEX     a key that is no text\n"
	"  ring               every node's share\n"
	"  status             the nodes, as the daemon here sees them\n\n"
	"The ring is read from the file of nodes; no daemon is asked.\n\n"
	"  --file FILE        the cluster's nodes (" CLUSTER_FILE_DEFAULT ")\n";
static const char doctor_details[] =
	"Tries what the fast path needs and undoes the trial. On each --interface that carries no\n"
	"program it attaches one that passes everything for a moment; some drivers reset their\n"
	"queues for that. Exit status 1 if a check fails.\n\n"
	"  --interface IF    check this interface, too; may be given several times\n"
	"  --port N          the UDP port the daemon shall have (11211)\n";

static const struct cli_command commands[] = {
	{ "load", "--interface IF...", "load the kernel program and attach it, without a daemon",
	  load_details, cmd_load },
	{ "unload", "[--force]", "detach the program, remove its hooks and pins", unload_details,
	  cmd_unload },
	{ "status", "", "what is attached where, who owns it, how long its lease runs",
	  status_details, cmd_status },
	{ "stats", "[--watch [SECONDS]]", "counters of the daemon and of the kernel", stats_details,
	  cmd_stats },
	{ "hot", "list|explain|pin|watch...", "keys the kernel serves, why, and which it shall",
	  hot_details, cmd_hot },
	{ "top", "[--once]", "who answers, how fast, and the hot keys, as a screen", top_details,
	  cmd_top },
	{ "config", "check|show", "what is configured", config_details, cmd_config },
	{ "cluster", "ring [KEY]|status", "which nodes keys belong to, and how they are",
	  cluster_details, cmd_cluster },
	{ "doctor", "[--interface IF...]", "check this host, and say what to do about it",
	  doctor_details, cmd_doctor },
};

#define COMMAND_CNT (sizeof(commands) / sizeof(commands[0]))

static const struct cli_command *find(const char *name)
{
	for (size_t i = 0; i < COMMAND_CNT; i++) {
		if (strcmp(name, commands[i].name) == 0)
			return &commands[i];
	}
	return NULL;
}

/* NULL: of all commands. */
static void help(const struct cli_command *command, FILE *out)
{
	if (command) {
		fprintf(out, "usage: xdpcache %s %s%s[options]\n\n%c%s.\n\n%s", command->name,
			command->args, command->args[0] ? " " : "", toupper(command->help[0]),
			command->help + 1, command->details);
	} else {
		fprintf(out, "usage: xdpcache COMMAND [options]\n\n");
		for (size_t i = 0; i < COMMAND_CNT; i++)
			fprintf(out, "  %-8s %-24s %s\n", commands[i].name, commands[i].args,
				commands[i].help);
	}
	fprintf(out,
		"\nEvery command:\n"
		"  --json            print one JSON value\n"
		"  --control PATH    the daemon's control socket (" CONTROL_PATH_DEFAULT ")\n"
		"  --pin-root DIR    where maps are pinned (" PINS_ROOT_DEFAULT ")\n"
		"  --instance NAME   which instance (default)\n"
		"  --help            %s\n"
		"  --version\n\n"
		"Exit status: 0 done, 1 failed, 2 wrong usage.\n",
		command ? "this text" : "this text; behind a command: about that command");
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
			help(left > 0 ? find(argv[0]) : NULL, stdout);
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
	const struct cli_command *command = left > 0 ? find(argv[0]) : NULL;

	if (command)
		return command->run(&cli, left, argv);
	if (left > 0)
		fprintf(stderr, "xdpcache: no command \"%s\"\n\n", argv[0]);
	help(NULL, stderr);
	return CLI_USAGE;
}
