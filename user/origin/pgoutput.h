/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pgoutput - what a PostgreSQL server says of changes.
 *
 * Does      parses the messages of the output plugin pgoutput, protocol versions 1 and 2, and the
 *           frames around them; composes the answer that tells how far the changes are taken.
 * Shape     a frame is the body of one CopyData message: changes ('w'), or a sign of life ('k').
 *           A 'w' has one message in it. Between 'S' and 'E', which come only where streaming was
 *           asked for, messages have a transaction's number in front: say streamed.
 * Units     positions in the server's log (LSN) in bytes; server time in microseconds since 2000.
 * Errors    > 0 bytes consumed; -EAGAIN more are needed; -EBADMSG no such message; -EMSGSIZE counts
 *           or lengths over what a server can mean. On failure ret is unchanged.
 * Owner     what is parsed points into the bytes it came from. No allocation.
 * Threads   any; no state.
 * Invariant columns and values of a parsed message are whole: taking them out cannot fail.
 * Source    PostgreSQL 15's manual, 55.4 "Streaming Replication Protocol", 55.5 "Logical Streaming
 *           Replication Protocol", 55.9 "Logical Replication Message Formats".
 */
#ifndef XC_ORIGIN_PGOUTPUT_H
#define XC_ORIGIN_PGOUTPUT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/span.h"

#define PGOUTPUT_COLUMN_MAX 1664	 /* MaxTupleAttributeNumber */
#define PGOUTPUT_STRING_MAX 65535	 /* names, prefixes */
#define PGOUTPUT_VALUE_MAX 0x3fffffff	 /* MaxAllocSize */
#define PGOUTPUT_TRUNCATE_MAX (1U << 20) /* tables of one statement */
#define PGOUTPUT_EPOCH_SEC 946684800LL	 /* 2000-01-01 in Unix time */
#define PGOUTPUT_STATUS_LEN 34

enum pgoutput_type {
	PGOUTPUT_BEGIN = 'B',
	PGOUTPUT_COMMIT = 'C',
	PGOUTPUT_ORIGIN = 'O',
	PGOUTPUT_RELATION = 'R',
	PGOUTPUT_TYPE = 'Y',
	PGOUTPUT_INSERT = 'I',
	PGOUTPUT_UPDATE = 'U',
	PGOUTPUT_DELETE = 'D',
	PGOUTPUT_TRUNCATE = 'T',
	PGOUTPUT_MESSAGE = 'M',
	PGOUTPUT_STREAM_START = 'S',
	PGOUTPUT_STREAM_STOP = 'E',
	PGOUTPUT_STREAM_COMMIT = 'c',
	PGOUTPUT_STREAM_ABORT = 'A',
};

/* Begin, Commit, and those of streamed transactions. */
struct pgoutput_transaction {
	uint64_t commit_lsn; /* where its commit record begins … */
	uint64_t end_lsn;    /* … and ends; not in Begin */
	int64_t commit_us;
	uint32_t sub_xid; /* of an abort */
	bool first;	  /* of a streamed transaction's parts */
};

struct pgoutput_relation {
	uint32_t oid;
	struct span schema; /* empty: pg_catalog */
	struct span name;
	uint8_t identity; /* 'd' primary key, 'i' an index, 'f' the whole row, 'n' none */
	uint16_t column_cnt;
	struct span columns; /* pgoutput_take_column */
};

struct pgoutput_column {
	bool in_identity; /* the old row has it */
	struct span name;
	uint32_t type_oid;
	int32_t type_mod;
};

struct pgoutput_tuple {
	uint16_t value_cnt;
	struct span values; /* pgoutput_take_value */
};

struct pgoutput_value {
	uint8_t kind; /* 'n' NULL, 'u' large and unchanged: not sent, 't' text, 'b' binary */
	struct span bytes;
};

struct pgoutput_change {
	uint32_t oid;
	uint8_t old_kind; /* 'K' only its identity is set, 'O' the whole row, 0: there is none */
	struct pgoutput_tuple old_row;
	struct pgoutput_tuple new_row; /* not in Delete */
};

struct pgoutput_truncate {
	uint32_t cnt;
	uint8_t flags;	  /* 1 cascade, 2 restart identity */
	struct span oids; /* pgoutput_take_oid */
};

struct pgoutput_text {
	uint8_t flags;	    /* Message: 1 it is of the transaction */
	uint64_t lsn;	    /* Message, Origin */
	uint32_t oid;	    /* Type */
	struct span schema; /* Type */
	struct span name;   /* of the origin or type; a message's prefix */
	struct span body;   /* Message */
};

struct pgoutput_message {
	enum pgoutput_type type;
	uint32_t xid; /* Begin and all that is of a streamed transaction; else 0 */
	union {
		struct pgoutput_transaction transaction;
		struct pgoutput_relation relation;
		struct pgoutput_change change;
		struct pgoutput_truncate truncate;
		struct pgoutput_text text;
	};
};

struct pgoutput_frame {
	uint8_t kind;	   /* 'w', 'k' */
	uint64_t start;	   /* 'w': where in the log the message is */
	uint64_t end;	   /* how far the server has come */
	int64_t server_us; /* when it sent this */
	bool wants_reply;  /* 'k' */
	struct span body;  /* 'w' */
};

struct pgoutput_status {
	uint64_t received;
	uint64_t flushed; /* what the server need not send again */
	int64_t client_us;
	bool wants_reply;
};

/* A 'w' has all the bytes. */
ssize_t pgoutput_parse_frame(struct span bytes, struct pgoutput_frame *ret);
ssize_t pgoutput_parse(struct span bytes, bool streamed, struct pgoutput_message *ret);
/* Each takes the first one off the rest; false: none is left. */
bool pgoutput_take_column(struct span *columns, struct pgoutput_column *ret);
bool pgoutput_take_value(struct span *values, struct pgoutput_value *ret);
bool pgoutput_take_oid(struct span *oids, uint32_t *ret);
void pgoutput_compose_status(const struct pgoutput_status *status,
			     uint8_t ret[PGOUTPUT_STATUS_LEN]);

#endif
