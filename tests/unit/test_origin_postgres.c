/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: each query has one answer, its own, by its deadline, whatever becomes of the server;
 * a query that fails does not hurt its neighbours in the pipeline; lost connections come back by
 * themselves; bytes go and come as they are. Method: a real PostgreSQL server, stopped, frozen and
 * started again; the time is the machine's.
 */
#include "origin/postgres.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/fault.h"
#include "lib/pgserver.h"

enum { GET, GET_ROW, GET_BYTES, PUT, PUT_BYTES, UPDATE, SLEEP, WRONG, LATER, TWO, STATEMENT_CNT };

static const struct origin_statement statements[STATEMENT_CNT] = {
	[GET] = { .text = "SELECT name FROM product WHERE id = $1", .param_cnt = 1 },
	[GET_ROW] = { .text = "SELECT id, name, price FROM product WHERE id = $1",
		      .param_cnt = 1,
		      .as_json = true },
	[GET_BYTES] = { .text = "SELECT data FROM blob WHERE id = $1", .param_cnt = 1 },
	[PUT] = { .text = "INSERT INTO product VALUES ($1, $2, 1)", .param_cnt = 2 },
	[PUT_BYTES] = { .text = "INSERT INTO blob VALUES ($1, $2)"
				" ON CONFLICT (id) DO UPDATE SET data = excluded.data",
			.param_cnt = 2 },
	[UPDATE] = { .text = "UPDATE product SET name = $2 WHERE id = $1", .param_cnt = 2 },
	[SLEEP] = { .text = "SELECT 'slept' FROM pg_sleep($1)", .param_cnt = 1 },
	[WRONG] = { .text = "SELEKT 1" },
	[LATER] = { .text = "SELECT name FROM later WHERE id = $1", .param_cnt = 1 },
	[TWO] = { .text = "SELECT $1::text || ',' || $2::text", .param_cnt = 1 },
};

static struct pgserver server;
static struct loop loop;
static struct postgres_conf conf;
static struct postgres *postgres;

#define ANSWER_MAX 1024

struct question {
	struct origin_query query; /* first */
	uint32_t done_cnt;
	uint64_t done_ns;
	enum answer_kind kind;
	char value[ANSWER_MAX];
	size_t len;
	char reason[256];
};

static uint64_t now_ns(void)
{
	return clock_now_ns(clock_system());
}

static void done(struct origin_query *query, const struct answer *answer)
{
	struct question *question = (struct question *)query;

	question->done_cnt++;
	question->done_ns = now_ns();
	question->kind = answer->kind;
	question->len = answer->value.len;
	assert_true(answer->value.len < ANSWER_MAX);
	if (answer->value.len)
		memcpy(question->value, answer->value.ptr, answer->value.len);
	question->value[answer->value.len] = '\0';
	snprintf(question->reason, sizeof(question->reason), "%s", answer->reason);
}

static void turn(void)
{
	uint64_t next_ns = postgres_next_ns(postgres), at_ns = now_ns();
	int wait_ms = next_ns <= at_ns ? 0
		      : next_ns - at_ns < 20 * NSEC_PER_MSEC
			      ? (int)((next_ns - at_ns) / NSEC_PER_MSEC) + 1
			      : 20;

	assert_true(loop_wait(&loop, wait_ms) >= 0);
	loop_drain(&loop);
	postgres_turn(postgres);
}

static void ready_within(uint32_t cnt, uint32_t ms)
{
	uint64_t until_ns = now_ns() + ms * NSEC_PER_MSEC;

	while (postgres_ready_cnt(postgres) != cnt && now_ns() < until_ns)
		turn();
	if (postgres_ready_cnt(postgres) != cnt)
		fail_msg("%u of %u connections: %s", postgres_ready_cnt(postgres), cnt,
			 postgres_error(postgres));
}

static int ask_within(struct question *question, uint32_t statement, const char *a, const char *b,
		      uint32_t ms)
{
	*question = (struct question){ 0 };
	question->query = (struct origin_query){ .statement = statement,
						 .deadline_ns = now_ns() + ms * NSEC_PER_MSEC,
						 .done = done };
	if (a)
		question->query.params[0] = span_str(a);
	if (b)
		question->query.params[1] = span_str(b);
	return postgres_ask(postgres, &question->query);
}

