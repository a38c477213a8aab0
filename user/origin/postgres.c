/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is on its way in a connection is a ring of slots, oldest first, each one message group that
 * ends with a sync of its own, so that an error in one says nothing about the next:
 *
 *   set up     SET statement_timeout         COMMAND_OK, NULL,                    SYNC
 *   prepare    Parse, Describe               COMMAND_OK, NULL, COMMAND_OK, NULL,  SYNC
 *   query      Bind, Describe, Execute       TUPLES_OK or COMMAND_OK, NULL,       SYNC
 *
 * A slot whose query was given up stays until its answer has come. A statement that could not be
 * prepared, or that the server has dropped, is prepared again when it is asked for, under another
 * name: the old one may still be there.
 */
#include "origin/postgres.h"

#include <assert.h>
#include <errno.h>
#include <postgresql/libpq-fe.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rand.h"

#define REASON_MAX 256
/* A connection whose oldest query is so much past its deadline gives no sign any more. */
#define GRACE_NS (1000 * NSEC_PER_MSEC)
/* A statement that could not be prepared is tried again so often. */
#define PREPARE_AGAIN_NS NSEC_PER_SEC
#define BYTEA_OID 17
#define NAME_MAX_LEN 48

enum state {
	DOWN,
	CONNECTING,
	PREPARING,
	READY,
};

enum slot_kind {
	SLOT_SET_UP,
	SLOT_PREPARE,
	SLOT_QUERY,
};

struct slot {
	enum slot_kind kind;
	uint32_t statement;
	uint32_t part;		    /* results that have ended with a NULL */
	struct origin_query *query; /* NULL: answered, or given up */
	uint64_t deadline_ns;
};

struct prepared {
	bool usable;
	bool asked;	     /* its preparation is on its way */
	uint32_t name;	     /* the last one's number */
	uint64_t again_ns;   /* not usable: not before */
	uint32_t raw_params; /* bits: the parameters that are bytea */
	bool raw_value;
	char reason[REASON_MAX];
};

struct connection {
	struct loop_source source; /* first */
	struct postgres *postgres;
	PGconn *pg; /* NULL: down */
	enum state state;
	bool lost;	   /* found where it could not be told */
	uint64_t until_ns; /* down: the next try. Connecting, preparing: the last moment */
	uint32_t pause_ms;
	struct slot *slots; /* a ring of slot_max */
	uint32_t slot_first, slot_cnt;
	struct prepared *prepared; /* one a statement */
};

struct postgres {
	struct postgres_conf conf;
	struct loop *loop;
	struct rand rand;
	uint32_t slot_max;
	struct connection *connections;
	char **texts; /* what is prepared */
	struct origin_query *waiting, **waiting_end;
	uint32_t waiting_cnt;
	char *scratch; /* parameters with a zero behind them */
	size_t scratch_len;
	char reason[REASON_MAX];
};

static uint64_t now_of(const struct postgres *postgres)
{
	return clock_now_ns(postgres->conf.clock);
}

static void set_reason(char *to, const char *text)
{
	snprintf(to, REASON_MAX, "%s", text ? text : "");
	for (char *at = to; *at; at++) {
		if (*at == '\n' || *at == '\r')
			*at = at[1] ? ' ' : '\0';
	}
}

/* --- answers --- */

static void finish(struct origin_query *query, const struct answer *answer)
{
	query->asked = false;
	query->done(query, answer);
}

static void fail(struct origin_query *query, enum answer_kind kind, const char *reason)
{
	finish(query, &(struct answer){ .kind = kind, .age = ANSWER_AGE_UNSAID, .reason = reason });
}

static bool state_is(const char *state, const char *class)
{
	return strncmp(state, class, strlen(class)) == 0;
}

