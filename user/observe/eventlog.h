/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * eventlog - what happens to items and connections, told to whoever watches.
 *
 * Does      hands each event, as a line of text, to every open stream that asked for its kind.
 * Shape     ts=<Unix seconds>.<microseconds> gid=<number> type=<name> <name>=<value>...\n
 *           A stream holds EVENTLOG_STREAM_BYTES of lines that were not taken yet; what does not
 *           fit is left out and counted, and a line skipped=<n>\n stands where it would have been.
 * Errors    a writer never waits for a reader and never fails.
 * Owner     streams belong to the log; each is taken from by one thread.
 * Threads   any. Without streams eventlog_wants is one load and a test: ask it before an event is
 *           put together.
 * Invariant gid grows by one an event and tells lines of different streams apart or the same.
 * Source    memcached doc/protocol.txt, "Watchers"; lines as memcached 1.6.18's logger.c has them.
 */
#ifndef XC_OBSERVE_EVENTLOG_H
#define XC_OBSERVE_EVENTLOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/span.h"

#define EVENTLOG_STREAM_MAX 20 /* as many as memcached has */
#define EVENTLOG_STREAM_BYTES (256U << 10)
/* The longest line: a key of which every byte is encoded, and the words about it. */
#define EVENTLOG_LINE_MAX 1152

enum eventlog_kind {
	EVENTLOG_FETCHERS = 1 << 0,
	EVENTLOG_MUTATIONS = 1 << 1,
	EVENTLOG_EVICTIONS = 1 << 2,
	EVENTLOG_CONNEVENTS = 1 << 3,
	EVENTLOG_DELETIONS = 1 << 4,
};

struct eventlog;
struct eventlog_stream;

struct eventlog_counts {
	uint32_t stream_cnt;
	uint64_t written; /* events that somebody watched */
	uint64_t sent;	  /* lines put into streams */
	uint64_t skipped; /* lines that did not fit */
};

struct eventlog *eventlog_new(const struct clock *clock); /* NULL: out of memory */
void eventlog_free(struct eventlog *log);		  /* NULL-safe; its streams are closed */

/* 0: no such kind. */
uint32_t eventlog_kind(struct span name);

/* NULL: there are EVENTLOG_STREAM_MAX already, or no memory. */
struct eventlog_stream *eventlog_open(struct eventlog *log, uint32_t kinds);
void eventlog_close(struct eventlog *log, struct eventlog_stream *stream);
/* Takes up to len bytes of lines out of the stream; may end inside a line. */
size_t eventlog_take(struct eventlog *log, struct eventlog_stream *stream, uint8_t *to, size_t len);

/* log may be NULL: nobody watches. */
bool eventlog_wants(const struct eventlog *log, uint32_t kinds);
/* An event of one kind; key (may be empty) is encoded and put behind the type. */
__attribute__((format(printf, 5, 6))) void eventlog_write(struct eventlog *log, uint32_t kind,
							  const char *type, struct span key,
							  const char *fmt, ...);
void eventlog_counts(struct eventlog *log, struct eventlog_counts *ret);

#endif
