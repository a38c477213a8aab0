/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One request at a time, and the watch beside it. After each answer go_on() looks at what is known
 * and what is not, and asks for what comes first:
 *
 *   lease? -> renewed? -> said what is new of this node? -> read? -> leader? -> document to write?
 *
 * A request that was carried out although its answer was lost does no harm: what became of it is
 * read in the next round. A renewal that etcd's deposed leader answers is of no use without the
 * reading behind it, which only a majority's leader can give.
 */
#include "cluster/etcd.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/transfers.h"
#include "cluster/etcd_text.h"

#define ANSWER_MIN 4096
#define ANSWER_MAX (16U << 20)
#define KEY_MAX 256
#define ROUNDS_A_LEASE 4
/* A round that takes more requests than this goes on in the next. */
#define STEP_MAX 12
#define RETRY_NS (100 * NSEC_PER_MSEC)

enum step {
	STEP_NONE,
	STEP_GRANT,
	STEP_RENEW,
	STEP_ANNOUNCE,
	STEP_READ,
	STEP_CAMPAIGN,
	STEP_WRITE,
	STEP_REVOKE,
};

struct call {
	struct transfer transfer; /* first */
	struct etcd *etcd;
	char *request;
	uint8_t *answer;
	size_t len, cap;
	char error[CURL_ERROR_SIZE];
};

struct etcd {
	struct etcd_conf conf;
	struct transfers *transfers;
	uint64_t ttl_ns;
	uint32_t endpoint;   /* which is asked */
	uint32_t failed_cnt; /* rounds in a row */
	char why[ETCD_WHY_MAX];
	uint64_t next_ns; /* of the next round */
	bool rang;	  /* something has changed: the next round is now */

	enum step step; /* what `call` asks for */
	struct call call;
	uint32_t step_cnt; /* in this round */
	uint64_t sent_ns;

	uint64_t lease;	     /* 0: none */
	uint64_t renewed_ns; /* before it was renewed last */
	uint64_t renew_at_ns;
	uint64_t serve_until_ns;
	bool caught_up, leaving;
	bool announced; /* it is known so there */
	bool releasing, released;

	bool read;		 /* what follows is as it was in this round */
	bool read_wide;		 /* with all nodes' keys */
	uint64_t leader_created; /* 0: nobody leads */
	bool leads;
	uint64_t view_modified; /* 0: there is no document */
	struct view *view;
	struct view *next; /* to be written */

	struct call watch;
	bool watching;
	bool watch_wide;
	uint64_t read_revision;
};

static void go_on(struct etcd *e);

static uint64_t now_of(const struct etcd *e)
{
	return clock_now_ns(e->conf.clock);
}

static void key_of(const struct etcd *e, const char *kind, const char *name, char ret[KEY_MAX])
{
	snprintf(ret, KEY_MAX, "%s%s%s", e->conf.prefix, kind, name);
}

/* --- requests --- */

static size_t take_answer(char *bytes, size_t size, size_t cnt, void *arg)
{
	struct call *call = arg;
	size_t len = size * cnt, cap = call->cap ? call->cap : ANSWER_MIN;

	if (len > ANSWER_MAX - call->len)
		return 0;
	while (cap < call->len + len)
		cap *= 2;
	if (cap > call->cap) {
		uint8_t *more = alloc_resize(call->answer, cap);

		if (!more)
			return 0;
		call->answer = more;
		call->cap = cap;
	}
	memcpy(call->answer + call->len, bytes, len);
	call->len += len;
	return len;
}

/* What has changed is read again: that is simpler than to follow what the watch says of it. */
static size_t take_ring(char *bytes, size_t size, size_t cnt, void *arg)
{
	struct call *call = arg;

	(void)bytes;
	call->etcd->rang = true;
	return size * cnt;
}

static void call_fini(struct call *call)
{
	curl_easy_cleanup(call->transfer.easy);
	call->transfer.easy = NULL;
	free(call->request);
	call->request = NULL;
	call->len = 0;
}

