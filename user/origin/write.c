/* SPDX-License-Identifier: BSD-2-Clause */
#include "origin/write.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/alloc.h"
#include "origin/flight.h"

#define BUCKET_CNT 1024

#define DRAIN_MAX 32 /* changes of the journal that are at the origin at a time */
#define DRAIN_PAUSE_NS (100 * NSEC_PER_MSEC)

/* The line of a key: who is first is at the origin, or on its way to the disk. */
struct line {
	struct origin_query query; /* first */
	struct mail mail;	   /* from the journal */
	int error;		   /* … with this */
	struct writes *writes;
	struct line *next; /* of its bucket */
	struct write_ask *first, *last;
	struct store_previewed to_be; /* what the first one leaves */
	uint32_t era;
};

/* A change that the journal gives the origin. */
struct drained {
	struct origin_query query; /* first */
	struct writes *writes;
	const struct journal_record *record;
	uint32_t era;
	bool in_use;
};

struct writes {
	struct writes_conf conf;
	struct journal *journal; /* NULL: nothing is written behind */
	struct mailbox *box;
	struct drained drained[DRAIN_MAX];
	uint64_t drain_ns; /* when to look into the journal again */
	uint32_t cnt;	   /* asks */
	bool stopped;
	struct write_counts counts;
	struct line *buckets[BUCKET_CNT];
};

static void count(_Atomic uint64_t *counter)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

struct write_ask *write_ask_new(const struct store_preview *how)
{
	size_t key_len = how->put.key.len, data_len = how->data.len;
	struct write_ask *ask = alloc_resize(NULL, sizeof(*ask) + key_len + data_len);

	if (!ask)
		return NULL;
	*ask = (struct write_ask){ .how = *how };
	ask->part.free = write_ask_free;
	memcpy(ask->bytes, how->put.key.ptr, key_len);
	if (data_len)
		memcpy(ask->bytes + key_len, how->data.ptr, data_len);
	ask->how.put.key = ask->how.delta.key = span_of(ask->bytes, key_len);
	ask->how.delta.hash = how->put.hash;
	ask->how.data = span_of(ask->bytes + key_len, data_len);
	return ask;
}

void write_ask_free(struct wait_part *part)
{
	alloc_free(part);
}

int writes_new(const struct writes_conf *conf, struct writes **ret)
{
	struct writes *writes = alloc_zero(1, sizeof(*writes));

	if (!writes)
		return -ENOMEM;
	writes->conf = *conf;
	*ret = writes;
	return 0;
}

void writes_stop(struct writes *writes)
{
	if (writes)
		writes->stopped = true;
}

void writes_free(struct writes *writes)
{
	assert(!writes || writes->cnt == 0);
	alloc_free(writes);
}

const struct write_counts *writes_counts(const struct writes *writes)
{
	return &writes->counts;
}

/* --- lines --- */

static struct line **bucket_of(struct writes *writes, uint64_t hash)
{
	return &writes->buckets[hash % BUCKET_CNT];
}

static struct line *find(struct writes *writes, const struct write_ask *ask)
{
	struct line *line = *bucket_of(writes, ask->how.put.hash);

	while (line && !span_equal(line->first->how.put.key, ask->how.put.key))
		line = line->next;
	return line;
}

static void close_line(struct line *line, uint64_t hash)
{
	struct line **at = bucket_of(line->writes, hash);

	while (*at != line)
		at = &(*at)->next;
	*at = line->next;
	alloc_free(line);
}

static void answer(struct writes *writes, struct write_ask *ask, enum write_end end)
{
	if (end != WRITE_ENDED)
		count(end == WRITE_REFUSED ? &writes->counts.writes_refused
					   : &writes->counts.writes_failed);
	ask->end = end;
	writes->cnt--;
	wait_answer(&ask->part);
}

/* --- making it here --- */

/* Nobody knows what the origin has: it is asked when somebody wants to know. */
static void forget(const struct writes *writes, const struct write_ask *ask)
{
	store_remove(writes->conf.thread, ask->how.put.key, ask->how.put.hash, 0);
}

