/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * config_rig - the daemon's command line and files, read as it reads them.
 *
 * Does      keeps files in a scratch directory; loads a command line; catches what is printed.
 * Errors    asserts, with what was said.
 * Owner     the caller frees outcome.config where rc is 0 (config_fini).
 * Threads   one.
 */
#ifndef XC_TESTS_CONFIG_RIG_H
#define XC_TESTS_CONFIG_RIG_H

#include "config.h"

/* What the last load said, and what came of it. */
struct outcome {
	int rc;
	bool leave;
	struct config config;
	char said[16384];
};

/* As a group's setup of cmocka's. */
int config_rig_make(void **state);
/* For its teardown: fails if there is more in the directory than these. */
int config_rig_remove(const char *const *names, size_t cnt);

/* In the scratch directory; good for the next three calls. */
const char *path_of(const char *name);
/* Its path. */
const char *write_file(const char *name, const char *text);
void read_back(int fd, char *buf, size_t size);

/* Loads "xdpcached" with the words of one line; blanks separate them. */
void load(struct outcome *o, const char *line);
void expect_fine(struct outcome *o, const char *line);
void expect_refused(const char *line, const char *reason);
/* How many of the lines are of that level. */
uint32_t lines_of(const char *said, const char *level);

#endif
