/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: what is appended is found by its sequence until it had to go; what is not applied
 * never goes by itself, whatever the other arcs do, and leaves the shares of the memory that
 * oplog.h promises; truncate and reset leave exactly what lies before. Method: a model of plain
 * arrays beside random logs, seeded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/rand.h"
#include "lib/fault.h"
#include "lib/runopts.h"
#include "replica/oplog.h"

#define ARC_CNT 4
#define SEQ_MAX 4096
#define LOG_BYTES 16384
#define RECORD_MAX 300

struct model_arc {
	uint64_t base_epoch, base, last, applied;
	uint64_t epochs[SEQ_MAX];
	uint32_t lens[SEQ_MAX];
	uint64_t bytes;
};

static uint8_t byte_of(uint32_t arc, uint64_t seq)
{
	return (uint8_t)(arc * 61 + seq * 7);
}

static int append(struct oplog *log, struct model_arc *m, uint32_t arc, uint64_t epoch, size_t len)
{
	uint8_t record[RECORD_MAX];
	int rc;

	memset(record, byte_of(arc, m->last + 1), len);
	rc = oplog_append(log, OPLOG_COPY, arc, epoch, span_of(record, len), 1000 + m->last);
	if (rc == 0) {
		m->last++;
		m->epochs[m->last] = epoch;
		m->lens[m->last] = (uint32_t)len;
		m->bytes += len;
	}
	return rc;
}

/* What must be there is there as it came; what is gone was applied. */
static void check(const struct oplog *log, struct model_arc *m, uint32_t arc)
{
	struct position last = oplog_last(log, arc);
	uint64_t first = oplog_first_seq(log, arc), epoch;
	struct oplog_entry entry;

	assert_int_equal(last.seq, m->last);
	assert_int_equal(oplog_bytes(log, arc), m->bytes);
	assert_true(first > m->base && first <= m->applied + 1);
	for (uint64_t seq = first; seq <= m->last; seq++) {
		assert_int_equal(oplog_find(log, arc, seq, &entry), 0);
		assert_int_equal(entry.at.seq, seq);
		assert_int_equal(entry.at.epoch, m->epochs[seq]);
		assert_int_equal(entry.record.len, m->lens[seq]);
		for (size_t i = 0; i < entry.record.len; i++)
			assert_int_equal(entry.record.ptr[i], byte_of(arc, seq));
		assert_int_equal(oplog_epoch_at(log, arc, seq, &epoch), 0);
		assert_int_equal(epoch, m->epochs[seq]);
	}
	assert_int_equal(oplog_epoch_at(log, arc, first - 1, &epoch), 0);
	assert_int_equal(epoch, first - 1 == m->base ? m->base_epoch : m->epochs[first - 1]);
	assert_int_equal(oplog_find(log, arc, first - 1, &entry), -ESTALE);
	assert_int_equal(oplog_find(log, arc, m->last + 1, &entry), -ENOENT);
	assert_int_equal(oplog_epoch_at(log, arc, m->last + 1, &epoch), -ENOENT);
	if (first > 1)
		assert_int_equal(oplog_epoch_at(log, arc, first - 2, &epoch), -ESTALE);
}

static void change(struct oplog *log, struct model_arc *m, uint32_t arc, struct rand *r)
{
	uint64_t to;

	switch (rand_below(r, 40)) {
	case 0:
		m->base_epoch = m->epochs[m->last] + rand_below(r, 3);
		m->base = m->last = m->applied = m->last + rand_below(r, 5);
		m->epochs[m->last] = m->base_epoch;
		m->bytes = 0;
		oplog_reset(log, arc, (struct position){ m->base_epoch, m->base });
		break;
	case 1:
		to = m->applied + rand_below(r, m->last - m->applied + 1);
		oplog_truncate(log, arc, to);
		for (; m->last > to; m->last--)
			m->bytes -= m->lens[m->last];
		break;
	case 2:
	case 3:
	case 4:
		m->applied += rand_below(r, m->last - m->applied + 1);
		oplog_applied(log, arc, m->applied);
		break;
	default:
		append(log, m, arc, m->epochs[m->last] + !rand_below(r, 20),
		       rand_below(r, RECORD_MAX));
	}
}