static void await(struct question *question)
{
	while (!question->done_cnt)
		turn();
	assert_int_equal(question->done_cnt, 1);
	assert_true(question->done_ns < question->query.deadline_ns + NSEC_PER_SEC);
}

static struct question ask(uint32_t statement, const char *a, const char *b)
{
	static struct question question;

	assert_int_equal(ask_within(&question, statement, a, b, 5000), 0);
	await(&question);
	return question;
}

static void assert_answer(struct question question, enum answer_kind kind, const char *value)
{
	if (question.kind != kind || strcmp(question.value, value) != 0)
		fail_msg("kind %d, value \"%s\", reason \"%s\"", question.kind, question.value,
			 question.reason);
}

static void open_it(void)
{
	assert_int_equal(postgres_new(&conf, &loop, &postgres), 0);
	ready_within(conf.connection_cnt, 10000);
}

static int setup(void **state)
{
	(void)state;
	pgserver_run(&server,
		     "DROP TABLE IF EXISTS product, blob, later;"
		     "CREATE TABLE product (id int PRIMARY KEY, name text, price numeric(9,2));"
		     "CREATE TABLE blob (id int PRIMARY KEY, data bytea);"
		     "INSERT INTO product VALUES (1, 'chair', 49.90), (2, NULL, 1)",
		     NULL, 0);
	conf = (struct postgres_conf){ .conninfo = server.conninfo,
				       .statements = statements,
				       .statement_cnt = STATEMENT_CNT,
				       .connection_cnt = 2,
				       .pipeline_max = 32,
				       .waiting_max = 2000,
				       .connect_ms = 3000,
				       .timeout_ms = 1000,
				       .pause_ms = 20,
				       .pause_max_ms = 200,
				       .clock = clock_system(),
				       .seed = 1 };
	open_it();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	postgres_free(postgres);
	postgres = NULL;
	return 0;
}

static void value_of_a_row_is_found(void **state)
{
	(void)state;
	assert_answer(ask(GET, "1", NULL), ANSWER_FOUND, "chair");
	assert_answer(ask(GET_ROW, "1", NULL), ANSWER_FOUND,
		      "{\"id\":1,\"name\":\"chair\",\"price\":49.90}");
}

static void no_row_and_no_value_are_absent(void **state)
{
	(void)state;
	assert_answer(ask(GET, "99", NULL), ANSWER_ABSENT, "");
	assert_answer(ask(GET, "2", NULL), ANSWER_ABSENT, "");
	assert_answer(ask(GET_ROW, "99", NULL), ANSWER_ABSENT, "");
	assert_answer(ask(GET_ROW, "2", NULL), ANSWER_FOUND,
		      "{\"id\":2,\"name\":null,\"price\":1.00}");
}

static void writes_are_done_or_change_nothing(void **state)
{
	(void)state;
	assert_answer(ask(PUT, "7", "table"), ANSWER_DONE, "");
	assert_answer(ask(UPDATE, "7", "desk 'with' \\ quotes; --"), ANSWER_DONE, "");
	assert_answer(ask(GET, "7", NULL), ANSWER_FOUND, "desk 'with' \\ quotes; --");
	assert_answer(ask(UPDATE, "99", "nothing"), ANSWER_ABSENT, "");
	assert_answer(ask(PUT, "8", ""), ANSWER_DONE, "");
	assert_answer(ask(GET, "8", NULL), ANSWER_FOUND, "");
}

static void bytes_go_and_come_as_they_are(void **state)
{
	struct question question = { 0 };
	uint8_t bytes[256];

	(void)state;
	for (int i = 0; i < 256; i++)
		bytes[i] = (uint8_t)(255 - i);
	question.query = (struct origin_query){ .statement = PUT_BYTES,
						.params = { span_str("1"), span_of(bytes, 256) },
						.deadline_ns = now_ns() + 5 * NSEC_PER_SEC,
						.done = done };
	assert_int_equal(postgres_ask(postgres, &question.query), 0);
	await(&question);
	assert_int_equal(question.kind, ANSWER_DONE);
	question = ask(GET_BYTES, "1", NULL);
	assert_int_equal(question.len, 256);
	assert_memory_equal(question.value, bytes, 256);
}

