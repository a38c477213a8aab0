/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: every request line gets exactly one reply line, in order; what is malformed is
 * refused with a reason and costs nobody else anything; every bound (line, clients, time) holds.
 * Method: a real server on a socket in a scratch directory, with sources that return known numbers;
 * the promoter's face is answered here, so that pins are seen as the promoter would.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "command/command.h"
#include "control/command.h"
#include "control/server.h"
#include "control/stats.h"
#include "promote/promoter.h"
#include "store/store.h"

#define WAIT_MS 5000

static char scratch[64];
static char path[96];

/* --- sources ------------------------------------------------------------------------------ */

static void fill_store(void *ctx, struct store_counts *ret)
{
	(void)ctx;
	ret->item_cnt = 11;
	ret->item_bytes = 1012;
	ret->key_value_bytes = 903;
	ret->index_bytes = 108;
	ret->evicted_cnt = 13;
	ret->expired_cnt = 14;
	ret->eviction = "s3fifo";
}

static void fill_command(void *ctx, struct command_counts *ret)
{
	(void)ctx;
	ret->get_hits = 21;
	ret->get_misses = 22;
	ret->conn_opened = 9;
	ret->conn_closed = 4;
}

static int fill_fastpath(void *ctx, struct control_fastpath *ret)
{
	__u64 *counter = (__u64 *)&ret->stats;

	(void)ctx;
	for (int i = 0; i < XC_OUTCOME_CNT; i++)
		counter[i] = (__u64)i + 1;
	ret->interface_cnt = 1;
	strcpy(ret->interfaces[0].name, "xcc0");
	ret->interfaces[0].mode = XDP_MODE_NATIVE;
	ret->entry_cnt = 5;
	ret->lease_ms = 1000;
	ret->serve_until_ns = UINT64_MAX;
	return 0;
}

static void fill_memory(void *ctx, struct command_memory *ret)
{
	(void)ctx;
	*ret = (struct command_memory){ .limit = 64 << 20, .log = 50 << 20, .total = 63 << 20 };
}

static void print_config(void *ctx, FILE *out)
{
	(void)ctx;
	fputs("{\"network\": {\"port\": 11211}}\n", out);
}

static struct control *start_with(uint32_t client_max, uint32_t idle_ms)
{
	const struct control_options options = {
		.path = path,
		.client_max = client_max,
		.idle_ms = idle_ms,
		.sources = {
			.store = fill_store,
			.command = fill_command,
			.fastpath = fill_fastpath,
			.memory = fill_memory,
			.config = print_config,
			.clock = clock_system(),
			.start_ns = clock_now_ns(clock_system()),
			.thread_cnt = 2,
		},
	};
	struct control *control = NULL;

	assert_int_equal(control_open(&options, &control), 0);
	assert_int_equal(control_start(control), 0);
	return control;
}

/* --- clients ------------------------------------------------------------------------------ */

static int join(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	strcpy(name.sun_path, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&name, sizeof(name)), 0);
	return fd;
}

static void put(int fd, const char *text, size_t len)
{
	assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* One line with its end, or what came before the end of input; waits WAIT_MS at most. */
static char *take_line(int fd)
{
	static char line[1 << 16];
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	size_t len = 0;

	while (len < sizeof(line) - 1) {
		if (poll(&wait, 1, WAIT_MS) != 1)
			fail_msg("no reply within %d ms", WAIT_MS);
		if (recv(fd, line + len, 1, 0) != 1)
			break;
		if (line[len++] == '\n')
			break;
	}
	line[len] = '\0';
	return line;
}

static bool ended(int fd)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	char c;

	return poll(&wait, 1, WAIT_MS) == 1 && recv(fd, &c, 1, 0) <= 0;
}

static json_t *take_reply(int fd, bool ok)
{
	const char *line = take_line(fd);
	json_t *reply = json_loads(line, 0, NULL);

	if (!json_is_object(reply))
		fail_msg("not a reply: %s", line);
	assert_int_equal(json_is_true(json_object_get(reply, "ok")), ok);
	return reply;
}

static void expect_refused(int fd, const char *request, const char *reason)
{
	json_t *reply;
	const char *error;

	put(fd, request, strlen(request));
	put(fd, "\n", 1);
	reply = take_reply(fd, false);
	error = json_string_value(json_object_get(reply, "error"));
	if (!error || !strstr(error, reason))
		fail_msg("%s was answered %s, not %s", request, error, reason);
	json_decref(reply);
}

