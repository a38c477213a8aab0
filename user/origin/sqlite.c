/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A query waits in line until the next turn and is then run to its end: a lookup by key in a file
 * of this host takes microseconds. One that takes longer, or finds the database locked by a writer,
 * is given up at its deadline; those behind it have waited by then, and those whose own time is
 * over are not run at all.
 */
#include "origin/sqlite.h"

#include <errno.h>
#include <jansson.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

/* Steps of SQLite's machine between two looks at the clock. */
#define LOOK_STEPS 1000

struct sqlite {
	struct origin_setup setup;
	sqlite3 *db;
	sqlite3_stmt *statements[ORIGIN_STATEMENT_MAX];
	struct origin_query *first, *last;
	uint32_t waiting_cnt;
	uint64_t deadline_ns; /* of the query that runs */
};

/* --- opening --- */

static int is_late(void *ctx)
{
	const struct sqlite *s = ctx;

	return clock_now_ns(s->setup.clock) >= s->deadline_ns;
}

/* A writer has the database. */
static int wait_for_writer(void *ctx, int tries)
{
	(void)tries;
	if (is_late(ctx))
		return 0;
	sqlite3_sleep(1);
	return 1;
}

/*
 * Which of the query's parameters stands at a place: to SQLite $1 is a name like any other, and
 * names have the places in which they come first. 0: none has that name.
 */
static uint32_t param_at(sqlite3_stmt *statement, int place)
{
	const char *name = sqlite3_bind_parameter_name(statement, place);
	uint32_t number = 0;

	if (!name)
		return (uint32_t)place;
	for (const char *pos = name + 1; *pos; pos++) {
		if (*pos < '0' || *pos > '9' || number > ORIGIN_PARAM_MAX)
			return 0;
		number = 10 * number + (uint32_t)(*pos - '0');
	}
	return number;
}

static int prepare(struct sqlite *s, uint32_t i, char why[ORIGIN_WHY_MAX])
{
	const struct origin_statement *statement = &s->setup.statements[i];
	const char *tail = "";

	if (sqlite3_prepare_v3(s->db, statement->text, -1, SQLITE_PREPARE_PERSISTENT,
			       &s->statements[i], &tail) != SQLITE_OK) {
		snprintf(why, ORIGIN_WHY_MAX, "\"%.100s\": %.100s", statement->text,
			 sqlite3_errmsg(s->db));
		return -EINVAL;
	}
	if (!s->statements[i] || tail[strspn(tail, " \t\r\n;")] != '\0') {
		snprintf(why, ORIGIN_WHY_MAX, "\"%.100s\": write one statement", statement->text);
		return -EINVAL;
	}
	for (int place = 1; place <= sqlite3_bind_parameter_count(s->statements[i]); place++) {
		uint32_t number = param_at(s->statements[i], place);

		if (number > 0 && number <= statement->param_cnt)
			continue;
		snprintf(why, ORIGIN_WHY_MAX,
			 "\"%.100s\": there is no parameter %.20s, but %u of them, from $1",
			 statement->text, sqlite3_bind_parameter_name(s->statements[i], place),
			 statement->param_cnt);
		return -EINVAL;
	}
	if (!statement->writes && sqlite3_column_count(s->statements[i]) == 0) {
		snprintf(why, ORIGIN_WHY_MAX, "\"%.100s\" returns nothing; write a SELECT",
			 statement->text);
		return -EINVAL;
	}
	return 0;
}

static void sqlite_close(void *back)
{
	struct sqlite *s = back;

	if (!s)
		return;
	while (s->first) {
		struct origin_query *query = s->first;
		const struct answer answer = { .kind = ANSWER_FAILED, .reason = "stopping" };

		s->first = query->next;
		query->done(query, &answer);
	}
	for (uint32_t i = 0; i < s->setup.statement_cnt; i++)
		sqlite3_finalize(s->statements[i]);
	sqlite3_close(s->db);
	alloc_free(s);
}

static int sqlite_open(const struct origin_setup *setup, struct loop *loop, void **ret,
		       char why[ORIGIN_WHY_MAX])
{
	struct sqlite *s = alloc_zero(1, sizeof(*s));
	int err = 0;

	(void)loop;
	snprintf(why, ORIGIN_WHY_MAX, "out of memory");
	if (!s)
		return -ENOMEM;
	s->setup = *setup;
	if (sqlite3_open_v2(setup->target, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
			    NULL) != SQLITE_OK) {
		snprintf(why, ORIGIN_WHY_MAX, "%.150s: %.60s; it must exist and be readable",
			 setup->target, s->db ? sqlite3_errmsg(s->db) : "out of memory");
		err = -ENOENT;
	} else {
		s->deadline_ns = clock_now_ns(setup->clock) + setup->timeout_ms * NSEC_PER_MSEC;
		sqlite3_busy_handler(s->db, wait_for_writer, s);
		sqlite3_progress_handler(s->db, LOOK_STEPS, is_late, s);
	}
	for (uint32_t i = 0; i < setup->statement_cnt && !err; i++)
		err = prepare(s, i, why);
	if (err) {
		sqlite_close(s);
		return err;
	}
	*ret = s;
	return 0;
}

/* --- asking --- */

static int sqlite_ask(void *back, struct origin_query *query)
{
	struct sqlite *s = back;

	if (s->waiting_cnt == s->setup.waiting_max)
		return -EAGAIN;
	query->next = NULL;
	if (s->first)
		s->last->next = query;
	else
		s->first = query;
	s->last = query;
	s->waiting_cnt++;
	return 0;
}

