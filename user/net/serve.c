/* SPDX-License-Identifier: BSD-2-Clause */
/*
 *            +--------------------------- request done -----------------------+
 *            v                                                                |
 *   bytes -> line? -- storage, small --> whole in the buffer? --> carried out -+
 *            |   \--- storage, large --> upload: bytes go straight to the log -+
 *            |                           (no room now: parked, and tried again)|
 *            |    \-- refused value ---> skip ---------------------------------+
 *            |     \- retrieval -------> keys answered until the reply is full,+
 *            |                           sent, and so on (in_line)             |
 *            \------- anything else --------------------------------------- ---+
 *
 * A request that waits for an answer from elsewhere stays where it is, and all behind it, until
 * its connection is resumed; then it is read again from its start.
 */
#include "net/serve.h"

#include <errno.h>

#include "base/alloc.h"
#include "net/conn.h"
#include "net/serve_auth.h"
#include "protocol/compose_text.h"
#include "protocol/parse_binary.h"
#include "protocol/parse_text.h"

/* Values up to this wait in the buffer until they are whole; larger ones are uploads. */
#define SMALL_VALUE_MAX 16384
#define LINE_END_LEN 2
/* A large value waits for room this long before it is refused; its client alone waits. */
#define PARK_MAX_NS NSEC_PER_SEC

_Static_assert(PARSE_TEXT_WINDOW + SMALL_VALUE_MAX + LINE_END_LEN <= BUFFER_LARGE,
	       "a line and its small value fit one buffer, so a full buffer always makes progress");

static void free_upload(struct conn *c)
{
	alloc_free(c->upload);
	c->upload = NULL;
	c->worker->upload_cnt--;
}

bool serve_upload_is_whole(const struct conn *c)
{
	return c->upload && c->upload_left == 0;
}

void serve_drop_upload(struct conn *c)
{
	if (!c->upload)
		return;
	command_upload_abandon(c->worker->command, c->upload);
	free_upload(c);
}

/* Out of the loop until conn_resume: its bytes stay in the socket, and must not wake us. */
static enum serve_step park(struct conn *c)
{
	struct worker *w = c->worker;

	if (!c->parked_ns) {
		c->parked_ns = command_now_ns(w->command);
		command_count(&w->counts->upload_waits, 1);
	}
	if (loop_replace(&w->loop, &c->source, 0))
		return SERVE_CLOSE;
	c->waits_for = 0;
	c->queued = true;
	c->link = w->parked;
	w->parked = c;
	return SERVE_PARK;
}

void serve_take(struct conn *c, struct buffer *in, uint64_t len)
{
	in->start += len;
	c->scanned = 0;
	c->need = 0;
}

static enum serve_step step_skip(struct conn *c, struct buffer *in)
{
	uint64_t len = buffer_len(in) < c->skip ? buffer_len(in) : c->skip;

	serve_take(c, in, len);
	c->skip -= len;
	return c->skip ? SERVE_WAIT : SERVE_ON;
}

static enum serve_step step_skip_line(struct conn *c, struct buffer *in)
{
	struct span bytes = buffer_span(in);
	const uint8_t *lf = memchr(bytes.ptr, '\n', bytes.len);

	serve_take(c, in, lf ? (uint64_t)(lf - bytes.ptr) + 1 : bytes.len);
	c->skip_line = !lf;
	return lf ? SERVE_ON : SERVE_WAIT;
}

static enum serve_step step_upload(struct conn *c, struct buffer *in)
{
	struct command_worker *command = c->worker->command;
	struct span bytes = buffer_span(in);
	uint32_t end_len = request_value_end_len(&c->upload->req);
	uint64_t value_left = c->upload_left > end_len ? c->upload_left - end_len : 0;
	uint64_t value_len = bytes.len < value_left ? bytes.len : value_left;
	bool bad_end;

	command_upload_fill(command, c->upload, span_of(bytes.ptr, value_len));
	serve_take(c, in, value_len);
	c->upload_left -= value_len;
	bytes = buffer_span(in);
	while (c->upload_left <= end_len && c->upload_left > 0 && bytes.len > 0) {
		c->upload_end[end_len - c->upload_left--] = *bytes.ptr++;
		bytes.len--;
		serve_take(c, in, 1);
	}
	if (c->upload_left > 0)
		return SERVE_WAIT;
	bad_end = memcmp(c->upload_end, "\r\n", end_len) != 0;
	if (command_upload_finish(command, c->upload, bad_end, &c->worker->resp) == COMMAND_WAITS)
		return SERVE_PARK;
	free_upload(c);
	return SERVE_ON;
}

/* What follows a storage command's line. */
static uint64_t value_room(const struct request *req)
{
	return req->value_len + request_value_end_len(req);
}

static enum serve_step start_upload(struct conn *c, struct buffer *in, const struct request *req,
				    uint64_t line_len)
{
	struct worker *w = c->worker;
	struct command_upload *upload = alloc_zero(1, sizeof(*upload));
	enum command_upload_state state = COMMAND_UPLOAD_ANSWERED;
	bool last_try = c->parked_ns && command_now_ns(w->command) - c->parked_ns > PARK_MAX_NS;

	if (!upload)
		req->compose->status(&w->resp, req, STATUS_NO_MEMORY_STORING);
	else
		state = command_upload_start(w->command, req, upload, last_try, &w->resp);
	if (state != COMMAND_UPLOAD_GOES)
		alloc_free(upload);
	if (state == COMMAND_UPLOAD_BUSY)
		return park(c);
	c->parked_ns = 0;
	serve_take(c, in, line_len);
	if (state == COMMAND_UPLOAD_GOES) {
		c->upload = upload;
		c->upload_left = value_room(req);
		w->upload_cnt++;
	} else {
		c->skip = value_room(req);
	}
	return SERVE_ON;
}