static void oplog_random_changes_match_the_model(void **state)
{
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	for (int round = 0; round < 20; round++) {
		struct model_arc *m = calloc(ARC_CNT, sizeof(*m));
		struct oplog *log = oplog_new(ARC_CNT, LOG_BYTES);

		for (int i = 0; i < 1500; i++) {
			uint32_t arc = (uint32_t)rand_below(&r, ARC_CNT);

			change(log, &m[arc], arc, &r);
			check(log, &m[arc], arc);
		}
		oplog_free(log);
		free(m);
	}
}

static void oplog_append_stalled_arc_keeps_no_other_from_writing(void **state)
{
	struct oplog *log = oplog_new(2, LOG_BYTES);
	struct oplog_entry entry;
	uint8_t record[100] = { 1 };

	(void)state;
	assert_int_equal(oplog_append(log, OPLOG_WRITE, 0, 1, span_of(record, 100), 0), 0);
	/* many times the log's size, beside an entry that nobody applies */
	for (uint64_t seq = 1; seq <= 2000; seq++) {
		assert_int_equal(oplog_append(log, OPLOG_WRITE, 1, 1, span_of(record, 100), 0), 0);
		oplog_applied(log, 1, seq);
	}
	assert_int_equal(oplog_find(log, 0, 1, &entry), 0);
	assert_int_equal(entry.record.ptr[0], 1);
	assert_true(oplog_first_seq(log, 1) > 1900);
	oplog_free(log);
}

static uint64_t fill(struct oplog *log, enum oplog_use use)
{
	uint8_t record[100] = { 0 };
	uint64_t cnt = 0;
	int rc;

	while ((rc = oplog_append(log, use, 0, oplog_last(log, 0).epoch, span_of(record, 100),
				  0)) == 0)
		cnt++;
	assert_int_equal(rc, -ENOBUFS);
	return cnt;
}

static void oplog_append_unapplied_takes_its_share_and_no_more(void **state)
{
	struct oplog *log = oplog_new(1, LOG_BYTES);
	uint8_t record[LOG_BYTES / 8] = { 0 };
	uint64_t writes, copies;

	(void)state;
	assert_int_equal(oplog_append(log, OPLOG_OPEN, 0, 1, span_of(record, sizeof(record)), 0),
			 -EMSGSIZE);
	writes = fill(log, OPLOG_WRITE);
	copies = fill(log, OPLOG_COPY);
	assert_true(writes > 20 && copies > writes / 3 && copies < writes);
	assert_int_equal(oplog_append(log, OPLOG_OPEN, 0, 2, span_of(record, 0), 0), 0);
	oplog_applied(log, 0, oplog_last(log, 0).seq);
	assert_int_equal(fill(log, OPLOG_WRITE), writes);
	oplog_free(log);
}

static void oplog_out_of_memory_changes_nothing(void **state)
{
	struct oplog *log = NULL;

	(void)state;
	for (uint64_t nth = 1; nth <= 2; nth++) {
		fault_start(nth);
		assert_null(oplog_new(1, LOG_BYTES));
		fault_stop();
	}
	log = oplog_new(1, LOG_BYTES);
	fault_start(1);
	assert_int_equal(oplog_append(log, OPLOG_WRITE, 0, 1, span_of("x", 1), 0), -ENOMEM);
	fault_stop();
	assert_int_equal(oplog_last(log, 0).seq, 0);
	assert_int_equal(oplog_append(log, OPLOG_WRITE, 0, 1, span_of("x", 1), 0), 0);
	oplog_free(log);
	oplog_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(oplog_random_changes_match_the_model),
		cmocka_unit_test(oplog_append_stalled_arc_keeps_no_other_from_writing),
		cmocka_unit_test(oplog_append_unapplied_takes_its_share_and_no_more),
		cmocka_unit_test(oplog_out_of_memory_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
