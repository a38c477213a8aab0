/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/config_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARG_MAX_CNT 64

static char scratch[64];

const char *path_of(const char *name)
{
	static char path[4][256];
	static unsigned int turn;
	char *buf = path[turn++ % 4];

	snprintf(buf, 256, "%s/%s", scratch, name);
	return buf;
}

const char *write_file(const char *name, const char *text)
{
	const char *path = path_of(name);
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	return path;
}

void read_back(int fd, char *buf, size_t size)
{
	ssize_t n = pread(fd, buf, size - 1, 0);

	assert_true(n >= 0);
	buf[n] = '\0';
}

void load(struct outcome *o, const char *line)
{
	char name[] = "xdpcached", copy[4096];
	char *argv[ARG_MAX_CNT] = { name };
	char *word, *rest;
	int argc = 1, err = dup(2), out = dup(1);
	int said = open(scratch, O_TMPFILE | O_RDWR, 0600);

	assert_true(said >= 0);
	memset(o, 0, sizeof(*o));
	snprintf(copy, sizeof(copy), "%s", line);
	for (word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		assert_true(argc < ARG_MAX_CNT - 1);
		argv[argc++] = word;
	}
	fflush(stdout);
	dup2(said, 2);
	dup2(said, 1);
	o->rc = config_load(argc, argv, &o->config, &o->leave);
	fflush(stdout);
	dup2(err, 2);
	dup2(out, 1);
	close(err);
	close(out);
	read_back(said, o->said, sizeof(o->said));
	close(said);
}

uint32_t lines_of(const char *said, const char *level)
{
	uint32_t cnt = 0;

	for (; *said; said += strcspn(said, "\n") + (*said != 0)) {
		cnt += !strncmp(said, level, strlen(level));
		if (!said[strcspn(said, "\n")])
			break;
	}
	return cnt;
}

void expect_fine(struct outcome *o, const char *line)
{
	load(o, line);
	if (o->rc)
		fail_msg("\"%s\" was refused: %s", line, o->said);
}

void expect_refused(const char *line, const char *reason)
{
	struct outcome o;

	load(&o, line);
	if (o.rc != -EINVAL || !strstr(o.said, reason))
		fail_msg("\"%s\" gave %d, expected a refusal with \"%s\": %s", line, o.rc, reason,
			 o.said);
}

int config_rig_make(void **state)
{
	(void)state;
	snprintf(scratch, sizeof(scratch), "/tmp/xctest-config-XXXXXX");
	return mkdtemp(scratch) ? 0 : -1;
}

int config_rig_remove(const char *const *names, size_t cnt)
{
	for (size_t i = 0; i < cnt; i++)
		unlink(path_of(names[i]));
	return rmdir(scratch);
}
