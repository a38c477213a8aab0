/* SPDX-License-Identifier: BSD-2-Clause */
#include "origin/origins.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/log.h"
#include "origin/http.h"
#include "origin/postgres.h"
#include "origin/sqlite.h"

static const struct origin_ops *const kinds[] = { &origin_sqlite, &postgres_ops, &http_ops };

#define KIND_CNT (sizeof(kinds) / sizeof(kinds[0]))

struct host {
	struct origins *origins;
	char *name, *target;
	const struct origin_ops *ops;
	void *back;
	struct loop loop;
	struct mailbox box;
	struct mailbox write_box;
	struct mailbox journal_box;
	struct journal *journal;
	char *journal_path;
	uint32_t journal_delay_ms;
	struct store_thread *thread;
	struct flights *flights;
	struct writes *writes;
	struct origin_statement statements[ORIGIN_STATEMENT_MAX];
	struct origin_pattern patterns[ORIGIN_STATEMENT_MAX];
	uint32_t statement_cnt;
	uint32_t timeout_ms;
	pthread_t tid;
	bool started;
	_Atomic bool stop;
	_Atomic bool journal_changed; /* it may have something for the origin */
};

#define NO_STATEMENT UINT32_MAX
/* What an operator need not choose. */
#define JOURNAL_RETRY_MS 500
#define JOURNAL_RECORD_MAX 1000000
#define JOURNAL_BYTES_MAX (256ULL << 20)
#define JOURNAL_DEAD_MAX 10000
#define JOURNAL_TRIES 100

struct source {
	struct host *host;
	uint32_t read, write, remove; /* statements */
	bool behind;
};

struct origins {
	struct store *store;
	const struct clock *clock;
	struct host hosts[ORIGINS_MAX];
	uint32_t cnt;
	uint32_t source_cnt;
	struct source sources[];
};

const struct origin_ops *origins_kind(const char *kind)
{
	for (size_t i = 0; i < KIND_CNT; i++) {
		if (strcmp(kinds[i]->kind, kind) == 0)
			return kinds[i];
	}
	return NULL;
}

const char *origins_kinds(void)
{
	return "sqlite, postgresql, http";
}

/* --- setting up --- */

static char *copy_of(const char *text)
{
	char *copy = alloc_zero(1, strlen(text) + 1);

	return copy ? strcpy(copy, text) : NULL;
}

/* What a statement does, by the parameters that it has besides the key's parts. */
static int add_statement(struct host *host, const struct origins_source *from, const char *text,
			 uint32_t *ret, char why[ORIGIN_WHY_MAX])
{
	uint32_t i = host->statement_cnt;
	struct origin_statement *statement = &host->statements[i];
	int err;

	*ret = NO_STATEMENT;
	if (!text)
		return 0;
	if (i == ORIGIN_STATEMENT_MAX) {
		snprintf(why, ORIGIN_WHY_MAX, "%.60s: more than %d statements; make it two origins",
			 host->name, ORIGIN_STATEMENT_MAX);
		return -E2BIG;
	}
	host->patterns[i].text = copy_of(from->key);
	*statement = (struct origin_statement){ .text = copy_of(text),
						.as_json = from->as_json && text == from->read,
						.writes = text != from->read };
	host->statement_cnt++;
	if (!host->patterns[i].text || !statement->text)
		return -ENOMEM;
	err = origin_pattern_init(&host->patterns[i], host->patterns[i].text, why);
	if (err)
		return err;
	statement->param_cnt = host->patterns[i].part_cnt + (text == from->write);
	if (statement->param_cnt > ORIGIN_PARAM_MAX) {
		snprintf(why, ORIGIN_WHY_MAX, "\"%.60s\" has %u parts, and the value is one more",
			 from->key, statement->param_cnt - 1);
		return -E2BIG;
	}
	*ret = i;
	return 0;
}

static int add_source(struct origins *origins, const struct origins_source *from,
		      char why[ORIGIN_WHY_MAX])
{
	struct source *source = &origins->sources[origins->source_cnt++];
	int err;

	source->host = &origins->hosts[from->origin];
	source->behind = from->behind;
	err = add_statement(source->host, from, from->read, &source->read, why);
	if (!err)
		err = add_statement(source->host, from, from->write, &source->write, why);
	if (!err)
		err = add_statement(source->host, from, from->remove, &source->remove, why);
	return err;
}

static void take_writes(struct host *host)
{
	struct mail *mail = mailbox_take(&host->write_box);

	while (mail) {
		struct mail *next = mail->next;

		writes_ask(host->writes, (struct write_ask *)mail);
		mail = next;
	}
}

