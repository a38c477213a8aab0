/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: whoever was told that a write is durable finds it again, whatever ends the process;
 * of one key the origin never gets an older write after a newer one; what is over is over; bounds
 * hold; a damaged file is refused and named. Method: children are killed, or have their power cut,
 * at points spread over all their calls that change a file (60 each; 600 in the long form,
 * XC_TEST_LONG), and tell through a pipe what they were promised and what their origin got; files
 * are flipped and truncated at seeded places.
 */
#include "origin/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/rand.h"
#include "lib/crash_vfs.h"
#include "lib/fake_clock.h"
#include "lib/runopts.h"

static char dir[] = "/tmp/xcj.XXXXXX";
static char path[64], log_path[80];
static struct fake_clock fake;
static struct journal_conf conf;
static struct journal *journal;
static char error_text[JOURNAL_ERROR_MAX];
static atomic_int changed_cnt;

static void changed(void *ctx)
{
	(void)ctx;
	changed_cnt++;
}

static void remove_files(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -f %s/*", dir);
	assert_int_equal(system(command), 0);
}

static int setup(void **state)
{
	(void)state;
	remove_files();
	crash_vfs_start(0);
	fake_clock_init(&fake, 1000 * NSEC_PER_SEC, 1700000000 * NSEC_PER_SEC);
	conf = (struct journal_conf){ .path = path,
				      .clock = &fake.clock,
				      .retry_ms = 1000,
				      .record_max = 1000,
				      .bytes_max = 16 << 20,
				      .dead_max = 10,
				      .changed = changed };
	return journal_open(&conf, &journal, error_text);
}

static int teardown(void **state)
{
	(void)state;
	crash_vfs_hold(false);
	crash_vfs_fail(false);
	journal_close(journal);
	journal = NULL;
	return 0;
}

static void reopen(void)
{
	journal_close(journal);
	journal = NULL;
	assert_int_equal(journal_open(&conf, &journal, error_text), 0);
}

/* --- one write --- */

struct promise {
	atomic_int ended;
	int error;
	uint64_t seq;
	uint64_t syncs; /* when it was given */
};

static void promised(void *ctx, uint64_t seq, int error)
{
	struct promise *promise = ctx;

	promise->error = error;
	promise->seq = seq;
	promise->syncs = crash_vfs_syncs();
	promise->ended = 1;
}

static int append(const char *key, const char *value, struct promise *promise)
{
	struct journal_change change = {
		.key = span_str(key), .value = span_str(value), .flags = 7, .expiry_ns = 12345
	};

	*promise = (struct promise){ 0 };
	return journal_append(journal, &change, promised, promise);
}

static void await(struct promise *promise)
{
	for (int i = 0; i < 10000 && !promise->ended; i++)
		usleep(1000);
	assert_true(promise->ended);
}

static void write_now(const char *key, const char *value)
{
	struct promise promise;

	assert_int_equal(append(key, value, &promise), 0);
	await(&promise);
	assert_int_equal(promise.error, 0);
}

static void assert_pending(const char *key, const char *value)
{
	const struct journal_record *record = journal_get(journal, span_str(key));

	if (!value) {
		assert_null(record);
		return;
	}
	assert_non_null(record);
	assert_true(span_equal(record->what.key, span_str(key)));
	assert_true(span_equal(record->what.value, span_str(value)));
	assert_int_equal(record->what.kind, JOURNAL_WRITE);
	assert_int_equal(record->what.flags, 7);
	assert_int_equal(record->what.expiry_ns, 12345);
	journal_put(journal, record);
}

static const struct journal_record *take(void)
{
	uint64_t next_ns;

	return journal_take(journal, &next_ns);
}

static struct journal_stats stats(void)
{
	struct journal_stats ret;

	journal_stats(journal, &ret);
	return ret;
}

static void write_is_synced_when_it_is_promised(void **state)
{
	struct promise promise;
	uint64_t before = crash_vfs_syncs();

	(void)state;
	assert_int_equal(append("a", "1", &promise), 0);
	await(&promise);
	assert_int_equal(promise.error, 0);
	assert_true(promise.syncs > before);
	assert_pending("a", "1");
	assert_true(changed_cnt > 0);
}

static void nobody_waits_for_the_disk_nor_sees_what_it_has_not(void **state)
{
	struct promise promise;

	(void)state;
	write_now("a", "1");
	crash_vfs_hold(true);
	assert_int_equal(append("a", "2", &promise), 0);
	assert_int_equal(append("b", "2", &promise), 0);
	usleep(20000);
	assert_false(promise.ended);
	assert_pending("a", "1");
	assert_pending("b", NULL);
	journal_finish(journal, take(), JOURNAL_RETRY, NULL);
	assert_int_equal(stats().queued_cnt, 2);
	crash_vfs_hold(false);
	await(&promise);
	assert_pending("a", "2");
	assert_pending("b", "2");
}

static void writes_of_one_moment_are_one_group(void **state)
{
	struct promise promises[100];
	char key[16];
	uint64_t before;

	(void)state;
	conf.delay_ms = 100;
	reopen();
	before = crash_vfs_syncs();
	for (int i = 0; i < 100; i++) {
		snprintf(key, sizeof(key), "key-%d", i);
		assert_int_equal(append(key, "v", &promises[i]), 0);
	}
	for (int i = 0; i < 100; i++)
		await(&promises[i]);
	assert_in_range(stats().commit_cnt, 1, 3);
	assert_in_range(crash_vfs_syncs() - before, 1, 8);
	assert_int_equal(stats().written_cnt, 100);
}

static void pending_writes_are_there_at_the_next_start(void **state)
{
	struct journal_change change = { .key = span_str("gone"), .kind = JOURNAL_REMOVE };
	const struct journal_record *record;
	struct promise promise = { 0 };
	struct stat info;

	(void)state;
	write_now("a", "1");
	write_now("b", "");
	write_now("a", "2");
	assert_int_equal(journal_append(journal, &change, promised, &promise), 0);
	await(&promise);
	assert_int_equal(stats().merged_cnt, 1);
	reopen();
	assert_int_equal(stats().pending_cnt, 3);
	assert_pending("a", "2");
	assert_pending("b", "");
	record = journal_get(journal, span_str("gone"));
	assert_int_equal(record->what.kind, JOURNAL_REMOVE);
	assert_int_equal(record->seq, 4);
	journal_put(journal, record);
	/* In the order in which they came. */
	record = take();
	assert_true(span_equal(record->what.key, span_str("b")));
	journal_finish(journal, record, JOURNAL_DONE, NULL);
	assert_int_equal(stat(path, &info), 0);
	assert_int_equal(info.st_mode & 0777, 0600);
}

static void write_that_was_appended_before_a_close_is_not_lost(void **state)
{
	struct promise promise;

	(void)state;
	conf.delay_ms = 60000;
	reopen();
	assert_int_equal(append("a", "1", &promise), 0);
	conf.delay_ms = 0;
	reopen();
	assert_true(promise.ended && !promise.error);
	assert_pending("a", "1");
}

static void what_the_origin_has_is_over(void **state)
{
	const struct journal_record *record;

	(void)state;
	write_now("a", "1");
	record = take();
	/* Still answered from here while it is on its way. */
	assert_pending("a", "1");
	journal_finish(journal, record, JOURNAL_DONE, NULL);
	assert_pending("a", NULL);
	assert_int_equal(stats().finished_cnt, 1);
	reopen();
	assert_pending("a", NULL);
	assert_null(take());
	/* Nothing of the daemon's own lets a seq come twice while its record is pending. */
	write_now("a", "2");
	reopen();
	assert_pending("a", "2");
}

static void end_of_an_older_write_leaves_the_newer_one(void **state)
{
	const struct journal_record *old;

	(void)state;
	write_now("a", "1");
	old = take();
	write_now("a", "2");
	journal_finish(journal, old, JOURNAL_DONE, NULL);
	assert_pending("a", "2");
	reopen();
	assert_pending("a", "2");
	old = take();
	write_now("a", "3");
	/* … also if the older one was refused for good. */
	journal_finish(journal, old, JOURNAL_DEAD, "no");
	assert_int_equal(stats().dead_cnt, 0);
	reopen();
	assert_pending("a", "3");
	assert_int_equal(stats().dead_cnt, 0);
}

static void write_that_cannot_be_given_is_given_later(void **state)
{
	const struct journal_record *record;
	uint64_t next_ns;

	(void)state;
	write_now("a", "1");
	journal_finish(journal, take(), JOURNAL_RETRY, NULL);
	assert_null(journal_take(journal, &next_ns));
	assert_int_equal(next_ns, clock_now_ns(&fake.clock) + NSEC_PER_SEC);
	fake_clock_add(&fake, NSEC_PER_SEC);
	record = take();
	assert_non_null(record);
	journal_finish(journal, record, JOURNAL_RETRY, NULL);
	reopen();
	assert_pending("a", "1");
}

static void too_much_is_refused_until_there_is_room(void **state)
{
	struct promise promise, last;
	char value[4001];

	(void)state;
	conf.record_max = 2;
	conf.bytes_max = 6000;
	reopen();
	write_now("a", "1");
	write_now("b", "2");
	assert_int_equal(append("c", "3", &promise), -EAGAIN);
	journal_finish(journal, take(), JOURNAL_DONE, NULL);
	memset(value, 'x', sizeof(value));
	value[4000] = '\0';
	write_now("c", value);
	journal_finish(journal, take(), JOURNAL_DONE, NULL);
	assert_int_equal(append("d", value, &promise), -EAGAIN);
	/* What is only on its way to the disk counts, too. */
	journal_finish(journal, take(), JOURNAL_DONE, NULL);
	crash_vfs_hold(true);
	assert_int_equal(append("d", value, &promise), 0);
	assert_int_equal(append("e", value, &(struct promise){ 0 }), -EAGAIN);
	assert_int_equal(append("e", "5", &last), 0);
	assert_int_equal(append("f", "6", &(struct promise){ 0 }), -EAGAIN);
	crash_vfs_hold(false);
	await(&promise);
	await(&last);
	assert_int_equal(stats().refused_cnt, 4);
}

static void full_disk_is_told_and_passes(void **state)
{
	struct promise promise;

	(void)state;
	write_now("a", "1");
	write_now("b", "1");
	journal_finish(journal, take(), JOURNAL_DONE, NULL);
	crash_vfs_fail(true);
	assert_int_equal(append("b", "2", &promise), 0);
	await(&promise);
	assert_int_equal(promise.error, -ENOSPC);
	assert_pending("b", "1");
	assert_true(stats().failed_cnt >= 1);
	assert_int_equal(stats().queued_cnt, 0);
	crash_vfs_fail(false);
	write_now("b", "3");
	reopen();
	assert_pending("b", "3");
	/* The end of "a", which the disk did not take at first, has got there. */
	assert_pending("a", NULL);
}

static void second_process_is_refused(void **state)
{
	int status;
	pid_t child = fork();

	(void)state;
	if (child == 0) {
		struct journal *other;
		int error = journal_open(&conf, &other, error_text);

		_exit(error == -EBUSY && strstr(error_text, path) ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	write_now("a", "1");
}

/* --- dead letters --- */

struct letters {
	uint32_t cnt;
	uint64_t seqs[16];
	char text[1024];
};

static bool list_letter(void *ctx, const struct journal_dead *dead)
{
	const struct journal_change *what = &dead->record.what;
	struct letters *letters = ctx;

	letters->seqs[letters->cnt++] = dead->record.seq;
	snprintf(letters->text + strlen(letters->text),
		 sizeof(letters->text) - strlen(letters->text), "%.*s=%.*s:%s@%lld ",
		 (int)what->key.len, what->key.ptr, (int)what->value.len, what->value.ptr,
		 dead->reason, (long long)dead->buried_sec);
	return letters->cnt < 16;
}

static struct letters list_letters(void)
{
	struct letters letters = { 0 };

	assert_int_equal(journal_dead_walk(journal, list_letter, &letters), 0);
	return letters;
}

static void bury(const char *key, const char *value)
{
	write_now(key, value);
	journal_finish(journal, take(), JOURNAL_DEAD, "violates a constraint");
}

/* A letter is on the disk a moment after its end was told. */
static void await_letters(uint32_t cnt)
{
	for (int i = 0; i < 5000 && list_letters().cnt != cnt; i++)
		usleep(1000);
	assert_int_equal(list_letters().cnt, cnt);
}

static void refused_write_becomes_a_letter(void **state)
{
	(void)state;
	bury("a", "1");
	bury("a", "2");
	assert_pending("a", NULL);
	await_letters(2);
	assert_string_equal(list_letters().text, "a=1:violates a constraint@1700000000 "
						 "a=2:violates a constraint@1700000000 ");
	reopen();
	assert_int_equal(stats().dead_cnt, 2);
	assert_int_equal(list_letters().cnt, 2);
	assert_null(take());
}

static void letter_can_be_revived_or_dropped(void **state)
{
	struct letters letters;

	(void)state;
	bury("a", "1");
	bury("b", "2");
	bury("c", "3");
	await_letters(3);
	letters = list_letters();
	assert_int_equal(journal_dead_drop(journal, 99), -ENOENT);
	assert_int_equal(journal_dead_revive(journal, 99), -ENOENT);
	assert_int_equal(journal_dead_revive(journal, letters.seqs[1]), 0);
	assert_pending("b", "2");
	assert_int_equal(journal_dead_drop(journal, letters.seqs[0]), 0);
	write_now("c", "newer");
	assert_int_equal(journal_dead_revive(journal, letters.seqs[2]), -EEXIST);
	assert_int_equal(stats().dead_cnt, 1);
	reopen();
	assert_pending("a", NULL);
	assert_pending("b", "2");
	assert_pending("c", "newer");
	assert_string_equal(list_letters().text, "c=3:violates a constraint@1700000000 ");
}

static void with_many_letters_refused_writes_stay_pending(void **state)
{
	(void)state;
	conf.dead_max = 1;
	reopen();
	bury("a", "1");
	bury("b", "2");
	assert_pending("a", NULL);
	assert_pending("b", "2");
	assert_int_equal(stats().dead_cnt, 1);
	fake_clock_add(&fake, NSEC_PER_SEC);
	assert_int_equal(journal_dead_drop(journal, 1), 0);
	journal_finish(journal, take(), JOURNAL_DEAD, "no");
	assert_pending("b", NULL);
	await_letters(1);
}

/* --- damage --- */

static size_t read_file(const char *name, uint8_t *to, size_t max)
{
	FILE *file = fopen(name, "rb");
	size_t len = fread(to, 1, max, file);

	fclose(file);
	return len;
}

static void write_file(const char *name, const void *bytes, size_t len)
{
	FILE *file = fopen(name, "wb");

	assert_int_equal(fwrite(bytes, 1, len, file), len);
	fclose(file);
}

#define DAMAGED_KEYS 30

static void value_of(uint32_t i, char ret[600])
{
	memset(ret, 'a' + (int)(i % 26), 599);
	ret[i * 19] = '\0';
}

static size_t fill_and_close(uint8_t *bytes, size_t max)
{
	char key[16], value[600];

	for (uint32_t i = 0; i < DAMAGED_KEYS; i++) {
		snprintf(key, sizeof(key), "key-%u", i);
		value_of(i, value);
		write_now(key, value);
	}
	journal_close(journal);
	journal = NULL;
	return read_file(path, bytes, max);
}

/* Either an error that names the file, or nothing of its contents is missing or changed. */
static bool opens_whole(void)
{
	char key[16], value[600];
	int error;

	error_text[0] = '\0';
	error = journal_open(&conf, &journal, error_text);
	if (error) {
		journal = NULL;
		assert_int_equal(error, -EBADMSG);
		assert_non_null(strstr(error_text, path));
		return false;
	}
	assert_int_equal(stats().pending_cnt, DAMAGED_KEYS);
	for (uint32_t i = 0; i < DAMAGED_KEYS; i++) {
		snprintf(key, sizeof(key), "key-%u", i);
		value_of(i, value);
		assert_pending(key, value);
	}
	journal_close(journal);
	journal = NULL;
	return true;
}

static void flipped_bit_is_found(void **state)
{
	static uint8_t bytes[1 << 20];
	uint32_t refused_cnt = 0;
	size_t len = fill_and_close(bytes, sizeof(bytes));
	struct rand rand;

	(void)state;
	rand_init(&rand, runopts_seed());
	assert_true(opens_whole());
	for (uint32_t i = 0; i < 400; i++) {
		size_t at = rand_below(&rand, len);
		uint8_t flip = (uint8_t)(1 << rand_below(&rand, 8));

		bytes[at] ^= flip;
		remove_files();
		write_file(path, bytes, len);
		bytes[at] ^= flip;
		refused_cnt += !opens_whole();
	}
	assert_true(refused_cnt > 50);
}

static void truncated_file_is_refused(void **state)
{
	static uint8_t bytes[1 << 20];
	size_t len = fill_and_close(bytes, sizeof(bytes));

	(void)state;
	for (size_t cut = 0; cut < len; cut += cut < 600 ? 50 : 997) {
		remove_files();
		write_file(path, bytes, cut);
		assert_false(opens_whole());
		assert_non_null(strstr(error_text, "move it away"));
	}
}

static void other_file_is_not_taken_for_a_journal(void **state)
{
	sqlite3 *sql;

	(void)state;
	teardown(NULL);
	remove_files();
	write_file(path, "hello, I am a text and not a database at all, I am quite sure of it", 67);
	assert_int_equal(journal_open(&conf, &journal, error_text), -EBADMSG);
	remove_files();
	assert_int_equal(sqlite3_open(path, &sql), SQLITE_OK);
	assert_int_equal(sqlite3_exec(sql, "CREATE TABLE pending (a)", NULL, NULL, NULL),
			 SQLITE_OK);
	sqlite3_close(sql);
	assert_int_equal(journal_open(&conf, &journal, error_text), -EBADMSG);
	assert_non_null(strstr(error_text, "not a journal"));
	remove_files();
	write_file(log_path, "x", 1);
	assert_int_equal(journal_open(&conf, &journal, error_text), -EBADMSG);
	assert_non_null(strstr(error_text, log_path));
	conf.path = "/nonexistent/folder/journal";
	assert_int_equal(journal_open(&conf, &journal, error_text), -ENOENT);
	assert_non_null(strstr(error_text, conf.path));
	journal = NULL;
}

/* --- killed --- */

#define CRASH_KEYS 12
#define CRASH_WRITES 240
#define CRASH_VALUE_MAX 30000

static int events; /* the child's end of the pipe */
static atomic_uint acknowledged_cnt;
static atomic_bool origin_stops;

static void tell(char what, uint32_t key, uint32_t number)
{
	char line[32];
	int len = snprintf(line, sizeof(line), "%c %u %u\n", what, key, number);

	if (write(events, line, (size_t)len) != len)
		_exit(9);
}

/* Key and number, and bytes that follow from them. */
static size_t crash_value(uint32_t key, uint32_t number, char *ret)
{
	struct rand rand;
	size_t len = (size_t)snprintf(ret, 32, "%u %u ", key, number), more;

	rand_init(&rand, key * 1000003ULL + number);
	more = rand_below(&rand, 8) ? rand_below(&rand, 300) : rand_below(&rand, 20000);
	for (size_t i = 0; i < more; i++)
		ret[len++] = (char)rand_next(&rand);
	return len;
}

static void crash_done(void *ctx, uint64_t seq, int error)
{
	uint32_t number = (uint32_t)(uintptr_t)ctx;

	(void)seq;
	if (error)
		_exit(8);
	tell('A', number % CRASH_KEYS, number);
	acknowledged_cnt++;
}

static void *crash_origin(void *arg)
{
	uint32_t turn = 0;

	(void)arg;
	while (!origin_stops) {
		const struct journal_record *record = take();
		uint32_t key, number;

		if (!record) {
			usleep(200);
			fake_clock_add(&fake, 10 * NSEC_PER_MSEC);
			continue;
		}
		sscanf((const char *)record->what.value.ptr, "%u %u ", &key, &number);
		/* Slow at times: keys are written again meanwhile. */
		if (++turn % 7 == 0)
			usleep(5000);
		if (turn % 5 == 0) {
			journal_finish(journal, record, JOURNAL_RETRY, NULL);
			continue;
		}
		tell('O', key, number);
		journal_finish(journal, record, JOURNAL_DONE, NULL);
	}
	return NULL;
}

static void crash_child(uint64_t nth)
{
	static char value[CRASH_VALUE_MAX];
	pthread_t origin;

	conf.retry_ms = 5;
	if (journal_open(&conf, &journal, error_text))
		_exit(7);
	crash_vfs_start(nth);
	pthread_create(&origin, NULL, crash_origin, NULL);
	for (uint32_t number = 1; number <= CRASH_WRITES; number++) {
		uint32_t key = number % CRASH_KEYS;
		char name[16];
		struct journal_change change = {
			.key = span_of(name, (size_t)snprintf(name, 16, "k%u", key))
		};

		change.value = span_of(value, crash_value(key, number, value));
		if (journal_append(journal, &change, crash_done, (void *)(uintptr_t)number))
			_exit(6);
		/* Seven at a time. */
		while (number - acknowledged_cnt > 6)
			usleep(50);
	}
	while (acknowledged_cnt < CRASH_WRITES)
		usleep(50);
	origin_stops = true;
	pthread_join(origin, NULL);
	journal_close(journal);
	tell('N', 0, (uint32_t)crash_vfs_calls());
	_exit(0);
}

struct crash_seen {
	uint32_t acked[CRASH_KEYS], given[CRASH_KEYS];
	uint32_t call_cnt; /* of a child that came to its end */
	uint32_t ack_cnt;
};

static void read_events(int fd, struct crash_seen *seen)
{
	FILE *file = fdopen(fd, "r");
	uint32_t key, number;
	char what;

	*seen = (struct crash_seen){ 0 };
	while (fscanf(file, "%c %u %u\n", &what, &key, &number) == 3) {
		if (what == 'N') {
			seen->call_cnt = number;
		} else if (what == 'A') {
			assert_true(number > seen->acked[key]);
			seen->acked[key] = number;
			seen->ack_cnt++;
		} else {
			/* Order of one key, towards the origin. */
			assert_true(number > seen->given[key]);
			seen->given[key] = number;
		}
	}
	fclose(file);
}

static int run_child(uint64_t nth, struct crash_seen *seen)
{
	int ends[2], status;
	pid_t child;

	assert_int_equal(pipe(ends), 0);
	/* All it tells fits, whether it is read or not. */
	fcntl(ends[1], F_SETPIPE_SZ, 1 << 18);
	child = fork();
	if (child == 0) {
		close(ends[0]);
		events = ends[1];
		crash_child(nth);
	}
	close(ends[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	read_events(ends[0], seen);
	return status;
}

/* What a child left behind, against what it had told. */
static void check_left(const struct crash_seen *seen)
{
	static char value[CRASH_VALUE_MAX];

	if (journal_open(&conf, &journal, error_text))
		fail_msg("%s", error_text);
	for (uint32_t i = 0; i < CRASH_KEYS; i++) {
		const struct journal_record *record;
		uint32_t key = CRASH_KEYS, number = 0;
		char name[16];

		snprintf(name, sizeof(name), "k%u", i);
		record = journal_get(journal, span_str(name));
		if (!record) {
			assert_true(seen->given[i] >= seen->acked[i]);
			continue;
		}
		sscanf((const char *)record->what.value.ptr, "%u %u ", &key, &number);
		assert_int_equal(key, i);
		assert_true(span_equal(record->what.value,
				       span_of(value, crash_value(key, number, value))));
		/* No promise is forgotten, nothing goes back behind what the origin has. */
		assert_true(number >= seen->acked[i]);
		assert_true(number >= seen->given[i]);
		journal_put(journal, record);
	}
	journal_close(journal);
	journal = NULL;
}

static void crash_at_many_points(bool cut_power)
{
	uint64_t points = runopts_number("XC_TEST_CRASHES", runopts_long() ? 600 : 60);
	struct crash_seen seen;
	uint32_t killed_cnt = 0, promised_cnt = 0, call_cnt;
	struct rand rand;

	rand_init(&rand, runopts_seed());
	teardown(NULL);
	assert_int_equal(run_child(0, &seen), 0);
	check_left(&seen);
	call_cnt = seen.call_cnt;
	assert_true(call_cnt > 200);
	for (uint64_t i = 0; i < points; i++) {
		uint64_t nth = 1 + i * call_cnt / points + rand_below(&rand, call_cnt / points);
		int status;

		setup(NULL);
		teardown(NULL);
		status = run_child(nth, &seen);
		if (WIFSIGNALED(status)) {
			assert_int_equal(WTERMSIG(status), SIGKILL);
			killed_cnt++;
		} else {
			assert_int_equal(status, 0); /* needed fewer calls this time */
		}
		promised_cnt += seen.ack_cnt;
		if (cut_power && WIFSIGNALED(status))
			crash_vfs_cut_power(path);
		check_left(&seen);
	}
	printf("killed %u times of %u, %u promises\n", killed_cnt, (uint32_t)points, promised_cnt);
	assert_true(killed_cnt >= points * 5 / 6);
	assert_true(promised_cnt > points * CRASH_WRITES / 8);
}

static void killed_process_keeps_its_promises(void **state)
{
	(void)state;
	crash_at_many_points(false);
}

static void machine_without_power_keeps_its_promises(void **state)
{
	(void)state;
	crash_at_many_points(true);
}

static void killed_while_the_file_is_made_the_next_start_makes_it(void **state)
{
	uint64_t nth = 0;
	int status;

	(void)state;
	teardown(NULL);
	do {
		pid_t child;

		remove_files();
		nth++;
		child = fork();
		if (child == 0) {
			crash_vfs_start(nth);
			if (journal_open(&conf, &journal, error_text))
				_exit(1);
			journal_close(journal);
			_exit(0);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		if (journal_open(&conf, &journal, error_text))
			fail_msg("%s", error_text);
		write_now("a", "1");
		journal_close(journal);
	} while (WIFSIGNALED(status));
	journal = NULL;
	assert_int_equal(status, 0);
	assert_true(nth > 10);
}

static int make_dir(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/journal", dir);
	snprintf(log_path, sizeof(log_path), "%s-wal", path);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	remove_files();
	return rmdir(dir);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(write_is_synced_when_it_is_promised),
		TEST(nobody_waits_for_the_disk_nor_sees_what_it_has_not),
		TEST(writes_of_one_moment_are_one_group),
		TEST(pending_writes_are_there_at_the_next_start),
		TEST(write_that_was_appended_before_a_close_is_not_lost),
		TEST(what_the_origin_has_is_over),
		TEST(end_of_an_older_write_leaves_the_newer_one),
		TEST(write_that_cannot_be_given_is_given_later),
		TEST(too_much_is_refused_until_there_is_room),
		TEST(full_disk_is_told_and_passes),
		TEST(second_process_is_refused),
		TEST(refused_write_becomes_a_letter),
		TEST(letter_can_be_revived_or_dropped),
		TEST(with_many_letters_refused_writes_stay_pending),
		TEST(flipped_bit_is_found),
		TEST(truncated_file_is_refused),
		TEST(other_file_is_not_taken_for_a_journal),
		TEST(killed_process_keeps_its_promises),
		TEST(machine_without_power_keeps_its_promises),
		TEST(killed_while_the_file_is_made_the_next_start_makes_it),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