/* Takes the request, also on failure. timeout_ms 0: none. */
static int call_start(struct call *call, const char *path, char *request, uint64_t timeout_ms)
{
	struct etcd *e = call->etcd;
	char url[512];
	CURL *easy;

	snprintf(url, sizeof(url), "%s/v3/%s", e->conf.endpoints[e->endpoint], path);
	call->request = request;
	call->transfer.easy = easy = curl_easy_init();
	if (!request || !easy || curl_easy_setopt(easy, CURLOPT_URL, url) != CURLE_OK)
		goto err;
	call->error[0] = '\0';
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "xdpcached");
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->error);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, call->request);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, call == &e->watch ? take_ring : take_answer);
	if (transfers_add(e->transfers, &call->transfer) == 0)
		return 0;
err:
	call_fini(call);
	return -ENOMEM;
}

/* --- the watch --- */

static void watch_end(struct transfer *transfer, CURLcode code)
{
	struct etcd *e = ((struct call *)transfer)->etcd;

	(void)code;
	call_fini(&e->watch);
	e->watching = false;
}

static void watch_stop(struct etcd *e)
{
	if (!e->watching)
		return;
	transfers_cancel(&e->watch.transfer);
	watch_end(&e->watch.transfer, CURLE_OK);
}

/* From what was read on, so that nothing lies between. Who leads has to see nodes come and go. */
static void watch_start(struct etcd *e)
{
	char prefix[KEY_MAX];

	if (e->watching && e->watch_wide == e->leads)
		return;
	watch_stop(e);
	key_of(e, e->leads ? "" : "control/", "", prefix);
	e->watch_wide = e->leads;
	e->watching = call_start(&e->watch, "watch", etcd_text_watch(prefix, e->read_revision + 1),
				 0) == 0;
}

/* --- rounds --- */

static uint64_t round_ns(const struct etcd *e)
{
	return e->ttl_ns / ROUNDS_A_LEASE;
}

static void round_end(struct etcd *e)
{
	if (e->failed_cnt > 0)
		log_line(LOG_INFO, "etcd", "%s answers again", e->conf.endpoints[e->endpoint]);
	e->failed_cnt = 0;
	e->why[0] = '\0';
	/* every round reads anew */
	e->read = false;
	e->next_ns = e->renew_at_ns;
	watch_start(e);
}

/* The endpoint is no good now. Once all have been tried there is a pause. */
static void round_fail(struct etcd *e, const char *why)
{
	snprintf(e->why, sizeof(e->why), "%s: %s", e->conf.endpoints[e->endpoint], why);
	if (e->failed_cnt == 0)
		log_line(LOG_WARN, "etcd", "%s; trying the next of %u endpoints", e->why,
			 e->conf.endpoint_cnt);
	e->failed_cnt++;
	e->endpoint = (e->endpoint + 1) % e->conf.endpoint_cnt;
	e->read = false;
	watch_stop(e);
	e->next_ns = now_of(e) + (e->failed_cnt % e->conf.endpoint_cnt ? 0 : RETRY_NS);
	if (e->releasing)
		e->released = true;
}

static void lease_gone(struct etcd *e)
{
	e->lease = 0;
	e->announced = false;
	e->leads = false;
}

static void ask(struct etcd *e, enum step step, const char *path, char *request)
{
	e->step = step;
	e->step_cnt++;
	e->sent_ns = now_of(e);
	if (call_start(&e->call, path, request, round_ns(e) / NSEC_PER_MSEC)) {
		e->step = STEP_NONE;
		round_fail(e, "out of memory");
	}
}

