/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: a member that was away shortly is served from the log, one for which the log does not
 * reach back by a snapshot; one whose log went another way loses its end; the lag that is shown is
 * what the member lacks; a write that cannot be taken says why. Method: two or three nodes with a
 * network that delivers when told, on time set by hand. Faults in any order, and the promises
 * across them, are tests/replica's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/fault.h"
#include "replica/replica.h"

#define MSEC 1000000ULL
#define NODE_MAX 3
#define KEY_CNT 8
#define QUEUE_MAX 256
#define RECORD_LEN 40
#define LOG_BYTES 16384

struct mail {
	uint16_t from, to;
	struct frame frame;
	uint8_t *body;
};

struct node {
	uint16_t idx;
	struct replica *r;
	uint8_t store[KEY_CNT];
	uint32_t clear_cnt;
	uint64_t committed;
};

static struct node nodes[NODE_MAX];
static uint16_t node_cnt;
static struct mail queue[QUEUE_MAX];
static uint32_t queue_cnt;
static bool away[NODE_MAX];
static bool no_supply; /* frames of that type are lost */
static uint64_t now_ns;

static void send_mail(void *ctx, uint16_t to, const struct frame *frame)
{
	struct mail *mail = &queue[queue_cnt++];
	const struct node *node = ctx;

	assert_true(queue_cnt < QUEUE_MAX);
	*mail = (struct mail){ .from = node->idx, .to = to, .frame = *frame };
	mail->body = malloc(frame->body.len + 1);
	if (frame->body.len)
		memcpy(mail->body, frame->body.ptr, frame->body.len);
	mail->frame.body.ptr = mail->body;
}

static void apply(void *ctx, uint32_t arc, struct position at, struct span record)
{
	struct node *node = ctx;

	(void)arc;
	(void)at;
	assert_int_equal(record.len, RECORD_LEN);
	node->store[record.ptr[0]] = record.ptr[1];
}

static void restore(void *ctx, uint32_t arc, struct span record)
{
	apply(ctx, arc, (struct position){ 0, 0 }, record);
}

static void clear(void *ctx, uint32_t arc)
{
	struct node *node = ctx;

	(void)arc;
	node->clear_cnt++;
	memset(node->store, 0, sizeof(node->store));
}

static void scan(void *ctx, uint32_t arc, uint64_t *cursor, uint8_t *body, size_t size,
		 size_t *ret_len)
{
	struct node *node = ctx;
	uint8_t record[RECORD_LEN] = { (uint8_t)*cursor, node->store[*cursor] };

	(void)arc;
	frame_add_entry(body, size, ret_len, 0, span_of(record, sizeof(record)));
	*cursor = (*cursor + 1) % KEY_CNT;
}

static void committed(void *ctx, uint32_t arc, uint64_t epoch, uint64_t seq)
{
	struct node *node = ctx;

	(void)arc;
	(void)epoch;
	node->committed = seq;
}

/* Everything that is under way takes 10 ms to arrive. */
static void deliver(void)
{
	uint32_t cnt = queue_cnt;
	struct mail mails[QUEUE_MAX];

	memcpy(mails, queue, cnt * sizeof(*mails));
	queue_cnt = 0;
	for (uint32_t i = 0; i < cnt; i++) {
		bool lost = away[mails[i].from] || away[mails[i].to] ||
			    (no_supply && mails[i].frame.type == FRAME_SUPPLY);

		if (!lost)
			replica_receive(nodes[mails[i].to].r, mails[i].from, &mails[i].frame,
					now_ns);
		free(mails[i].body);
	}
}

static void settle(uint64_t ns)
{
	for (uint64_t end_ns = now_ns + ns; now_ns < end_ns; now_ns += 10 * MSEC) {
		for (uint16_t i = 0; i < node_cnt; i++) {
			if (!away[i])
				replica_tick(nodes[i].r, now_ns);
		}
		deliver();
	}
}

static void set_roles(uint64_t epoch, uint16_t primary, bool down_known)
{
	struct replica_role role = { .epoch = epoch, .primary = primary, .member_cnt = node_cnt };

	for (uint16_t i = 0; i < node_cnt; i++) {
		role.members[i] = i;
		role.down[i] = down_known && away[i];
	}
	for (uint16_t i = 0; i < node_cnt; i++) {
		if (!away[i])
			replica_set_role(nodes[i].r, 0, &role, now_ns);
	}
}

