/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: each query has one answer, its own, by its deadline; what the server says of age and
 * version reaches the asker; connections are kept, and no more of them than may be. Method: a real
 * server on loopback, threads of this process, which answers well, wrongly, slowly or not at all by
 * the path it is asked for.
 */
#include "origin/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/fault.h"

/* --- the server --- */

#define REQUEST_MAX 65536

static int listener;
static uint16_t port;
static atomic_uint accepted_cnt, answered_cnt, open_cnt, open_max;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char last_request[REQUEST_MAX]; /* under the lock */

static void send_text(int fd, const char *text)
{
	size_t len = strlen(text);

	if (send(fd, text, len, MSG_NOSIGNAL) != (ssize_t)len)
		return;
	answered_cnt++;
}

static void send_value(int fd, const char *status, const char *headers, const char *body)
{
	char text[2048];

	snprintf(text, sizeof(text), "HTTP/1.1 %s\r\n%sContent-Length: %zu\r\n\r\n%s", status,
		 headers, strlen(body), body);
	send_text(fd, text);
}

static void send_big(int fd, size_t len)
{
	char head[64], block[4096];

	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", len);
	send_text(fd, head);
	memset(block, 'b', sizeof(block));
	for (size_t sent = 0; sent < len; sent += sizeof(block)) {
		size_t part = len - sent < sizeof(block) ? len - sent : sizeof(block);

		if (send(fd, block, part, MSG_NOSIGNAL) < 0)
			return;
	}
}

/* False: the connection ends. */
static bool serve(int fd, const char *request)
{
	const char *path = strchr(request, ' ') + 1;
	char word[512];

	if (sscanf(path, "/echo/%500[^ ]", word) == 1)
		send_value(fd, "200 OK", "", word);
	else if (sscanf(path, "/status/%500[^ ]", word) == 1)
		send_value(fd, word, "Location: /echo/elsewhere\r\n", "some words");
	else if (strncmp(path, "/age ", 5) == 0)
		send_value(fd, "200 OK",
			   "cache-control: max-age=60\r\nAge: 10\r\nETag: \"v1\"\r\n"
			   "CACHE-CONTROL: stale-while-revalidate=30, stale-if-error=600\r\n",
			   "aged");
	else if (strncmp(path, "/version ", 9) == 0)
		send_value(fd,
			   strstr(request, "If-None-Match: \"v1\"") ? "304 Not Modified" : "200 OK",
			   "ETag: \"v1\"\r\nCache-Control: max-age=5\r\n",
			   strstr(request, "If-None-Match: \"v1\"") ? "" : "first");
	else if (strncmp(path, "/big ", 5) == 0)
		send_big(fd, 200000);
	else if (strncmp(path, "/short ", 7) == 0)
		return send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), false;
	else if (strncmp(path, "/garbage ", 9) == 0)
		return send_text(fd, "what is this?\r\n\r\n"), false;
	else if (strncmp(path, "/close ", 7) == 0)
		return send_value(fd, "200 OK", "", "bye"), false;
	else if (sscanf(path, "/slow/%500[^ ]", word) == 1)
		return usleep((useconds_t)atoi(word) * 1000), send_value(fd, "200 OK", "", "slow"),
		       true;
	else
		send_value(fd, "204 No Content", "", "");
	return true;
}

static bool read_request(int fd, char *request)
{
	size_t len = 0, body = 0;
	char *end, *length;

	do {
		ssize_t got = recv(fd, request + len, REQUEST_MAX - 1 - len, 0);

		if (got <= 0)
			return false;
		len += (size_t)got;
		request[len] = '\0';
		end = strstr(request, "\r\n\r\n");
		length = end ? strstr(request, "Content-Length: ") : NULL;
		body = length ? strtoul(length + 16, NULL, 10) : 0;
	} while (!end || len < (size_t)(end + 4 - request) + body);
	return true;
}

static void *serve_connection(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char *request = malloc(REQUEST_MAX);
	unsigned int now_open = ++open_cnt;

	while (open_max < now_open)
		open_max = now_open;
	do {
		if (!read_request(fd, request))
			break;
		pthread_mutex_lock(&lock);
		strcpy(last_request, request);
		pthread_mutex_unlock(&lock);
	} while (serve(fd, request));
	open_cnt--;
	free(request);
	close(fd);
	return NULL;
}

static void *accept_all(void *arg)
{
	(void)arg;
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		pthread_t thread;

		if (fd < 0)
			return NULL;
		accepted_cnt++;
		pthread_create(&thread, NULL, serve_connection, (void *)(intptr_t)fd);
		pthread_detach(thread);
	}
}

