/* SPDX-License-Identifier: BSD-2-Clause */
/* The event log: lines as memcached's watchers expect them, bounded streams, honest gaps. */
#include "observe/eventlog.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/fake_clock.h"
#include "lib/fault.h"

static struct fake_clock fake;
static struct eventlog *event_log;

static int setup(void **state)
{
	(void)state;
	fake_clock_init(&fake, 1000 * NSEC_PER_SEC, 1700000000 * NSEC_PER_SEC);
	event_log = eventlog_new(&fake.clock);
	return event_log ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	eventlog_free(event_log);
	return 0;
}

static const char *take(struct eventlog_stream *stream)
{
	static char text[2 * EVENTLOG_STREAM_BYTES];
	size_t len = eventlog_take(event_log, stream, (uint8_t *)text, sizeof(text) - 1);

	text[len] = '\0';
	return text;
}

static void write_get(const char *key)
{
	eventlog_write(event_log, EVENTLOG_FETCHERS, "item_get", span_str(key), "status=%s size=%d",
		       "found", 5);
}

static void line_has_time_number_type_and_encoded_key(void **state)
{
	struct eventlog_stream *stream = eventlog_open(event_log, EVENTLOG_FETCHERS);
	const char *text;
	double ts;
	int end = 0;

	(void)state;
	write_get("n,foo \xff~");
	text = take(stream);
	assert_int_equal(sscanf(text, "ts=%lf gid=1 type=item_get %n", &ts, &end), 1);
	assert_true(ts * NSEC_PER_SEC - (double)clock_wall_ns(&fake.clock) < 1000);
	assert_string_equal(text + end, "key=n%2Cfoo%20%FF~ status=found size=5\n");
	eventlog_close(event_log, stream);
}

static void event_without_a_key_has_none(void **state)
{
	struct eventlog_stream *stream = eventlog_open(event_log, EVENTLOG_CONNEVENTS);

	(void)state;
	eventlog_write(event_log, EVENTLOG_CONNEVENTS, "conn_new", span_of(NULL, 0), "cfd=%d", 7);
	assert_non_null(strstr(take(stream), " type=conn_new cfd=7\n"));
	eventlog_close(event_log, stream);
}

static void longest_key_fits(void **state)
{
	struct eventlog_stream *stream = eventlog_open(event_log, EVENTLOG_MUTATIONS);
	char key[251], tail[600];

	(void)state;
	memset(key, '#', 250);
	key[250] = '\0';
	memset(tail, 'x', sizeof(tail) - 1);
	tail[sizeof(tail) - 1] = '\0';
	/* The tail is cut, the line is not. */
	eventlog_write(event_log, EVENTLOG_MUTATIONS, "item_store", span_str(key), "%s", tail);
	assert_int_equal(strspn(strstr(take(stream), "key=") + 4, "%23"), 750);
	eventlog_write(event_log, EVENTLOG_MUTATIONS, "item_store", span_str(key), "%s", tail);
	assert_string_equal(strchr(take(stream), '\n'), "\n");
	eventlog_close(event_log, stream);
}

static void streams_get_what_they_asked_for(void **state)
{
	struct eventlog_stream *gets, *both;

	(void)state;
	assert_false(eventlog_wants(event_log, EVENTLOG_FETCHERS));
	assert_false(eventlog_wants(NULL, EVENTLOG_FETCHERS));
	gets = eventlog_open(event_log, EVENTLOG_FETCHERS);
	both = eventlog_open(event_log, EVENTLOG_FETCHERS | EVENTLOG_DELETIONS);
	assert_true(eventlog_wants(event_log, EVENTLOG_FETCHERS));
	assert_true(eventlog_wants(event_log, EVENTLOG_DELETIONS));
	assert_false(eventlog_wants(event_log, EVENTLOG_EVICTIONS));
	write_get("a");
	eventlog_write(event_log, EVENTLOG_DELETIONS, "deleted", span_str("b"), "cmd=delete");
	assert_null(strstr(take(gets), "type=deleted"));
	assert_non_null(strstr(take(both), "gid=2 type=deleted"));
	eventlog_close(event_log, both);
	assert_false(eventlog_wants(event_log, EVENTLOG_DELETIONS));
	eventlog_close(event_log, gets);
	assert_false(eventlog_wants(event_log, EVENTLOG_FETCHERS));
}