static void take_asks(void *ctx)
{
	struct host *host = ctx;
	struct mail *mail = mailbox_take(&host->box);

	while (mail) {
		struct mail *next = mail->next;

		flights_ask(host->flights, (struct flight_ask *)mail);
		mail = next;
	}
}

/* The origin's thread. An outage of minutes costs two lines. */
static void on_breaker(void *ctx, enum breaker_state state, const char *reason)
{
	const struct host *host = ctx;

	if (state == BREAKER_OPEN)
		log_line(LOG_WARN, "origin", "%s fails and is left alone for a while: %s",
			 host->name, reason[0] ? reason : "no answer");
	else if (state == BREAKER_CLOSED)
		log_line(LOG_INFO, "origin", "%s answers again", host->name);
}

/* The source whose keys begin with most of what the key begins with. */
static bool find_statement(void *ctx, struct span key, bool removes, uint32_t *ret)
{
	const struct host *host = ctx;
	const struct origins *origins = host->origins;
	struct span parts[ORIGIN_PARAM_MAX];
	size_t best = 0;

	*ret = NO_STATEMENT;
	for (uint32_t i = 0; i < origins->source_cnt; i++) {
		const struct source *source = &origins->sources[i];
		const struct origin_pattern *pattern = &host->patterns[source->read];
		size_t len;

		if (source->host != host || !source->behind ||
		    !origin_pattern_split(pattern, key, parts))
			continue;
		len = strcspn(pattern->text, "{") + 1;
		if (len > best)
			*ret = removes ? source->remove : source->write;
		best = len > best ? len : best;
	}
	return *ret != NO_STATEMENT;
}

static int open_writes(struct host *host, const struct origins_conf *conf)
{
	const struct writes_conf writes = { .store = host->origins->store,
					    .thread = host->thread,
					    .clock = host->origins->clock,
					    .ops = host->ops,
					    .back = host->back,
					    .patterns = host->patterns,
					    .flights = host->flights,
					    .write_max = conf->waiting_max,
					    .timeout_ms = host->timeout_ms,
					    .find = find_statement,
					    .ctx = host };

	return writes_new(&writes, &host->writes);
}

static int open_host(struct host *host, const struct origins_conf *conf, char why[ORIGIN_WHY_MAX])
{
	struct origins *origins = host->origins;
	struct origin_setup setup = { .target = host->target,
				      .statements = host->statements,
				      .statement_cnt = host->statement_cnt,
				      .connection_cnt = conf->connection_cnt,
				      .waiting_max = conf->waiting_max,
				      .timeout_ms = host->timeout_ms,
				      .clock = origins->clock };
	struct flight_conf flight = { .store = origins->store,
				      .clock = origins->clock,
				      .ops = host->ops,
				      .patterns = host->patterns,
				      .timeout_ms = host->timeout_ms,
				      .flight_max = conf->waiting_max,
				      .take_asks = take_asks,
				      .on_breaker = on_breaker,
				      .ctx = host };
	char detail[ORIGIN_WHY_MAX] = "out of memory";
	int err = loop_init(&host->loop);

	if (!err)
		err = rand_secret(&setup.seed, sizeof(setup.seed));
	if (!err)
		err = host->ops->open(&setup, &host->loop, &host->back, detail);
	if (!err) {
		mailbox_init(&host->box, &host->loop);
		mailbox_init(&host->write_box, &host->loop);
		mailbox_init(&host->journal_box, &host->loop);
		host->thread = store_thread_new(origins->store);
		flight.thread = host->thread;
		flight.back = host->back;
		flight.seed = setup.seed + 1;
		err = host->thread ? flights_new(&flight, &host->flights) : -ENOMEM;
	}
	if (!err)
		err = open_writes(host, conf);
	if (host->thread)
		store_offline(host->thread);
	if (err)
		snprintf(why, ORIGIN_WHY_MAX, "%.40s: %.200s", host->name, detail);
	return err;
}

int origins_new(const struct origins_setup *setup, struct origins **ret, char why[ORIGIN_WHY_MAX])
{
	struct origins *origins =
		alloc_zero(1, sizeof(*origins) + setup->source_cnt * sizeof(struct source));
	int err = 0;

	snprintf(why, ORIGIN_WHY_MAX, "out of memory");
	if (!origins)
		return -ENOMEM;
	assert(setup->cnt <= ORIGINS_MAX);
	origins->store = setup->store;
	origins->clock = setup->clock;
	for (uint32_t i = 0; i < setup->cnt && !err; i++) {
		struct host *host = &origins->hosts[origins->cnt++];

		host->origins = origins;
		host->ops = origins_kind(setup->all[i].kind);
		host->timeout_ms = setup->all[i].timeout_ms;
		host->name = copy_of(setup->all[i].name);
		host->target = copy_of(setup->all[i].target);
		host->journal_delay_ms = setup->all[i].journal_delay_ms;
		if (setup->all[i].journal)
			host->journal_path = copy_of(setup->all[i].journal);
		err = host->name && host->target && host->ops ? 0 : -ENOMEM;
		if (setup->all[i].journal && !host->journal_path)
			err = -ENOMEM;
	}
	for (uint32_t i = 0; i < setup->source_cnt && !err; i++)
		err = add_source(origins, &setup->sources[i], why);
	for (uint32_t i = 0; i < setup->cnt && !err; i++)
		err = open_host(&origins->hosts[i], &setup->all[i], why);
	if (err) {
		origins_free(origins);
		return err;
	}
	*ret = origins;
	return 0;
}

