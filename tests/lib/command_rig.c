/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/command_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "protocol/compose.h"
#include "protocol/parse_text.h"

#define TEXT_MAX (8U << 20)

void command_rig_init(struct command_rig *rig, const struct command_options *options)
{
	struct command_options own = { 0 };
	struct store_options store;
	int error = 0;

	memset(rig, 0, sizeof(*rig));
	fake_clock_init(&rig->time, COMMAND_RIG_BOOT_NS, COMMAND_RIG_UNIX_NS);
	rig->log = mmap(NULL, COMMAND_RIG_LOG_BYTES, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(rig->log != MAP_FAILED);
	store = (struct store_options){
		.log = { .base = rig->log, .bytes = COMMAND_RIG_LOG_BYTES },
		.index_bytes_max = COMMAND_RIG_LOG_BYTES,
		.item_max = COMMAND_RIG_ITEM_MAX,
		.thread_max = 4,
		.no_evict = options && options->settings.no_evict,
		.clock = &rig->time.clock,
	};
	rig->store = store_new(&store, &error);
	assert_non_null(rig->store);
	assert_int_equal(store_reclaim_start(rig->store), 0);
	if (options)
		own = *options;
	own.store = rig->store;
	own.clock = &rig->time.clock;
	own.worker_cnt = 1;
	own.settings.item_max = COMMAND_RIG_ITEM_MAX;
	own.settings.memory_bytes = COMMAND_RIG_LOG_BYTES;
	own.settings.thread_cnt = 1;
	assert_int_equal(command_new(&own, &rig->command), 0);
	assert_int_equal(command_worker_new(rig->command, 0, &rig->worker), 0);
	assert_int_equal(response_init(&rig->resp, 65536, 57344), 0);
	rig->text = malloc(TEXT_MAX);
	assert_non_null(rig->text);
}

void command_rig_fini(struct command_rig *rig)
{
	free(rig->text);
	response_fini(&rig->resp);
	command_worker_free(rig->worker);
	command_free(rig->command);
	store_reclaim_stop(rig->store);
	store_free(rig->store);
	munmap(rig->log, COMMAND_RIG_LOG_BYTES);
}

static void take_reply(struct command_rig *rig)
{
	assert_false(rig->resp.failed);
	assert_true(rig->text_len + rig->resp.bytes < TEXT_MAX);
	for (uint32_t i = 0; i < rig->resp.iov_cnt; i++) {
		const struct iovec *iov = &rig->resp.iov[i];

		memcpy(rig->text + rig->text_len, iov->iov_base, iov->iov_len);
		rig->text_len += iov->iov_len;
	}
	response_reset(&rig->resp);
}

/* One command; returns how many bytes of `in` it took with its value. */
static size_t run_one(struct command_rig *rig, struct span in)
{
	struct request req;
	ssize_t len = parse_text(in, 0, &req);
	size_t taken;

	assert_true(len > 0);
	taken = (size_t)len;
	if (request_has_value(&req)) {
		const uint8_t *end = in.ptr + taken + req.value_len;
		size_t whole = taken + req.value_len + 2;

		if (!command_admit(rig->worker, &req, &rig->resp))
			return whole;
		assert_true(whole <= in.len);
		req.value = span_of(in.ptr + taken, req.value_len);
		req.value_bad = memcmp(end, "\r\n", 2) != 0;
		taken = whole;
	}
	while (command_apply(rig->worker, &req, &rig->resp) == COMMAND_MORE)
		take_reply(rig);
	return taken;
}

const char *command_rig_run_bytes(struct command_rig *rig, const void *text, size_t len)
{
	struct span in = span_of(text, len);

	rig->text_len = 0;
	while (in.len > 0) {
		size_t taken;

		command_turn(rig->worker);
		taken = run_one(rig, in);
		take_reply(rig);
		taken = taken < in.len ? taken : in.len;
		in = span_of(in.ptr + taken, in.len - taken);
	}
	rig->text[rig->text_len] = '\0';
	return rig->text;
}

const char *command_rig_run(struct command_rig *rig, const char *text)
{
	return command_rig_run_bytes(rig, text, strlen(text));
}

uint64_t command_rig_stat(struct command_rig *rig, const char *name)
{
	char line[96];
	const char *at;

	snprintf(line, sizeof(line), "STAT %s ", name);
	at = strstr(rig->text, line);
	if (!at)
		fail_msg("no %s in:\n%s", name, rig->text);
	return strtoull(at + strlen(line), NULL, 10);
}
