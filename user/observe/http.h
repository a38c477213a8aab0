/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * http - the daemon's pages for operators and their programs, over HTTP.
 *
 * Does      listens on one address; answers GET and HEAD of the pages it is given, to whom the
 *           allowlist names and, where there is a token, who brings it.
 * Shape     a page makes its reply when it is asked for. Read-only: no page takes anything.
 * Errors    http_open, http_start: negative errno after one log line that says what to do next.
 *           A client whose address is not allowed is closed without a byte; without the token:
 *           401; an unknown path: 404; another method: 405.
 * Owner     its socket and thread; a page's body once it is given. Pages, addresses and texts of
 *           the options are borrowed until http_stop.
 * Threads   http_open, http_start, http_stop: main. Pages are made in the server's one thread, so
 *           what they read must be safe to read beside workers.
 * Bounds    HTTP_CLIENT_MAX connections, HTTP_IDLE_SEC without a byte, 16 KiB of memory a request.
 * Invariant off the workers' path: it shares no lock with them but what a page takes itself.
 * Source    docs/operations.md, "Watching it"; libmicrohttpd's manual.
 */
#ifndef XC_OBSERVE_HTTP_H
#define XC_OBSERVE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_PORT_DEFAULT 9211
#define HTTP_CLIENT_MAX 32
#define HTTP_IDLE_SEC 10

struct http_reply {
	unsigned int status; /* 200 unless the page says otherwise */
	const char *type;    /* Content-Type; the page's own unless it says otherwise */
	char *body;
	size_t len;
	bool heap; /* the body is freed with free() once it is sent; false: it stays */
};

struct http_page {
	const char *path;
	const char *type;
	bool open; /* the token is not asked for: probes have none */
	/* accept: the request's header, NULL if there was none. Negative errno: 503. */
	int (*make)(void *ctx, const char *accept, struct http_reply *ret);
	void *ctx;
};

struct http_options {
	const char *address;	  /* "host:port", "[v6]:port" or "host" */
	bool dispensable;	  /* where it is taken: warn, and go on without a server */
	const char *const *allow; /* CIDR; none: loopback only */
	uint32_t allow_cnt;
	const char *token_file; /* its first line is the token; NULL: none is asked for */
	const struct http_page *pages;
	uint32_t page_cnt;
};

struct http;

/* Binds and reads the token: what may need privileges. dispensable: *ret may be NULL. */
int http_open(const struct http_options *options, struct http **ret);
int http_start(struct http *http); /* NULL-safe */
/* No page is being made when it returns. NULL-safe; also for one that was not started. */
void http_stop(struct http *http);

#endif