static void ask_announce(struct etcd *e)
{
	json_t *root = json_pack("{s:I, s:b, s:b}", "incarnation", (json_int_t)e->conf.incarnation,
				 "caught_up", e->caught_up, "leaving", e->leaving);
	char *value = root ? json_dumps(root, JSON_COMPACT) : NULL;
	char key[KEY_MAX];

	json_decref(root);
	key_of(e, "nodes/", e->conf.ring->nodes[e->conf.self].name, key);
	e->announced = true; /* a change from now on is one to be told */
	ask(e, STEP_ANNOUNCE, "kv/put",
	    value ? etcd_text_put(key, span_str(value), e->lease) : NULL);
	free(value);
}

static void ask_read(struct etcd *e)
{
	char prefix[KEY_MAX];

	e->rang = false;
	e->read_wide = e->leads;
	key_of(e, e->leads ? "" : "control/", "", prefix);
	ask(e, STEP_READ, "kv/range", etcd_text_range(prefix));
}

static void ask_campaign(struct etcd *e)
{
	const char *name = e->conf.ring->nodes[e->conf.self].name;
	char key[KEY_MAX];
	struct etcd_guard guard = { .key = key, .same_creation = true, .revision = 0 };

	key_of(e, "control/leader", "", key);
	ask(e, STEP_CAMPAIGN, "kv/txn", etcd_text_put_if(key, span_str(name), e->lease, &guard, 1));
}

static void ask_write(struct etcd *e)
{
	char view_key[KEY_MAX], leader_key[KEY_MAX];
	struct etcd_guard guards[] = {
		{ .key = leader_key, .same_creation = true, .revision = e->leader_created },
		{ .key = view_key, .revision = e->view_modified },
	};
	char *text = view_compose(e->next);

	key_of(e, "control/view", "", view_key);
	key_of(e, "control/leader", "", leader_key);
	ask(e, STEP_WRITE, "kv/txn",
	    text ? etcd_text_put_if(view_key, span_str(text), 0, guards, 2) : NULL);
	free(text);
}

static void go_on(struct etcd *e)
{
	if (e->releasing) {
		e->released = e->lease == 0;
		if (e->released)
			e->next_ns = UINT64_MAX;
		else
			ask(e, STEP_REVOKE, "lease/revoke", etcd_text_lease(e->lease));
	} else if (e->step_cnt >= STEP_MAX) {
		round_end(e);
	} else if (e->lease == 0) {
		ask(e, STEP_GRANT, "lease/grant", etcd_text_grant(e->conf.ttl_sec));
	} else if (now_of(e) >= e->renew_at_ns) {
		ask(e, STEP_RENEW, "lease/keepalive", etcd_text_lease(e->lease));
	} else if (!e->announced) {
		ask_announce(e);
	} else if (!e->read || e->read_wide != e->leads) {
		ask_read(e);
	} else if (e->leader_created == 0) {
		ask_campaign(e);
	} else if (e->next) {
		ask_write(e);
	} else {
		round_end(e);
	}
}

/* --- what is read --- */

static const struct etcd_kv *find(const struct etcd *e, const struct etcd_range *range,
				  const char *kind, const char *name)
{
	char key[KEY_MAX];

	key_of(e, kind, name, key);
	for (uint32_t i = 0; i < range->cnt; i++) {
		if (span_equal(range->kvs[i].key, span_str(key)))
			return &range->kvs[i];
	}
	return NULL;
}

static struct view_seen read_node(const struct etcd_kv *kv)
{
	json_t *root = kv ? json_loadb((const char *)kv->value.ptr, kv->value.len, 0, NULL) : NULL;
	struct view_seen seen = { .alive = false };
	json_int_t incarnation;
	int caught_up, leaving;

	/* a node whose value cannot be read is as good as none */
	if (root && json_unpack(root, "{s:I, s:b, s:b}", "incarnation", &incarnation, "caught_up",
				&caught_up, "leaving", &leaving) == 0)
		seen = (struct view_seen){ .alive = true,
					   .caught_up = caught_up,
					   .leaving = leaving,
					   .incarnation = (uint64_t)incarnation };
	json_decref(root);
	return seen;
}