static bool bind(struct sqlite *s, const struct origin_query *query)
{
	sqlite3_stmt *statement = s->statements[query->statement];
	int cnt = sqlite3_bind_parameter_count(statement);

	for (int place = 1; place <= cnt; place++) {
		struct span param = query->params[param_at(statement, place) - 1];

		/* Text: a column's own type says what it is compared as. */
		if (sqlite3_bind_text64(statement, place, (const char *)param.ptr, param.len,
					SQLITE_STATIC, SQLITE_UTF8) != SQLITE_OK)
			return false;
	}
	return true;
}

static json_t *column_json(sqlite3_stmt *row, int i)
{
	switch (sqlite3_column_type(row, i)) {
	case SQLITE_INTEGER:
		return json_integer(sqlite3_column_int64(row, i));
	case SQLITE_FLOAT:
		return json_real(sqlite3_column_double(row, i));
	case SQLITE_NULL:
		return json_null();
	default: /* NULL for bytes that are no text */
		return json_stringn(sqlite3_column_blob(row, i),
				    (size_t)sqlite3_column_bytes(row, i));
	}
}

/* The row as an object, to be freed; NULL: it cannot be one. */
static char *row_json(sqlite3_stmt *row)
{
	json_t *object = json_object();
	char *text = NULL;
	bool whole = true;

	for (int i = 0; i < sqlite3_column_count(row) && whole; i++)
		whole = json_object_set_new(object, sqlite3_column_name(row, i),
					    column_json(row, i)) == 0;
	if (whole)
		text = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	return text;
}

/* What a row is worth; *ret_bytes holds the value's bytes, to be freed. */
static void read_row(struct sqlite *s, const struct origin_query *query, struct answer *ret,
		     char **ret_bytes)
{
	sqlite3_stmt *row = s->statements[query->statement];
	const void *column;
	size_t len;

	*ret = (struct answer){ .kind = ANSWER_FOUND, .age = ANSWER_AGE_UNSAID, .reason = "" };
	if (s->setup.statements[query->statement].as_json) {
		*ret_bytes = row_json(row);
		len = *ret_bytes ? strlen(*ret_bytes) : 0;
	} else if (sqlite3_column_type(row, 0) == SQLITE_NULL) {
		ret->kind = ANSWER_ABSENT;
		return;
	} else {
		column = sqlite3_column_blob(row, 0);
		len = (size_t)sqlite3_column_bytes(row, 0);
		*ret_bytes = malloc(len + 1);
		if (*ret_bytes && len > 0)
			memcpy(*ret_bytes, column, len);
	}
	if (*ret_bytes) {
		ret->value = span_of(*ret_bytes, len);
	} else if (s->setup.statements[query->statement].as_json) {
		ret->kind = ANSWER_REFUSED;
		ret->reason = "the row holds bytes that are no UTF-8 text: no JSON can";
	} else {
		ret->kind = ANSWER_FAILED;
		ret->reason = "out of memory";
	}
}

/* A statement that is broken stays so; a database that is locked or cannot be read does not. */
static enum answer_kind kind_of(int code)
{
	switch (code & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_INTERRUPT:
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN:
	case SQLITE_NOMEM:
	case SQLITE_PROTOCOL:
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_FULL:
		return ANSWER_FAILED;
	default:
		return ANSWER_REFUSED;
	}
}

/* The statement is at its end, and what it wrote committed, before anybody is told. */
static void run(struct sqlite *s, struct origin_query *query)
{
	sqlite3_stmt *statement = s->statements[query->statement];
	struct answer answer = { .kind = ANSWER_FAILED, .reason = "its time was over in line" };
	int code = SQLITE_INTERRUPT;
	char why[ORIGIN_WHY_MAX];
	char *bytes = NULL;

	s->deadline_ns = query->deadline_ns;
	if (!is_late(s)) {
		code = bind(s, query) ? sqlite3_step(statement) : SQLITE_NOMEM;
		snprintf(why, sizeof(why), "%s", sqlite3_errmsg(s->db));
		answer.reason = why;
	}
	if (code == SQLITE_ROW) {
		read_row(s, query, &answer, &bytes);
	} else if (code == SQLITE_DONE) {
		answer = (struct answer){ .kind = ANSWER_ABSENT,
					  .age = ANSWER_AGE_UNSAID,
					  .reason = "" };
		if (s->setup.statements[query->statement].writes && sqlite3_changes(s->db) > 0)
			answer.kind = ANSWER_DONE;
	} else {
		answer.kind = kind_of(code);
	}
	sqlite3_reset(statement);
	sqlite3_clear_bindings(statement);
	query->done(query, &answer);
	free(bytes);
}

/* Those that were there: whoever asks from within an answer waits for the next turn. */
static void sqlite_turn(void *back)
{
	struct sqlite *s = back;

	for (uint32_t left = s->waiting_cnt; left > 0; left--) {
		struct origin_query *query = s->first;

		s->first = query->next;
		s->waiting_cnt--;
		run(s, query);
	}
}

static uint64_t sqlite_next_ns(const void *back)
{
	return ((const struct sqlite *)back)->first ? 0 : UINT64_MAX;
}

const struct origin_ops origin_sqlite = {
	.kind = "sqlite",
	.open = sqlite_open,
	.close = sqlite_close,
	.ask = sqlite_ask,
	.turn = sqlite_turn,
	.next_ns = sqlite_next_ns,
};
