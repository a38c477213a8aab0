/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whatever bytes come, the text parser reads none behind them, gives spans inside them, and says
 * the same of a line whether it came whole or in pieces. Method: libFuzzer; the input is copied to
 * heap memory of its exact size, so that AddressSanitizer sees the first byte too many.
 */
#include "protocol/parse_text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base64.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void require_inside(struct span part, struct span whole)
{
	if (part.len)
		require(part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len);
}

static void check_key(const struct request *req)
{
	uint8_t raw[250], text[BASE64_LEN(sizeof(raw))];
	size_t len;

	if (!req->key_base64) {
		require(req->key.len <= sizeof(raw));
		return;
	}
	len = base64_decoded_len(req->key);
	require(len > 0 && len <= sizeof(raw));
	base64_decode(req->key, raw);
	require(base64_encode(span_of(raw, len), text) == req->key.len);
}

static void check(const struct request *req, struct span in, ssize_t len)
{
	require(len >= 0 && (size_t)len <= in.len && req->compose);
	require(req->verb < REQUEST_VERB_CNT);
	if (req->verb == REQUEST_INVALID) {
		require(req->error < STATUS_CNT);
		return;
	}
	require_inside(req->key, in);
	require_inside(req->keys, in);
	require_inside(req->args, in);
	require_inside(req->meta.opaque, in);
	require(req->meta.flag_cnt <= META_FLAG_MAX && req->meta.opaque.len <= META_OPAQUE_MAX);
	require(req->value_len <= INT32_MAX);
	check_key(req);
}

/* A retrieval's further pieces, to its end. */
static void read_rest(struct span in, struct request *req)
{
	while (req->more && req->verb != REQUEST_INVALID) {
		ssize_t len = parse_text_more(in, 0, req);

		if (len == -EAGAIN)
			return;
		check(req, in, len);
		require(len > 0 || !req->more);
		in = span_of(in.ptr + len, in.len - (size_t)len);
	}
}

static bool same(const struct request *a, const struct request *b)
{
	return a->verb == b->verb && a->error == b->error && a->noreply == b->noreply &&
	       a->flags == b->flags && a->exptime == b->exptime && a->value_len == b->value_len &&
	       a->cas == b->cas && a->number == b->number && a->key.len == b->key.len &&
	       a->keys.len == b->keys.len && a->args.len == b->args.len &&
	       a->meta.given == b->meta.given && a->meta.flag_cnt == b->meta.flag_cnt &&
	       memcmp(a->meta.order, b->meta.order, a->meta.flag_cnt) == 0 &&
	       a->meta.opaque.len == b->meta.opaque.len && a->meta.new_cas == b->meta.new_cas &&
	       a->value_skipped == b->value_skipped && a->key_base64 == b->key_base64;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct request whole = { 0 };
	uint8_t *copy = malloc(size ? size : 1);
	struct span in = span_of(copy, size);
	ssize_t len;

	if (!copy)
		return 0;
	memcpy(copy, data, size);
	len = parse_text(in, 0, &whole);
	require(len > 0 || len == -EAGAIN || len == -EBADMSG || len == -EMSGSIZE);
	if (len > 0) {
		struct request again = { 0 };
		uint8_t *line = malloc((size_t)len);

		check(&whole, in, len);
		if (!line)
			abort();
		/* the line alone, its last byte the only one not seen before */
		memcpy(line, data, (size_t)len);
		if (!whole.more) {
			require(parse_text(span_of(line, (size_t)len), (size_t)len - 1, &again) ==
				len);
			require(same(&whole, &again));
		}
		free(line);
		read_rest(span_of(copy + len, size - (size_t)len), &whole);
	}
	free(copy);
	return 0;
}