/* SQLSTATE classes that another try may mend (appendix A of PostgreSQL's manual). */
static bool may_pass(const char *state)
{
	static const char *const classes[] = {
		"08",	 /* connection */
		"0A000", /* a cached plan's result has changed: prepared anew */
		"25006", /* read only: a standby that becomes the primary */
		"26000", /* the prepared statement is gone: likewise */
		"40",	 /* serialization, deadlock */
		"53",	 /* out of connections, memory, disk */
		"55P03", /* lock not available */
		"57",	 /* cancelled by its time limit; shutting down; starting up */
		"58",	 /* the system's */
		"XX",	 /* its own bugs */
	};

	for (uint32_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
		if (state_is(state, classes[i]))
			return true;
	}
	return !state[0];
}

static const char *state_of(const PGresult *result)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	return state ? state : "";
}

static struct answer rows_answer(const PGresult *result)
{
	struct answer answer = { .kind = ANSWER_ABSENT, .age = ANSWER_AGE_UNSAID, .reason = "" };

	if (PQntuples(result) == 0 || PQgetisnull(result, 0, 0))
		return answer;
	answer.kind = ANSWER_FOUND;
	answer.value = span_of(PQgetvalue(result, 0, 0), (size_t)PQgetlength(result, 0, 0));
	return answer;
}

static struct answer command_answer(PGresult *result)
{
	bool changed = strcmp(PQcmdTuples(result), "0") != 0;

	return (struct answer){ .kind = changed ? ANSWER_DONE : ANSWER_ABSENT,
				.age = ANSWER_AGE_UNSAID,
				.reason = "" };
}

/* --- connections that come and go --- */

static void connection_ready(struct loop_source *source, uint32_t events);

static void watch(struct connection *c, uint32_t events)
{
	/* Connecting, libpq may have closed the socket and opened another of the same number. */
	if (c->source.fd >= 0)
		loop_remove(c->postgres->loop, &c->source);
	c->source.fd = PQsocket(c->pg);
	if (c->source.fd < 0 || loop_insert(c->postgres->loop, &c->source, events))
		c->lost = true;
}

static bool any_alive(const struct postgres *postgres)
{
	for (uint32_t i = 0; i < postgres->conf.connection_cnt; i++) {
		if (postgres->connections[i].state != DOWN)
			return true;
	}
	return false;
}

static struct origin_query *pop_waiting(struct postgres *postgres)
{
	struct origin_query *query = postgres->waiting;

	postgres->waiting = query->next;
	if (!postgres->waiting)
		postgres->waiting_end = &postgres->waiting;
	postgres->waiting_cnt--;
	return query;
}

static void lose(struct connection *c, const char *reason)
{
	struct postgres *postgres = c->postgres;
	uint64_t pause_ns = c->pause_ms * NSEC_PER_MSEC;

	set_reason(postgres->reason, reason);
	if (c->source.fd >= 0)
		loop_remove(postgres->loop, &c->source);
	c->source.fd = -1;
	PQfinish(c->pg);
	c->pg = NULL;
	c->state = DOWN;
	c->lost = false;
	/* Between half of it and all: hosts that lost it together do not come back together. */
	pause_ns = pause_ns / 2 + rand_below(&postgres->rand, pause_ns / 2 + 1);
	c->until_ns = now_of(postgres) + pause_ns;
	c->pause_ms = c->pause_ms < postgres->conf.pause_max_ms / 2 ? 2 * c->pause_ms
								    : postgres->conf.pause_max_ms;
	for (uint32_t cnt = c->slot_cnt; cnt; cnt--) {
		struct slot *slot = &c->slots[c->slot_first];

		c->slot_first = (c->slot_first + 1) % postgres->slot_max;
		c->slot_cnt--;
		if (slot->query)
			fail(slot->query, ANSWER_FAILED, postgres->reason);
	}
	while (postgres->waiting && !any_alive(postgres))
		fail(pop_waiting(postgres), ANSWER_FAILED, postgres->reason);
}

static void ignore_notice(void *ctx, const char *text)
{
	(void)ctx;
	(void)text;
}