static void start(uint16_t cnt, enum replica_ack ack)
{
	node_cnt = cnt;
	now_ns = 1000 * MSEC;
	memset(away, 0, sizeof(away));
	no_supply = false;
	for (uint16_t i = 0; i < cnt; i++) {
		const struct replica_options options = {
			.env = { &nodes[i], send_mail, apply, clear, restore, scan, committed },
			.self = i,
			.arc_cnt = 1,
			.ack = ack,
			.log_bytes = LOG_BYTES,
			.lease_ns = 1000 * MSEC,
			.retry_ns = 200 * MSEC,
			.hold_ns = 50 * MSEC,
		};

		nodes[i] = (struct node){ .idx = i, .r = replica_new(&options) };
		assert_non_null(nodes[i].r);
		replica_set_lease(nodes[i].r, UINT64_MAX);
	}
	set_roles(1, 0, false);
	settle(500 * MSEC);
	assert_true(replica_leads(nodes[0].r, 0, now_ns));
}

static void stop(void)
{
	for (uint32_t i = 0; i < queue_cnt; i++)
		free(queue[i].body);
	queue_cnt = 0;
	for (uint16_t i = 0; i < node_cnt; i++)
		replica_free(nodes[i].r);
}

static int write_to(uint16_t node, uint8_t key, uint8_t value)
{
	uint8_t record[RECORD_LEN] = { key, value };
	struct position at;

	return replica_write(nodes[node].r, 0, span_of(record, sizeof(record)), now_ns, &at);
}

static void expect_alike(void)
{
	for (uint16_t i = 1; i < node_cnt; i++)
		assert_memory_equal(nodes[i].store, nodes[0].store, KEY_CNT);
}

static void replica_pull_short_absence_is_served_from_the_log(void **state)
{
	(void)state;
	start(2, REPLICA_ASYNC);
	assert_int_equal(write_to(0, 1, 7), 0);
	settle(300 * MSEC);
	expect_alike();
	away[1] = true;
	for (uint8_t i = 0; i < 50; i++) {
		assert_int_equal(write_to(0, i % KEY_CNT, i), 0);
		settle(10 * MSEC);
	}
	away[1] = false;
	settle(1000 * MSEC);
	expect_alike();
	assert_int_equal(nodes[1].clear_cnt, 0);
	assert_true(position_equal(replica_last(nodes[0].r, 0), replica_last(nodes[1].r, 0)));
	stop();
}

static void replica_pull_long_absence_takes_a_snapshot_while_serving(void **state)
{
	(void)state;
	start(2, REPLICA_ASYNC);
	settle(300 * MSEC);
	away[1] = true;
	for (int i = 0; i < 500; i++)
		assert_int_equal(write_to(0, (uint8_t)(i % KEY_CNT), (uint8_t)i), 0);
	away[1] = false;
	for (uint8_t i = 0; i < 20; i++) {
		assert_int_equal(write_to(0, i % KEY_CNT, 100 + i), 0);
		settle(20 * MSEC);
	}
	settle(1000 * MSEC);
	expect_alike();
	assert_int_equal(nodes[1].clear_cnt, 1);
	assert_true(replica_whole(nodes[1].r, 0));
	stop();
}

/* Writes go on between the parts, so that later parts say more than the snapshot's base. */
static void replica_pull_snapshot_is_not_whole_before_the_log_has_caught_up(void **state)
{
	(void)state;
	start(2, REPLICA_ASYNC);
	settle(300 * MSEC);
	away[1] = true;
	for (int i = 0; i < 500; i++)
		assert_int_equal(write_to(0, (uint8_t)(i % KEY_CNT), (uint8_t)i), 0);
	away[1] = false;
	no_supply = true;
	for (uint8_t i = 0; i < 100; i++) {
		assert_int_equal(write_to(0, i % KEY_CNT, 100 + i), 0);
		settle(10 * MSEC);
	}
	/* all parts are there, and the log goes on behind the base */
	assert_int_equal(nodes[1].clear_cnt, 1);
	assert_true(replica_last(nodes[1].r, 0).seq > 400);
	assert_true(replica_last(nodes[1].r, 0).seq < replica_last(nodes[0].r, 0).seq);
	/* an answer that ends at the base of then is not enough */
	no_supply = false;
	away[0] = true;
	settle(10 * MSEC);
	assert_false(replica_whole(nodes[1].r, 0));
	away[0] = false;
	settle(1000 * MSEC);
	assert_true(replica_whole(nodes[1].r, 0));
	expect_alike();
	stop();
}

