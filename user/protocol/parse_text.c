/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A line is words apart by spaces, ended by LF or CR LF; a NUL byte ends its words early. The verb
 * picks a row of the table: how many words it takes, and who reads them. Words are counted with the
 * verb and without memcached's terminating token.
 */
#include "protocol/parse_text.h"

#include <errno.h>
#include <limits.h>

#include "abi/limits.h"
#include "protocol/compose_text.h"
#include "protocol/decimal.h"
#include "protocol/parse_meta.h"

/* cas takes the most: cas <key> <flags> <exptime> <bytes> <unique> noreply */
#define WORD_MAX 7
#define LEADING_SPACE_MAX 100

struct words {
	struct span word[WORD_MAX];
	uint32_t cnt;	  /* WORD_MAX + 1: more than any command takes */
	struct span rest; /* behind the verb */
};

struct verb_row {
	const char *name;
	uint8_t len;
	uint8_t word_min;
	uint8_t word_max; /* 0: any number */
	enum request_verb verb;
	void (*read)(const struct words *w, struct request *req);
};

static void fail(struct request *req, enum request_status error)
{
	req->verb = REQUEST_INVALID;
	req->error = error;
}

/* The last word says noreply: also where the words before it turn out wrong. */
static void read_noreply(const struct words *w, struct request *req)
{
	req->noreply = span_equal(w->word[w->cnt - 1], span_of("noreply", 7));
}

static bool read_key(const struct words *w, struct request *req)
{
	req->key = w->word[1];
	if (req->key.len <= XC_KEY_MAX)
		return true;
	fail(req, STATUS_BAD_FORMAT);
	return false;
}

static void read_store(const struct words *w, struct request *req)
{
	uint64_t flags;
	int64_t len;

	read_noreply(w, req);
	if (!read_key(w, req))
		return;
	if (!decimal_parse_u64(w->word[2], &flags) ||
	    !decimal_parse_i64(w->word[3], &req->exptime) || !decimal_parse_i64(w->word[4], &len) ||
	    (req->verb == REQUEST_CAS && !decimal_parse_u64(w->word[5], &req->cas)) || len < 0 ||
	    len > INT_MAX - 2) {
		fail(req, STATUS_BAD_FORMAT);
		return;
	}
	req->flags = (uint32_t)flags; /* memcached keeps the low 32 bits, too */
	req->value_len = (uint64_t)len;
}

static void read_retrieval(const struct words *w, struct request *req)
{
	req->keys = w->rest;
	if (req->verb == REQUEST_GET || req->verb == REQUEST_GETS)
		return;
	if (!decimal_parse_i64(request_word(&req->keys), &req->exptime))
		fail(req, STATUS_BAD_EXPTIME);
}

static void read_delete(const struct words *w, struct request *req)
{
	bool zero = w->cnt > 2 && span_equal(w->word[2], span_of("0", 1));

	if (w->cnt > 2) {
		read_noreply(w, req);
		/* "delete k 0" once meant a hold time of none; other times are long gone. */
		if (w->cnt == 3 ? !zero && !req->noreply : !zero || !req->noreply) {
			fail(req, STATUS_BAD_DELETE);
			return;
		}
	}
	read_key(w, req);
}

static void read_arith(const struct words *w, struct request *req)
{
	read_noreply(w, req);
	if (read_key(w, req) && !decimal_parse_u64(w->word[2], &req->number))
		fail(req, STATUS_BAD_DELTA);
}

static void read_touch(const struct words *w, struct request *req)
{
	read_noreply(w, req);
	if (read_key(w, req) && !decimal_parse_i64(w->word[2], &req->exptime))
		fail(req, STATUS_BAD_EXPTIME);
}

static void read_flush(const struct words *w, struct request *req)
{
	read_noreply(w, req);
	req->has_exptime = w->cnt > (req->noreply ? 2U : 1U);
	if (req->has_exptime && !decimal_parse_i64(w->word[1], &req->exptime))
		fail(req, STATUS_BAD_EXPTIME);
}

static void read_verbosity(const struct words *w, struct request *req)
{
	read_noreply(w, req);
	if (!decimal_parse_u64(w->word[1], &req->number))
		fail(req, STATUS_BAD_FORMAT);
}

static void read_memlimit(const struct words *w, struct request *req)
{
	read_noreply(w, req);
	if (!decimal_parse_u64(w->word[1], &req->number))
		fail(req, STATUS_UNKNOWN_COMMAND);
}

static void read_admin(const struct words *w, struct request *req)
{
	read_noreply(w, req);
	req->args = w->rest;
}

static void read_rest(const struct words *w, struct request *req)
{
	req->args = w->rest;
}

