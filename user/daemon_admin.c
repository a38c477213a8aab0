/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What operators and their programs see over HTTP: metrics, a page that shows them, health,
 * readiness. Health is whether the main loop goes round, since it renews the lease and obeys
 * signals; readiness, whether requests are answered.
 */
#include "daemon.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "observe/http.h"
#include "observe/metrics.h"

/* Of the main loop: a small multiple of what any lease lets it sleep. */
#define STALLED_NS (5 * NSEC_PER_SEC)

static int show_metrics(void *ctx, const char *accept, struct http_reply *ret)
{
	enum metrics_format format = metrics_negotiate(accept);
	struct daemon *d = ctx;
	int err = metrics_print(d->metrics, format, &ret->body, &ret->len);

	ret->type = metrics_content_type(format);
	ret->heap = true;
	return err;
}

static int say(struct http_reply *ret, bool good, const char *text)
{
	ret->status = good ? 200 : 503;
	ret->body = (char *)text;
	ret->len = strlen(text);
	return 0;
}

static int show_health(void *ctx, const char *accept, struct http_reply *ret)
{
	const struct daemon *d = ctx;
	uint64_t age_ns = clock_now_ns(d->clock) - atomic_load(&d->alive_ns);
	uint64_t limit_ns = STALLED_NS + d->config.lease_ms * NSEC_PER_MSEC;
	bool good = age_ns < limit_ns;

	(void)accept;
	return say(ret, good, good ? "ok\n" : "the main loop has stalled\n");
}

static int show_readiness(void *ctx, const char *accept, struct http_reply *ret)
{
	const struct daemon *d = ctx;

	(void)accept;
	return say(ret, atomic_load(&d->serving),
		   atomic_load(&d->serving) ? "ready\n" : "starting\n");
}

static int show_file(void *ctx, const char *accept, struct http_reply *ret)
{
	const struct page_file *file = ctx;

	(void)accept;
	ret->body = (char *)file->body;
	ret->len = (size_t)(file->end - file->body);
	return 0;
}

int daemon_open_admin(struct daemon *d)
{
	const struct http_page pages[] = {
		{ .path = "/metrics", .make = show_metrics, .ctx = d },
		{ .path = "/healthz",
		  .type = "text/plain; charset=utf-8",
		  .open = true,
		  .make = show_health,
		  .ctx = d },
		{ .path = "/readyz",
		  .type = "text/plain; charset=utf-8",
		  .open = true,
		  .make = show_readiness,
		  .ctx = d },
	};
	struct http_options options = {
		.address = d->config.admin,
		.dispensable = !d->config.admin_given,
		.allow = d->config.admin_allow.items,
		.allow_cnt = d->config.admin_allow.cnt,
		.token_file = d->config.admin_token,
		.pages = d->pages,
		.page_cnt = DAEMON_PAGE_CNT,
	};

	if (!d->config.admin)
		return 0;
	memcpy(d->pages, pages, sizeof(pages));
	for (uint32_t i = 0; i < PAGE_FILE_CNT; i++)
		d->pages[DAEMON_PAGE_CNT - PAGE_FILE_CNT + i] =
			(struct http_page){ .path = page_files[i].path,
					    .type = page_files[i].type,
					    .make = show_file,
					    .ctx = (void *)&page_files[i] };
	d->metrics = metrics_new();
	return d->metrics ? http_open(&options, &d->http) : -ENOMEM;
}

int daemon_start_admin(struct daemon *d)
{
	int err;

	if (!d->http)
		return 0;
	d->sources = daemon_sources(d);
	d->numbers = (struct control_metrics){
		.sources = &d->sources,
		.hot_max = d->config.metrics_hot_keys,
		.route_max = d->config.metrics_routes,
		.hash_keys = d->config.metrics_hash_keys,
	};
	atomic_store(&d->alive_ns, clock_now_ns(d->clock));
	err = metrics_add(d->metrics, control_metrics, &d->numbers);
	if (!err)
		err = metrics_add(d->metrics, daemon_origin_metrics, d);
	return err ? err : http_start(d->http);
}

void daemon_stop_admin(struct daemon *d)
{
	http_stop(d->http);
	metrics_free(d->metrics);
}