static void text_with_a_zero_byte_is_refused(void **state)
{
	struct question question = { 0 };

	(void)state;
	question.query = (struct origin_query){ .statement = PUT,
						.params = { span_str("9"), span_of("a\0b", 3) },
						.deadline_ns = now_ns() + 5 * NSEC_PER_SEC,
						.done = done };
	assert_int_equal(postgres_ask(postgres, &question.query), 0);
	assert_int_equal(question.done_cnt, 0);
	await(&question);
	assert_int_equal(question.kind, ANSWER_REFUSED);
	assert_answer(ask(GET, "9", NULL), ANSWER_ABSENT, "");
}

static void what_a_constraint_forbids_is_refused_alone(void **state)
{
	struct question before, wrong, not_a_number, after;

	(void)state;
	assert_int_equal(ask_within(&before, GET, "1", NULL, 5000), 0);
	assert_int_equal(ask_within(&wrong, PUT, "1", "again", 5000), 0);
	assert_int_equal(ask_within(&not_a_number, GET, "one", NULL, 5000), 0);
	assert_int_equal(ask_within(&after, GET, "1", NULL, 5000), 0);
	await(&wrong);
	await(&not_a_number);
	await(&before);
	await(&after);
	assert_answer(before, ANSWER_FOUND, "chair");
	assert_answer(after, ANSWER_FOUND, "chair");
	assert_int_equal(wrong.kind, ANSWER_REFUSED);
	assert_non_null(strstr(wrong.reason, "duplicate key"));
	assert_int_equal(not_a_number.kind, ANSWER_REFUSED);
}

static void statement_that_is_none_is_refused_with_its_reason(void **state)
{
	struct question question;

	(void)state;
	question = ask(WRONG, NULL, NULL);
	assert_int_equal(question.kind, ANSWER_REFUSED);
	assert_non_null(strstr(question.reason, "SELEKT"));
	question = ask(TWO, "a", NULL);
	assert_int_equal(question.kind, ANSWER_REFUSED);
	assert_non_null(strstr(question.reason, "parameters"));
	assert_answer(ask(GET, "1", NULL), ANSWER_FOUND, "chair");
}

static void table_that_comes_later_is_found(void **state)
{
	uint64_t until_ns = now_ns() + 5 * NSEC_PER_SEC;
	struct question question;

	(void)state;
	question = ask(LATER, "1", NULL);
	assert_int_equal(question.kind, ANSWER_REFUSED);
	pgserver_run(&server,
		     "CREATE TABLE later (id int, name text);"
		     "INSERT INTO later VALUES (1, 'here')",
		     NULL, 0);
	do {
		usleep(50000);
		question = ask(LATER, "1", NULL);
	} while (question.kind == ANSWER_REFUSED && now_ns() < until_ns);
	assert_answer(question, ANSWER_FOUND, "here");
}

static void table_that_changes_is_asked_anew(void **state)
{
	struct question question;

	(void)state;
	assert_answer(ask(GET, "1", NULL), ANSWER_FOUND, "chair");
	pgserver_run(&server, "ALTER TABLE product ALTER name TYPE varchar(20)", NULL, 0);
	question = ask(GET, "1", NULL);
	if (question.kind != ANSWER_FOUND)
		assert_int_equal(question.kind, ANSWER_FAILED);
	/* Once for each connection. */
	ask(GET, "1", NULL);
	assert_answer(ask(GET, "1", NULL), ANSWER_FOUND, "chair");
	assert_answer(ask(GET, "1", NULL), ANSWER_FOUND, "chair");
	assert_int_equal(postgres_ready_cnt(postgres), 2);
}

#define MANY 1000