static void read_meta(const struct words *w, struct request *req)
{
	parse_meta(w->rest, req);
}

/* Frequent ones first. */
static const struct verb_row verbs[] = {
	{ "get", 3, 2, 0, REQUEST_GET, read_retrieval },
	{ "set", 3, 5, 6, REQUEST_SET, read_store },
	{ "mg", 2, 2, 0, REQUEST_META_GET, read_meta },
	{ "ms", 2, 2, 0, REQUEST_SET, read_meta },
	{ "md", 2, 2, 0, REQUEST_META_DELETE, read_meta },
	{ "gets", 4, 2, 0, REQUEST_GETS, read_retrieval },
	{ "delete", 6, 2, 4, REQUEST_DELETE, read_delete },
	{ "incr", 4, 3, 4, REQUEST_INCR, read_arith },
	{ "decr", 4, 3, 4, REQUEST_DECR, read_arith },
	{ "add", 3, 5, 6, REQUEST_ADD, read_store },
	{ "cas", 3, 6, 7, REQUEST_CAS, read_store },
	{ "touch", 5, 3, 4, REQUEST_TOUCH, read_touch },
	{ "gat", 3, 2, 0, REQUEST_GAT, read_retrieval },
	{ "gats", 4, 2, 0, REQUEST_GATS, read_retrieval },
	{ "ma", 2, 2, 0, REQUEST_META_ARITH, read_meta },
	{ "mn", 2, 1, 0, REQUEST_META_NOOP, read_meta },
	{ "me", 2, 1, 0, REQUEST_META_DEBUG, read_meta },
	{ "replace", 7, 5, 6, REQUEST_REPLACE, read_store },
	{ "append", 6, 5, 6, REQUEST_APPEND, read_store },
	{ "prepend", 7, 5, 6, REQUEST_PREPEND, read_store },
	{ "flush_all", 9, 1, 3, REQUEST_FLUSH_ALL, read_flush },
	{ "version", 7, 1, 0, REQUEST_VERSION, read_rest },
	{ "verbosity", 9, 2, 3, REQUEST_VERBOSITY, read_verbosity },
	{ "quit", 4, 1, 0, REQUEST_QUIT, read_rest },
	{ "stats", 5, 1, 0, REQUEST_STATS, read_rest },
	{ "shutdown", 8, 1, 0, REQUEST_SHUTDOWN, read_rest },
	{ "cache_memlimit", 14, 2, 3, REQUEST_MEMLIMIT, read_memlimit },
	{ "refresh_certs", 13, 1, 0, REQUEST_REFRESH_CERTS, read_admin },
	{ "lru_crawler", 11, 2, 3, REQUEST_LRU_CRAWLER, read_rest },
	{ "lru", 3, 3, 7, REQUEST_LRU, read_admin },
	{ "slabs", 5, 3, 5, REQUEST_SLABS, read_admin },
	{ "watch", 5, 1, 0, REQUEST_WATCH, read_rest },
	{ "bget", 4, 2, 0, REQUEST_GET, read_retrieval },
};

static const struct verb_row *find_verb(struct span word)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (verbs[i].len == word.len && memcmp(verbs[i].name, word.ptr, word.len) == 0)
			return &verbs[i];
	}
	return NULL;
}

static void split(struct span line, struct words *ret)
{
	struct span rest = line;
	struct span word;

	ret->word[0] = request_word(&rest);
	ret->rest = rest;
	ret->cnt = ret->word[0].len ? 1 : 0;
	while (ret->cnt && (word = request_word(&rest)).len) {
		if (ret->cnt == WORD_MAX) {
			ret->cnt++;
			return;
		}
		ret->word[ret->cnt++] = word;
	}
}

/*
 * A browser, or a page made to speak to us: no answer, so that nothing can be smuggled in its body.
 */
static bool is_http(const struct words *w, struct span line)
{
	const uint8_t *end = line.ptr + line.len;
	const uint8_t *start;

	/* memcached looks here only after its switch on the verb's first letter has failed. */
	if (w->cnt == 0 || w->word[0].len < 2 || memchr("gsacidt", w->word[0].ptr[0], 7) ||
	    (w->word[0].ptr[0] == 'm' && w->word[0].len == 2))
		return false;
	while (end > line.ptr && end[-1] == ' ')
		end--;
	start = end;
	while (start > line.ptr && start[-1] != ' ')
		start--;
	return end - start >= 5 && memcmp(start, "HTTP/", 5) == 0;
}

static bool keys_fit(struct span keys)
{
	struct span key;

	if (keys.len <= XC_KEY_MAX)
		return true;
	while ((key = request_word(&keys)).len) {
		if (key.len > XC_KEY_MAX)
			return false;
	}
	return true;
}

