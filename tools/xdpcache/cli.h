/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cli - what every subcommand of xdpcache is given, and the list of them.
 *
 * Does      names the options that all subcommands take (main.c removes them from argv) and each
 *           subcommand's function.
 * Shape     argv[0] is the subcommand's name; what follows is its own.
 * Errors    a function returns the process's exit status: 0 done, 1 failed, 2 wrong usage, after
 *           one line on standard error that says what to do next.
 */
#ifndef XC_XDPCACHE_CLI_H
#define XC_XDPCACHE_CLI_H

#include <stdbool.h>

#define CLUSTER_FILE_DEFAULT "/etc/xdpcache/cluster.conf"

#define CLI_DONE 0
#define CLI_FAILED 1
#define CLI_USAGE 2

struct cli {
	bool json;	      /* --json */
	const char *control;  /* --control, default CONTROL_PATH_DEFAULT */
	const char *pin_root; /* --pin-root, default /sys/fs/bpf/xdpcache */
	const char *instance; /* --instance, default "default" */
};

struct cli_command {
	const char *name;
	const char *args; /* as usage shows them */
	const char *help;
	const char *details; /* xdpcache NAME --help: what else there is to say, lines */
	int (*run)(const struct cli *cli, int argc, char **argv);
};

int cmd_load(const struct cli *cli, int argc, char **argv);
int cmd_unload(const struct cli *cli, int argc, char **argv);
int cmd_status(const struct cli *cli, int argc, char **argv);
int cmd_doctor(const struct cli *cli, int argc, char **argv);
int cmd_stats(const struct cli *cli, int argc, char **argv);
int cmd_hot(const struct cli *cli, int argc, char **argv);
int cmd_top(const struct cli *cli, int argc, char **argv);
int cmd_config(const struct cli *cli, int argc, char **argv);
int cmd_cluster(const struct cli *cli, int argc, char **argv);

#endif
