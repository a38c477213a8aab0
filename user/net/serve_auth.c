/* SPDX-License-Identifier: BSD-2-Clause */
#include "net/serve_auth.h"

#include <errno.h>
#include <strings.h>

#include "command/users.h"
#include "net/conn.h"
#include "protocol/binary.h"
#include "protocol/compose_text.h"
#include "protocol/parse_text.h"

/* Longest proof: two words of a users file, and what stands around them. */
#define PROOF_MAX (2 * USERS_WORD_MAX + 64)
#define LINE_END_LEN 2
/* memcached's bound for a line without end. */
#define AUTH_LINE_MAX 2048

/* memcached's bound for the name of a mechanism. */
#define MECHANISM_MAX 32

static const char plain[] = "PLAIN";

/* Tries, and counts. */
static bool authenticate(struct conn *c, struct span user, struct span password)
{
	struct worker *w = c->worker;

	c->authenticated = users_check(w->shared->users, user, password);
	command_count(&w->counts->auth_cmds, 1);
	if (!c->authenticated)
		command_count(&w->counts->auth_errors, 1);
	return c->authenticated;
}

/* --- text --- */

static void say(struct conn *c, enum request_status status)
{
	const struct request none = { .compose = &compose_text };

	compose_text.status(&c->worker->resp, &none, status);
}

static struct span next_word(struct span *rest)
{
	struct span word;

	while (rest->len > 0 && *rest->ptr == ' ')
		*rest = span_of(rest->ptr + 1, rest->len - 1);
	word = span_of(rest->ptr, 0);
	while (word.len < rest->len && word.ptr[word.len] != ' ')
		word.len++;
	*rest = span_of(rest->ptr + word.len, rest->len - word.len);
	return word;
}

/* The proof is there, with its line end. */
static enum request_status judge_text(struct conn *c, struct span proof)
{
	struct span rest = span_of(proof.ptr, proof.len - LINE_END_LEN), user, password;

	if (memcmp(proof.ptr + rest.len, "\r\n", LINE_END_LEN) != 0)
		return STATUS_AUTH_TERMINATION;
	user = next_word(&rest);
	password = next_word(&rest);
	if (user.len == 0 || password.len == 0)
		return STATUS_AUTH_FORMAT;
	return authenticate(c, user, password) ? STATUS_AUTHENTICATED : STATUS_AUTH_REFUSED;
}

enum serve_step serve_auth_text(struct conn *c, struct buffer *in)
{
	struct span bytes = buffer_span(in);
	const uint8_t *lf = memchr(bytes.ptr, '\n', bytes.len);
	uint64_t line_len, whole;
	struct request req;

	if (!lf)
		return bytes.len > AUTH_LINE_MAX ? SERVE_CLOSE : SERVE_WAIT;
	line_len = (uint64_t)(lf - bytes.ptr) + 1;
	if (parse_text(span_of(bytes.ptr, line_len), 0, &req) != (ssize_t)line_len ||
	    req.verb != REQUEST_SET || req.compose != &compose_text) {
		serve_take(c, in, line_len);
		say(c, STATUS_UNAUTHENTICATED);
		return SERVE_ON;
	}
	if (req.value_len > PROOF_MAX) {
		say(c, STATUS_AUTH_FORMAT);
		c->refused = true;
		return SERVE_CLOSE;
	}
	whole = line_len + req.value_len + LINE_END_LEN;
	if (bytes.len < whole) {
		c->need = whole;
		return SERVE_WAIT;
	}
	say(c, judge_text(c, span_of(bytes.ptr + line_len, whole - line_len)));
	serve_take(c, in, whole);
	return SERVE_ON;
}

/* --- binary --- */

static bool is_sasl(const struct request *req)
{
	return req->opcode == BINARY_SASL_LIST || req->opcode == BINARY_SASL_AUTH ||
	       req->opcode == BINARY_SASL_STEP;
}

bool serve_auth_wants(const struct conn *c, const struct request *req)
{
	/* Lengths that cannot be are told before all else. */
	if (!c->worker->shared->users || (req->close && req->error == STATUS_UNKNOWN_COMMAND))
		return false;
	return is_sasl(req) ? !req->close : !c->authenticated && req->opcode != BINARY_VERSION;
}

/* PLAIN: [whose rights] NUL user NUL password; other rights than the user's own are nobody's. */
static bool judge_plain(struct conn *c, struct span message)
{
	const uint8_t *end = message.ptr + message.len;
	const uint8_t *first = memchr(message.ptr, '\0', message.len);
	const uint8_t *second = first ? memchr(first + 1, '\0', (size_t)(end - first - 1)) : NULL;
	struct span rights, user, password;

	if (!second)
		return authenticate(c, span_of(NULL, 0), span_of(NULL, 0));
	rights = span_of(message.ptr, (size_t)(first - message.ptr));
	user = span_of(first + 1, (size_t)(second - first - 1));
	password = span_of(second + 1, (size_t)(end - second - 1));
	if (rights.len > 0 && !span_equal(rights, user))
		user = span_of(NULL, 0);
	return authenticate(c, user, password);
}

/* A mechanism's name, then its message. */
static bool judge_sasl(struct conn *c, const struct request *req, struct span body,
		       uint32_t key_len)
{
	c->authenticated = false;
	/* PLAIN has one step: there is never a second one to take. */
	if (req->opcode == BINARY_SASL_AUTH && key_len == sizeof(plain) - 1 &&
	    strncasecmp((const char *)body.ptr, plain, key_len) == 0)
		return judge_plain(c, span_of(body.ptr + key_len, body.len - key_len));
	return authenticate(c, span_of(NULL, 0), span_of(NULL, 0));
}

enum serve_step serve_auth_binary(struct conn *c, struct buffer *in, const struct request *req,
				  uint64_t len)
{
	struct span bytes = buffer_span(in);
	uint64_t body_len = req->value_len;
	enum request_status status = STATUS_SASL_MECHANISMS;

	if (!is_sasl(req)) {
		req->compose->status(&c->worker->resp, req, STATUS_AUTH_REFUSED);
		c->refused = true;
		return SERVE_CLOSE;
	}
	if (body_len > PROOF_MAX || binary_get16(bytes.ptr + 2) > MECHANISM_MAX) {
		req->compose->status(&c->worker->resp, req, STATUS_BAD_FORMAT);
		c->skip = body_len;
		serve_take(c, in, len);
		return SERVE_ON;
	}
	if (bytes.len < len + body_len) {
		c->need = len + body_len;
		return SERVE_WAIT;
	}
	if (req->opcode != BINARY_SASL_LIST)
		status = judge_sasl(c, req, span_of(bytes.ptr + len, body_len),
				    binary_get16(bytes.ptr + 2))
				 ? STATUS_AUTHENTICATED
				 : STATUS_AUTH_REFUSED;
	req->compose->status(&c->worker->resp, req, status);
	serve_take(c, in, len + body_len);
	return SERVE_ON;
}