static void many_queries_have_each_their_own_answer(void **state)
{
	static struct question questions[MANY];
	static char keys[MANY][8];
	char connections[16];

	(void)state;
	pgserver_run(&server,
		     "INSERT INTO product SELECT i, 'p' || i, 1 FROM generate_series(10, 2000) i",
		     NULL, 0);
	for (uint32_t i = 0; i < MANY; i++) {
		snprintf(keys[i], sizeof(keys[i]), "%u", 10 + i);
		assert_int_equal(ask_within(&questions[i], GET, keys[i], NULL, 20000), 0);
	}
	for (uint32_t i = 0; i < MANY; i++) {
		char expected[16];

		await(&questions[i]);
		snprintf(expected, sizeof(expected), "p%u", 10 + i);
		assert_answer(questions[i], ANSWER_FOUND, expected);
	}
	pgserver_run(&server,
		     "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'xdpcached'",
		     connections, sizeof(connections));
	assert_string_equal(connections, "2");
}

static void slow_query_holds_up_nobody_on_another_connection(void **state)
{
	struct question slow, quick;
	uint64_t began_ns = now_ns();

	(void)state;
	assert_int_equal(ask_within(&slow, SLEEP, "0.8", NULL, 5000), 0);
	for (uint32_t i = 0; i < 20; i++) {
		assert_int_equal(ask_within(&quick, GET, "1", NULL, 5000), 0);
		await(&quick);
		assert_answer(quick, ANSWER_FOUND, "chair");
	}
	assert_int_equal(slow.done_cnt, 0);
	assert_true(now_ns() - began_ns < 800 * NSEC_PER_MSEC);
	await(&slow);
	assert_answer(slow, ANSWER_FOUND, "slept");
}

static void query_past_its_deadline_fails_and_the_server_gives_it_up(void **state)
{
	struct question slow;
	uint64_t began_ns = now_ns();
	char active[16];

	(void)state;
	assert_int_equal(ask_within(&slow, SLEEP, "30", NULL, 200), 0);
	await(&slow);
	assert_int_equal(slow.kind, ANSWER_FAILED);
	assert_in_range((now_ns() - began_ns) / NSEC_PER_MSEC, 200, 900);
	while (now_ns() - began_ns < 1800 * NSEC_PER_MSEC) {
		turn();
		usleep(1000);
	}
	pgserver_run(&server,
		     "SELECT count(*) FROM pg_stat_activity WHERE state = 'active'"
		     " AND application_name = 'xdpcached'",
		     active, sizeof(active));
	assert_string_equal(active, "0");
	assert_answer(ask(GET, "1", NULL), ANSWER_FOUND, "chair");
	assert_answer(ask(GET, "1", NULL), ANSWER_FOUND, "chair");
	assert_int_equal(slow.done_cnt, 1);
}

static void broken_connections_fail_their_queries_and_come_back(void **state)
{
	struct question slow, again;
	uint64_t until_ns;

	(void)state;
	assert_int_equal(ask_within(&slow, SLEEP, "0.9", NULL, 5000), 0);
	while (slow.query.deadline_ns - now_ns() > 4900 * NSEC_PER_MSEC)
		turn();
	pgserver_run(&server,
		     "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
		     " WHERE application_name = 'xdpcached'",
		     NULL, 0);
	await(&slow);
	assert_int_equal(slow.kind, ANSWER_FAILED);
	assert_non_null(strstr(slow.reason, "terminat"));
	/* The other one may not know yet. */
	until_ns = now_ns() + 5 * NSEC_PER_SEC;
	do {
		again = (struct question){ .kind = ANSWER_FAILED };
		if (ask_within(&again, GET, "1", NULL, 5000) == 0)
			await(&again);
		else
			turn();
	} while (again.kind != ANSWER_FOUND && now_ns() < until_ns);
	ready_within(2, 5000);
	assert_answer(ask(GET, "1", NULL), ANSWER_FOUND, "chair");
}

