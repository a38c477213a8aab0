/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libmicrohttpd reads requests and writes replies, in a thread of its own that is made after
 * privileges are gone and the sandbox is closed; here is who may ask, and for what.
 */
#include "observe/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cidr.h"
#include "base/log.h"
#include "base/sock.h"

#define TOKEN_MAX 256
#define BACKLOG 16
#define MEMORY_BYTES ((size_t)16 << 10) /* of one connection */
#define REALM "xdpcache"

struct http {
	struct http_options options;
	struct cidr *allow;
	uint32_t allow_cnt;
	char token[TOKEN_MAX + 1]; /* empty: none */
	int fd;			   /* -1: libmicrohttpd has it, and closes it */
	struct MHD_Daemon *server;
};

/* --- who may ask ------------------------------------------------------------------------------ */

static enum MHD_Result is_allowed(void *ctx, const struct sockaddr *addr, socklen_t len)
{
	const struct http *http = ctx;
	uint8_t bytes[16];

	(void)len;
	if (!cidr_addr_of(addr, bytes))
		return MHD_NO;
	for (uint32_t i = 0; i < http->allow_cnt; i++) {
		if (cidr_contains(&http->allow[i], bytes))
			return MHD_YES;
	}
	return MHD_NO;
}

/* Takes as long however much of it is right. */
static bool is_token(const struct http *http, const char *given)
{
	size_t len = strlen(http->token), given_len = strlen(given);
	unsigned int differ = len != given_len;

	for (size_t i = 0; i < len; i++)
		differ |= (unsigned char)http->token[i] ^
			  (unsigned char)(given_len ? given[i % given_len] : 0);
	return differ == 0;
}

/* Programs send it as a bearer's, browsers ask their user for a name, any, and a password. */
static bool has_token(const struct http *http, struct MHD_Connection *connection)
{
	const char *header = MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
							 MHD_HTTP_HEADER_AUTHORIZATION);
	char *name, *password = NULL;
	bool right;

	if (!http->token[0])
		return true;
	if (header && strncmp(header, "Bearer ", 7) == 0)
		return is_token(http, header + 7);
	name = MHD_basic_auth_get_username_password(connection, &password);
	right = password && is_token(http, password);
	MHD_free(name);
	MHD_free(password);
	return right;
}

/* --- replies ---------------------------------------------------------------------------------- */

static struct MHD_Response *response_of(const struct http_reply *reply)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(
		reply->len, reply->body,
		reply->heap ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);

	if (!response) {
		if (reply->heap)
			free(reply->body);
		return NULL;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, reply->type);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	MHD_add_response_header(response, "Content-Security-Policy",
				"default-src 'self'; frame-ancestors 'none'");
	return response;
}