static void expect_fine(int fd)
{
	put(fd, "{\"cmd\":\"version\"}\n", 18);
	json_decref(take_reply(fd, true));
}

/* --- tests -------------------------------------------------------------------------------- */

static void server_socket_has_its_mode_and_goes_away(void **state)
{
	struct control *control = start_with(0, 0);
	struct stat st;

	(void)state;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	control_stop(control);
	assert_int_equal(stat(path, &st), -1);
	control_stop(NULL);
}

static void server_makes_its_directory(void **state)
{
	char old[sizeof(path)];
	struct control *control;
	struct stat st;
	mode_t mask = umask(077);

	(void)state;
	strcpy(old, path);
	snprintf(path, sizeof(path), "%s/made/control.sock", scratch);
	control = start_with(0, 0);
	umask(mask);
	snprintf(path, sizeof(path), "%s/made", scratch);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	control_stop(control);
	assert_int_equal(rmdir(path), 0);
	strcpy(path, old);
}

static void server_live_socket_is_not_taken(void **state)
{
	struct control *control = start_with(0, 0);
	const struct control_options options = { .path = path,
						 .sources = { .clock = clock_system() } };
	struct control *second = NULL;
	enum log_level level = log_get_level();
	int fd;

	(void)state;
	log_set_level(LOG_ERROR);
	assert_int_equal(control_open(&options, &second), -EADDRINUSE);
	log_set_level(level);
	assert_null(second);
	fd = join();
	expect_fine(fd);
	close(fd);
	control_stop(control);
}

static void server_stale_socket_is_replaced(void **state)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct control *control;

	(void)state;
	strcpy(name.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
	close(fd); /* the file stays: its server is gone */
	control = start_with(0, 0);
	fd = join();
	expect_fine(fd);
	close(fd);
	control_stop(control);
}

static void server_other_daemons_socket_stays_at_stop(void **state)
{
	struct control *first = start_with(0, 0);
	struct control *second;
	struct stat st;

	(void)state;
	assert_int_equal(unlink(path), 0);
	second = start_with(0, 0);
	control_stop(first);
	assert_int_equal(stat(path, &st), 0);
	control_stop(second);
}

static void answer_malformed_request_is_refused(void **state)
{
	static const char *const requests[][2] = {
		{ "hello", "not a JSON object" },
		{ "{", "not a JSON object" },
		{ "{\"cmd\":\"stats\"", "not a JSON object" },
		{ "[]", "not a JSON object" },
		{ "\"stats\"", "not a JSON object" },
		{ "{\"cmd\":\"stats\"}}", "not a JSON object" },
		{ "{\"cmd\":\"stats\",\"cmd\":\"help\"}", "not a JSON object" },
		{ "{\"cmd\":\"st\xff\"}", "not a JSON object" },
		{ "{}", "\"cmd\" is missing" },
		{ "{\"cmd\":5}", "\"cmd\" is missing" },
		{ "{\"cmd\":\"nosuch\"}", "no such command: \"nosuch\"" },
		{ "{\"cmd\":\"hot_list\"}", "keeps no hot keys" },
		{ "{\"cmd\":\"hot_pin\",\"key\":\"a\"}", "keeps no hot keys" },
	};
	struct control *control = start_with(0, 0);
	int fd = join();

	(void)state;
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		expect_refused(fd, requests[i][0], requests[i][1]);
	/* A zero byte is as malformed as any; it must not hide what follows. */
	put(fd, "{\"cmd\":\0\"stats\"}\n", 17);
	json_decref(take_reply(fd, false));
	expect_fine(fd);
	close(fd);
	control_stop(control);
}

