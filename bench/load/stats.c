/* SPDX-License-Identifier: BSD-2-Clause */
#include "stats.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define FETCH_MS 3000
#define BLOCK_SEC 5
#define ANSWER_MAX 65536

extern char **environ;

static uint64_t number_of(const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);

	return json_is_integer(value) ? (uint64_t)json_integer_value(value) : 0;
}

static uint64_t sum_of(json_t *object)
{
	const char *name;
	uint64_t sum = 0;
	json_t *value;

	json_object_foreach(object, name, value) sum +=
		json_is_integer(value) ? (uint64_t)json_integer_value(value) : 0;
	return sum;
}

static void figures_parse(struct stats *stats)
{
	json_t *root = json_loadb(stats->text, stats->text_len, 0, NULL);
	json_t *fast = json_object_get(root, "fastpath");
	json_t *daemon = json_object_get(root, "daemon");
	const char *state = json_string_value(json_object_get(fast, "state"));

	if (json_is_object(fast) && json_is_object(daemon)) {
		stats->figures = (struct stats_figures){
			.valid = true,
			.kernel_hits = number_of(fast, "hits"),
			.kernel_absent = number_of(fast, "absent"),
			.kernel_misses = number_of(fast, "misses"),
			.kernel_passes = sum_of(json_object_get(fast, "passes")),
			.kernel_entries = number_of(fast, "entries"),
			.get_hits = number_of(daemon, "get_hits"),
			.get_misses = number_of(daemon, "get_misses"),
			.items = number_of(daemon, "items"),
			.bytes = number_of(daemon, "bytes"),
			.limit_bytes = number_of(daemon, "limit_bytes"),
			.evictions = number_of(daemon, "evictions"),
			.expired = number_of(daemon, "expired"),
		};
		snprintf(stats->figures.state, sizeof(stats->figures.state), "%s",
			 state ? state : "unknown");
		stats->answer_cnt++;
	}
	json_decref(root);
}

static void command_ready(struct loop_source *source, uint32_t events)
{
	struct stats *stats = (struct stats *)source;
	ssize_t n = read(source->fd, stats->text + stats->text_len,
			 sizeof(stats->text) - stats->text_len);
	int status;

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0 && stats->text_len + (size_t)n < sizeof(stats->text)) {
		stats->text_len += (uint32_t)n;
		return;
	}
	loop_remove(stats->loop, source);
	close(source->fd);
	source->fd = -1;
	/* It has closed its output: it is about to end. */
	if (waitpid(stats->pid, &status, 0) == stats->pid && status == 0)
		figures_parse(stats);
}

void stats_init(struct stats *stats, struct loop *loop, const char *command)
{
	memset(stats, 0, sizeof(*stats));
	stats->loop = loop;
	stats->command = command;
	stats->source.ready = command_ready;
	stats->source.fd = -1;
}

void stats_fini(struct stats *stats)
{
	if (stats->source.fd < 0)
		return;
	loop_remove(stats->loop, &stats->source);
	close(stats->source.fd);
	stats->source.fd = -1;
	waitpid(stats->pid, NULL, 0);
}

void stats_start(struct stats *stats)
{
	const char *const argv[] = { "sh", "-c", stats->command, NULL };
	posix_spawn_file_actions_t actions;
	int ends[2];
	int error;

	if (!stats->command || stats->source.fd >= 0 || pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	error = posix_spawn(&stats->pid, "/bin/sh", &actions, NULL, (char **)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	if (error) {
		close(ends[0]);
		return;
	}
	stats->text_len = 0;
	stats->source.fd = ends[0];
	if (loop_insert(stats->loop, &stats->source, LOOP_READ))
		stats_fini(stats);
}

bool stats_fetch(struct stats *stats)
{
	uint64_t before;

	if (!stats->command)
		return false;
	/* One that runs already may have looked too early. */
	for (int ms = 0; stats->source.fd >= 0 && ms < FETCH_MS; ms += 10) {
		loop_wait(stats->loop, 10);
		loop_drain(stats->loop);
	}
	before = stats->answer_cnt;
	stats_start(stats);
	for (int ms = 0; stats->source.fd >= 0 && ms < FETCH_MS; ms += 10) {
		loop_wait(stats->loop, 10);
		loop_drain(stats->loop);
	}
	return stats->answer_cnt != before;
}

/* Sends a line and reads until the reply ends with `end`; the reply is terminated. */
static int ask(const struct sock_addr *server, const char *line, const char *end, char *reply)
{
	struct timeval limit = { .tv_sec = BLOCK_SEC };
	int fd = socket(server->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t len = 0;
	int error = 0;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, (const struct sockaddr *)&server->storage, server->len) < 0 ||
	    send(fd, line, strlen(line), MSG_NOSIGNAL) != (ssize_t)strlen(line))
		error = -errno;
	while (!error) {
		ssize_t n = recv(fd, reply + len, ANSWER_MAX - 1 - len, 0);

		if (n <= 0) {
			error = n < 0 ? -errno : -EPIPE;
			break;
		}
		len += (size_t)n;
		reply[len] = '\0';
		if (len >= strlen(end) && strcmp(reply + len - strlen(end), end) == 0)
			break;
		if (len == ANSWER_MAX - 1 || strncmp(reply, "ERROR", 5) == 0)
			error = -EBADMSG;
	}
	close(fd);
	return error;
}

int stats_command(const struct sock_addr *server, const char *line, const char *expected)
{
	char reply[ANSWER_MAX];

	return ask(server, line, expected, reply);
}

int stats_field(const struct sock_addr *server, const char *field, uint64_t *ret)
{
	char reply[ANSWER_MAX];
	char wanted[64];
	const char *found;
	int error = ask(server, "stats\r\n", "END\r\n", reply);

	if (error)
		return error;
	snprintf(wanted, sizeof(wanted), "STAT %s ", field);
	found = strstr(reply, wanted);
	if (!found)
		return -ENOENT;
	*ret = strtoull(found + strlen(wanted), NULL, 10);
	return 0;
}