static void full_stream_skips_and_says_how_many(void **state)
{
	struct eventlog_stream *stream = eventlog_open(event_log, EVENTLOG_FETCHERS);
	struct eventlog_counts counts;
	const char *text;
	uint64_t skipped = 0;
	int lines = 0;

	(void)state;
	for (int i = 0; i < 10000; i++)
		write_get("0123456789012345678901234567890123456789");
	eventlog_counts(event_log, &counts);
	assert_int_equal(counts.written, 10000);
	assert_true(counts.skipped > 1000 && counts.sent + counts.skipped == 10000);
	for (text = take(stream); *text; text = strchr(text, '\n') + 1) {
		assert_memory_equal(text, "ts=", 3);
		lines++;
	}
	assert_int_equal(lines, counts.sent);
	assert_string_equal(take(stream), "");
	write_get("after");
	text = take(stream);
	assert_int_equal(sscanf(text, "skipped=%lu\n", &skipped), 1);
	assert_int_equal(skipped, counts.skipped);
	assert_non_null(strstr(text, "key=after"));
	eventlog_close(event_log, stream);
}

static void stream_survives_its_ends(void **state)
{
	struct eventlog_stream *stream = eventlog_open(event_log, EVENTLOG_FETCHERS);
	char want[128];
	uint8_t byte;

	(void)state;
	/* Lines wrap around the ring at every offset; they come out whole, byte by byte. */
	for (int i = 1; i <= 20000; i++) {
		size_t len = 0;
		char got[128];

		snprintf(want, sizeof(want), "gid=%d type=item_get key=k status=found size=5\n", i);
		write_get("k");
		while (eventlog_take(event_log, stream, &byte, 1) == 1)
			got[len++] = (char)byte;
		got[len] = '\0';
		assert_string_equal(strstr(got, "gid="), want);
	}
	eventlog_close(event_log, stream);
}

static void streams_are_bounded(void **state)
{
	struct eventlog_stream *streams[EVENTLOG_STREAM_MAX];

	(void)state;
	for (int i = 0; i < EVENTLOG_STREAM_MAX; i++) {
		streams[i] = eventlog_open(event_log, EVENTLOG_FETCHERS);
		assert_non_null(streams[i]);
	}
	assert_null(eventlog_open(event_log, EVENTLOG_FETCHERS));
	eventlog_close(event_log, streams[3]);
	streams[3] = eventlog_open(event_log, EVENTLOG_FETCHERS);
	assert_non_null(streams[3]);
	for (int i = 0; i < EVENTLOG_STREAM_MAX; i++)
		eventlog_close(event_log, streams[i]);
}

static void refused_memory_opens_no_stream(void **state)
{
	struct eventlog_counts counts;

	(void)state;
	fault_start(1);
	assert_null(eventlog_open(event_log, EVENTLOG_FETCHERS));
	fault_stop();
	eventlog_counts(event_log, &counts);
	assert_int_equal(counts.stream_cnt, 0);
	assert_false(eventlog_wants(event_log, EVENTLOG_FETCHERS));
}

static void *write_many(void *arg)
{
	(void)arg;
	for (int i = 0; i < 20000; i++) {
		if (eventlog_wants(event_log, EVENTLOG_FETCHERS))
			write_get("shared");
	}
	return NULL;
}

static void writers_of_several_threads_leave_whole_lines(void **state)
{
	struct eventlog_stream *stream = eventlog_open(event_log, EVENTLOG_FETCHERS);
	pthread_t threads[2];
	bool going = true;
	const char *text;

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_many, NULL), 0);
	for (int rounds = 0; going; rounds++) {
		if (rounds == 50) {
			for (int i = 0; i < 2; i++)
				pthread_join(threads[i], NULL);
			going = false;
		}
		for (text = take(stream); *text; text = strchr(text, '\n') + 1) {
			assert_non_null(strchr(text, '\n'));
			assert_true(!strncmp(text, "ts=", 3) || !strncmp(text, "skipped=", 8));
		}
	}
	eventlog_close(event_log, stream);
}

static void kinds_have_names(void **state)
{
	(void)state;
	assert_int_equal(eventlog_kind(span_str("fetchers")), EVENTLOG_FETCHERS);
	assert_int_equal(eventlog_kind(span_str("evictions")), EVENTLOG_EVICTIONS);
	assert_int_equal(eventlog_kind(span_str("fetcher")), 0);
	assert_int_equal(eventlog_kind(span_of("", 0)), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(line_has_time_number_type_and_encoded_key),
		TEST(event_without_a_key_has_none),
		TEST(longest_key_fits),
		TEST(streams_get_what_they_asked_for),
		TEST(full_stream_skips_and_says_how_many),
		TEST(stream_survives_its_ends),
		TEST(streams_are_bounded),
		TEST(refused_memory_opens_no_stream),
		TEST(writers_of_several_threads_leave_whole_lines),
		TEST(kinds_have_names),
	};

	return cmocka_run_group_tests_name("observe/eventlog", tests, NULL, NULL);
}
