/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A flag is a word's first letter, its token the rest of the word. Flags are read to the end of the
 * line also behind a bad token, because memcached names the last error; a flag that is unknown or
 * comes twice ends the reading.
 */
#include "protocol/parse_meta.h"

#include <limits.h>

#include "abi/limits.h"
#include "protocol/base64.h"
#include "protocol/compose_meta.h"
#include "protocol/decimal.h"

#define KNOWN                                                                                      \
	(META_BIT('b') | META_BIT('c') | META_BIT('f') | META_BIT('h') | META_BIT('k') |           \
	 META_BIT('l') | META_BIT('q') | META_BIT('s') | META_BIT('t') | META_BIT('u') |           \
	 META_BIT('v') | META_BIT('x') | META_BIT('C') | META_BIT('D') | META_BIT('E') |           \
	 META_BIT('F') | META_BIT('I') | META_BIT('J') | META_BIT('L') | META_BIT('M') |           \
	 META_BIT('N') | META_BIT('O') | META_BIT('P') | META_BIT('R') | META_BIT('T'))

#define FINE STATUS_OK

struct flags {
	struct request *req;
	char mode; /* M; 0: none */
	/* The last one that was found; FINE: none. */
	enum request_status error;
};

static void require(struct flags *f, bool holds, enum request_status error)
{
	if (!holds)
		f->error = error;
}

static void read_token(struct flags *f, char letter, struct span word)
{
	struct span token = span_of(word.ptr + 1, word.len - 1);
	struct request *req = f->req;
	struct request_meta *meta = &req->meta;
	uint64_t number;

	switch (letter) {
	case 'T':
		require(f, decimal_parse_i64(token, &req->exptime), STATUS_META_BAD_TOKEN);
		break;
	case 'N':
		require(f, decimal_parse_i64(token, &meta->vivify_exptime), STATUS_META_BAD_TOKEN);
		break;
	case 'R':
		require(f, decimal_parse_i64(token, &meta->recache_exptime), STATUS_META_BAD_TOKEN);
		break;
	case 'C':
		require(f, decimal_parse_u64(token, &req->cas), STATUS_META_BAD_TOKEN);
		break;
	case 'E':
		require(f, decimal_parse_u64(token, &meta->new_cas), STATUS_META_BAD_TOKEN);
		break;
	case 'J':
		require(f, decimal_parse_u64(token, &meta->initial), STATUS_META_BAD_INITIAL);
		break;
	case 'D':
		require(f, decimal_parse_u64(token, &req->number), STATUS_META_BAD_DELTA);
		break;
	case 'F':
		if (decimal_parse_u64(token, &number) && number <= UINT32_MAX)
			req->flags = (uint32_t)number;
		else if (f->error == FINE)
			f->error = STATUS_BAD_FORMAT;
		break;
	case 'M':
		require(f, token.len == 1, STATUS_META_MODE_LEN);
		f->mode = token.len == 1 ? (char)token.ptr[0] : 0;
		break;
	case 'O':
		meta->opaque = word;
		break;
	case 'b':
		req->key_base64 = true;
		require(f, base64_decoded_len(req->key) > 0, STATUS_META_BAD_KEY);
		break;
	default:
		break;
	}
}

/* False: the flag ends the reading. */
static bool read_flag(struct flags *f, struct span word)
{
	struct request_meta *meta = &f->req->meta;
	uint8_t letter = word.ptr[0];

	if (letter >= 0x7f) {
		f->error = STATUS_META_DUPLICATE;
	} else if (letter < 'A' || letter > 'z' || !(KNOWN & META_BIT(letter))) {
		f->error = STATUS_META_BAD_FLAG;
	} else if (meta->given & META_BIT(letter)) {
		f->error = STATUS_META_DUPLICATE;
	} else {
		meta->given |= META_BIT(letter);
		meta->order[meta->flag_cnt++] = (char)letter;
		read_token(f, (char)letter, word);
		return true;
	}
	return false;
}

