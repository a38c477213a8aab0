/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * command_rig - commands on a real store, without sockets.
 *
 * Does      builds store, command and one worker on a clock the test sets; turns protocol text into
 *           requests, carries them out, gives the reply's text back.
 * Owner     the test; one rig at a time, all memory of its own.
 * Threads   one.
 */
#ifndef XC_TESTS_COMMAND_RIG_H
#define XC_TESTS_COMMAND_RIG_H

#include "command/command.h"
#include "lib/fake_clock.h"

#define COMMAND_RIG_LOG_BYTES (16U << 20)
#define COMMAND_RIG_ITEM_MAX (1U << 20)
#define COMMAND_RIG_BOOT_NS (1000 * NSEC_PER_SEC)
#define COMMAND_RIG_UNIX_NS (1700000000 * NSEC_PER_SEC + 250 * NSEC_PER_MSEC)

struct command_rig {
	struct fake_clock time;
	uint8_t *log;
	struct store *store;
	struct command *command;
	struct command_worker *worker;
	struct response resp;
	char *text; /* the last reply */
	size_t text_len;
};

/* options may be NULL; its store, clock and limits are set here. */
void command_rig_init(struct command_rig *rig, const struct command_options *options);
void command_rig_fini(struct command_rig *rig);
/* Carries out all commands of the text, each in a turn of its own; the replies, ended by a NUL. */
const char *command_rig_run(struct command_rig *rig, const char *text);
const char *command_rig_run_bytes(struct command_rig *rig, const void *text, size_t len);
/* The number in line "STAT name number" of the last reply; fails the test if there is none. */
uint64_t command_rig_stat(struct command_rig *rig, const char *name);

#endif