/* Node 0 writes on alone, unseen; node 1 takes over; what node 0 had alone must go. */
static void replica_pull_divergent_end_is_dropped(void **state)
{
	(void)state;
	for (int applied = 0; applied < 2; applied++) {
		start(3, applied ? REPLICA_ASYNC : REPLICA_QUORUM);
		assert_int_equal(write_to(0, 1, 7), 0);
		settle(300 * MSEC);
		away[0] = true;
		for (uint8_t i = 0; i < 5; i++)
			assert_int_equal(write_to(0, 2, 50 + i), 0);
		set_roles(2, 1, true);
		settle(500 * MSEC);
		assert_true(replica_leads(nodes[1].r, 0, now_ns));
		assert_int_equal(write_to(1, 3, 9), 0);
		settle(300 * MSEC);
		away[0] = false;
		set_roles(2, 1, false);
		settle(1500 * MSEC);
		expect_alike();
		assert_int_equal(nodes[0].store[1], 7);
		assert_int_equal(nodes[0].store[2], 0);
		assert_int_equal(nodes[0].store[3], 9);
		/* what had not been applied needs no snapshot */
		assert_int_equal(nodes[0].clear_cnt, applied);
		assert_false(replica_leads(nodes[0].r, 0, now_ns));
		stop();
	}
}

static void replica_lag_is_what_the_member_lacks(void **state)
{
	struct replica_lag lag;

	(void)state;
	start(2, REPLICA_ASYNC);
	assert_int_equal(write_to(0, 1, 1), 0);
	settle(300 * MSEC);
	assert_true(replica_lag(nodes[0].r, 0, 1, now_ns, &lag));
	assert_int_equal(lag.entry_cnt, 0);
	assert_int_equal(lag.bytes, 0);
	assert_int_equal(lag.ns, 0);
	away[1] = true;
	assert_int_equal(write_to(0, 1, 2), 0);
	settle(100 * MSEC);
	assert_int_equal(write_to(0, 1, 3), 0);
	settle(200 * MSEC);
	assert_true(replica_lag(nodes[0].r, 0, 1, now_ns, &lag));
	assert_int_equal(lag.entry_cnt, 2);
	assert_int_equal(lag.bytes, 2 * RECORD_LEN);
	assert_int_equal(lag.ns, 300 * MSEC);
	assert_false(replica_lag(nodes[1].r, 0, 0, now_ns, &lag));
	stop();
}

static void replica_write_what_cannot_be_taken_says_why(void **state)
{
	struct position at;
	int rc;

	(void)state;
	start(3, REPLICA_QUORUM);
	assert_int_equal(write_to(1, 1, 1), -EAGAIN);
	replica_set_lease(nodes[0].r, now_ns);
	assert_int_equal(write_to(0, 1, 1), -EAGAIN);
	replica_set_lease(nodes[0].r, now_ns + 1);
	assert_int_equal(write_to(0, 1, 1), 0);
	assert_int_equal(replica_write(nodes[0].r, 0, span_of(NULL, 0), now_ns, &at), -EMSGSIZE);
	/* nobody is there to make writes count: they wait, and take no more than their share */
	away[1] = away[2] = true;
	do {
		rc = write_to(0, 1, 2);
	} while (rc == 0);
	assert_int_equal(rc, -ENOBUFS);
	assert_int_equal(nodes[0].store[1], 0);
	away[1] = false;
	replica_set_lease(nodes[0].r, UINT64_MAX);
	settle(1000 * MSEC);
	assert_int_equal(nodes[0].store[1], 2);
	assert_int_equal(nodes[0].committed, replica_last(nodes[0].r, 0).seq);
	assert_int_equal(write_to(0, 1, 3), 0);
	stop();
}

static void replica_one_waits_for_one_other(void **state)
{
	(void)state;
	start(3, REPLICA_ONE);
	settle(300 * MSEC);
	away[1] = away[2] = true;
	assert_int_equal(write_to(0, 1, 5), 0);
	settle(500 * MSEC);
	assert_true(nodes[0].committed < replica_last(nodes[0].r, 0).seq);
	away[2] = false;
	settle(500 * MSEC);
	assert_int_equal(nodes[0].committed, replica_last(nodes[0].r, 0).seq);
	assert_int_equal(nodes[2].store[1], 5);
	stop();
}

static void replica_new_out_of_memory_leaves_nothing(void **state)
{
	const struct replica_options options = { .arc_cnt = 1, .log_bytes = LOG_BYTES };
	struct replica *r = NULL;

	(void)state;
	for (uint64_t nth = 1; !r; nth++) {
		fault_start(nth);
		r = replica_new(&options);
		fault_stop();
		assert_true(nth < 10);
	}
	replica_free(r);
	replica_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replica_pull_short_absence_is_served_from_the_log),
		cmocka_unit_test(replica_pull_long_absence_takes_a_snapshot_while_serving),
		cmocka_unit_test(replica_pull_snapshot_is_not_whole_before_the_log_has_caught_up),
		cmocka_unit_test(replica_pull_divergent_end_is_dropped),
		cmocka_unit_test(replica_lag_is_what_the_member_lacks),
		cmocka_unit_test(replica_write_what_cannot_be_taken_says_why),
		cmocka_unit_test(replica_one_waits_for_one_other),
		cmocka_unit_test(replica_new_out_of_memory_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