/* The document that is to follow, if there has to be another. */
static int make_next(struct etcd *e, const struct etcd_range *range)
{
	const struct ring *ring = e->conf.ring;
	struct view_seen *seen = alloc_zero(ring->node_cnt, sizeof(*seen));
	int rc;

	if (!seen)
		return -ENOMEM;
	for (uint32_t i = 0; i < ring->node_cnt; i++)
		seen[i] = read_node(find(e, range, "nodes/", ring->nodes[i].name));
	rc = e->view ? view_next(e->view, seen, &e->next)
		     : view_new(ring, e->conf.copies, seen, &e->next);
	alloc_free(seen);
	return rc;
}

static int read_view(struct etcd *e, const struct etcd_kv *kv)
{
	struct view *view = NULL;
	int rc;

	if (!kv || kv->mod_revision == e->view_modified)
		return kv || !e->view ? 0 : -ESTALE;
	rc = view_parse((const char *)kv->value.ptr, kv->value.len, e->conf.ring, e->conf.copies,
			&view);
	if (rc)
		return rc;
	if (e->view && view->revision <= e->view->revision) {
		view_free(view);
		return -ESTALE;
	}
	view_free(e->view);
	e->view = view;
	e->view_modified = kv->mod_revision;
	e->conf.on_view(e->conf.ctx, view);
	return 0;
}

static const char *take_read(struct etcd *e, struct span answer)
{
	struct etcd_range range = { 0 };
	const struct etcd_kv *leader;
	int rc = etcd_text_parse_range(answer, &range);

	view_free(e->next);
	e->next = NULL;
	if (!rc)
		rc = read_view(e, find(e, &range, "control/view", ""));
	if (!rc) {
		leader = find(e, &range, "control/leader", "");
		e->read = true;
		e->read_revision = range.revision;
		e->leader_created = leader ? leader->create_revision : 0;
		e->leads = leader && leader->lease == e->lease;
		if (e->leads && e->read_wide)
			rc = make_next(e, &range);
	}
	etcd_range_fini(&range);
	if (rc == -EBADMSG || rc == -EPROTO)
		return "the view there is of another ring or another version: give all nodes the "
		       "same list of nodes, or this cluster a prefix of its own";
	if (rc == -ESTALE)
		return "the view there is older than one that was there before";
	if (rc)
		return strerror(-rc);
	if (e->view && e->renewed_ns + e->ttl_ns - e->ttl_ns / 10 > e->serve_until_ns) {
		e->serve_until_ns = e->renewed_ns + e->ttl_ns - e->ttl_ns / 10;
		e->conf.on_lease(e->conf.ctx, e->serve_until_ns);
	}
	return NULL;
}

static const char *take_lease(struct etcd *e, struct span answer)
{
	uint32_t ttl_sec;
	uint64_t lease;

	if (etcd_text_parse_lease(answer, &lease, &ttl_sec))
		return "an answer that cannot be read";
	if (ttl_sec == 0) { /* it ran out before it was renewed */
		lease_gone(e);
		return NULL;
	}
	/* etcd may grant more than it was asked for, but no less counts. */
	if (ttl_sec < e->conf.ttl_sec && e->step == STEP_GRANT)
		return "it grants less than was asked for";
	e->lease = lease;
	e->renewed_ns = e->sent_ns;
	e->renew_at_ns = e->sent_ns + round_ns(e);
	return NULL;
}

/* What is wrong; NULL: nothing. */
static const char *take(struct etcd *e, struct span answer)
{
	bool done;

	switch (e->step) {
	case STEP_GRANT:
	case STEP_RENEW:
		return take_lease(e, answer);
	case STEP_READ:
		return take_read(e, answer);
	case STEP_CAMPAIGN:
	case STEP_WRITE:
		/* Done or not: how things are now is to be read. */
		e->read = false;
		return etcd_text_parse_put_if(answer, &done) ? "an answer that cannot be read"
							     : NULL;
	case STEP_REVOKE:
		lease_gone(e);
		return NULL;
	default: /* STEP_ANNOUNCE: there is nothing in it */
		return NULL;
	}
}

