/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_hot - what the verbs of xdpcache hot share.
 *
 * Does      cmd_hot.c finds the verb, lists keys and asks about single ones; hot_limits.c has
 *           threshold and budget; hot_watch.c tells who comes and goes.
 * Shape     a verb gets the words behind its name.
 * Errors    as cli.h: exit statuses.
 */
#ifndef XC_XDPCACHE_CMD_HOT_H
#define XC_XDPCACHE_CMD_HOT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli.h"

int hot_usage(void);
/* Takes a word such as "--save" out of argv; returns whether it was there. */
bool hot_take_flag(int *argc, char **argv, const char *flag);
/* The daemon's answer, for the caller to drop; what went wrong has been said. */
int hot_ask(const struct cli *cli, json_t *request, json_t **ret);
/* As --json has it, or for people. */
void hot_show(const struct cli *cli, const json_t *result, void (*print)(const json_t *result));
uint64_t hot_number(const json_t *object, const char *name);

int hot_threshold(const struct cli *cli, int argc, char **argv);
int hot_budget(const struct cli *cli, int argc, char **argv);
int hot_watch(const struct cli *cli, int argc, char **argv);

#endif