static void answer_deep_nesting_is_refused(void **state)
{
	char line[CONTROL_LINE_MAX];
	struct control *control = start_with(0, 0);
	int fd = join();

	(void)state;
	memset(line, '[', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\n';
	put(fd, line, sizeof(line));
	json_decref(take_reply(fd, false));
	expect_fine(fd);
	close(fd);
	control_stop(control);
}

static void server_longest_line_is_answered_longer_is_refused(void **state)
{
	char line[CONTROL_LINE_MAX + 1];
	struct control *control = start_with(0, 0);
	json_t *reply;
	int fd = join();

	(void)state;
	memset(line, ' ', sizeof(line));
	memcpy(line, "{\"cmd\":\"version\"}", 17);
	line[CONTROL_LINE_MAX - 1] = '\n';
	put(fd, line, CONTROL_LINE_MAX);
	json_decref(take_reply(fd, true));
	line[CONTROL_LINE_MAX - 1] = ' ';
	line[CONTROL_LINE_MAX] = '\n';
	put(fd, line, CONTROL_LINE_MAX + 1);
	reply = take_reply(fd, false);
	assert_string_equal(json_string_value(json_object_get(reply, "error")),
			    "request line too long");
	json_decref(reply);
	assert_true(ended(fd));
	close(fd);
	control_stop(control);
}

static void server_pipelined_lines_are_answered_in_order(void **state)
{
	static const char lines[] =
		"{\"cmd\":\"version\"}\r\n\n{\"cmd\":\"x1\"}\n{\"cmd\":\"x2\"}\n";
	struct control *control = start_with(0, 0);
	int fd = join();

	(void)state;
	put(fd, lines, sizeof(lines) - 1);
	json_decref(take_reply(fd, true));
	assert_non_null(strstr(take_line(fd), "x1"));
	assert_non_null(strstr(take_line(fd), "x2"));
	close(fd);
	control_stop(control);
}

static void server_split_line_is_answered_once_whole(void **state)
{
	static const char line[] = "{\"cmd\":\"version\"}\n";
	struct control *control = start_with(0, 0);
	struct pollfd wait = { .events = POLLIN };
	int fd = join();

	(void)state;
	wait.fd = fd;
	for (size_t i = 0; i < sizeof(line) - 2; i++)
		put(fd, line + i, 1);
	assert_int_equal(poll(&wait, 1, 50), 0);
	put(fd, "\n", 1);
	json_decref(take_reply(fd, true));
	close(fd);
	control_stop(control);
}

static void server_line_without_end_is_answered_at_end_of_input(void **state)
{
	struct control *control = start_with(0, 0);
	int fd = join();

	(void)state;
	put(fd, "{\"cmd\":\"version\"}", 17);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	json_decref(take_reply(fd, true));
	assert_true(ended(fd));
	close(fd);
	control_stop(control);
}

static void server_one_client_too_many_is_told(void **state)
{
	struct control *control = start_with(3, 0);
	int fds[3], extra;
	json_t *reply;

	(void)state;
	for (int i = 0; i < 3; i++) {
		fds[i] = join();
		expect_fine(fds[i]);
	}
	extra = join();
	reply = take_reply(extra, false);
	assert_non_null(strstr(json_string_value(json_object_get(reply, "error")), "too many"));
	json_decref(reply);
	assert_true(ended(extra));
	close(extra);
	close(fds[1]);
	/* The place is free again once the server has seen the end. */
	for (int tries = 0;; tries++) {
		extra = join();
		put(extra, "{\"cmd\":\"version\"}\n", 18);
		if (strstr(take_line(extra), "\"ok\":true"))
			break;
		close(extra);
		assert_true(tries < 100);
		usleep(10000);
	}
	close(extra);
	expect_fine(fds[0]);
	close(fds[0]);
	close(fds[2]);
	control_stop(control);
}

static void server_many_clients_are_all_answered(void **state)
{
	struct control *control = start_with(CONTROL_CLIENT_MAX, 0);
	int fds[CONTROL_CLIENT_MAX];

	(void)state;
	for (int i = 0; i < CONTROL_CLIENT_MAX; i++)
		fds[i] = join();
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < CONTROL_CLIENT_MAX; i++)
			put(fds[i], "{\"cmd\":\"stats\"}\n", 16);
		for (int i = 0; i < CONTROL_CLIENT_MAX; i++)
			json_decref(take_reply(fds[i], true));
	}
	for (int i = 0; i < CONTROL_CLIENT_MAX; i++)
		close(fds[i]);
	control_stop(control);
}

static void server_silent_client_is_closed(void **state)
{
	struct control *control = start_with(0, 200);
	int fd = join();

	(void)state;
	put(fd, "{\"cmd\"", 6);
	assert_true(ended(fd));
	close(fd);
	control_stop(control);
}