static void connect_start(struct connection *c)
{
	const struct postgres_conf *conf = &c->postgres->conf;
	const char *const names[] = { "dbname", "client_encoding", "fallback_application_name",
				      NULL };
	const char *const values[] = { conf->conninfo, "UTF8", "xdpcached", NULL };

	c->pg = PQconnectStartParams(names, values, 1);
	c->state = CONNECTING;
	c->until_ns = now_of(c->postgres) + conf->connect_ms * NSEC_PER_MSEC;
	if (!c->pg || PQstatus(c->pg) == CONNECTION_BAD) {
		lose(c, c->pg ? PQerrorMessage(c->pg) : "no memory for a connection");
		return;
	}
	PQsetNoticeProcessor(c->pg, ignore_notice, NULL);
	watch(c, LOOP_WRITE);
}

/* --- sending --- */

static struct slot *push_slot(struct connection *c, enum slot_kind kind, uint32_t statement,
			      uint64_t deadline_ns)
{
	uint32_t at = (c->slot_first + c->slot_cnt++) % c->postgres->slot_max;

	assert(c->slot_cnt <= c->postgres->slot_max);
	c->slots[at] =
		(struct slot){ .kind = kind, .statement = statement, .deadline_ns = deadline_ns };
	return &c->slots[at];
}

static void flush(struct connection *c)
{
	int left = PQflush(c->pg);

	if (left < 0)
		c->lost = true;
	else if (loop_replace(c->postgres->loop, &c->source,
			      left ? LOOP_READ | LOOP_WRITE : LOOP_READ))
		c->lost = true;
}

static void name_of(const struct connection *c, uint32_t statement, char ret[NAME_MAX_LEN])
{
	snprintf(ret, NAME_MAX_LEN, "xc_%u_%u", statement, c->prepared[statement].name);
}

static void send_prepare(struct connection *c, uint32_t statement, uint64_t deadline_ns)
{
	struct prepared *prepared = &c->prepared[statement];
	char name[NAME_MAX_LEN];

	prepared->asked = true;
	prepared->usable = false;
	prepared->name++;
	name_of(c, statement, name);
	push_slot(c, SLOT_PREPARE, statement, deadline_ns);
	if (!PQsendPrepare(c->pg, name, c->postgres->texts[statement], 0, NULL) ||
	    !PQsendDescribePrepared(c->pg, name) || !PQpipelineSync(c->pg))
		c->lost = true;
}

static void set_up(struct connection *c)
{
	char text[64];

	if (PQsetnonblocking(c->pg, 1) || !PQenterPipelineMode(c->pg)) {
		c->lost = true;
		return;
	}
	c->state = PREPARING;
	snprintf(text, sizeof(text), "SET statement_timeout = %u", c->postgres->conf.timeout_ms);
	push_slot(c, SLOT_SET_UP, 0, c->until_ns);
	if (!PQsendQueryParams(c->pg, text, 0, NULL, NULL, NULL, NULL, 0) || !PQpipelineSync(c->pg))
		c->lost = true;
	for (uint32_t i = 0; i < c->postgres->conf.statement_cnt && !c->lost; i++) {
		c->prepared[i].again_ns = 0;
		send_prepare(c, i, c->until_ns);
	}
	watch(c, LOOP_READ);
	if (!c->lost)
		flush(c);
}

static bool make_scratch(struct postgres *postgres, const struct origin_query *query, uint32_t cnt)
{
	size_t len = 1;
	char *more;

	for (uint32_t i = 0; i < cnt; i++)
		len += query->params[i].len + 1;
	if (len <= postgres->scratch_len)
		return true;
	more = alloc_resize(postgres->scratch, len);
	if (!more)
		return false;
	postgres->scratch = more;
	postgres->scratch_len = len;
	return true;
}

