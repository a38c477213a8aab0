/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Property: every message arrives once, those of one sender in their order, and a reader that
 * sleeps in its loop is woken for each. Method: several threads post numbered messages while the
 * reader waits in loop_wait, with a time-out that only a lost wake-up reaches.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>

#include "base/mailbox.h"

#define SENDERS 4
#define EACH 20000
#define LOST_MS 5000

struct message {
	struct mail mail; /* first */
	uint32_t sender;
	uint32_t number;
};

struct sender {
	struct mailbox *box;
	struct message *messages;
	uint32_t idx;
};

static void *send_all(void *arg)
{
	struct sender *sender = arg;

	for (uint32_t i = 0; i < EACH; i++) {
		sender->messages[i] = (struct message){ .sender = sender->idx, .number = i };
		mailbox_post(sender->box, &sender->messages[i].mail);
	}
	return NULL;
}

static void empty_box_gives_nothing(void **state)
{
	struct mailbox box;

	(void)state;
	mailbox_init(&box, NULL);
	assert_null(mailbox_take(&box));
}

static void messages_come_oldest_first_and_once(void **state)
{
	struct mailbox box;
	struct mail mails[3];

	(void)state;
	mailbox_init(&box, NULL);
	for (int i = 0; i < 3; i++)
		mailbox_post(&box, &mails[i]);
	assert_ptr_equal(mailbox_take(&box), &mails[0]);
	assert_ptr_equal(mails[0].next, &mails[1]);
	assert_ptr_equal(mails[1].next, &mails[2]);
	assert_null(mails[2].next);
	assert_null(mailbox_take(&box));
}

static void sleeping_reader_gets_all_of_all_senders_in_order(void **state)
{
	struct sender senders[SENDERS];
	pthread_t threads[SENDERS];
	uint32_t next[SENDERS] = { 0 }, cnt = 0;
	struct mailbox box;
	struct loop loop;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	mailbox_init(&box, &loop);
	for (uint32_t i = 0; i < SENDERS; i++) {
		senders[i] = (struct sender){ .box = &box,
					      .messages = calloc(EACH, sizeof(struct message)),
					      .idx = i };
		assert_non_null(senders[i].messages);
		assert_int_equal(pthread_create(&threads[i], NULL, send_all, &senders[i]), 0);
	}
	while (cnt < SENDERS * EACH) {
		assert_int_not_equal(loop_wait(&loop, LOST_MS), 0);
		loop_drain(&loop);
		for (struct mail *mail = mailbox_take(&box); mail; mail = mail->next) {
			const struct message *message = (struct message *)mail;

			assert_int_equal(message->number, next[message->sender]);
			next[message->sender]++;
			cnt++;
		}
	}
	for (uint32_t i = 0; i < SENDERS; i++) {
		pthread_join(threads[i], NULL);
		free(senders[i].messages);
	}
	assert_null(mailbox_take(&box));
	loop_fini(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_box_gives_nothing),
		cmocka_unit_test(messages_come_oldest_first_and_once),
		cmocka_unit_test(sleeping_reader_gets_all_of_all_senders_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
