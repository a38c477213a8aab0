/* SPDX-License-Identifier: BSD-2-Clause */
#include "observe/eventlog.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "abi/limits.h"
#include "base/alloc.h"
#include "base/percent.h"

#define NSEC_PER_USEC 1000
#define KEY_TEXT_MAX PERCENT_MAX(XC_KEY_MAX)

struct eventlog_stream {
	uint32_t kinds; /* 0: not open */
	uint64_t skipped;
	uint64_t head; /* bytes ever put in */
	uint64_t tail; /* bytes ever taken */
	uint8_t *bytes;
};

struct eventlog {
	const struct clock *clock;
	_Atomic uint32_t kinds; /* of all streams together */
	pthread_mutex_t lock;	/* guards the rest */
	uint64_t gid;
	struct eventlog_counts counts;
	struct eventlog_stream streams[EVENTLOG_STREAM_MAX];
};

struct eventlog *eventlog_new(const struct clock *clock)
{
	struct eventlog *log = alloc_zero(1, sizeof(*log));

	if (!log)
		return NULL;
	log->clock = clock;
	pthread_mutex_init(&log->lock, NULL);
	return log;
}

void eventlog_free(struct eventlog *log)
{
	if (!log)
		return;
	assert(log->counts.stream_cnt == 0);
	pthread_mutex_destroy(&log->lock);
	alloc_free(log);
}

uint32_t eventlog_kind(struct span name)
{
	static const struct {
		const char *name;
		uint32_t kind;
	} kinds[] = {
		{ "fetchers", EVENTLOG_FETCHERS },   { "mutations", EVENTLOG_MUTATIONS },
		{ "evictions", EVENTLOG_EVICTIONS }, { "connevents", EVENTLOG_CONNEVENTS },
		{ "deletions", EVENTLOG_DELETIONS },
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (span_equal(name, span_str(kinds[i].name)))
			return kinds[i].kind;
	}
	return 0;
}

/* Caller holds the lock. */
static void note_kinds(struct eventlog *log)
{
	uint32_t kinds = 0;

	for (uint32_t i = 0; i < EVENTLOG_STREAM_MAX; i++)
		kinds |= log->streams[i].kinds;
	atomic_store_explicit(&log->kinds, kinds, memory_order_relaxed);
}

struct eventlog_stream *eventlog_open(struct eventlog *log, uint32_t kinds)
{
	uint8_t *bytes = alloc_resize(NULL, EVENTLOG_STREAM_BYTES);
	struct eventlog_stream *stream = NULL;

	assert(kinds != 0);
	pthread_mutex_lock(&log->lock);
	for (uint32_t i = 0; i < EVENTLOG_STREAM_MAX && bytes && !stream; i++) {
		if (!log->streams[i].kinds)
			stream = &log->streams[i];
	}
	if (stream) {
		*stream = (struct eventlog_stream){ .kinds = kinds, .bytes = bytes };
		log->counts.stream_cnt++;
		note_kinds(log);
		bytes = NULL;
	}
	pthread_mutex_unlock(&log->lock);
	alloc_free(bytes);
	return stream;
}

void eventlog_close(struct eventlog *log, struct eventlog_stream *stream)
{
	uint8_t *bytes = stream->bytes;

	pthread_mutex_lock(&log->lock);
	*stream = (struct eventlog_stream){ 0 };
	log->counts.stream_cnt--;
	note_kinds(log);
	pthread_mutex_unlock(&log->lock);
	alloc_free(bytes);
}

static uint64_t room(const struct eventlog_stream *stream)
{
	return EVENTLOG_STREAM_BYTES - (stream->head - stream->tail);
}

static void put(struct eventlog_stream *stream, const char *bytes, size_t len)
{
	size_t at = stream->head % EVENTLOG_STREAM_BYTES;
	size_t first = EVENTLOG_STREAM_BYTES - at < len ? EVENTLOG_STREAM_BYTES - at : len;

	memcpy(stream->bytes + at, bytes, first);
	memcpy(stream->bytes, bytes + first, len - first);
	stream->head += len;
}

size_t eventlog_take(struct eventlog *log, struct eventlog_stream *stream, uint8_t *to, size_t len)
{
	size_t at, first;

	pthread_mutex_lock(&log->lock);
	if (len > stream->head - stream->tail)
		len = stream->head - stream->tail;
	at = stream->tail % EVENTLOG_STREAM_BYTES;
	first = EVENTLOG_STREAM_BYTES - at < len ? EVENTLOG_STREAM_BYTES - at : len;
	memcpy(to, stream->bytes + at, first);
	memcpy(to + first, stream->bytes, len - first);
	stream->tail += len;
	pthread_mutex_unlock(&log->lock);
	return len;
}

bool eventlog_wants(const struct eventlog *log, uint32_t kinds)
{
	return log && (atomic_load_explicit(&log->kinds, memory_order_relaxed) & kinds);
}

static void give(struct eventlog *log, struct eventlog_stream *stream, const char *line, size_t len)
{
	char skipped[48];
	int skipped_len = 0;

	if (stream->skipped)
		skipped_len = snprintf(skipped, sizeof(skipped), "skipped=%" PRIu64 "\n",
				       stream->skipped);
	if (room(stream) < (uint64_t)skipped_len + len) {
		stream->skipped++;
		log->counts.skipped++;
		return;
	}
	put(stream, skipped, (size_t)skipped_len);
	put(stream, line, len);
	stream->skipped = 0;
	log->counts.sent++;
}

void eventlog_write(struct eventlog *log, uint32_t kind, const char *type, struct span key,
		    const char *fmt, ...)
{
	uint64_t now_ns = clock_wall_ns(log->clock);
	/* What stands before the key takes less than 128. */
	char tail[EVENTLOG_LINE_MAX - KEY_TEXT_MAX - 128];
	char line[EVENTLOG_LINE_MAX];
	int tail_len, len;
	va_list args;

	va_start(args, fmt);
	tail_len = vsnprintf(tail, sizeof(tail), fmt, args);
	va_end(args);
	if (tail_len >= (int)sizeof(tail))
		tail_len = sizeof(tail) - 1;
	pthread_mutex_lock(&log->lock);
	len = snprintf(line, sizeof(line), "ts=%" PRIu64 ".%06u gid=%" PRIu64 " type=%s",
		       (uint64_t)(now_ns / NSEC_PER_SEC),
		       (unsigned)(now_ns % NSEC_PER_SEC / NSEC_PER_USEC), ++log->gid, type);
	if (key.len) {
		memcpy(line + len, " key=", 5);
		len += 5 + (int)percent_encode(line + len + 5, key);
	}
	line[len++] = ' ';
	memcpy(line + len, tail, (size_t)tail_len);
	len += tail_len;
	line[len++] = '\n';
	log->counts.written++;
	for (uint32_t i = 0; i < EVENTLOG_STREAM_MAX; i++) {
		if (log->streams[i].kinds & kind)
			give(log, &log->streams[i], line, (size_t)len);
	}
	pthread_mutex_unlock(&log->lock);
}

void eventlog_counts(struct eventlog *log, struct eventlog_counts *ret)
{
	pthread_mutex_lock(&log->lock);
	*ret = log->counts;
	pthread_mutex_unlock(&log->lock);
}