/* A reply of a few words that says what is wrong; header (may be NULL) with its value. */
static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned int status,
			      const char *text, const char *header, const char *value)
{
	const struct http_reply reply = { .type = "text/plain; charset=utf-8",
					  .body = (char *)text,
					  .len = strlen(text) };
	struct MHD_Response *response = response_of(&reply);
	enum MHD_Result result;

	if (!response)
		return MHD_NO;
	if (header)
		MHD_add_response_header(response, header, value);
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result send_page(struct MHD_Connection *connection, const struct http_page *page)
{
	const char *accept =
		MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
	struct http_reply reply = { .status = MHD_HTTP_OK, .type = page->type };
	struct MHD_Response *response;
	enum MHD_Result result;

	if (page->make(page->ctx, accept, &reply))
		return refuse(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory\n", NULL,
			      NULL);
	response = response_of(&reply);
	if (!response)
		return MHD_NO;
	result = MHD_queue_response(connection, reply.status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result answer(void *ctx, struct MHD_Connection *connection, const char *path,
			      const char *method, const char *version, const char *upload,
			      size_t *upload_len, void **request_ctx)
{
	static const char basic[] = "Basic realm=\"" REALM "\", charset=\"UTF-8\"";
	const struct http *http = ctx;
	const struct http_page *page = NULL;

	(void)version;
	(void)upload;
	(void)upload_len;
	/* First the headers alone: a reply now would end the connection after it. */
	if (!*request_ctx) {
		*request_ctx = (void *)http;
		return MHD_YES;
	}
	if (*upload_len > 0) { /* nobody wants it */
		*upload_len = 0;
		return MHD_YES;
	}
	for (uint32_t i = 0; i < http->options.page_cnt && !page; i++) {
		if (!strcmp(http->options.pages[i].path, path))
			page = &http->options.pages[i];
	}
	if (!(page && page->open) && !has_token(http, connection))
		return refuse(connection, MHD_HTTP_UNAUTHORIZED, "the token is missing or wrong\n",
			      MHD_HTTP_HEADER_WWW_AUTHENTICATE, basic);
	if (!page)
		return refuse(connection, MHD_HTTP_NOT_FOUND, "no such page\n", NULL, NULL);
	if (strcmp(method, MHD_HTTP_METHOD_GET) && strcmp(method, MHD_HTTP_METHOD_HEAD))
		return refuse(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "pages can only be read\n",
			      MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	return send_page(connection, page);
}

static void log_message(void *ctx, const char *format, va_list args)
{
	(void)ctx;
	log_vline(LOG_DEBUG, "http", format, args);
}

/* --- life ------------------------------------------------------------------------------------- */

static int parse_allow(struct http *http)
{
	bool any = http->options.allow_cnt > 0;
	const char *const *texts = any ? http->options.allow : cidr_loopback;

	http->allow_cnt = any ? http->options.allow_cnt : CIDR_LOOPBACK_CNT;
	http->allow = alloc_zero(http->allow_cnt, sizeof(*http->allow));
	if (!http->allow)
		return -ENOMEM;
	for (uint32_t i = 0; i < http->allow_cnt; i++) {
		int err = cidr_parse(texts[i], &http->allow[i]);

		if (err)
			return err;
	}
	return 0;
}

static int read_token(struct http *http)
{
	const char *path = http->options.token_file;
	FILE *file;
	int err = 0;

	if (!path)
		return 0;
	file = fopen(path, "re");
	if (!file)
		err = -errno;
	else if (!fgets(http->token, sizeof(http->token), file))
		err = ferror(file) ? -EIO : -ENODATA;
	if (file)
		fclose(file);
	http->token[strcspn(http->token, "\r\n")] = '\0';
	if (!err && !http->token[0])
		err = -ENODATA;
	if (!err && strlen(http->token) == TOKEN_MAX)
		err = -EMSGSIZE;
	if (err)
		log_line(LOG_ERROR, "http",
			 "cannot take the token from %s: %s; write it there as one line of up to "
			 "%d characters",
			 path, strerror(-err), TOKEN_MAX - 1);
	return err;
}

/* One address: a name that has several stands for its first. */
static int open_socket(struct http *http)
{
	const char *text = http->options.address;
	bool dispensable = http->options.dispensable;
	struct sock_addr addr;
	int rc = sock_resolve(text, HTTP_PORT_DEFAULT, &addr, 1, NULL);

	if (rc >= 0)
		rc = rc == 0 ? -EADDRNOTAVAIL : sock_probe(&addr, SOCK_STREAM);
	if (!rc)
		rc = sock_listen_tcp(&addr, BACKLOG);
	if (rc >= 0) {
		http->fd = rc;
		return 0;
	}
	log_line(dispensable ? LOG_WARN : LOG_ERROR, "http",
		 "cannot listen on %s for metrics and status: %s; %schoose another address with "
		 "--admin",
		 text, strerror(-rc), dispensable ? "the daemon goes on without them: " : "");
	return rc;
}

static void http_free(struct http *http)
{
	if (http->fd >= 0)
		close(http->fd);
	alloc_free(http->allow);
	alloc_free(http);
}

int http_open(const struct http_options *options, struct http **ret)
{
	struct http *http = alloc_zero(1, sizeof(*http));
	int err;

	if (!http)
		return -ENOMEM;
	http->options = *options;
	http->fd = -1;
	err = parse_allow(http);
	if (!err)
		err = read_token(http);
	if (err) {
		http_free(http);
		return err;
	}
	err = open_socket(http);
	if (err) {
		http_free(http);
		http = NULL;
	}
	if (!err || options->dispensable) {
		*ret = http;
		return 0;
	}
	return err;
}

int http_start(struct http *http)
{
	if (!http)
		return 0;
	http->server = MHD_start_daemon(
		MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_ERROR_LOG, 0, is_allowed,
		http, answer, http, MHD_OPTION_EXTERNAL_LOGGER, log_message, NULL,
		MHD_OPTION_LISTEN_SOCKET, http->fd, MHD_OPTION_CONNECTION_LIMIT, HTTP_CLIENT_MAX,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int)HTTP_IDLE_SEC,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, MEMORY_BYTES, MHD_OPTION_END);
	if (!http->server) {
		log_line(LOG_ERROR, "http", "cannot start the server of metrics and status");
		return -EIO;
	}
	http->fd = -1;
	return 0;
}

void http_stop(struct http *http)
{
	if (!http)
		return;
	if (http->server)
		MHD_stop_daemon(http->server);
	http_free(http);
}
