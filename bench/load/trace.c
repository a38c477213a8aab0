/* SPDX-License-Identifier: BSD-2-Clause */
#include "trace.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/rand.h"
#include "etc.h"

#define FIELD_MAX 4
#define SEPARATORS ",; \t\r\n"
#define NO_SIZE UINT64_MAX

extern char **environ;

struct line {
	struct span key;
	uint64_t size;
	uint64_t ttl_sec;
};

static bool number_parse(const char *text, uint64_t *ret)
{
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	/* some recorders write sizes and times as "512.0" */
	if (*end == '.')
		end += 1 + strspn(end + 1, "0123456789");
	return errno == 0 && *end == '\0';
}

/* Column names, and no request with one field spoilt: no field is a number. */
static bool is_heading(char *const *fields, uint32_t cnt)
{
	uint64_t number;

	for (uint32_t i = 0; i < cnt; i++) {
		if (number_parse(fields[i], &number))
			return false;
	}
	return cnt > 1;
}

/* 1: a request, 0: nothing to do here, -EINVAL. */
static int line_parse(char *text, bool first, struct line *ret)
{
	char *fields[FIELD_MAX];
	char *save = NULL;
	uint32_t cnt = 0;

	if (text[0] == '#')
		return 0;
	for (char *field = strtok_r(text, SEPARATORS, &save); field;
	     field = strtok_r(NULL, SEPARATORS, &save)) {
		if (cnt == FIELD_MAX)
			return -EINVAL;
		fields[cnt++] = field;
	}
	if (cnt == 0 || (first && is_heading(fields, cnt)))
		return 0;
	*ret = (struct line){ .key = span_str(fields[cnt >= 3]), .size = NO_SIZE };
	if (cnt >= 2 && !number_parse(fields[cnt >= 3 ? 2 : 1], &ret->size))
		return -EINVAL;
	if (cnt == 4 && (!number_parse(fields[3], &ret->ttl_sec) || ret->ttl_sec > INT32_MAX))
		return -EINVAL;
	return 1;
}

/* The key's own: the same in every run, whatever the trace's order. */
static uint32_t size_pick(const struct key *key, uint32_t size_max)
{
	struct rand r;

	rand_init(&r, key->hash);
	return etc_value_len(&r, size_max);
}

static int insert(struct trace *trace, const struct line *line, uint32_t size_max,
		  struct keys *keys)
{
	uint32_t known = keys->cnt;
	uint32_t key_idx;
	int error;

	if (trace->cnt == TRACE_MAX)
		return -E2BIG;
	if (trace->cnt == trace->room) {
		uint32_t room = trace->room ? trace->room * 2 : 1 << 16;
		struct trace_request *requests =
			alloc_resize(trace->requests, room * sizeof(*requests));

		if (!requests)
			return -ENOMEM;
		trace->requests = requests;
		trace->room = room;
	}
	error = keys_insert(keys, line->key, &key_idx);
	if (error)
		return error;
	if (key_idx == known) {
		struct key *key = keys_at(keys, key_idx);

		if (line->size == NO_SIZE) {
			key->value_len = size_pick(key, size_max);
		} else if (line->size > size_max) {
			key->value_len = size_max;
			trace->cut_cnt++;
		} else {
			key->value_len = (uint32_t)line->size;
		}
	}
	trace->requests[trace->cnt++] = (struct trace_request){
		.key_idx = key_idx,
		.ttl_sec = (uint32_t)line->ttl_sec,
	};
	return 0;
}

static int read_lines(struct trace *trace, FILE *in, const char *path, uint32_t size_max,
		      struct keys *keys)
{
	uint64_t line_no = 0;
	size_t room = 0;
	char *text = NULL;
	int error = 0;

	while (!error && getline(&text, &room, in) >= 0) {
		struct line line;
		int got = line_parse(text, line_no == 0, &line);

		line_no++;
		if (got > 0) {
			error = insert(trace, &line, size_max, keys);
		} else if (got < 0) {
			fprintf(stderr,
				"load: %s:%llu: none of KEY, KEY,SIZE and TIME,KEY,SIZE[,TTL]\n",
				path, (unsigned long long)line_no);
			error = got;
		}
	}
	if (!error && ferror(in))
		error = -EIO;
	free(text);
	return error;
}

/* Why the trace cannot be replayed; -EINVAL, a line, has been told. */
static void explain(const char *path, bool packed, int error)
{
	if (error == -ENODATA)
		fprintf(stderr, "load: %s: holds no request\n", path);
	else if (error == -EIO && packed)
		fprintf(stderr, "load: %s: xz cannot unpack it; see: xz -t FILE\n", path);
	else if (error == -E2BIG)
		fprintf(stderr, "load: %s: more than %u requests\n", path, TRACE_MAX);
	else if (error != -EINVAL)
		fprintf(stderr, "load: %s: %s\n", path, strerror(-error));
}

/* Starts `xz -dc` on the file; *ret_fd is what it writes. */
static int xz_start(const char *path, pid_t *ret_pid, int *ret_fd)
{
	const char *const argv[] = { "xz", "-dc", "--", path, NULL };
	posix_spawn_file_actions_t actions;
	int ends[2];
	int error;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	error = -posix_spawnp(ret_pid, argv[0], &actions, NULL, (char **)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	if (error) {
		fprintf(stderr, "load: cannot run xz (package xz-utils)\n");
		close(ends[0]);
		return error;
	}
	*ret_fd = ends[0];
	return 0;
}

static int read_file(struct trace *trace, const char *path, bool packed, uint32_t size_max,
		     struct keys *keys)
{
	pid_t pid = 0;
	int error = 0;
	int fd = -1;
	int status;
	FILE *in;

	if (access(path, R_OK) < 0)
		return -errno;
	if (packed)
		error = xz_start(path, &pid, &fd);
	else
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (!error && fd < 0)
		error = -errno;
	if (error)
		return error;
	in = fdopen(fd, "r");
	if (in) {
		error = read_lines(trace, in, path, size_max, keys);
		fclose(in);
	} else {
		error = -errno;
		close(fd);
	}
	/* After a reading error xz dies of the closed pipe: that is not its fault. */
	if (pid && waitpid(pid, &status, 0) == pid && !error && status != 0)
		error = -EIO;
	return error || trace->cnt ? error : -ENODATA;
}

int trace_open(struct trace *trace, const char *path, uint32_t size_max, struct keys *keys)
{
	size_t path_len = strlen(path);
	bool packed = path_len > 3 && strcmp(path + path_len - 3, ".xz") == 0;
	int error;

	memset(trace, 0, sizeof(*trace));
	error = read_file(trace, path, packed, size_max, keys);
	if (error) {
		explain(path, packed, error);
		trace_close(trace);
	}
	return error;
}

void trace_close(struct trace *trace)
{
	alloc_free(trace->requests);
	memset(trace, 0, sizeof(*trace));
}