static void make_removal(const struct writes *writes, struct write_ask *ask, bool had)
{
	ask->status = store_remove(writes->conf.thread, ask->how.put.key, ask->how.put.hash, 0);
	/* Deleted is what was there, or at the origin. */
	if (had || ask->status != STORE_NOT_FOUND)
		ask->status = STORE_OK;
}

static void make_change(const struct writes *writes, struct line *line)
{
	struct store_previewed *to_be = &line->to_be;
	struct write_ask *ask = line->first;
	struct span bytes = span_of(to_be->bytes, to_be->len);
	struct store_thread *t = writes->conf.thread;
	enum store_status status;
	uint64_t cas = 0;

	status = store_put(t, &to_be->put, bytes, &cas);
	if (status == STORE_AGAIN && store_wait(t, 0))
		status = store_put(t, &to_be->put, bytes, &cas);
	/* It is made: that there is no room for it here is no concern of who made it. */
	if (status != STORE_OK)
		forget(writes, ask);
	ask->status = STORE_OK;
	ask->stored = (struct store_stored){ .cas = cas,
					     .value_len = to_be->len,
					     .expire_ns = to_be->put.expire_ns };
	ask->number = to_be->number;
	ask->expire_before_ns = to_be->expire_before_ns;
	ask->made = to_be->made;
}

static enum write_end make(struct line *line, const struct answer *said)
{
	struct writes *writes = line->writes;
	struct write_ask *ask = line->first;

	switch (said->kind) {
	case ANSWER_DONE:
	case ANSWER_FOUND: /* a statement that returns what it did */
		count(&writes->counts.writes_made);
		if (ask->removes)
			make_removal(writes, ask, true);
		else
			make_change(writes, line);
		return WRITE_ENDED;
	case ANSWER_ABSENT:
		/* There was nothing to remove; or a change of a row that is not there. */
		if (!ask->removes)
			return WRITE_REFUSED;
		make_removal(writes, ask, false);
		return WRITE_ENDED;
	case ANSWER_REFUSED:
		return WRITE_REFUSED;
	case ANSWER_FAILED:
		break;
	}
	forget(writes, ask);
	return WRITE_FAILED;
}

/* --- asking --- */

static void go_on(struct line *line);

/* The first one is done with. */
static void end_first(struct line *line, enum write_end end)
{
	struct write_ask *ask = line->first;
	uint64_t hash = ask->how.put.hash;

	alloc_free(line->to_be.bytes);
	line->to_be.bytes = NULL;
	line->first = (struct write_ask *)ask->part.mail.next;
	answer(line->writes, ask, end);
	if (!line->first)
		close_line(line, hash);
}

static void on_answer(struct origin_query *query, const struct answer *said)
{
	struct line *line = (struct line *)query;
	struct writes *writes = line->writes;
	bool more = line->first != line->last;

	flights_finish(writes->conf.flights, line->era,
		       said->kind == ANSWER_FAILED ? BREAKER_FAILED : BREAKER_ANSWERED,
		       said->reason);
	end_first(line, make(line, said));
	if (more)
		go_on(line);
}

/* What the change comes to by now. False: it is over with ask->status. */
static bool judge(struct line *line)
{
	struct store_thread *t = line->writes->conf.thread;
	struct write_ask *ask = line->first;
	struct item_view view;

	/* The journal does not say whether there was something to remove. */
	if (ask->behind && ask->absent &&
	    !store_peek(t, ask->how.put.key, ask->how.put.hash, &view)) {
		ask->status = STORE_NOT_FOUND;
		return false;
	}
	if (!ask->removes) {
		ask->status = store_preview(t, &ask->how, &line->to_be);
		return ask->status == STORE_OK;
	}
	if (!ask->cas)
		return true;
	if (!store_peek(t, ask->how.put.key, ask->how.put.hash, &view))
		ask->status = STORE_NOT_FOUND;
	else
		ask->status = view.cas == ask->cas ? STORE_OK : STORE_EXISTS;
	return ask->status == STORE_OK;
}