static bool key_fits(const struct request *req)
{
	if (req->key_base64)
		return base64_decoded_len(req->key) <= XC_KEY_MAX;
	return req->key.len <= XC_KEY_MAX;
}

/* word_cnt: words of the line before the flags. */
static void read_flags(struct flags *f, struct span words, uint32_t word_cnt)
{
	struct span rest = words, word;

	if (f->req->key.len > BASE64_LEN(XC_KEY_MAX)) {
		f->error = STATUS_BAD_FORMAT;
		return;
	}
	while ((word = request_word(&rest)).len)
		word_cnt++;
	if (word_cnt > META_WORD_MAX) {
		f->error = STATUS_META_TOO_MANY;
		return;
	}
	while ((word = request_word(&words)).len && read_flag(f, word))
		;
	if (!key_fits(f->req))
		f->error = STATUS_BAD_FORMAT;
	if (f->error == FINE && f->req->meta.opaque.len > META_OPAQUE_MAX)
		f->error = STATUS_META_LONG_OPAQUE;
}

/* The storage command that M asks for; the lower-case letters mean the same. */
static void choose_set(struct flags *f)
{
	struct request *req = f->req;

	switch (f->mode | 0x20) {
	case 0x20: /* none */
	case 's':
		break;
	case 'e':
		req->verb = REQUEST_ADD;
		break;
	case 'a':
		req->verb = REQUEST_APPEND;
		break;
	case 'p':
		req->verb = REQUEST_PREPEND;
		break;
	case 'r':
		req->verb = REQUEST_REPLACE;
		break;
	default:
		f->error = STATUS_META_SET_MODE;
		break;
	}
	if (request_asks(req, 'C') && (req->verb == REQUEST_SET || req->verb == REQUEST_REPLACE))
		req->verb = REQUEST_CAS;
}

static void read_set(struct flags *f, struct span words)
{
	struct request *req = f->req;
	int64_t len;

	if (!decimal_parse_i64(request_word(&words), &len) || len < 0 || len > INT_MAX - 2) {
		f->error = STATUS_BAD_FORMAT;
		return;
	}
	req->value_len = (uint64_t)len;
	req->value_skipped = true;
	read_flags(f, words, 3);
	if (f->error == FINE)
		choose_set(f);
	req->value_skipped = f->error != FINE;
}

static void read_arith(struct flags *f, struct span words)
{
	f->req->number = 1;
	read_flags(f, words, 2);
	if (f->error != FINE) {
		f->error = STATUS_META_ARITH_FLAG;
		return;
	}
	switch (f->mode) {
	case 0:
	case 'I':
	case '+':
		break;
	case 'D':
	case '-':
		f->req->decr = true;
		break;
	default:
		f->error = STATUS_META_ARITH_MODE;
		break;
	}
}

/* Takes no flags, but for a first word that is just "b". */
static void read_debug(struct flags *f, struct span words)
{
	struct request *req = f->req;

	req->key_base64 = span_equal(request_word(&words), span_of("b", 1));
	if (req->key.len == 0 || !key_fits(req) ||
	    (req->key_base64 && base64_decoded_len(req->key) == 0))
		f->error = STATUS_BAD_FORMAT;
}

void parse_meta(struct span words, struct request *req)
{
	struct flags f = { .req = req, .error = FINE };

	req->compose = &compose_meta;
	req->key = request_word(&words);
	switch (req->verb) {
	case REQUEST_META_NOOP:
		/* Whatever follows is nobody's key, and of any length. */
		req->key = span_of(NULL, 0);
		break;
	case REQUEST_META_DEBUG:
		read_debug(&f, words);
		break;
	case REQUEST_SET:
		read_set(&f, words);
		break;
	case REQUEST_META_ARITH:
		read_arith(&f, words);
		break;
	default:
		read_flags(&f, words, 2);
		break;
	}
	if (f.error == FINE)
		return;
	req->verb = REQUEST_INVALID;
	req->error = f.error;
	/* It may be no base64, or longer than whoever decodes it has room for. */
	req->key_base64 = false;
}
