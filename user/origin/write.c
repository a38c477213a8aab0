/* SPDX-License-Identifier: BSD-2-Clause */
#include "origin/write.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "origin/flight.h"

#define BUCKET_CNT 1024

/* The line of a key: who is first is at the origin. */
struct line {
	struct origin_query query; /* first */
	struct writes *writes;
	struct line *next; /* of its bucket */
	struct write_ask *first, *last;
	struct store_previewed to_be; /* what the first one leaves */
	uint32_t era;
};

struct writes {
	struct writes_conf conf;
	uint32_t cnt; /* asks */
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

static bool send(struct line *line)
{
	const struct writes_conf *conf = &line->writes->conf;
	struct write_ask *ask = line->first;
	const struct origin_pattern *pattern = &conf->patterns[ask->statement];
	int err;

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