static enum serve_step step_store(struct conn *c, struct buffer *in, struct request *req,
				  uint64_t line_len)
{
	struct span bytes = buffer_span(in);
	uint64_t whole = line_len + value_room(req);
	const uint8_t *end;

	if (!command_admit(c->worker->command, req, &c->worker->resp)) {
		c->skip = value_room(req);
		serve_take(c, in, line_len);
		return SERVE_ON;
	}
	if (req->value_len > SMALL_VALUE_MAX) {
		req->raw = span_of(bytes.ptr, line_len);
		return start_upload(c, in, req, line_len);
	}
	if (bytes.len < whole) {
		c->need = whole;
		return SERVE_WAIT;
	}
	req->value = span_of(bytes.ptr + line_len, req->value_len);
	end = req->value.ptr + req->value_len;
	req->value_bad = !req->value_bare && (end[0] != '\r' || end[1] != '\n');
	req->raw = span_of(bytes.ptr, whole);
	if (command_apply(c->worker->command, req, &c->worker->resp) == COMMAND_WAITS)
		return SERVE_PARK;
	serve_take(c, in, whole);
	return SERVE_ON;
}

static enum serve_step start_watch(struct conn *c, struct buffer *in, const struct request *req,
				   uint64_t len)
{
	struct worker *w = c->worker;
	struct eventlog *events = w->shared->events;
	enum request_status status = STATUS_OK;
	struct eventlog_stream *stream;

	serve_take(c, in, len);
	stream = events ? eventlog_open(events, (uint32_t)req->number) : NULL;
	if (stream)
		conn_watch(c, stream);
	else
		status = STATUS_WATCH_FULL;
	req->compose->status(&w->resp, req, status);
	return SERVE_ON;
}

/* Carries out a request whose line is `len` bytes from the buffer's start. */
static enum serve_step apply(struct conn *c, struct buffer *in, struct request *req, uint64_t len)
{
	enum command_next next;

	req->raw = span_of(in->bytes + in->start, len);
	next = command_apply(c->worker->command, req, &c->worker->resp);
	if (next == COMMAND_WAITS)
		return SERVE_PARK;
	if (next == COMMAND_WATCH)
		return start_watch(c, in, req, len);
	if (next == COMMAND_MORE && req->verb == REQUEST_DUMP) {
		/* Its line stays where it is, and stands for it until the list has ended. */
		c->line = *req;
		c->line_len = len;
		return SERVE_SEND;
	}
	c->line_len = 0;
	if (next == COMMAND_MORE) {
		/* The next step starts at the first key that has no answer yet. */
		serve_take(c, in, (uint64_t)(req->keys.ptr - (in->bytes + in->start)));
		c->line = *req;
		c->in_line = true;
		return SERVE_SEND;
	}
	serve_take(c, in, len);
	c->in_line = req->more && req->verb != REQUEST_INVALID;
	c->skip_line = req->more && req->verb == REQUEST_INVALID;
	if (c->in_line)
		c->line = *req;
	if (next != COMMAND_CLOSE)
		return SERVE_ON;
	c->end_reason = "normal";
	return SERVE_CLOSE;
}

static enum serve_step step_binary(struct conn *c, struct buffer *in)
{
	struct request req;
	ssize_t len = parse_binary(buffer_span(in), &req);

	if (len == -EAGAIN)
		return SERVE_WAIT;
	if (len > 0 && serve_auth_wants(c, &req))
		return serve_auth_binary(c, in, &req, (uint64_t)len);
	if (len > 0 && request_has_value(&req))
		return step_store(c, in, &req, (uint64_t)len);
	if (len > 0 && !req.close)
		return apply(c, in, &req, (uint64_t)len);
	if (len > 0)
		apply(c, in, &req, (uint64_t)len);
	/* What else has come is of no use; the replies so far are. */
	c->refused = true;
	return SERVE_CLOSE;
}

static enum serve_step step_line(struct conn *c, struct buffer *in)
{
	struct span bytes = buffer_span(in);
	struct request req;
	ssize_t len;

	if (c->line_len) {
		req = c->line;
		return apply(c, in, &req, c->line_len);
	}
	if (c->in_line) {
		req = c->line;
		len = parse_text_more(bytes, c->scanned, &req);
	} else {
		len = parse_text(bytes, c->scanned, &req);
	}
	if (len == -EAGAIN) {
		c->scanned = bytes.len;
		return SERVE_WAIT;
	}
	if (len < 0) {
		struct request none = { .compose = &compose_text };

		if (len == -EMSGSIZE) {
			none.compose->status(&c->worker->resp, &none, STATUS_BAD_LINE);
			c->refused = true;
		}
		return SERVE_CLOSE;
	}
	if (request_has_value(&req))
		return step_store(c, in, &req, (uint64_t)len);
	return apply(c, in, &req, (uint64_t)len);
}

enum serve_step serve_step(struct conn *c, struct buffer *in)
{
	if (command_client_waits(&c->client))
		return SERVE_PARK;
	if (c->events) {
		serve_take(c, in, buffer_len(in));
		return SERVE_WAIT;
	}
	if (c->skip)
		return step_skip(c, in);
	if (c->upload)
		return step_upload(c, in);
	if (c->skip_line)
		return step_skip_line(c, in);
	if (c->protocol == COMMAND_PROTOCOL_AUTO)
		c->protocol = parse_binary_is_request(buffer_span(in)) ? COMMAND_PROTOCOL_BINARY
								       : COMMAND_PROTOCOL_TEXT;
	if (c->protocol == COMMAND_PROTOCOL_BINARY)
		return step_binary(c, in);
	return c->authenticated || !c->worker->shared->users ? step_line(c, in)
							     : serve_auth_text(c, in);
}