/* --- asking it --- */

static struct loop loop;
static struct http_conf conf;
static struct http *http;

#define BODY_MAX 300000

struct question {
	struct http_query query; /* first */
	char url[256];
	uint32_t done_cnt;
	uint64_t done_ns;
	struct answer answer; /* its spans are not kept */
	char value[512], version[HTTP_VERSION_MAX + 1], reason[256];
	size_t len;
};

static uint64_t now_ns(void)
{
	return clock_now_ns(clock_system());
}

static void done(struct http_query *query, const struct answer *answer)
{
	struct question *question = (struct question *)query;

	question->done_cnt++;
	question->done_ns = now_ns();
	question->answer = *answer;
	question->len = answer->value.len;
	snprintf(question->value, sizeof(question->value), "%.*s", (int)answer->value.len,
		 answer->value.len ? (const char *)answer->value.ptr : "");
	snprintf(question->version, sizeof(question->version), "%.*s", (int)answer->version.len,
		 answer->version.len ? (const char *)answer->version.ptr : "");
	snprintf(question->reason, sizeof(question->reason), "%s", answer->reason);
}

static void turn(void)
{
	uint64_t next_ns = http_next_ns(http), at_ns = now_ns();
	uint64_t left_ms = next_ns <= at_ns ? 0 : (next_ns - at_ns) / NSEC_PER_MSEC + 1;

	assert_true(loop_wait(&loop, left_ms > 20 ? 20 : (int)left_ms) >= 0);
	loop_drain(&loop);
	http_turn(http);
}

static void prepare(struct question *question, enum http_method method, const char *path,
		    uint32_t ms)
{
	*question = (struct question){ 0 };
	snprintf(question->url, sizeof(question->url), "http://127.0.0.1:%u%s", port, path);
	question->query = (struct http_query){ .method = method,
					       .url = question->url,
					       .deadline_ns = now_ns() + ms * NSEC_PER_MSEC,
					       .done = done };
}

static void await(struct question *question)
{
	while (!question->done_cnt)
		turn();
	assert_int_equal(question->done_cnt, 1);
	assert_true(question->done_ns < question->query.deadline_ns + NSEC_PER_SEC);
}

static struct question *get(const char *path, uint32_t ms)
{
	static struct question question;

	prepare(&question, HTTP_GET, path, ms);
	assert_int_equal(http_ask(http, &question.query), 0);
	assert_int_equal(question.done_cnt, 0);
	await(&question);
	return &question;
}

static void assert_answer(const struct question *question, enum answer_kind kind, const char *value)
{
	if (question->answer.kind != kind || strcmp(question->value, value) != 0)
		fail_msg("kind %d, value \"%s\", reason \"%s\"", question->answer.kind,
			 question->value, question->reason);
}

static int setup(void **state)
{
	(void)state;
	conf = (struct http_conf){ .connection_max = 4,
				   .connect_ms = 1000,
				   .value_max = 100000,
				   .header = "Authorization: Bearer secret",
				   .clock = clock_system() };
	accepted_cnt = open_max = 0;
	return http_new(&conf, &loop, &http);
}

static int teardown(void **state)
{
	(void)state;
	http_free(http);
	http = NULL;
	while (open_cnt)
		usleep(1000);
	return 0;
}

static void value_age_and_version_are_told(void **state)
{
	struct question *question = get("/age", 5000);

	(void)state;
	assert_answer(question, ANSWER_FOUND, "aged");
	assert_string_equal(question->version, "\"v1\"");
	assert_int_equal(question->answer.age.fresh_ms, 50000);
	assert_int_equal(question->answer.age.stale_ms, 30000);
	assert_int_equal(question->answer.age.stale_if_error_ms, 600000);
	question = get("/echo/plain", 5000);
	assert_answer(question, ANSWER_FOUND, "plain");
	assert_string_equal(question->version, "");
	assert_true(question->answer.age.fresh_ms == UINT64_MAX);
	assert_non_null(strstr(last_request, "Authorization: Bearer secret\r\n"));
}

static void version_that_is_known_is_not_sent_again(void **state)
{
	struct question question;

	(void)state;
	assert_answer(get("/version", 5000), ANSWER_FOUND, "first");
	prepare(&question, HTTP_GET, "/version", 5000);
	question.query.version = span_str("\"v1\"");
	assert_int_equal(http_ask(http, &question.query), 0);
	await(&question);
	assert_answer(&question, ANSWER_FOUND, "");
	assert_true(question.answer.unchanged);
	assert_int_equal(question.answer.age.fresh_ms, 5000);
	prepare(&question, HTTP_GET, "/version", 5000);
	question.query.version = span_str("\"v0\"");
	assert_int_equal(http_ask(http, &question.query), 0);
	await(&question);
	assert_answer(&question, ANSWER_FOUND, "first");
	assert_false(question.answer.unchanged);
}