static void send_query(struct connection *c, struct origin_query *query)
{
	struct postgres *postgres = c->postgres;
	const struct prepared *prepared = &c->prepared[query->statement];
	uint32_t cnt = postgres->conf.statements[query->statement].param_cnt;
	const char *values[ORIGIN_PARAM_MAX];
	int lens[ORIGIN_PARAM_MAX], formats[ORIGIN_PARAM_MAX];
	char name[NAME_MAX_LEN], *to = postgres->scratch;

	for (uint32_t i = 0; i < cnt; i++) {
		values[i] = to;
		lens[i] = (int)query->params[i].len;
		formats[i] = prepared->raw_params >> i & 1;
		if (query->params[i].len)
			memcpy(to, query->params[i].ptr, query->params[i].len);
		to += query->params[i].len;
		*to++ = '\0';
	}
	name_of(c, query->statement, name);
	push_slot(c, SLOT_QUERY, query->statement, query->deadline_ns)->query = query;
	if (!PQsendQueryPrepared(c->pg, name, (int)cnt, values, lens, formats,
				 prepared->raw_value) ||
	    !PQpipelineSync(c->pg))
		c->lost = true;
	else
		flush(c);
}

/* Text cannot hold a zero byte: it would end there. */
static bool params_fit(const struct prepared *prepared, const struct origin_query *query,
		       uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		const struct span *param = &query->params[i];

		if (!(prepared->raw_params >> i & 1) && param->len &&
		    memchr(param->ptr, 0, param->len))
			return false;
	}
	return true;
}

/* Not from within postgres_ask: it may answer. */
static void give(struct connection *c, struct origin_query *query)
{
	struct postgres *postgres = c->postgres;
	struct prepared *prepared = &c->prepared[query->statement];
	uint32_t cnt = postgres->conf.statements[query->statement].param_cnt;

	if (!prepared->usable)
		fail(query, ANSWER_REFUSED, prepared->reason);
	else if (!params_fit(prepared, query, cnt))
		fail(query, ANSWER_REFUSED, "a text cannot hold a zero byte");
	else if (!make_scratch(postgres, query, cnt))
		fail(query, ANSWER_FAILED, "no memory for the parameters");
	else
		send_query(c, query);
}

static struct connection *pick(struct postgres *postgres)
{
	struct connection *best = NULL;

	for (uint32_t i = 0; i < postgres->conf.connection_cnt; i++) {
		struct connection *c = &postgres->connections[i];

		if (c->state == READY && !c->lost && c->slot_cnt < postgres->conf.pipeline_max &&
		    (!best || c->slot_cnt < best->slot_cnt))
			best = c;
	}
	return best;
}

static void give_waiting(struct postgres *postgres)
{
	struct connection *c;

	while (postgres->waiting && (c = pick(postgres))) {
		struct prepared *prepared = &c->prepared[postgres->waiting->statement];

		if (!prepared->usable && !prepared->asked &&
		    now_of(postgres) >= prepared->again_ns) {
			send_prepare(c, postgres->waiting->statement,
				     postgres->waiting->deadline_ns);
			if (!c->lost)
				flush(c);
		}
		/* Its preparation is on its way: it waits for that, and so do those behind it. */
		if (prepared->asked)
			return;
		give(c, pop_waiting(postgres));
	}
}

/* --- receiving --- */

static void prepare_result(struct connection *c, const struct slot *slot, const PGresult *result)
{
	struct prepared *prepared = &c->prepared[slot->statement];

	if (PQresultStatus(result) == PGRES_FATAL_ERROR) {
		set_reason(prepared->reason, PQresultErrorMessage(result));
		prepared->again_ns = now_of(c->postgres) + PREPARE_AGAIN_NS;
		if (may_pass(state_of(result)))
			c->lost = true;
	} else if (slot->part == 1 && PQresultStatus(result) == PGRES_COMMAND_OK) {
		uint32_t cnt = c->postgres->conf.statements[slot->statement].param_cnt;

		if ((uint32_t)PQnparams(result) != cnt) {
			snprintf(prepared->reason, REASON_MAX, "%d parameters instead of %u",
				 PQnparams(result), cnt);
			prepared->again_ns = now_of(c->postgres) + PREPARE_AGAIN_NS;
			return;
		}
		prepared->raw_params = 0;
		for (uint32_t i = 0; i < cnt; i++)
			prepared->raw_params |= (PQparamtype(result, (int)i) == BYTEA_OID) << i;
		prepared->raw_value = PQnfields(result) && PQftype(result, 0) == BYTEA_OID;
		prepared->usable = true;
	}
}