/* Asks and asks and takes no reply: it is read from no more, others go on, time closes it. */
static void server_slow_client_holds_up_nobody(void **state)
{
	static const char line[] = "{\"cmd\":\"stats\"}\n";
	struct control *control = start_with(0, 500);
	int slow = join(), fd = join();
	struct pollfd wait = { .fd = slow, .events = POLLOUT };
	uint32_t sent_cnt = 0;
	char buf[4096];

	(void)state;
	while (sent_cnt < 1000000 &&
	       send(slow, line, sizeof(line) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
		sent_cnt++;
	assert_true(sent_cnt < 1000000);
	expect_fine(fd);
	/* Closed: whatever had arrived is still to be read, then comes the end. */
	assert_true(poll(&wait, 1, WAIT_MS) == 1);
	while (recv(slow, buf, sizeof(buf), 0) > 0)
		;
	assert_int_equal(send(slow, line, 1, MSG_NOSIGNAL), -1);
	close(slow);
	close(fd);
	control_stop(control);
}

static void server_gone_client_costs_nothing(void **state)
{
	struct control *control = start_with(2, 0);
	int fd;

	(void)state;
	for (int i = 0; i < 200; i++) {
		fd = join();
		if (i % 2)
			send(fd, "{\"cmd\":\"stats\"}\n{\"cmd\":\"stats\"}\n", 32, MSG_NOSIGNAL);
		close(fd);
	}
	for (int tries = 0;; tries++) {
		fd = join();
		put(fd, "{\"cmd\":\"version\"}\n", 18);
		if (strstr(take_line(fd), "\"ok\":true"))
			break;
		close(fd);
		assert_true(tries < 100);
		usleep(10000);
	}
	close(fd);
	control_stop(control);
}

static void server_stop_with_clients_closes_them(void **state)
{
	struct control *control = start_with(0, 0);
	int fd = join();

	(void)state;
	expect_fine(fd);
	control_stop(control);
	assert_true(ended(fd));
	close(fd);
}

/* --- what is answered --------------------------------------------------------------------- */

static json_int_t number_at(const json_t *root, const char *section, const char *name)
{
	const json_t *number = json_object_get(json_object_get(root, section), name);

	if (!json_is_integer(number))
		fail_msg("%s.%s is not an integer", section, name);
	return json_integer_value(number);
}

static void stats_has_the_documented_fields(void **state)
{
	struct control *control = start_with(0, 0);
	json_t *reply, *root, *fastpath;
	int fd = join();

	(void)state;
	put(fd, "{\"cmd\":\"stats\"}\n", 16);
	reply = take_reply(fd, true);
	root = json_object_get(reply, "result");
	fastpath = json_object_get(root, "fastpath");
	assert_string_equal(json_string_value(json_object_get(fastpath, "state")), "native");
	assert_int_equal(json_array_size(json_object_get(fastpath, "interfaces")), 1);
	assert_int_equal(number_at(root, "fastpath", "hits"),
			 XC_hit_tail + XC_hit_head + XC_hit_tc + 3);
	assert_int_equal(number_at(root, "fastpath", "entries"), 5);
	assert_int_equal(number_at(root, "fastpath", "lease_ms"), 1000);
	assert_int_equal(number_at(fastpath, "passes", "pass_expired"), XC_pass_expired + 1);
	assert_int_equal(number_at(fastpath, "drops", "drop_not_allowed"), XC_drop_not_allowed + 1);
	assert_int_equal(number_at(root, "daemon", "get_hits"), 21);
	assert_int_equal(number_at(root, "daemon", "get_misses"), 22);
	assert_int_equal(number_at(root, "daemon", "connections"), 5);
	assert_int_equal(number_at(root, "daemon", "items"), 11);
	assert_int_equal(number_at(root, "daemon", "bytes"), 1012);
	assert_int_equal(number_at(root, "daemon", "limit_bytes"), 64 << 20);
	assert_int_equal(number_at(root, "memory", "log_bytes"), 50 << 20);
	assert_int_equal(number_at(root, "memory", "total_bytes"), 63 << 20);
	assert_int_equal(number_at(root, "daemon", "evictions"), 13);
	assert_int_equal(number_at(root, "daemon", "expired"), 14);
	assert_int_equal(number_at(root, "daemon", "threads"), 2);
	assert_int_equal(number_at(root, "daemon", "pid"), getpid());
	assert_int_equal(number_at(root, "daemon", "uptime_sec"), 0);
	assert_int_equal(number_at(root, "store", "overhead_bytes_per_item"), 20);
	assert_int_equal(number_at(root, "store", "items"), 11);
	json_decref(reply);
	close(fd);
	control_stop(control);
}

/* hits, misses, passes and drops together name every outcome, each once. */
static void stats_every_outcome_is_counted(void **state)
{
	struct control_fastpath fp = { 0 };
	json_t *object;
	size_t cnt;

	(void)state;
	fill_fastpath(NULL, &fp);
	object = stats_fastpath_json(&fp, 0);
	cnt = json_object_size(json_object_get(object, "hits_by")) +
	      json_object_size(json_object_get(object, "passes")) +
	      json_object_size(json_object_get(object, "drops"));
	assert_int_equal(cnt, XC_OUTCOME_CNT);
	json_decref(object);
}

static void stats_state_says_what_serves(void **state)
{
	static const struct {
		enum xdp_mode modes[2];
		uint64_t serve_until_ns;
		const char *expected;
	} rows[] = {
		{ { XDP_MODE_NATIVE, XDP_MODE_NATIVE }, 11, "native" },
		{ { XDP_MODE_GENERIC, XDP_MODE_GENERIC }, 11, "generic" },
		{ { XDP_MODE_NATIVE, XDP_MODE_GENERIC }, 11, "mixed" },
		{ { XDP_MODE_NATIVE, XDP_MODE_OFF }, 11, "mixed" },
		{ { XDP_MODE_OFF, XDP_MODE_OFF }, 11, "off" },
		{ { XDP_MODE_OFF, XDP_MODE_OFF }, 0, "off" },
		{ { XDP_MODE_NATIVE, XDP_MODE_NATIVE }, 10, "orphaned" },
	};
	struct control_fastpath fp = { 0 };

	(void)state;
	assert_string_equal(stats_fastpath_state(&fp, 10), "off");
	fp.interface_cnt = 2;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		fp.interfaces[0].mode = rows[i].modes[0];
		fp.interfaces[1].mode = rows[i].modes[1];
		fp.serve_until_ns = rows[i].serve_until_ns;
		assert_string_equal(stats_fastpath_state(&fp, 10), rows[i].expected);
	}
}

static void config_is_shown(void **state)
{
	struct control *control = start_with(0, 0);
	json_t *reply;
	int fd = join();

	(void)state;
	put(fd, "{\"cmd\":\"config\"}\n", 17);
	reply = take_reply(fd, true);
	assert_int_equal(number_at(json_object_get(reply, "result"), "network", "port"), 11211);
	json_decref(reply);
	close(fd);
	control_stop(control);
}

/* --- hot keys: the promoter's face, answered here ----------------------------------------- */

struct promoter {
	struct promoter_limits limits;
	struct span wished; /* the last key pinned */
	uint8_t bytes[XC_KEY_MAX];
	int rc;
};

static void note_key(struct promoter *promoter, struct span key)
{
	memcpy(promoter->bytes, key.ptr, key.len);
	promoter->wished = span_of(promoter->bytes, key.len);
}

int promoter_pin(struct promoter *promoter, struct span key, enum policy_reason *ret_reason)
{
	*ret_reason = POLICY_ABSENT;
	note_key(promoter, key);
	return promoter->rc;
}

int promoter_unpin(struct promoter *promoter, struct span key)
{
	if (!span_equal(promoter->wished, key))
		return -ENOENT;
	promoter->wished.len = 0;
	return 0;
}

int promoter_ban(struct promoter *promoter, struct span key)
{
	note_key(promoter, key);
	return promoter->rc;
}

int promoter_unban(struct promoter *promoter, struct span key)
{
	return promoter_unpin(promoter, key);
}

int promoter_explain(struct promoter *promoter, struct span key, struct promoter_row *ret)
{
	note_key(promoter, key);
	*ret = (struct promoter_row){ .key_len = (uint8_t)key.len,
				      .value_len = 2000,
				      .reason = POLICY_TOO_LARGE };
	memcpy(ret->key, key.ptr, key.len);
	return promoter->rc;
}

int promoter_set_limits(struct promoter *promoter, const struct promoter_limits *limits)
{
	if (limits->entry_max > 1000)
		return -ERANGE;
	promoter->limits = *limits;
	return promoter->rc;
}

uint32_t promoter_moves(struct promoter *promoter, uint64_t *since, struct promoter_move *ret,
			uint32_t max, uint64_t *ret_missed)
{
	(void)promoter;
	assert_true(max >= 1);
	*ret = (struct promoter_move){ .key = "gone", .key_len = 4, .reason = POLICY_DISPLACED };
	*ret_missed = *since == UINT64_MAX ? 0 : *since;
	*since = 17;
	return 1;
}

void promoter_budget(struct promoter *promoter, struct promoter_budget *ret)
{
	*ret = (struct promoter_budget){
		.set = promoter->limits, .threshold = 7, .entry_max = 30, .resident_cnt = 3
	};
}

uint32_t promoter_list(struct promoter *promoter, struct promoter_row *rows, uint32_t max)
{
	static const char *const keys[] = { "plain", "odd\xff\x01", "\xc3\xa9t\xc3\xa9",
					    "a\xc2\x9b"
					    "2J",
					    "b\x1b[2J" };
	uint32_t cnt = 0;

	(void)promoter;
	for (; cnt < 5 && cnt < max; cnt++) {
		rows[cnt].key_len = (uint8_t)strlen(keys[cnt]);
		memcpy(rows[cnt].key, keys[cnt], rows[cnt].key_len);
		rows[cnt].read_rate = 1.6;
		rows[cnt].resident = cnt != 1;
		rows[cnt].pinned = cnt == 2;
		rows[cnt].reason = POLICY_HOT;
	}
	return cnt;
}

/* The answer to one line, without a socket. */
static json_t *ask(struct promoter *promoter, const char *line)
{
	const struct control_sources sources = { .promoter = promoter, .clock = clock_system() };
	char *answer = control_answer(&sources, span_str(line));
	json_t *reply = json_loads(answer, 0, NULL);

	assert_non_null(reply);
	free(answer);
	return reply;
}

static void expect_error(struct promoter *promoter, const char *line, const char *reason)
{
	json_t *reply = ask(promoter, line);
	const char *error = json_string_value(json_object_get(reply, "error"));

	if (!error || !strstr(error, reason))
		fail_msg("%s: %s", line, error ? error : "not refused");
	json_decref(reply);
}

static void hot_list_shows_every_key_exactly(void **state)
{
	struct promoter promoter = { .rc = 0 };
	json_t *reply = ask(&promoter, "{\"cmd\":\"hot_list\"}");
	json_t *keys = json_object_get(json_object_get(reply, "result"), "keys");
	json_t *odd = json_array_get(keys, 1);

	(void)state;
	assert_int_equal(json_array_size(keys), 5);
	assert_string_equal(json_string_value(json_object_get(json_array_get(keys, 0), "key")),
			    "plain");
	assert_string_equal(json_string_value(json_object_get(odd, "key")), "odd\\xff\\x01");
	assert_string_equal(json_string_value(json_object_get(odd, "key_hex")), "6f6464ff01");
	assert_string_equal(json_string_value(json_object_get(json_array_get(keys, 2), "key")),
			    "\xc3\xa9t\xc3\xa9");
	odd = json_array_get(keys, 3); /* would clear a terminal that believes in 8-bit controls */
	assert_string_equal(json_string_value(json_object_get(odd, "key")), "a\\xc2\\x9b2J");
	odd = json_array_get(keys, 4);
	assert_string_equal(json_string_value(json_object_get(odd, "key")), "b\\x1b[2J");
	assert_int_equal(json_integer_value(json_object_get(odd, "reads_sec")), 2);
	json_decref(reply);
	reply = ask(&promoter, "{\"cmd\":\"hot_list\",\"max\":2}");
	keys = json_object_get(json_object_get(reply, "result"), "keys");
	assert_int_equal(json_array_size(keys), 2);
	json_decref(reply);
	expect_error(&promoter, "{\"cmd\":\"hot_list\",\"max\":0}", "not a number from 1 to");
	expect_error(&promoter, "{\"cmd\":\"hot_list\",\"max\":99999}", "not a number from 1 to");
	expect_error(&promoter, "{\"cmd\":\"hot_list\",\"max\":\"x\"}", "not a number from 1 to");
}

static void hot_pin_passes_the_key_on(void **state)
{
	struct promoter promoter = { .rc = 0 };

	(void)state;
	json_decref(ask(&promoter, "{\"cmd\":\"hot_pin\",\"key\":\"user:1\"}"));
	assert_true(span_equal(promoter.wished, span_str("user:1")));
	json_decref(ask(&promoter, "{\"cmd\":\"hot_pin\",\"key_hex\":\"6Fff\"}"));
	assert_true(span_equal(promoter.wished, span_str("o\xff")));
	expect_error(&promoter, "{\"cmd\":\"hot_unpin\",\"key\":\"other\"}", "not pinned");
	json_decref(ask(&promoter, "{\"cmd\":\"hot_unpin\",\"key_hex\":\"6fFF\"}"));
	assert_int_equal(promoter.wished.len, 0);
	promoter.rc = -ENOSPC;
	expect_error(&promoter, "{\"cmd\":\"hot_pin\",\"key\":\"a\"}", "too many keys");
}

static void hot_ban_passes_the_key_on(void **state)
{
	struct promoter promoter = { .rc = 0 };

	(void)state;
	json_decref(ask(&promoter, "{\"cmd\":\"hot_ban\",\"key\":\"user:1\"}"));
	assert_true(span_equal(promoter.wished, span_str("user:1")));
	expect_error(&promoter, "{\"cmd\":\"hot_unban\",\"key\":\"other\"}", "not banned");
	json_decref(ask(&promoter, "{\"cmd\":\"hot_unban\",\"key\":\"user:1\"}"));
	assert_int_equal(promoter.wished.len, 0);
}

static void hot_explain_says_why_and_what_to_do(void **state)
{
	struct promoter promoter = { .rc = 0 };
	json_t *reply = ask(&promoter, "{\"cmd\":\"hot_explain\",\"key\":\"big\"}");
	json_t *root = json_object_get(reply, "result");

	(void)state;
	assert_true(span_equal(promoter.wished, span_str("big")));
	assert_string_equal(json_string_value(json_object_get(root, "reason")), "too_large");
	assert_string_equal(json_string_value(json_object_get(root, "why")),
			    policy_text(POLICY_TOO_LARGE));
	assert_string_equal(json_string_value(json_object_get(root, "advice")),
			    policy_advice(POLICY_TOO_LARGE));
	assert_int_equal(json_integer_value(json_object_get(root, "value_bytes")), 2000);
	assert_int_equal(json_integer_value(json_object_get(root, "value_max_bytes")),
			 XC_VALUE_MAX);
	assert_int_equal(json_integer_value(json_object_get(root, "threshold")), 7);
	assert_int_equal(json_integer_value(json_object_get(root, "entries_budget")), 30);
	json_decref(reply);
	promoter.rc = -ETIMEDOUT;
	expect_error(&promoter, "{\"cmd\":\"hot_explain\",\"key\":\"big\"}", "in time");
	expect_error(&promoter, "{\"cmd\":\"hot_explain\"}", "is not a key");
}

static void hot_limits_change_what_is_named(void **state)
{
	struct promoter promoter = { .limits = { .threshold = 3, .entry_max = 5 } };
	json_t *reply = ask(&promoter, "{\"cmd\":\"hot_limits\",\"bytes\":4096}");

	(void)state;
	assert_int_equal(promoter.limits.threshold, 3);
	assert_int_equal(promoter.limits.entry_max, 5);
	assert_int_equal(promoter.limits.byte_max, 4096);
	assert_int_equal(number_at(reply, "result", "bytes_set"), 4096);
	json_decref(reply);
	json_decref(ask(&promoter, "{\"cmd\":\"hot_limits\",\"threshold\":0,\"entries\":9}"));
	assert_int_equal(promoter.limits.threshold, 0);
	assert_int_equal(promoter.limits.entry_max, 9);
	expect_error(&promoter, "{\"cmd\":\"hot_limits\",\"entries\":1001}", "--hot-max");
	expect_error(&promoter, "{\"cmd\":\"hot_limits\",\"entries\":-1}", "is not a number");
	expect_error(&promoter, "{\"cmd\":\"hot_limits\",\"threshold\":\"5\"}", "is not a number");
	expect_error(&promoter, "{\"cmd\":\"hot_limits\",\"threshold\":999999999}", "is not a num");
	assert_int_equal(promoter.limits.entry_max, 9);
	expect_error(&promoter, "{\"cmd\":\"hot_limits\",\"save\":true}", "saves nothing");
}

static void hot_moves_go_on_where_they_ended(void **state)
{
	struct promoter promoter = { .rc = 0 };
	json_t *reply = ask(&promoter, "{\"cmd\":\"hot_moves\"}");
	json_t *root = json_object_get(reply, "result");
	json_t *move = json_array_get(json_object_get(root, "moves"), 0);

	(void)state;
	assert_string_equal(json_string_value(json_object_get(move, "key")), "gone");
	assert_string_equal(json_string_value(json_object_get(move, "reason")), "displaced");
	assert_true(json_is_false(json_object_get(move, "in")));
	assert_int_equal(number_at(reply, "result", "next"), 17);
	assert_int_equal(number_at(reply, "result", "missed"), 0);
	json_decref(reply);
	reply = ask(&promoter, "{\"cmd\":\"hot_moves\",\"since\":4}");
	assert_int_equal(number_at(reply, "result", "missed"), 4);
	json_decref(reply);
}

static void hot_pin_wrong_key_is_refused(void **state)
{
	static const char *const wrong[][2] = {
		{ "{\"cmd\":\"hot_pin\"}", "is not a key" },
		{ "{\"cmd\":\"hot_pin\",\"key\":\"\"}", "is not a key" },
		{ "{\"cmd\":\"hot_pin\",\"key\":7}", "is not a key" },
		{ "{\"cmd\":\"hot_pin\",\"key\":\"a b\"}", "no blanks" },
		{ "{\"cmd\":\"hot_pin\",\"key\":\"a\\nb\"}", "no blanks" },
		{ "{\"cmd\":\"hot_pin\",\"key_hex\":\"6\"}", "is not a key" },
		{ "{\"cmd\":\"hot_pin\",\"key_hex\":\"zz\"}", "is not a key" },
		{ "{\"cmd\":\"hot_pin\",\"key_hex\":\"00\"}", "no blanks" },
	};
	struct promoter promoter = { .rc = 0 };
	char line[1024];

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		expect_error(&promoter, wrong[i][0], wrong[i][1]);
	snprintf(line, sizeof(line), "{\"cmd\":\"hot_pin\",\"key\":\"%0*d\"}", XC_KEY_MAX + 1, 7);
	expect_error(&promoter, line, "is not a key");
	snprintf(line, sizeof(line), "{\"cmd\":\"hot_pin\",\"key_hex\":\"%0*d\"}",
		 2 * XC_KEY_MAX + 2, 7);
	expect_error(&promoter, line, "is not a key");
	assert_int_equal(promoter.wished.len, 0);
}

static void stats_counts_hot_keys(void **state)
{
	struct promoter promoter = { .rc = 0 };
	json_t *reply = ask(&promoter, "{\"cmd\":\"stats\"}");
	json_t *root = json_object_get(reply, "result");

	(void)state;
	assert_int_equal(number_at(root, "hot", "listed"), 5);
	assert_int_equal(number_at(root, "hot", "resident"), 4);
	assert_int_equal(number_at(root, "hot", "pinned"), 1);
	assert_string_equal(
		json_string_value(json_object_get(json_object_get(root, "fastpath"), "state")),
		"off");
	json_decref(reply);
}

static int make_scratch(void **state)
{
	(void)state;
	snprintf(scratch, sizeof(scratch), "/tmp/xctest-control-XXXXXX");
	if (!mkdtemp(scratch))
		return -1;
	snprintf(path, sizeof(path), "%s/control.sock", scratch);
	return 0;
}

static int remove_scratch(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(scratch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(server_socket_has_its_mode_and_goes_away),
		cmocka_unit_test(server_makes_its_directory),
		cmocka_unit_test(server_live_socket_is_not_taken),
		cmocka_unit_test(server_stale_socket_is_replaced),
		cmocka_unit_test(server_other_daemons_socket_stays_at_stop),
		cmocka_unit_test(answer_malformed_request_is_refused),
		cmocka_unit_test(answer_deep_nesting_is_refused),
		cmocka_unit_test(server_longest_line_is_answered_longer_is_refused),
		cmocka_unit_test(server_pipelined_lines_are_answered_in_order),
		cmocka_unit_test(server_split_line_is_answered_once_whole),
		cmocka_unit_test(server_line_without_end_is_answered_at_end_of_input),
		cmocka_unit_test(server_one_client_too_many_is_told),
		cmocka_unit_test(server_many_clients_are_all_answered),
		cmocka_unit_test(server_silent_client_is_closed),
		cmocka_unit_test(server_slow_client_holds_up_nobody),
		cmocka_unit_test(server_gone_client_costs_nothing),
		cmocka_unit_test(server_stop_with_clients_closes_them),
		cmocka_unit_test(stats_has_the_documented_fields),
		cmocka_unit_test(stats_every_outcome_is_counted),
		cmocka_unit_test(stats_state_says_what_serves),
		cmocka_unit_test(config_is_shown),
		cmocka_unit_test(hot_list_shows_every_key_exactly),
		cmocka_unit_test(hot_pin_passes_the_key_on),
		cmocka_unit_test(hot_ban_passes_the_key_on),
		cmocka_unit_test(hot_explain_says_why_and_what_to_do),
		cmocka_unit_test(hot_limits_change_what_is_named),
		cmocka_unit_test(hot_moves_go_on_where_they_ended),
		cmocka_unit_test(hot_pin_wrong_key_is_refused),
		cmocka_unit_test(stats_counts_hot_keys),
	};

	return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