static void server_that_is_gone_is_said_at_once_and_found_again(void **state)
{
	struct question question;
	uint64_t began_ns;
	int error = 0;

	(void)state;
	pgserver_stop(&server);
	began_ns = now_ns();
	while (error != -ENOTCONN && now_ns() - began_ns < 2 * NSEC_PER_SEC) {
		error = ask_within(&question, GET, "1", NULL, 500);
		if (!error) {
			await(&question);
			assert_int_equal(question.kind, ANSWER_FAILED);
		}
	}
	assert_int_equal(error, -ENOTCONN);
	assert_int_not_equal(strlen(postgres_error(postgres)), 0);
	pgserver_start(&server, NULL);
	ready_within(2, 5000);
	assert_answer(ask(GET, "1", NULL), ANSWER_FOUND, "chair");
}

static void server_that_is_frozen_is_left_and_found_again(void **state)
{
	struct question question;
	uint64_t began_ns = now_ns();

	(void)state;
	pgserver_freeze(&server);
	assert_int_equal(ask_within(&question, GET, "1", NULL, 100), 0);
	await(&question);
	assert_int_equal(question.kind, ANSWER_FAILED);
	while (postgres_ready_cnt(postgres) == 2 && now_ns() - began_ns < 4 * NSEC_PER_SEC)
		turn();
	assert_int_equal(postgres_ready_cnt(postgres), 1);
	assert_string_equal(postgres_error(postgres), "the server gives no sign");
	pgserver_thaw(&server);
	ready_within(2, 8000);
	assert_answer(ask(GET, "1", NULL), ANSWER_FOUND, "chair");
}

static void connecting_is_given_up_in_time(void **state)
{
	struct question question;

	(void)state;
	teardown(NULL);
	pgserver_freeze(&server);
	conf.connect_ms = 100;
	assert_int_equal(postgres_new(&conf, &loop, &postgres), 0);
	/* Nobody makes a connection any more that it could wait for. */
	assert_int_equal(ask_within(&question, GET, "1", NULL, 3000), 0);
	await(&question);
	assert_int_equal(question.kind, ANSWER_FAILED);
	assert_string_equal(question.reason, "not connected in time");
	pgserver_thaw(&server);
	conf.connect_ms = 3000;
	teardown(NULL);
	open_it();
}

static void what_is_asked_before_a_connection_waits_for_it(void **state)
{
	struct question question, late;

	(void)state;
	teardown(NULL);
	conf.waiting_max = 2;
	assert_int_equal(postgres_new(&conf, &loop, &postgres), 0);
	assert_int_equal(ask_within(&question, GET, "1", NULL, 5000), 0);
	assert_int_equal(ask_within(&late, GET, "1", NULL, 0), 0);
	assert_int_equal(ask_within(&(struct question){ 0 }, GET, "1", NULL, 5000), -EAGAIN);
	await(&late);
	assert_int_equal(late.kind, ANSWER_FAILED);
	await(&question);
	assert_answer(question, ANSWER_FOUND, "chair");
}

static void nobody_there_fails_what_waits(void **state)
{
	struct question question;

	(void)state;
	teardown(NULL);
	conf.conninfo = "host=/nonexistent user=xc";
	assert_int_equal(postgres_new(&conf, &loop, &postgres), 0);
	assert_int_equal(ask_within(&question, GET, "1", NULL, 500), -ENOTCONN);
	assert_non_null(strstr(postgres_error(postgres), "/nonexistent"));
	teardown(NULL);
	conf.conninfo = "this is no connection string";
	assert_int_equal(postgres_new(&conf, &loop, &postgres), -EINVAL);
}

static void queries_of_an_origin_that_goes_are_answered(void **state)
{
	struct question questions[40];

	(void)state;
	conf.pipeline_max = 4;
	teardown(NULL);
	open_it();
	for (uint32_t i = 0; i < 40; i++)
		assert_int_equal(ask_within(&questions[i], SLEEP, "0.5", NULL, 5000), 0);
	turn();
	teardown(NULL);
	for (uint32_t i = 0; i < 40; i++) {
		assert_int_equal(questions[i].done_cnt, 1);
		assert_int_equal(questions[i].kind, ANSWER_FAILED);
	}
}

