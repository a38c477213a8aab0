/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * request - what a client asked for, whatever protocol it spoke.
 *
 * Does      is the one struct between the parsers, which fill it, and the commands, which carry it
 *           out.
 * Units     lengths in bytes; exptime as the client wrote it: 0 never, below 0 at once, up to 30
 *           days relative seconds, above that Unix time.
 * Owner     spans borrow the caller's input buffer and end when it moves.
 */
#ifndef XC_PROTOCOL_REQUEST_H
#define XC_PROTOCOL_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

struct compose;

enum request_verb {
	REQUEST_INVALID, /* answered with request.error; nothing is carried out */
	REQUEST_GET,
	REQUEST_GETS,
	REQUEST_GAT,
	REQUEST_GATS,
	REQUEST_SET,
	REQUEST_ADD,
	REQUEST_REPLACE,
	REQUEST_APPEND,
	REQUEST_PREPEND,
	REQUEST_CAS,
	REQUEST_DELETE,
	REQUEST_INCR,
	REQUEST_DECR,
	REQUEST_TOUCH,
	REQUEST_FLUSH_ALL,
	REQUEST_VERSION,
	REQUEST_VERBOSITY,
	REQUEST_STATS,
	REQUEST_SHUTDOWN,
	REQUEST_MEMLIMIT,
	REQUEST_REFRESH_CERTS,
	REQUEST_LRU,
	REQUEST_LRU_CRAWLER,
	REQUEST_SLABS,
	REQUEST_WATCH,
	REQUEST_DUMP, /* one that was begun: goes on at `cursor` */
	REQUEST_QUIT,
	REQUEST_META_GET, /* ms is one of SET to CAS, with `meta` */
	REQUEST_META_DELETE,
	REQUEST_META_ARITH,
	REQUEST_META_NOOP,
	REQUEST_META_DEBUG,
	REQUEST_VERB_CNT,
};

/* How a request ended; each protocol has its own words for it. */
enum request_status {
	STATUS_STORED,
	STATUS_NOT_STORED,
	STATUS_EXISTS,
	STATUS_NOT_FOUND,
	STATUS_DELETED,
	STATUS_TOUCHED,
	STATUS_OK,
	STATUS_RESET,
	STATUS_UNKNOWN_COMMAND,
	STATUS_BAD_FORMAT,
	STATUS_BAD_DELETE,
	STATUS_BAD_CHUNK,
	STATUS_BAD_EXPTIME,
	STATUS_BAD_DELTA,
	STATUS_BAD_LINE, /* too long to be a command */
	STATUS_NOT_NUMBER,
	STATUS_TOO_LARGE,
	STATUS_NO_MEMORY_STORING,
	STATUS_NO_MEMORY,
	STATUS_FLUSH_REFUSED,
	STATUS_SHUTDOWN_REFUSED,
	STATUS_SHUTDOWN_MODE,
	STATUS_MEMLIMIT_SMALL,
	STATUS_MEMLIMIT_UNIT,
	STATUS_MEMLIMIT_FAILED,
	STATUS_TLS_OFF,
	STATUS_CERTS_STAY,
	STATUS_DUMP_REFUSED,
	STATUS_DUMP_FORMAT,
	STATUS_DUMP_CLASS,
	STATUS_METADUMP_REFUSED,
	STATUS_MGDUMP_REFUSED,
	STATUS_BAD_CLASS,
	STATUS_CRAWLER_SLEEP,
	STATUS_LRU_SHARES,
	STATUS_LRU_FACTORS,
	STATUS_SLABS_CLASS,
	STATUS_SLABS_SAME,
	STATUS_SLABS_SPARE,
	STATUS_WATCH_REFUSED,
	STATUS_WATCH_FULL,
	STATUS_META_BAD_TOKEN,
	STATUS_META_BAD_KEY, /* no base64 */
	STATUS_META_BAD_FLAG,
	STATUS_META_DUPLICATE,
	STATUS_META_ARITH_FLAG, /* either, to ma */
	STATUS_META_TOO_MANY,
	STATUS_META_BAD_INITIAL,
	STATUS_META_BAD_DELTA,
	STATUS_META_MODE_LEN,
	STATUS_META_SET_MODE,
	STATUS_META_ARITH_MODE,
	STATUS_META_LONG_OPAQUE,
	STATUS_DETAIL_USAGE,
	STATUS_UDP_REFUSED,
	STATUS_UDP_MULTI_PACKET,
	STATUS_UDP_TOO_LARGE,
	STATUS_NODE_AWAY,
	STATUS_NODE_OTHER,
	STATUS_NODE_LARGE,
	STATUS_ORIGIN_FAILED,
	STATUS_ORIGIN_REFUSED,
	STATUS_ORIGIN_UNSURE,
	STATUS_UNAUTHENTICATED,
	STATUS_AUTH_TERMINATION,
	STATUS_AUTH_FORMAT,
	STATUS_AUTH_REFUSED,
	STATUS_AUTHENTICATED,
	STATUS_SASL_MECHANISMS, /* binary */
	STATUS_CNT,
};