static void query_result(struct connection *c, struct slot *slot, PGresult *result)
{
	struct origin_query *query = slot->query;
	struct prepared *prepared = &c->prepared[slot->statement];
	const char *state = state_of(result);
	struct answer answer;
	char reason[REASON_MAX];

	/* Prepared again: its tables were changed, or somebody dropped it. */
	if (state_is(state, "0A000") || state_is(state, "26000"))
		prepared->usable = false;
	if (!query)
		return;
	slot->query = NULL;
	switch (PQresultStatus(result)) {
	case PGRES_TUPLES_OK:
		answer = rows_answer(result);
		finish(query, &answer);
		break;
	case PGRES_COMMAND_OK:
		answer = command_answer(result);
		finish(query, &answer);
		break;
	default:
		set_reason(reason, PQresultErrorMessage(result));
		fail(query, may_pass(state) ? ANSWER_FAILED : ANSWER_REFUSED, reason);
	}
}

static void pop_slot(struct connection *c)
{
	struct slot *slot = &c->slots[c->slot_first];

	if (slot->query)
		fail(slot->query, ANSWER_FAILED, "no answer");
	if (slot->kind == SLOT_PREPARE)
		c->prepared[slot->statement].asked = false;
	c->slot_first = (c->slot_first + 1) % c->postgres->slot_max;
	c->slot_cnt--;
	if (c->state == PREPARING && c->slot_cnt == 0) {
		c->state = READY;
		c->pause_ms = c->postgres->conf.pause_ms;
	}
}

static void take_result(struct connection *c, PGresult *result)
{
	struct slot *slot = &c->slots[c->slot_first];

	if (!result) {
		slot->part++;
		return;
	}
	if (PQresultStatus(result) == PGRES_PIPELINE_SYNC)
		pop_slot(c);
	else if (slot->kind == SLOT_PREPARE)
		prepare_result(c, slot, result);
	else if (slot->kind == SLOT_QUERY)
		query_result(c, slot, result);
	else if (PQresultStatus(result) != PGRES_COMMAND_OK)
		c->lost = true;
	PQclear(result);
}

static void receive(struct connection *c)
{
	if (!PQconsumeInput(c->pg)) {
		c->lost = true;
		return;
	}
	while (c->slot_cnt && !c->lost && !PQisBusy(c->pg))
		take_result(c, PQgetResult(c->pg));
	if (PQstatus(c->pg) == CONNECTION_BAD)
		c->lost = true;
}

static void connect_go_on(struct connection *c)
{
	switch (PQconnectPoll(c->pg)) {
	case PGRES_POLLING_READING:
		watch(c, LOOP_READ);
		break;
	case PGRES_POLLING_WRITING:
		watch(c, LOOP_WRITE);
		break;
	case PGRES_POLLING_OK:
		set_up(c);
		break;
	default:
		c->lost = true;
	}
}

static void connection_ready(struct loop_source *source, uint32_t events)
{
	struct connection *c = (struct connection *)source;

	if (c->state == CONNECTING) {
		connect_go_on(c);
	} else {
		if (events & LOOP_WRITE)
			flush(c);
		if (!c->lost)
			receive(c);
	}
	if (c->lost)
		lose(c, PQerrorMessage(c->pg));
	give_waiting(c->postgres);
}

/* --- time --- */

static void give_up_slots(struct connection *c, uint64_t now_ns)
{
	for (uint32_t i = 0; i < c->slot_cnt; i++) {
		struct slot *slot = &c->slots[(c->slot_first + i) % c->postgres->slot_max];
		struct origin_query *query = slot->query;

		if (!query || now_ns < slot->deadline_ns)
			continue;
		slot->query = NULL;
		fail(query, ANSWER_FAILED, "no answer by its deadline");
	}
}