static int read_line(struct span line, struct request *req)
{
	const uint8_t *nul = memchr(line.ptr, '\0', line.len);
	const struct verb_row *row;
	struct words w;

	if (nul)
		line.len = (size_t)(nul - line.ptr);
	split(line, &w);
	row = w.cnt ? find_verb(w.word[0]) : NULL;
	if (!row || w.cnt < row->word_min || (row->word_max && w.cnt > row->word_max)) {
		if (!row && is_http(&w, line))
			return -EBADMSG;
		fail(req, STATUS_UNKNOWN_COMMAND);
		return 0;
	}
	req->verb = row->verb;
	row->read(&w, req);
	if (request_is_retrieval(req) && !keys_fit(req->keys))
		fail(req, STATUS_BAD_FORMAT);
	return 0;
}

/*
 * The line within the window, without its end; 0 consumed when its end is not there. In a line of
 * bare_len bytes a CR is not part of the end: to memcached an empty line's CR is a word.
 */
static struct span find_line(struct span in, size_t scanned, size_t bare_len, size_t *ret_consumed)
{
	size_t window = in.len < PARSE_TEXT_WINDOW ? in.len : PARSE_TEXT_WINDOW;
	const uint8_t *lf = NULL;
	size_t len;

	*ret_consumed = 0;
	if (scanned < window)
		lf = memchr(in.ptr + scanned, '\n', window - scanned);
	if (!lf)
		return span_of(in.ptr, window);
	len = (size_t)(lf - in.ptr);
	*ret_consumed = len + 1;
	if (len > bare_len && lf[-1] == '\r')
		len--;
	return span_of(in.ptr, len);
}

/* Cuts a piece of a long line behind its last whole word. False: it is all one word. */
static bool cut_piece(struct span *piece)
{
	size_t len = piece->len;

	while (len > 0 && piece->ptr[len - 1] != ' ')
		len--;
	if (len == 0)
		return false;
	piece->len = len;
	return true;
}

/*
 * A line that has no end yet: wait, give it up, or, for a retrieval, take what is there of its
 * keys.
 */
static ssize_t read_open_line(struct span in, struct span piece, struct request *ret)
{
	struct request req = { .compose = &compose_text };
	struct span words = piece;
	struct span verb = request_word(&words);
	const struct verb_row *row;
	int error;

	if (in.len <= PARSE_TEXT_LINE_MAX)
		return -EAGAIN;
	row = find_verb(verb);
	if (verb.ptr - in.ptr > LEADING_SPACE_MAX || !row || row->verb > REQUEST_GATS ||
	    words.len == 0)
		return -EMSGSIZE;
	if (in.len < PARSE_TEXT_WINDOW)
		return -EAGAIN;
	cut_piece(&piece);
	error = read_line(piece, &req);
	if (error)
		return error;
	/* Nothing but the verb: the first key fills the window. */
	words = span_of(words.ptr, (size_t)(piece.ptr + piece.len - words.ptr));
	if (request_word(&words).len == 0)
		fail(&req, STATUS_BAD_FORMAT);
	req.more = true;
	*ret = req;
	return (ssize_t)piece.len;
}

bool parse_text_is_command(struct span in)
{
	struct span word = request_word(&in);
	size_t len = 0;

	while (len < word.len && word.ptr[len] > ' ')
		len++;
	return find_verb(span_of(word.ptr, len)) != NULL;
}

ssize_t parse_text(struct span in, size_t scanned, struct request *ret)
{
	struct request req = { .compose = &compose_text };
	struct span line;
	size_t consumed;
	int error;

	line = find_line(in, scanned, 1, &consumed);
	if (!consumed)
		return read_open_line(in, line, ret);
	error = read_line(line, &req);
	if (error)
		return error;
	*ret = req;
	return (ssize_t)consumed;
}

ssize_t parse_text_more(struct span in, size_t scanned, struct request *req)
{
	struct span piece;
	size_t consumed;
	const uint8_t *nul;

	piece = find_line(in, scanned, 0, &consumed);
	req->more = !consumed;
	if (!consumed) {
		if (in.len < PARSE_TEXT_WINDOW)
			return -EAGAIN;
		if (!cut_piece(&piece))
			fail(req, STATUS_BAD_FORMAT);
		consumed = piece.len;
	}
	nul = memchr(piece.ptr, '\0', piece.len);
	if (nul)
		piece.len = (size_t)(nul - piece.ptr);
	req->keys = piece;
	if (!keys_fit(piece))
		fail(req, STATUS_BAD_FORMAT);
	return (ssize_t)consumed;
}