static void call_end(struct transfer *transfer, CURLcode code)
{
	struct call *call = (struct call *)transfer;
	struct etcd *e = call->etcd;
	const char *why = NULL;
	char text[64];
	long status = 0;

	if (code == CURLE_ABORTED_BY_CALLBACK) { /* all ends */
		call_fini(call);
		return;
	}
	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	if (code != CURLE_OK) {
		why = call->error[0] ? call->error : curl_easy_strerror(code);
	} else if (status == 404 && e->step != STEP_GRANT && e->step != STEP_READ) {
		lease_gone(e); /* what was to be of the lease finds none */
	} else if (status != 200) {
		snprintf(text, sizeof(text), "status %ld", status);
		why = text;
	} else {
		why = take(e, span_of(call->answer, call->len));
	}
	if (why && e->step == STEP_ANNOUNCE)
		e->announced = false;
	e->step = STEP_NONE;
	if (why)
		round_fail(e, why);
	call_fini(call);
	if (!why)
		go_on(e);
}

/* --- the face --- */

int etcd_new(const struct etcd_conf *conf, struct loop *loop, struct etcd **ret)
{
	size_t len = strlen(conf->prefix);
	struct etcd *e;
	int rc;

	if (len < 2 || len > KEY_MAX - VIEW_NAME_MAX - 16 || conf->prefix[0] != '/' ||
	    conf->prefix[len - 1] != '/' || conf->endpoint_cnt == 0)
		return -EINVAL;
	e = alloc_zero(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->conf = *conf;
	e->ttl_ns = conf->ttl_sec * NSEC_PER_SEC;
	e->call = (struct call){ .transfer = { .done = call_end }, .etcd = e };
	e->watch = (struct call){ .transfer = { .done = watch_end }, .etcd = e };
	/* Requests and the watch, and one more while another watch takes its place. */
	rc = transfers_new(conf->clock, loop, 3, &e->transfers);
	if (rc)
		alloc_free(e);
	else
		*ret = e;
	return rc;
}

void etcd_free(struct etcd *e)
{
	if (!e)
		return;
	transfers_free(e->transfers);
	view_free(e->view);
	view_free(e->next);
	alloc_free(e->call.answer);
	alloc_free(e);
}

static uint64_t round_at_ns(const struct etcd *e)
{
	if (e->step != STEP_NONE || e->released)
		return UINT64_MAX;
	/* A ring does not cut short the pause behind failures. */
	return e->rang && e->failed_cnt == 0 ? 0 : e->next_ns;
}

void etcd_turn(struct etcd *e)
{
	transfers_turn(e->transfers);
	if (now_of(e) < round_at_ns(e))
		return;
	e->step_cnt = 0;
	go_on(e);
}

uint64_t etcd_next_ns(const struct etcd *e)
{
	uint64_t next_ns = transfers_next_ns(e->transfers), at_ns = round_at_ns(e);

	return at_ns < next_ns ? at_ns : next_ns;
}

void etcd_set_state(struct etcd *e, bool caught_up, bool leaving)
{
	if (e->caught_up == caught_up && e->leaving == leaving)
		return;
	e->caught_up = caught_up;
	e->leaving = leaving;
	e->announced = false;
	e->rang = true;
}

void etcd_release(struct etcd *e)
{
	e->releasing = true;
	e->rang = true;
}

bool etcd_is_released(const struct etcd *e)
{
	return e->released;
}

void etcd_status(const struct etcd *e, struct etcd_status *ret)
{
	*ret = (struct etcd_status){ .leads = e->leads,
				     .serve_until_ns = e->serve_until_ns,
				     .revision = e->view ? e->view->revision : 0,
				     .endpoint = e->conf.endpoints[e->endpoint] };
	memcpy(ret->why, e->why, sizeof(ret->why));
}