static void give_up_waiting(struct postgres *postgres, uint64_t now_ns)
{
	struct origin_query **link = &postgres->waiting, *late = NULL;

	while (*link) {
		struct origin_query *query = *link;

		if (now_ns < query->deadline_ns) {
			link = &query->next;
			continue;
		}
		*link = query->next;
		postgres->waiting_cnt--;
		query->next = late;
		late = query;
	}
	postgres->waiting_end = link;
	while (late) {
		struct origin_query *query = late;

		late = query->next;
		fail(query, ANSWER_FAILED, "no connection by its deadline");
	}
}

/* When a connection has to be looked at by time alone. */
static uint64_t connection_next_ns(const struct connection *c)
{
	uint64_t next_ns = c->state == READY ? UINT64_MAX : c->until_ns;

	if (c->lost)
		return 0;
	for (uint32_t i = 0; i < c->slot_cnt; i++) {
		const struct slot *slot = &c->slots[(c->slot_first + i) % c->postgres->slot_max];
		uint64_t at_ns = slot->deadline_ns + (slot->query ? 0 : GRACE_NS);

		if ((slot->query || i == 0) && at_ns < next_ns)
			next_ns = at_ns;
	}
	return next_ns;
}

static bool is_silent(const struct connection *c, uint64_t now_ns)
{
	return c->slot_cnt && now_ns >= c->slots[c->slot_first].deadline_ns + GRACE_NS;
}

static void connection_turn(struct connection *c, uint64_t now_ns)
{
	if (c->state == DOWN) {
		if (now_ns >= c->until_ns)
			connect_start(c);
	} else if (c->lost) {
		lose(c, PQerrorMessage(c->pg));
	} else if (c->state != READY && now_ns >= c->until_ns) {
		lose(c, "not connected in time");
	} else {
		give_up_slots(c, now_ns);
		if (is_silent(c, now_ns))
			lose(c, "the server gives no sign");
	}
}

void postgres_turn(struct postgres *postgres)
{
	uint64_t now_ns = now_of(postgres);

	for (uint32_t i = 0; i < postgres->conf.connection_cnt; i++)
		connection_turn(&postgres->connections[i], now_ns);
	give_up_waiting(postgres, now_ns);
	give_waiting(postgres);
}

uint64_t postgres_next_ns(const struct postgres *postgres)
{
	uint64_t next_ns = UINT64_MAX;

	for (uint32_t i = 0; i < postgres->conf.connection_cnt; i++) {
		uint64_t at_ns = connection_next_ns(&postgres->connections[i]);

		if (at_ns < next_ns)
			next_ns = at_ns;
	}
	for (const struct origin_query *query = postgres->waiting; query; query = query->next) {
		if (query->deadline_ns < next_ns)
			next_ns = query->deadline_ns;
	}
	return next_ns;
}

/* --- the face --- */

int postgres_ask(struct postgres *postgres, struct origin_query *query)
{
	struct connection *c = postgres->waiting ? NULL : pick(postgres);

	assert(!query->asked && query->statement < postgres->conf.statement_cnt);
	if (c) {
		const struct prepared *prepared = &c->prepared[query->statement];
		uint32_t cnt = postgres->conf.statements[query->statement].param_cnt;

		/* All else may have to be answered, which is not done here. */
		if (prepared->usable && params_fit(prepared, query, cnt) &&
		    make_scratch(postgres, query, cnt)) {
			query->asked = true;
			send_query(c, query);
			return 0;
		}
	}
	if (!any_alive(postgres))
		return -ENOTCONN;
	if (postgres->waiting_cnt >= postgres->conf.waiting_max)
		return -EAGAIN;
	query->asked = true;
	query->next = NULL;
	*postgres->waiting_end = query;
	postgres->waiting_end = &query->next;
	postgres->waiting_cnt++;
	loop_kick(postgres->loop);
	return 0;
}

uint32_t postgres_ready_cnt(const struct postgres *postgres)
{
	uint32_t cnt = 0;

	for (uint32_t i = 0; i < postgres->conf.connection_cnt; i++)
		cnt += postgres->connections[i].state == READY;
	return cnt;
}

