/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whatever bytes come, the binary parser reads none behind them, gives spans inside them, and says
 * the same of a request with bytes behind it. Method: libFuzzer; the input is copied to heap memory
 * of its exact size, so that AddressSanitizer sees the first byte too many.
 */
#include "protocol/parse_binary.h"

#include <errno.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void check(const struct request *req, struct span in, ssize_t len)
{
	require(len >= BINARY_HEADER_LEN && (size_t)len <= in.len && len <= PARSE_BINARY_MAX);
	require(req->verb < REQUEST_VERB_CNT && req->error < STATUS_CNT && req->compose);
	require(req->value_len <= UINT32_MAX && req->value_bare);
	require(!req->close || (req->verb == REQUEST_INVALID && !request_has_value(req)));
	if (req->key.len)
		require(req->key.len <= 250 && req->key.ptr > in.ptr &&
			req->key.ptr + req->key.len == in.ptr + len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);
	struct request req = { 0 }, again = { 0 };
	ssize_t len;

	if (!copy)
		return 0;
	memcpy(copy, data, size);
	len = parse_binary(span_of(copy, size), &req);
	require(len > 0 || len == -EAGAIN || len == -EBADMSG);
	if (len > 0) {
		uint8_t *alone = malloc((size_t)len);

		if (!alone)
			abort();
		check(&req, span_of(copy, size), len);
		memcpy(alone, data, (size_t)len);
		require(parse_binary(span_of(alone, (size_t)len), &again) == len);
		require(again.verb == req.verb && again.error == req.error &&
			again.value_len == req.value_len && again.key.len == req.key.len);
		free(alone);
	}
	free(copy);
	return 0;
}
