/* SPDX-License-Identifier: BSD-2-Clause */
#include "trace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "abi/limits.h"

#define FIELDS_MAX 4

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), end_len = strlen(end);

	return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

static int open_packed(struct trace *trace, int file)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	trace->unpacker = fork();
	if (trace->unpacker == 0) {
		dup2(file, STDIN_FILENO);
		dup2(ends[1], STDOUT_FILENO);
		execlp("xz", "xz", "-dc", (char *)NULL);
		fprintf(stderr, "hitratio: cannot run xz (package xz-utils)\n");
		_exit(127);
	}
	close(ends[1]);
	if (trace->unpacker < 0) {
		trace->unpacker = 0;
		close(ends[0]);
		return -ECHILD;
	}
	return ends[0];
}

int trace_open(struct trace *trace, const char *path)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);

	memset(trace, 0, sizeof(*trace));
	if (file < 0)
		return -errno;
	if (ends_with(path, ".xz")) {
		int text = open_packed(trace, file);

		close(file);
		if (text < 0)
			return text;
		file = text;
	}
	trace->file = fdopen(file, "r");
	if (!trace->file) {
		close(file);
		trace_close(trace);
		return -ENOMEM;
	}
	return 0;
}

int trace_close(struct trace *trace)
{
	int status = 0;

	if (trace->file)
		fclose(trace->file);
	if (trace->unpacker)
		waitpid(trace->unpacker, &status, 0);
	free(trace->line);
	memset(trace, 0, sizeof(*trace));
	return status ? -EIO : 0;
}

static bool read_number(const char *text, uint64_t *ret)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	/* Times may have a fraction. */
	return errno == 0 && (*end == '\0' || *end == '.');
}

static int read_fields(char *line, struct trace_request *ret)
{
	char *field[FIELDS_MAX] = { line };
	int cnt = 1;

	for (char *comma = strchr(line, ','); comma; comma = strchr(comma, ',')) {
		if (cnt == FIELDS_MAX)
			return -EBADMSG;
		*comma++ = '\0';
		field[cnt++] = comma;
	}
	*ret = (struct trace_request){ .key = span_of(field[0], strlen(field[0])) };
	if (cnt == 1)
		return 0;
	if (cnt == 2 || !read_number(field[0], &ret->time_sec) ||
	    !read_number(field[2], &ret->size) ||
	    (cnt == 4 && !read_number(field[3], &ret->ttl_sec)))
		return -EBADMSG;
	ret->key = span_of(field[1], strlen(field[1]));
	ret->has_size = true;
	return 0;
}

int trace_next(struct trace *trace, struct trace_request *ret)
{
	for (;;) {
		ssize_t len = getline(&trace->line, &trace->line_max, trace->file);
		int err;

		if (len < 0)
			return 0;
		while (len > 0 && (trace->line[len - 1] == '\n' || trace->line[len - 1] == '\r'))
			trace->line[--len] = '\0';
		trace->line_cnt++;
		if (len == 0)
			continue;
		err = read_fields(trace->line, ret);
		if (err && trace->line_cnt == 1)
			continue;
		if (!err && (ret->key.len == 0 || ret->key.len > XC_KEY_MAX))
			err = -EMSGSIZE;
		return err ? err : 1;
	}
}
