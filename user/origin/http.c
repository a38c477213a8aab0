/* SPDX-License-Identifier: BSD-2-Clause */
#include "origin/http.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/transfers.h"
#include "origin/cache_control.h"

#define BODY_MIN 4096

struct http_transfer {
	struct transfer transfer; /* first */
	struct http *http;
	struct http_query *query;
	struct curl_slist *headers;
	uint8_t *body;
	size_t len, cap;
	bool too_long, no_memory;
	size_t sent_len;
	struct cache_control control;
	char version[HTTP_VERSION_MAX];
	size_t version_len;
	char error[CURL_ERROR_SIZE];
};

struct http {
	struct http_conf conf;
	struct transfers *transfers;
};

/* --- what a transfer brings --- */

static size_t take_body(char *bytes, size_t size, size_t cnt, void *arg)
{
	struct http_transfer *t = arg;
	size_t len = size * cnt, cap = t->cap ? t->cap : BODY_MIN;

	if (len > t->http->conf.value_max - t->len) {
		t->too_long = true;
		return 0;
	}
	while (cap < t->len + len)
		cap *= 2;
	if (cap > t->cap) {
		uint8_t *more = alloc_resize(t->body, cap);

		if (!more) {
			t->no_memory = true;
			return 0;
		}
		t->body = more;
		t->cap = cap;
	}
	memcpy(t->body + t->len, bytes, len);
	t->len += len;
	return len;
}

static bool is_field(struct span line, const char *name, struct span *ret_value)
{
	size_t len = strlen(name);

	if (line.len <= len || line.ptr[len] != ':' ||
	    strncasecmp((const char *)line.ptr, name, len) != 0)
		return false;
	line = span_of(line.ptr + len + 1, line.len - len - 1);
	while (line.len && (line.ptr[0] == ' ' || line.ptr[0] == '\t'))
		line = span_of(line.ptr + 1, line.len - 1);
	while (line.len && strchr(" \t\r\n", line.ptr[line.len - 1]))
		line.len--;
	*ret_value = line;
	return true;
}

static size_t take_header(char *bytes, size_t size, size_t cnt, void *arg)
{
	struct http_transfer *t = arg;
	struct span line = span_of(bytes, size * cnt), value;

	/* The head of an answer, of which there may be several (100 Continue). */
	if (line.len > 5 && memcmp(line.ptr, "HTTP/", 5) == 0) {
		t->control = (struct cache_control){ 0 };
		t->version_len = 0;
	} else if (is_field(line, "cache-control", &value)) {
		cache_control_parse(&t->control, value);
	} else if (is_field(line, "age", &value)) {
		cache_control_parse_age(&t->control, value);
	} else if (is_field(line, "etag", &value) && value.len <= sizeof(t->version)) {
		memcpy(t->version, value.ptr, value.len);
		t->version_len = value.len;
	}
	return line.len;
}

static size_t give_body(char *to, size_t size, size_t cnt, void *arg)
{
	struct http_transfer *t = arg;
	size_t left = t->query->body.len - t->sent_len;
	size_t len = left < size * cnt ? left : size * cnt;

	memcpy(to, t->query->body.ptr + t->sent_len, len);
	t->sent_len += len;
	return len;
}

/* libcurl sends a body again when a kept connection turns out to be closed. */
static int rewind_body(void *arg, curl_off_t offset, int origin)
{
	struct http_transfer *t = arg;

	if (origin != SEEK_SET || offset < 0 || (size_t)offset > t->query->body.len)
		return CURL_SEEKFUNC_FAIL;
	t->sent_len = (size_t)offset;
	return CURL_SEEKFUNC_OK;
}

/* --- its end --- */

static bool status_may_pass(long status)
{
	return status == 408 || status == 425 || status == 429 || status >= 500;
}

static enum answer_kind kind_of(enum http_method method, long status)
{
	if (status == 404 || status == 410)
		return ANSWER_ABSENT;
	if (status_may_pass(status))
		return ANSWER_FAILED;
	if (method == HTTP_GET)
		return status == 200 || status == 304 ? ANSWER_FOUND : ANSWER_REFUSED;
	return status >= 200 && status < 300 ? ANSWER_DONE : ANSWER_REFUSED;
}

static struct answer answer_of(struct http_transfer *t, CURLcode code)
{
	struct answer answer = { .kind = ANSWER_FAILED, .age = ANSWER_AGE_UNSAID };
	long status = 0, sent = 0;