const char *postgres_error(const struct postgres *postgres)
{
	return postgres->reason;
}

static int check_conninfo(const char *conninfo)
{
	PQconninfoOption *options = PQconninfoParse(conninfo, NULL);

	PQconninfoFree(options);
	return options ? 0 : -EINVAL;
}

static char *text_of(const struct origin_statement *statement)
{
	static const char head[] = "SELECT row_to_json(xc_row)::text FROM (",
			  tail[] = ") AS xc_row";
	size_t len = strlen(statement->text) + sizeof(head) + sizeof(tail);
	char *text = alloc_zero(1, len);

	if (text)
		snprintf(text, len, "%s%s%s", statement->as_json ? head : "", statement->text,
			 statement->as_json ? tail : "");
	return text;
}

static int allocate(struct postgres *postgres)
{
	const struct postgres_conf *conf = &postgres->conf;

	postgres->connections = alloc_zero(conf->connection_cnt, sizeof(*postgres->connections));
	postgres->texts = alloc_zero(conf->statement_cnt, sizeof(*postgres->texts));
	if (!postgres->connections || !postgres->texts)
		return -ENOMEM;
	for (uint32_t i = 0; i < conf->statement_cnt; i++) {
		postgres->texts[i] = text_of(&conf->statements[i]);
		if (!postgres->texts[i])
			return -ENOMEM;
	}
	for (uint32_t i = 0; i < conf->connection_cnt; i++) {
		struct connection *c = &postgres->connections[i];

		*c = (struct connection){ .source = { .fd = -1, .ready = connection_ready },
					  .postgres = postgres,
					  .pause_ms = conf->pause_ms };
		c->slots = alloc_zero(postgres->slot_max, sizeof(*c->slots));
		c->prepared = alloc_zero(conf->statement_cnt, sizeof(*c->prepared));
		if (!c->slots || !c->prepared)
			return -ENOMEM;
	}
	return 0;
}

int postgres_new(const struct postgres_conf *conf, struct loop *loop, struct postgres **ret)
{
	struct postgres *postgres;
	int error = check_conninfo(conf->conninfo);

	assert(conf->statement_cnt && conf->statement_cnt <= ORIGIN_STATEMENT_MAX);
	assert(conf->connection_cnt && conf->connection_cnt <= POSTGRES_CONNECTION_MAX);
	assert(conf->pipeline_max && conf->pause_ms && conf->pause_ms <= conf->pause_max_ms);
	if (error)
		return error;
	postgres = alloc_zero(1, sizeof(*postgres));
	if (!postgres)
		return -ENOMEM;
	postgres->conf = *conf;
	postgres->loop = loop;
	postgres->waiting_end = &postgres->waiting;
	/* Of a ready connection's slots preparations may take one for each statement. */
	postgres->slot_max = conf->pipeline_max + conf->statement_cnt + 1;
	rand_init(&postgres->rand, conf->seed);
	error = allocate(postgres);
	if (error) {
		postgres_free(postgres);
		return error;
	}
	/* They are alive from now on: what is asked before the first turn waits. */
	for (uint32_t i = 0; i < conf->connection_cnt; i++)
		connect_start(&postgres->connections[i]);
	*ret = postgres;
	return 0;
}

void postgres_free(struct postgres *postgres)
{
	if (!postgres)
		return;
	for (uint32_t i = 0; postgres->connections && i < postgres->conf.connection_cnt; i++) {
		struct connection *c = &postgres->connections[i];

		if (c->pg)
			lose(c, "the daemon stops asking");
		alloc_free(c->slots);
		alloc_free(c->prepared);
	}
	while (postgres->waiting)
		fail(pop_waiting(postgres), ANSWER_FAILED, "the daemon stops asking");
	for (uint32_t i = 0; postgres->texts && i < postgres->conf.statement_cnt; i++)
		alloc_free(postgres->texts[i]);
	alloc_free(postgres->texts);
	alloc_free(postgres->connections);
	alloc_free(postgres->scratch);
	alloc_free(postgres);
}