static void back_end_of_the_kind_serves_through_the_origins_face(void **state)
{
	const struct origin_setup set_up = { .target = server.conninfo,
					     .statements = statements,
					     .statement_cnt = STATEMENT_CNT,
					     .connection_cnt = 1,
					     .waiting_max = 10,
					     .timeout_ms = 1000,
					     .clock = clock_system() };
	struct origin_setup wrong = set_up;
	struct question question = { .query = { .statement = GET,
						.params = { span_str("1") },
						.deadline_ns = now_ns() + 5 * NSEC_PER_SEC,
						.done = done } };
	char why[ORIGIN_WHY_MAX] = "";
	void *back;

	(void)state;
	assert_string_equal(postgres_ops.kind, "postgresql");
	wrong.target = "nonsense";
	assert_int_equal(postgres_ops.open(&wrong, &loop, &back, why), -EINVAL);
	assert_non_null(strstr(why, "nonsense"));
	assert_int_equal(postgres_ops.open(&set_up, &loop, &back, why), 0);
	assert_int_equal(postgres_ops.ask(back, &question.query), 0);
	while (!question.done_cnt) {
		assert_true(postgres_ops.next_ns(back) <= question.query.deadline_ns);
		assert_true(loop_wait(&loop, 20) >= 0);
		loop_drain(&loop);
		postgres_ops.turn(back);
	}
	assert_answer(question, ANSWER_FOUND, "chair");
	postgres_ops.close(back);
	postgres_ops.close(NULL);
}

static void without_memory_there_is_no_origin(void **state)
{
	uint64_t cnt;

	(void)state;
	teardown(NULL);
	fault_start(0);
	assert_int_equal(postgres_new(&conf, &loop, &postgres), 0);
	cnt = fault_stop();
	for (uint64_t i = 1; i <= cnt; i++) {
		struct postgres *none = NULL;

		fault_start(i);
		assert_int_equal(postgres_new(&conf, &loop, &none), -ENOMEM);
		fault_stop();
		assert_null(none);
	}
}

static int start_server(void **state)
{
	(void)state;
	if (loop_init(&loop))
		return -1;
	pgserver_init(&server);
	pgserver_start(&server, NULL);
	return 0;
}

static int stop_server(void **state)
{
	(void)state;
	pgserver_fini(&server);
	loop_fini(&loop);
	return 0;
}

static void without_postgresql_nothing_is_tested(void **state)
{
	(void)state;
	printf("SKIP: PostgreSQL 15 is not installed (apt install postgresql-15)\n");
	skip();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(value_of_a_row_is_found),
		TEST(no_row_and_no_value_are_absent),
		TEST(writes_are_done_or_change_nothing),
		TEST(bytes_go_and_come_as_they_are),
		TEST(text_with_a_zero_byte_is_refused),
		TEST(what_a_constraint_forbids_is_refused_alone),
		TEST(statement_that_is_none_is_refused_with_its_reason),
		TEST(table_that_comes_later_is_found),
		TEST(table_that_changes_is_asked_anew),
		TEST(many_queries_have_each_their_own_answer),
		TEST(slow_query_holds_up_nobody_on_another_connection),
		TEST(query_past_its_deadline_fails_and_the_server_gives_it_up),
		TEST(broken_connections_fail_their_queries_and_come_back),
		TEST(server_that_is_gone_is_said_at_once_and_found_again),
		TEST(server_that_is_frozen_is_left_and_found_again),
		TEST(connecting_is_given_up_in_time),
		TEST(what_is_asked_before_a_connection_waits_for_it),
		TEST(nobody_there_fails_what_waits),
		TEST(queries_of_an_origin_that_goes_are_answered),
		TEST(back_end_of_the_kind_serves_through_the_origins_face),
		TEST(without_memory_there_is_no_origin),
	};

	const struct CMUnitTest none[] = {
		cmocka_unit_test(without_postgresql_nothing_is_tested),
	};

	if (!pgserver_installed())
		return cmocka_run_group_tests(none, NULL, NULL);
	return cmocka_run_group_tests(tests, start_server, stop_server);
}