static void status_says_what_became_of_it(void **state)
{
	static const struct {
		const char *path;
		enum answer_kind kind;
	} table[] = {
		{ "/status/404", ANSWER_ABSENT },  { "/status/410", ANSWER_ABSENT },
		{ "/status/500", ANSWER_FAILED },  { "/status/503", ANSWER_FAILED },
		{ "/status/429", ANSWER_FAILED },  { "/status/408", ANSWER_FAILED },
		{ "/status/425", ANSWER_FAILED },  { "/status/403", ANSWER_REFUSED },
		{ "/status/400", ANSWER_REFUSED }, { "/status/301", ANSWER_REFUSED },
		{ "/status/206", ANSWER_REFUSED },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		assert_answer(get(table[i].path, 5000), table[i].kind, "");
	assert_string_equal(get("/status/503", 5000)->reason, "status 503");
}

static void writes_bring_their_value(void **state)
{
	static uint8_t body[20000];
	struct question question;

	(void)state;
	prepare(&question, HTTP_PUT, "/thing", 5000);
	question.query.body = span_str("new value");
	assert_int_equal(http_ask(http, &question.query), 0);
	await(&question);
	assert_answer(&question, ANSWER_DONE, "");
	assert_memory_equal(last_request, "PUT /thing ", 11);
	assert_non_null(strstr(last_request, "\r\n\r\nnew value"));
	memset(body, 'x', sizeof(body));
	prepare(&question, HTTP_PUT, "/thing", 5000);
	question.query.body = span_of(body, sizeof(body));
	assert_int_equal(http_ask(http, &question.query), 0);
	await(&question);
	assert_answer(&question, ANSWER_DONE, "");
	assert_int_equal(strlen(strstr(last_request, "\r\n\r\n") + 4), sizeof(body));
	prepare(&question, HTTP_DELETE, "/thing", 5000);
	assert_int_equal(http_ask(http, &question.query), 0);
	await(&question);
	assert_answer(&question, ANSWER_DONE, "");
	assert_memory_equal(last_request, "DELETE /thing ", 14);
	prepare(&question, HTTP_DELETE, "/status/404", 5000);
	assert_int_equal(http_ask(http, &question.query), 0);
	await(&question);
	assert_answer(&question, ANSWER_ABSENT, "");
}

static void server_that_answers_wrongly_or_not_at_all_fails(void **state)
{
	uint64_t began_ns;
	struct question question;

	(void)state;
	assert_answer(get("/short", 5000), ANSWER_FAILED, "");
	assert_answer(get("/garbage", 5000), ANSWER_FAILED, "");
	began_ns = now_ns();
	assert_answer(get("/slow/1500", 150), ANSWER_FAILED, "");
	assert_in_range((now_ns() - began_ns) / NSEC_PER_MSEC, 140, 1000);
	/* Its deadline is over already. */
	assert_answer(get("/slow/500", 0), ANSWER_FAILED, "");
	prepare(&question, HTTP_GET, "", 5000);
	/* Nobody listens there. */
	snprintf(question.url, sizeof(question.url), "http://127.0.0.1:1/");
	assert_int_equal(http_ask(http, &question.query), 0);
	await(&question);
	assert_answer(&question, ANSWER_FAILED, "");
	assert_int_not_equal(strlen(question.reason), 0);
}

static void what_can_never_work_is_refused(void **state)
{
	struct question question;

	(void)state;
	assert_answer(get("/big", 5000), ANSWER_REFUSED, "");
	prepare(&question, HTTP_GET, "", 5000);
	snprintf(question.url, sizeof(question.url), "file:///etc/hostname");
	assert_int_equal(http_ask(http, &question.query), 0);
	await(&question);
	assert_answer(&question, ANSWER_REFUSED, "");
	teardown(NULL);
	conf.value_max = 200000;
	assert_int_equal(http_new(&conf, &loop, &http), 0);
	assert_int_equal(get("/big", 5000)->len, 200000);
}

static void connection_is_kept_and_replaced_when_it_was_closed(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 50; i++)
		assert_answer(get("/echo/again", 5000), ANSWER_FOUND, "again");
	assert_int_equal(accepted_cnt, 1);
	for (uint32_t i = 0; i < 5; i++)
		assert_answer(get("/close", 5000), ANSWER_FOUND, "bye");
	assert_answer(get("/echo/again", 5000), ANSWER_FOUND, "again");
}

