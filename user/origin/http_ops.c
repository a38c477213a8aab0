/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An HTTP server as one kind of origin among others: target is the beginning of its URLs, and a
 * statement is a method and the rest, with the key's parts percent-encoded in it:
 *
 *   GET /product/$1        PUT /product/$1        DELETE /product/$1
 *
 * The value of a PUT is the last parameter, as for every write.
 */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/percent.h"
#include "origin/http.h"

/* What an operator need not choose. */
#define CONNECT_MS 3000
#define VALUE_MAX (64U << 20)

struct back {
	struct origin_setup setup;
	struct http *http;
	uint32_t asked_cnt;
};

struct errand {
	struct http_query query; /* first */
	struct back *back;
	struct origin_query *asker;
	char url[];
};

static const struct {
	const char *name; /* with the blank behind it */
	enum http_method method;
} methods[] = {
	{ "GET ", HTTP_GET },
	{ "PUT ", HTTP_PUT },
	{ "DELETE ", HTTP_DELETE },
};

/* Where the rest of the URL begins; NULL: it begins with no method. */
static const char *method_of(const char *text, enum http_method *ret)
{
	for (uint32_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		size_t len = strlen(methods[i].name);

		if (strncmp(text, methods[i].name, len) != 0)
			continue;
		*ret = methods[i].method;
		return text + len;
	}
	return NULL;
}

/* Which parameter "$1" names, from 0; -1: it stands for itself. *ret_end: what is behind it. */
static long param_at(const char *text, const char **ret_end)
{
	char *end;
	long number;

	if (text[0] != '$' || !isdigit((unsigned char)text[1]))
		return -1;
	number = strtol(text + 1, &end, 10);
	*ret_end = end;
	return number - 1;
}

/* --- opening --- */

static int refuse(char why[ORIGIN_WHY_MAX], const char *text, const char *what)
{
	snprintf(why, ORIGIN_WHY_MAX, "\"%.80s\": %s", text, what);
	return -EINVAL;
}

static int check_statement(const struct origin_statement *statement, char why[ORIGIN_WHY_MAX])
{
	enum http_method method;
	const char *at = method_of(statement->text, &method), *end;

	if (!at || *at != '/')
		return refuse(why, statement->text, "write a method and a path: GET /product/$1");
	if (method == HTTP_PUT && !statement->param_cnt)
		return refuse(why, statement->text, "a PUT needs a value");
	if (statement->as_json)
		return refuse(why, statement->text, "only a database has rows");
	for (; *at; at++) {
		long param;

		if (*at <= ' ')
			return refuse(why, statement->text, "a URL has no blanks");
		if (*at != '$' || !isdigit((unsigned char)at[1]))
			continue;
		param = param_at(at, &end);
		if (param < 0 || param >= statement->param_cnt)
			return refuse(why, statement->text, "the key has not so many parts");
	}
	return 0;
}

static int ops_open(const struct origin_setup *setup, struct loop *loop, void **ret,
		    char why[ORIGIN_WHY_MAX])
{
	const struct http_conf conf = { .connection_max = setup->connection_cnt,
					.connect_ms = CONNECT_MS,
					.value_max = VALUE_MAX,
					.clock = setup->clock };
	struct back *back;

	if (strncmp(setup->target, "http://", 7) != 0 && strncmp(setup->target, "https://", 8) != 0)
		return refuse(why, setup->target, "write it like http://127.0.0.1:8080");
	for (uint32_t i = 0; i < setup->statement_cnt; i++) {
		int error = check_statement(&setup->statements[i], why);

		if (error)
			return error;
	}
	back = alloc_zero(1, sizeof(*back));
	if (!back || http_new(&conf, loop, &back->http)) {
		alloc_free(back);
		snprintf(why, ORIGIN_WHY_MAX, "no memory for the origin");
		return -ENOMEM;
	}
	back->setup = *setup;
	*ret = back;
	return 0;
}

static void ops_close(void *arg)
{
	struct back *back = arg;

	if (!back)
		return;
	http_free(back->http);
	alloc_free(back);
}

/* --- asking --- */

static size_t url_max(const struct back *back, const struct origin_query *query)
{
	const struct origin_statement *statement = &back->setup.statements[query->statement];
	size_t len = strlen(back->setup.target) + 1;

	for (const char *at = statement->text; *at; at++) {
		const char *end;
		long param = param_at(at, &end);

		len += param < 0 ? 1 : PERCENT_MAX(query->params[param].len);
	}
	return len;
}

static void make_url(struct errand *errand)
{
	const struct origin_setup *setup = &errand->back->setup;
	const char *at = setup->statements[errand->asker->statement].text;
	char *to = stpcpy(errand->url, setup->target);

	at = method_of(at, &errand->query.method);
	while (*at) {
		long param = param_at(at, &at);

		if (param < 0)
			*to++ = *at++;
		else
			to += percent_encode(to, errand->asker->params[param]);
	}
	*to = '\0';
}

static void errand_done(struct http_query *query, const struct answer *answer)
{
	struct errand *errand = (struct errand *)query;
	struct origin_query *asker = errand->asker;

	errand->back->asked_cnt--;
	asker->asked = false;
	asker->done(asker, answer);
	alloc_free(errand);
}

static int ops_ask(void *arg, struct origin_query *query)
{
	struct back *back = arg;
	uint32_t param_cnt = back->setup.statements[query->statement].param_cnt;
	struct errand *errand;
	int error;

	assert(!query->asked && query->statement < back->setup.statement_cnt);
	if (back->asked_cnt >= back->setup.waiting_max)
		return -EAGAIN;
	errand = alloc_zero(1, sizeof(*errand) + url_max(back, query));
	if (!errand)
		return -ENOMEM;
	errand->back = back;
	errand->asker = query;
	make_url(errand);
	errand->query.url = errand->url;
	errand->query.version = query->version;
	errand->query.deadline_ns = query->deadline_ns;
	errand->query.done = errand_done;
	if (errand->query.method == HTTP_PUT)
		errand->query.body = query->params[param_cnt - 1];
	error = http_ask(back->http, &errand->query);
	if (error) {
		alloc_free(errand);
		return error;
	}
	query->asked = true;
	back->asked_cnt++;
	return 0;
}

static void ops_turn(void *arg)
{
	http_turn(((struct back *)arg)->http);
}

static uint64_t ops_next_ns(const void *arg)
{
	return http_next_ns(((const struct back *)arg)->http);
}

const struct origin_ops http_ops = {
	.kind = "http",
	.open = ops_open,
	.close = ops_close,
	.ask = ops_ask,
	.turn = ops_turn,
	.next_ns = ops_next_ns,
};