/* The journal's thread. */
static void on_journaled(void *ctx, uint64_t seq, int error)
{
	struct line *line = ctx;

	(void)seq;
	line->error = error;
	mailbox_post(line->writes->box, &line->mail);
}

static bool send_to_journal(struct line *line)
{
	struct writes *writes = line->writes;
	const struct write_ask *ask = line->first;
	const struct journal_change change = {
		.key = ask->how.put.key,
		.value = span_of(line->to_be.bytes, line->to_be.len),
		.kind = ask->removes ? JOURNAL_REMOVE : JOURNAL_WRITE,
		.flags = line->to_be.put.flags,
	};

	if (writes->stopped || journal_append(writes->journal, &change, on_journaled, line))
		return false;
	count(&writes->counts.writes);
	return true;
}

/* An older change is still on its way there: it must not come after this one. */
static bool is_pending(const struct writes *writes, struct span key)
{
	const struct journal_record *record =
		writes->journal ? journal_get(writes->journal, key) : NULL;

	if (record)
		journal_put(writes->journal, record);
	return record != NULL;
}

static bool send(struct line *line)
{
	const struct writes_conf *conf = &line->writes->conf;
	struct write_ask *ask = line->first;
	const struct origin_pattern *pattern = &conf->patterns[ask->statement];
	int err;

	if (ask->behind)
		return send_to_journal(line);
	if (is_pending(line->writes, ask->how.put.key))
		return false;
	if (line->writes->stopped || clock_now_ns(conf->clock) >= ask->deadline_ns ||
	    !flights_admit(conf->flights, &line->era))
		return false;
	line->query = (struct origin_query){ .statement = ask->statement,
					     .deadline_ns = ask->deadline_ns,
					     .done = on_answer };
	origin_pattern_split(pattern, ask->how.put.key, line->query.params);
	if (!ask->removes)
		line->query.params[pattern->part_cnt] = span_of(line->to_be.bytes, line->to_be.len);
	err = conf->ops->ask(conf->back, &line->query);
	if (err)
		flights_finish(conf->flights, line->era,
			       err == -EAGAIN ? BREAKER_VOID : BREAKER_FAILED, "");
	else
		count(&line->writes->counts.writes);
	return !err;
}

/* Until one is at the origin, or the line is over. */
static void go_on(struct line *line)
{
	bool more = true;

	while (more) {
		more = line->first != line->last;
		if (!judge(line))
			end_first(line, WRITE_ENDED);
		else if (send(line))
			return;
		else
			end_first(line, WRITE_FAILED);
	}
}

void writes_ask(struct writes *writes, struct write_ask *ask)
{
	struct line *line = find(writes, ask);

	ask->part.mail.next = NULL;
	writes->cnt++;
	if (line) {
		if (writes->cnt > writes->conf.write_max) {
			answer(writes, ask, WRITE_FAILED);
			return;
		}
		line->last->part.mail.next = &ask->part.mail;
		line->last = ask;
		return;
	}
	line = writes->cnt > writes->conf.write_max ? NULL : alloc_zero(1, sizeof(*line));
	if (!line) {
		answer(writes, ask, WRITE_FAILED);
		return;
	}
	line->writes = writes;
	line->first = line->last = ask;
	line->next = *bucket_of(writes, ask->how.put.hash);
	*bucket_of(writes, ask->how.put.hash) = line;
	go_on(line);
}

/* --- written behind --- */

void writes_use_journal(struct writes *writes, struct journal *journal, struct mailbox *box)
{
	writes->journal = journal;
	writes->box = box;
}

void writes_wake(struct writes *writes)
{
	writes->drain_ns = 0;
}