	curl_easy_getinfo(t->transfer.easy, CURLINFO_REQUEST_SIZE, &sent);
	/* The second also says that an answer was not HTTP, which may pass. */
	if (t->too_long || code == CURLE_URL_MALFORMAT ||
	    (code == CURLE_UNSUPPORTED_PROTOCOL && !sent))
		answer.kind = ANSWER_REFUSED;
	if (code != CURLE_OK) {
		answer.reason = t->too_long    ? "the value is too long"
				: t->no_memory ? "no memory for the value"
				: t->error[0]  ? t->error
					       : curl_easy_strerror(code);
		return answer;
	}
	curl_easy_getinfo(t->transfer.easy, CURLINFO_RESPONSE_CODE, &status);
	answer.kind = kind_of(t->query->method, status);
	answer.reason = "";
	if (answer.kind == ANSWER_FAILED || answer.kind == ANSWER_REFUSED) {
		snprintf(t->error, sizeof(t->error), "status %ld", status);
		answer.reason = t->error;
		return answer;
	}
	answer.age = cache_control_age(&t->control);
	if (answer.kind == ANSWER_FOUND) {
		answer.unchanged = status == 304;
		answer.value = span_of(t->body, status == 304 ? 0 : t->len);
		answer.version = span_of(t->version, t->version_len);
	}
	return answer;
}

static void transfer_free(struct http_transfer *t)
{
	curl_easy_cleanup(t->transfer.easy);
	curl_slist_free_all(t->headers);
	alloc_free(t->body);
	alloc_free(t);
}

static void transfer_end(struct transfer *transfer, CURLcode code)
{
	struct http_transfer *t = (struct http_transfer *)transfer;
	struct answer answer = answer_of(t, code);
	struct http_query *query = t->query;

	query->transfer = NULL;
	query->done(query, &answer);
	transfer_free(t);
}

void http_turn(struct http *http)
{
	transfers_turn(http->transfers);
}

uint64_t http_next_ns(const struct http *http)
{
	return transfers_next_ns(http->transfers);
}

/* --- asking --- */

static bool add_header(struct http_transfer *t, const char *line)
{
	struct curl_slist *more = curl_slist_append(t->headers, line);

	if (more)
		t->headers = more;
	return more;
}

static bool add_headers(struct http_transfer *t)
{
	const struct http_query *query = t->query;
	char line[HTTP_VERSION_MAX + 32];

	/* libcurl would wait a second for a "100 Continue" before a long body. */
	if (!add_header(t, "Expect:") ||
	    (t->http->conf.header && !add_header(t, t->http->conf.header)))
		return false;
	if (query->method != HTTP_GET || !query->version.len ||
	    query->version.len > HTTP_VERSION_MAX)
		return true;
	snprintf(line, sizeof(line), "If-None-Match: %.*s", (int)query->version.len,
		 query->version.ptr);
	return add_header(t, line);
}

static void set_method(struct http_transfer *t)
{
	CURL *easy = t->transfer.easy;

	if (t->query->method == HTTP_PUT) {
		curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)t->query->body.len);
		curl_easy_setopt(easy, CURLOPT_READFUNCTION, give_body);
		curl_easy_setopt(easy, CURLOPT_READDATA, t);
		curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, rewind_body);
		curl_easy_setopt(easy, CURLOPT_SEEKDATA, t);
	} else if (t->query->method == HTTP_DELETE) {
		curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, "DELETE");
	}
}

static bool set_up(struct http_transfer *t)
{
	const struct http_conf *conf = &t->http->conf;
	uint64_t now_ns = clock_now_ns(conf->clock), deadline_ns = t->query->deadline_ns;
	/* 0 would be no limit at all. */
	long left_ms = deadline_ns > now_ns ? (long)((deadline_ns - now_ns) / NSEC_PER_MSEC) : 0;
	CURL *easy = t->transfer.easy;

	if (!add_headers(t))
		return false;
	set_method(t);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, left_ms ? left_ms : 1L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)conf->connect_ms);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "xdpcached");
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, t->headers);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->error);
	return curl_easy_setopt(easy, CURLOPT_URL, t->query->url) == CURLE_OK;
}

int http_ask(struct http *http, struct http_query *query)
{
	struct http_transfer *t = alloc_zero(1, sizeof(*t));

	assert(!query->transfer);
	if (!t)
		return -ENOMEM;
	t->http = http;
	t->query = query;
	t->transfer = (struct transfer){ .easy = curl_easy_init(), .done = transfer_end };
	if (!t->transfer.easy || !set_up(t) || transfers_add(http->transfers, &t->transfer)) {
		transfer_free(t);
		return -ENOMEM;
	}
	query->transfer = t;
	return 0;
}

int http_new(const struct http_conf *conf, struct loop *loop, struct http **ret)
{
	struct http *http = alloc_zero(1, sizeof(*http));
	int err;

	if (!http)
		return -ENOMEM;
	http->conf = *conf;
	err = transfers_new(conf->clock, loop, conf->connection_max, &http->transfers);
	if (err)
		alloc_free(http);
	else
		*ret = http;
	return err;
}

void http_free(struct http *http)
{
	if (!http)
		return;
	transfers_free(http->transfers);
	alloc_free(http);
}