#define MANY 200

static void many_at_a_time_have_each_their_own_answer(void **state)
{
	static struct question questions[MANY];

	(void)state;
	for (uint32_t i = 0; i < MANY; i++) {
		char path[32];

		snprintf(path, sizeof(path), i % 10 ? "/echo/%u" : "/slow/20?%u", i);
		prepare(&questions[i], HTTP_GET, path, 20000);
		assert_int_equal(http_ask(http, &questions[i].query), 0);
	}
	for (uint32_t i = 0; i < MANY; i++) {
		char expected[32];

		await(&questions[i]);
		snprintf(expected, sizeof(expected), i % 10 ? "%u" : "slow", i);
		assert_answer(&questions[i], ANSWER_FOUND, expected);
	}
	assert_in_range(accepted_cnt, 2, 4);
	assert_in_range(open_max, 2, 4);
}

static void queries_of_an_origin_that_goes_are_answered(void **state)
{
	struct question questions[10];

	(void)state;
	for (uint32_t i = 0; i < 10; i++) {
		prepare(&questions[i], HTTP_GET, "/slow/300", 5000);
		assert_int_equal(http_ask(http, &questions[i].query), 0);
	}
	turn();
	turn();
	teardown(NULL);
	for (uint32_t i = 0; i < 10; i++) {
		assert_int_equal(questions[i].done_cnt, 1);
		assert_answer(&questions[i], ANSWER_FAILED, "");
	}
}

static void without_memory_nothing_is_asked(void **state)
{
	struct question question;
	struct http *none = NULL;
	uint64_t cnt, failed_cnt = 0;

	(void)state;
	fault_start(1);
	assert_int_equal(http_new(&conf, &loop, &none), -ENOMEM);
	fault_stop();
	prepare(&question, HTTP_GET, "/echo/a", 5000);
	fault_start(1);
	assert_int_equal(http_ask(http, &question.query), -ENOMEM);
	fault_stop();
	assert_int_equal(http_ask(http, &question.query), 0);
	fault_start(0);
	await(&question);
	cnt = fault_stop();
	assert_answer(&question, ANSWER_FOUND, "a");
	assert_true(cnt >= 2);
	/* A socket that cannot be watched is tried again; a value that has no place fails. */
	for (uint64_t i = 1; i <= cnt; i++) {
		http_free(http);
		assert_int_equal(http_new(&conf, &loop, &http), 0);
		prepare(&question, HTTP_GET, "/echo/a", 300);
		assert_int_equal(http_ask(http, &question.query), 0);
		fault_start(i);
		await(&question);
		fault_stop();
		if (question.answer.kind == ANSWER_FOUND)
			assert_string_equal(question.value, "a");
		else
			assert_answer(&question, ANSWER_FAILED, "");
		failed_cnt += question.answer.kind == ANSWER_FAILED;
	}
	assert_true(failed_cnt >= 1);
}

/* --- as one kind of origin among others --- */

enum { READ, WRITE, REMOVE, STATEMENT_CNT };

static const struct origin_statement statements[STATEMENT_CNT] = {
	[READ] = { .text = "GET /echo/$2-$1?a=$", .param_cnt = 2 },
	[WRITE] = { .text = "PUT /thing/$1", .param_cnt = 2, .writes = true },
	[REMOVE] = { .text = "DELETE /thing/$1", .param_cnt = 1, .writes = true },
};

struct origin_question {
	struct origin_query query; /* first */
	uint32_t done_cnt;
	enum answer_kind kind;
	char value[256];
};

static void origin_done(struct origin_query *query, const struct answer *answer)
{
	struct origin_question *question = (struct origin_question *)query;

	question->done_cnt++;
	question->kind = answer->kind;
	snprintf(question->value, sizeof(question->value), "%.*s", (int)answer->value.len,
		 answer->value.len ? (const char *)answer->value.ptr : "");
}

static struct origin_question ask_origin(void *back, uint32_t statement, struct span a,
					 struct span b)
{
	static struct origin_question question;

	question = (struct origin_question){ .query = { .statement = statement,
							.params = { a, b },
							.deadline_ns = now_ns() + 5 * NSEC_PER_SEC,
							.done = origin_done } };
	assert_int_equal(http_ops.ask(back, &question.query), 0);
	while (!question.done_cnt) {
		assert_true(loop_wait(&loop, 5) >= 0);
		loop_drain(&loop);
		if (http_ops.next_ns(back) <= now_ns())
			http_ops.turn(back);
	}
	return question;
}