void writes_take(struct writes *writes)
{
	struct mail *mail = writes->box ? mailbox_take(writes->box) : NULL;

	while (mail) {
		struct line *line = (struct line *)((char *)mail - offsetof(struct line, mail));
		bool more = line->first != line->last;

		mail = mail->next;
		if (!line->error) {
			count(&writes->counts.writes_made);
			if (line->first->removes)
				make_removal(writes, line->first, true);
			else
				make_change(writes, line);
		}
		end_first(line, line->error ? WRITE_FAILED : WRITE_ENDED);
		if (more)
			go_on(line);
	}
}

static enum journal_end end_of(const struct drained *drained, const struct answer *said)
{
	switch (said->kind) {
	case ANSWER_DONE:
	case ANSWER_FOUND:
		return JOURNAL_DONE;
	case ANSWER_ABSENT:
		/* Removed is removed; a change of a row that is not there will never be made. */
		return drained->record->what.kind == JOURNAL_REMOVE ? JOURNAL_DONE : JOURNAL_DEAD;
	case ANSWER_REFUSED:
		return JOURNAL_DEAD;
	case ANSWER_FAILED:
		break;
	}
	return JOURNAL_RETRY;
}

static void on_drained(struct origin_query *query, const struct answer *said)
{
	struct drained *drained = (struct drained *)query;
	struct writes *writes = drained->writes;
	const char *reason =
		said->kind == ANSWER_ABSENT ? "the origin has no such row" : said->reason;

	flights_finish(writes->conf.flights, drained->era,
		       said->kind == ANSWER_FAILED ? BREAKER_FAILED : BREAKER_ANSWERED,
		       said->reason);
	journal_finish(writes->journal, drained->record, end_of(drained, said), reason);
	drained->in_use = false;
	writes->drain_ns = 0;
}

/* False: the origin takes none now. */
static bool drain_one(struct writes *writes, struct drained *drained)
{
	const struct writes_conf *conf = &writes->conf;
	const struct journal_record *record;
	const struct journal_change *what;
	uint32_t statement;

	if (!flights_admit(conf->flights, &drained->era)) {
		writes->drain_ns = clock_now_ns(conf->clock) + DRAIN_PAUSE_NS;
		return false;
	}
	record = journal_take(writes->journal, &writes->drain_ns);
	if (!record) {
		flights_finish(conf->flights, drained->era, BREAKER_VOID, "");
		return false;
	}
	what = &record->what;
	if (!conf->find(conf->ctx, what->key, what->kind == JOURNAL_REMOVE, &statement)) {
		flights_finish(conf->flights, drained->era, BREAKER_VOID, "");
		journal_finish(writes->journal, record, JOURNAL_DEAD,
			       "no route says how the origin is told of this key");
		writes->drain_ns = 0;
		return true;
	}
	*drained = (struct drained){
		.writes = writes, .record = record, .era = drained->era, .in_use = true
	};
	drained->query = (struct origin_query){
		.statement = statement,
		.deadline_ns = clock_now_ns(conf->clock) + conf->timeout_ms * NSEC_PER_MSEC,
		.done = on_drained,
	};
	origin_pattern_split(&conf->patterns[statement], what->key, drained->query.params);
	if (what->kind == JOURNAL_WRITE)
		drained->query.params[conf->patterns[statement].part_cnt] = what->value;
	if (conf->ops->ask(conf->back, &drained->query) == 0)
		return true;
	flights_finish(conf->flights, drained->era, BREAKER_FAILED, "");
	journal_finish(writes->journal, record, JOURNAL_RETRY, "");
	drained->in_use = false;
	writes->drain_ns = clock_now_ns(conf->clock) + DRAIN_PAUSE_NS;
	return false;
}

void writes_drain(struct writes *writes)
{
	if (!writes->journal || writes->stopped ||
	    clock_now_ns(writes->conf.clock) < writes->drain_ns)
		return;
	writes->drain_ns = UINT64_MAX;
	for (uint32_t i = 0; i < DRAIN_MAX; i++) {
		if (!writes->drained[i].in_use && !drain_one(writes, &writes->drained[i]))
			return;
	}
}

uint64_t writes_next_ns(const struct writes *writes)
{
	return writes->journal ? writes->drain_ns : UINT64_MAX;
}