/* Words of a meta command, its own included. */
#define META_WORD_MAX 20
#define META_FLAG_MAX (META_WORD_MAX - 2)
#define META_OPAQUE_MAX (1 + 32) /* with its O */

/* A meta command's flags. F is request.flags, T exptime, C cas, D number. */
struct request_meta {
	uint64_t given; /* META_BIT of each flag */
	struct span opaque;
	int64_t vivify_exptime;	 /* N */
	int64_t recache_exptime; /* R */
	uint64_t new_cas;	 /* E */
	uint64_t initial;	 /* J */
	uint8_t flag_cnt;
	char order[META_FLAG_MAX]; /* the reply's values come as they were asked for */
};

#define META_BIT(letter) (1ULL << ((letter) - 'A'))

/* The forms in which items are listed: compose_dump.h draws them. */
enum request_dump {
	REQUEST_DUMP_CACHE,
	REQUEST_DUMP_META,
	REQUEST_DUMP_MG,
};

struct request {
	enum request_verb verb;
	enum request_status error; /* REQUEST_INVALID */
	bool noreply;		   /* also silences error */
	bool more;		   /* get family: the line goes on after `keys` */
	bool has_exptime;	   /* flush_all: a delay was given */
	bool value_bad;		   /* the bytes after the value were no line end */
	bool value_skipped;	   /* REQUEST_INVALID: value_len bytes and a line end follow */
	bool value_bare;	   /* the value ends without a line end */
	bool close;		   /* REQUEST_INVALID: what follows cannot be trusted */
	bool create;		   /* incr, decr: with `initial` and exptime where there is none */
	bool decr;		   /* meta arithmetic */
	bool key_base64;	   /* key is as the client wrote it; see base64.h */
	uint32_t flags;
	int64_t exptime;
	uint64_t value_len; /* storage commands; the value follows the line */
	uint64_t cas;
	/* incr, decr: delta; verbosity: level; cache_memlimit: MiB; cachedump: items to go */
	uint64_t number;
	uint64_t initial; /* incr, decr */
	uint64_t cursor;  /* lists of items: where the next step begins */
	uint64_t dump_bytes;
	enum request_dump dump;
	struct span key;  /* get family: the only one, and may be of any bytes */
	struct span keys; /* get family: or these, apart by spaces; take with request_word */
	struct span args; /* administration: the rest of the line */
	struct span value;
	struct span raw; /* the whole request as it came, if it may have to go to another node */
	struct request_meta meta;
	uint8_t opcode; /* binary protocol; see binary.h */
	uint32_t opaque_be;
	const struct compose *compose; /* writes the reply in the client's protocol */
};

/* set, add, replace, append, prepend, cas: value_len bytes and a line end follow. */
static inline bool request_has_value(const struct request *req)
{
	return (req->verb >= REQUEST_SET && req->verb <= REQUEST_CAS) || req->value_skipped;
}

/* What follows the value's bytes. */
static inline uint32_t request_value_end_len(const struct request *req)
{
	return req->value_bare ? 0 : 2;
}

/* The meta flag was given. */
static inline bool request_asks(const struct request *req, char letter)
{
	return req->meta.given & META_BIT(letter);
}

static inline bool request_is_retrieval(const struct request *req)
{
	return req->verb >= REQUEST_GET && req->verb <= REQUEST_GATS;
}

/* Takes the next word off *words; empty when there is none. */
static inline struct span request_word(struct span *words)
{
	const uint8_t *pos = words->ptr;
	const uint8_t *end = words->ptr + words->len;
	const uint8_t *start;

	while (pos < end && *pos == ' ')
		pos++;
	start = pos;
	while (pos < end && *pos != ' ')
		pos++;
	*words = span_of(pos, (size_t)(end - pos));
	return span_of(start, (size_t)(pos - start));
}

#endif