static void back_end_of_the_kind_serves_through_the_origins_face(void **state)
{
	char target[64], why[ORIGIN_WHY_MAX] = "";
	struct origin_setup set_up = { .target = target,
				       .statements = statements,
				       .statement_cnt = STATEMENT_CNT,
				       .connection_cnt = 1,
				       .waiting_max = 1,
				       .timeout_ms = 1000,
				       .clock = clock_system() };
	struct origin_question question, busy = {
		.query = { .statement = REMOVE, .params = { span_str("x") }, .done = origin_done }
	};
	void *back;

	(void)state;
	snprintf(target, sizeof(target), "http://127.0.0.1:%u", port);
	assert_int_equal(http_ops.open(&set_up, &loop, &back, why), 0);
	question = ask_origin(back, READ, span_str("a/b c?"), span_str("\xc3\xa4"));
	assert_int_equal(question.kind, ANSWER_FOUND);
	assert_string_equal(question.value, "%C3%A4-a%2Fb%20c%3F?a=$");
	question = ask_origin(back, WRITE, span_str("k&1"), span_str("body of it"));
	assert_int_equal(question.kind, ANSWER_DONE);
	assert_memory_equal(last_request, "PUT /thing/k%261 ", 17);
	assert_non_null(strstr(last_request, "\r\n\r\nbody of it"));
	question = ask_origin(back, REMOVE, span_str("k"), span_str(""));
	assert_int_equal(question.kind, ANSWER_DONE);
	/* No more than may wait. */
	busy.query.deadline_ns = now_ns() + NSEC_PER_SEC;
	assert_int_equal(http_ops.ask(back, &busy.query), 0);
	assert_int_equal(http_ops.ask(back, &(struct origin_query){ .statement = REMOVE }),
			 -EAGAIN);
	http_ops.close(back);
	assert_int_equal(busy.done_cnt, 1);
	http_ops.close(NULL);
}

static void what_is_no_statement_is_explained(void **state)
{
	static const struct {
		struct origin_statement statement;
		const char *target, *hint;
	} table[] = {
		{ { .text = "GET /a" }, "ftp://x", "http://" },
		{ { .text = "POST /a" }, "http://x", "GET /product/$1" },
		{ { .text = "GET a" }, "http://x", "GET /product/$1" },
		{ { .text = "GET /a b" }, "http://x", "blanks" },
		{ { .text = "GET /$2", .param_cnt = 1 }, "http://x", "parts" },
		{ { .text = "GET /$0", .param_cnt = 1 }, "http://x", "parts" },
		{ { .text = "GET /$99999999999999999999", .param_cnt = 1 }, "http://x", "parts" },
		{ { .text = "PUT /a" }, "http://x", "value" },
		{ { .text = "GET /a", .as_json = true }, "http://x", "rows" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const struct origin_setup set_up = { .target = table[i].target,
						     .statements = &table[i].statement,
						     .statement_cnt = 1,
						     .connection_cnt = 1,
						     .clock = clock_system() };
		char why[ORIGIN_WHY_MAX] = "";
		void *back;

		assert_int_equal(http_ops.open(&set_up, &loop, &back, why), -EINVAL);
		assert_non_null(strstr(why, table[i].hint));
	}
}

static int start_server(void **state)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_addr = { .s_addr = htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(addr);
	pthread_t thread;

	(void)state;
	/* Nobody's settings lead elsewhere. */
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (struct sockaddr *)&addr, len) || listen(listener, 128) ||
	    getsockname(listener, (struct sockaddr *)&addr, &len))
		return -1;
	port = ntohs(addr.sin_port);
	pthread_create(&thread, NULL, accept_all, NULL);
	pthread_detach(thread);
	return loop_init(&loop);
}

static int stop_server(void **state)
{
	(void)state;
	shutdown(listener, SHUT_RDWR);
	loop_fini(&loop);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(value_age_and_version_are_told),
		TEST(version_that_is_known_is_not_sent_again),
		TEST(status_says_what_became_of_it),
		TEST(writes_bring_their_value),
		TEST(server_that_answers_wrongly_or_not_at_all_fails),
		TEST(what_can_never_work_is_refused),
		TEST(connection_is_kept_and_replaced_when_it_was_closed),
		TEST(many_at_a_time_have_each_their_own_answer),
		TEST(queries_of_an_origin_that_goes_are_answered),
		TEST(without_memory_nothing_is_asked),
		TEST(back_end_of_the_kind_serves_through_the_origins_face),
		TEST(what_is_no_statement_is_explained),
	};

	return cmocka_run_group_tests(tests, start_server, stop_server);
}