/* --- the thread --- */

static int wait_ms(const struct host *host)
{
	uint64_t next_ns = host->ops->next_ns(host->back);
	uint64_t drain_ns = writes_next_ns(host->writes);
	uint64_t now_ns = clock_now_ns(host->origins->clock);

	if (drain_ns < next_ns)
		next_ns = drain_ns;

	/* Also without questions: the reclaimer may want what this thread's segments hold. */
	if (next_ns > now_ns + NSEC_PER_SEC)
		next_ns = now_ns + NSEC_PER_SEC;
	return next_ns > now_ns ? (int)((next_ns - now_ns + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC) : 0;
}

static void *run(void *arg)
{
	struct host *host = arg;

	while (!atomic_load(&host->stop)) {
		int n = loop_wait(&host->loop, wait_ms(host));

		store_online(host->thread);
		take_asks(host);
		take_writes(host);
		writes_take(host->writes);
		if (atomic_exchange(&host->journal_changed, false))
			writes_wake(host->writes);
		writes_drain(host->writes);
		if (n > 0)
			loop_drain(&host->loop);
		host->ops->turn(host->back);
		store_offline(host->thread);
	}
	return NULL;
}

/* The journal's thread. */
static void on_journal(void *ctx)
{
	struct host *host = ctx;

	atomic_store(&host->journal_changed, true);
	loop_kick(&host->loop);
}

static int open_journal(struct host *host, char why[ORIGIN_WHY_MAX])
{
	const struct journal_conf conf = { .path = host->journal_path,
					   .clock = host->origins->clock,
					   .delay_ms = host->journal_delay_ms,
					   .retry_ms = JOURNAL_RETRY_MS,
					   .record_max = JOURNAL_RECORD_MAX,
					   .bytes_max = JOURNAL_BYTES_MAX,
					   .dead_max = JOURNAL_DEAD_MAX,
					   .changed = on_journal,
					   .ctx = host };
	char detail[JOURNAL_ERROR_MAX] = "out of memory";
	int err = journal_open(&conf, &host->journal, detail);

	/* The process that this one replaces may not have let go of it yet. */
	for (uint32_t i = 0; err == -EBUSY && i < JOURNAL_TRIES; i++) {
		nanosleep(&(struct timespec){ .tv_nsec = 50 * NSEC_PER_MSEC }, NULL);
		err = journal_open(&conf, &host->journal, detail);
	}
	if (err)
		snprintf(why, ORIGIN_WHY_MAX, "%.40s: %.200s", host->name, detail);
	else
		writes_use_journal(host->writes, host->journal, &host->journal_box);
	if (!err)
		flights_use_journal(host->flights, host->journal);
	return err;
}

int origins_start(struct origins *origins, char why[ORIGIN_WHY_MAX])
{
	sigset_t all, old;
	int err = 0;

	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (uint32_t i = 0; i < origins->cnt && !err; i++) {
		struct host *host = &origins->hosts[i];
		char name[16];

		err = host->journal_path ? open_journal(host, why) : 0;
		if (err)
			break;
		err = -pthread_create(&host->tid, NULL, run, host);
		host->started = !err;
		snprintf(name, sizeof(name), "xc-origin-%u", i % 100);
		if (!err)
			pthread_setname_np(host->tid, name);
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return err;
}

void origins_stop(struct origins *origins)
{
	for (uint32_t i = 0; origins && i < origins->cnt; i++) {
		struct host *host = &origins->hosts[i];

		if (!host->started)
			continue;
		atomic_store(&host->stop, true);
		loop_kick(&host->loop);
		pthread_join(host->tid, NULL);
		host->started = false;
		store_online(host->thread);
		writes_stop(host->writes);
		take_asks(host);
		take_writes(host);
		host->ops->close(host->back);
		host->back = NULL;
		store_offline(host->thread);
		/* What is on its way to the disk gets there, and who waits for it is told. */
		journal_close(host->journal);
		store_online(host->thread);
		writes_take(host->writes);
		host->journal = NULL;
		store_offline(host->thread);
	}
}

void origins_free(struct origins *origins)
{
	if (!origins)
		return;
	origins_stop(origins);
	for (uint32_t i = 0; i < origins->cnt; i++) {
		struct host *host = &origins->hosts[i];

		if (host->back)
			host->ops->close(host->back);
		journal_close(host->journal);
		writes_free(host->writes);
		flights_free(host->flights);
		if (host->thread)
			store_thread_free(host->thread);
		loop_fini(&host->loop);
		for (uint32_t s = 0; s < host->statement_cnt; s++) {
			alloc_free((void *)host->statements[s].text);
			alloc_free((void *)host->patterns[s].text);
		}
		alloc_free(host->name);
		alloc_free(host->target);
		alloc_free(host->journal_path);
	}
	alloc_free(origins);
}

/* --- asking --- */

/* text NULL: there is to be none. */
static bool statement_is(const struct host *host, uint32_t statement, const char *text)
{
	if (statement == NO_STATEMENT || !text)
		return statement == NO_STATEMENT && !text;
	return !strcmp(host->statements[statement].text, text);
}

uint32_t origins_find(const struct origins *origins, const char *origin,
		      const struct origins_source *wanted)
{
	for (uint32_t i = 0; i < origins->source_cnt; i++) {
		const struct source *source = &origins->sources[i];
		const struct host *host = source->host;

		if (!strcmp(host->name, origin) &&
		    !strcmp(host->patterns[source->read].text, wanted->key) &&
		    host->statements[source->read].as_json == wanted->as_json &&
		    statement_is(host, source->read, wanted->read) &&
		    source->behind == wanted->behind &&
		    statement_is(host, source->write, wanted->write) &&
		    statement_is(host, source->remove, wanted->remove))
			return i + 1;
	}
	return 0;
}

static const struct source *source_of(const struct origins *origins, uint32_t number)
{
	assert(number > 0 && number <= origins->source_cnt);
	return &origins->sources[number - 1];
}

bool origins_takes(const struct origins *origins, uint32_t number, struct span key)
{
	const struct source *source = source_of(origins, number);
	struct span parts[ORIGIN_PARAM_MAX];

	return origin_pattern_split(&source->host->patterns[source->read], key, parts);
}

void origins_ask(struct origins *origins, struct flight_ask *ask)
{
	const struct source *source = source_of(origins, ask->source);

	ask->source = source->read;
	flights_expect(source->host->flights);
	mailbox_post(&source->host->box, &ask->part.mail);
}

void origins_write(struct origins *origins, struct write_ask *ask)
{
	const struct source *source = source_of(origins, ask->source);

	ask->statement = ask->removes ? source->remove : source->write;
	ask->behind = source->behind;
	assert(ask->statement != NO_STATEMENT);
	mailbox_post(&source->host->write_box, &ask->part.mail);
}

void origins_refresh(struct origins *origins, const struct route_rule *rule, struct span key,
		     uint64_t hash)
{
	const struct source *source = source_of(origins, rule->source);
	struct flight_ask *ask;

	if (!flights_expect_refresh(source->host->flights))
		return;
	ask = alloc_zero(1, sizeof(*ask));
	if (!ask) {
		flights_forget_refresh(source->host->flights);
		return;
	}
	ask->is_refresh = true;
	ask->hash = hash;
	ask->source = source->read;
	ask->rule = *rule;
	ask->key_len = (uint8_t)key.len;
	memcpy(ask->key, key.ptr, key.len);
	mailbox_post(&source->host->box, &ask->part.mail);
}

void origins_note_stale(struct origins *origins, uint32_t source, bool failed)
{
	flights_note_stale(source_of(origins, source)->host->flights, failed);
}

uint32_t origins_timeout_ms(const struct origins *origins, uint32_t number)
{
	return source_of(origins, number)->host->timeout_ms;
}

uint32_t origins_cnt(const struct origins *origins)
{
	return origins->cnt;
}

const char *origins_name(const struct origins *origins, uint32_t idx)
{
	return origins->hosts[idx].name;
}

const struct flight_counts *origins_counts(const struct origins *origins, uint32_t idx)
{
	return flights_counts(origins->hosts[idx].flights);
}

bool origins_journal_stats(const struct origins *origins, uint32_t idx, struct journal_stats *ret)
{
	if (!origins->hosts[idx].journal)
		return false;
	journal_stats(origins->hosts[idx].journal, ret);
	return true;
}

const struct write_counts *origins_write_counts(const struct origins *origins, uint32_t idx)
{
	return writes_counts(origins->hosts[idx].writes);
}
