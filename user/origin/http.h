/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * http - an origin that is an HTTP server.
 *
 * Does      gets, puts and deletes resources; tells what the server says of their age, and whether
 *           one that is known has changed (ETag).
 * Shape     libcurl's multi interface on the caller's event loop: connections are kept and shared.
 *           200 found, 304 found unchanged, 404 and 410 absent; other 2xx to a write: done; 408,
 *           425, 429, 5xx and whatever keeps an answer from coming: failed; all else refused, also
 *           redirections, which are not followed, and a body longer than value_max.
 * Units     moments in ns of the clock; sizes in bytes.
 * Errors    http_new, http_ask: -ENOMEM. What becomes of a query is its answer.
 * Owner     queries are the caller's and stay where they are, with what they point to, until done
 *           was called. Nothing is done by itself: the caller's loop tells of sockets, http_turn of
 *           time.
 * Threads   the origin's thread; libcurl looks up host names in threads of its own.
 * Invariant done is called once for each query, not from within http_ask, at the latest in the
 *           first http_turn after its deadline.
 * Source    RFC 9110, 9111; libcurl's curl_multi_socket_action(3).
 */
#ifndef XC_ORIGIN_HTTP_H
#define XC_ORIGIN_HTTP_H

#include <stdint.h>

#include "base/clock.h"
#include "base/loop.h"
#include "origin/origin.h"

#define HTTP_VERSION_MAX 256 /* an ETag; a longer one is as if there were none */

/* What an operator's origin of kind "http" is: http_ops.c. */
extern const struct origin_ops http_ops;

struct http;

struct http_conf {
	uint32_t connection_max; /* to one server; more queries wait for one of them */
	uint32_t connect_ms;
	uint32_t value_max;
	const char *header; /* "Authorization: ..." or the like, sent with each query; NULL: none */
	const struct clock *clock;
};

enum http_method {
	HTTP_GET,
	HTTP_PUT,
	HTTP_DELETE,
};

struct http_query {
	/* The caller's. */
	enum http_method method;
	const char *url;     /* http or https, its parts percent-encoded */
	struct span body;    /* HTTP_PUT */
	struct span version; /* HTTP_GET: has it changed since? empty: whatever it is */
	uint64_t deadline_ns;
	void (*done)(struct http_query *query, const struct answer *answer);
	/* http.c's. */
	struct http_transfer *transfer;
};

int http_new(const struct http_conf *conf, struct loop *loop, struct http **ret);
/* Answers what is still asked with FAILED. NULL-safe. */
void http_free(struct http *http);

int http_ask(struct http *http, struct http_query *query);
/* Lets time take effect. */
void http_turn(struct http *http);
/* When to call it at the latest; UINT64_MAX: never, as it is. */
uint64_t http_next_ns(const struct http *http);

#endif
