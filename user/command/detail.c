/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stats detail: requests by key prefix, as memcached counts them: every key of a retrieval (gat
 * too), every storage command whether it stored or not, every delete; nothing else.
 */
#include "command/impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define DELIMITER_DEFAULT ':'
/* "PREFIX ", a prefix, four names and four numbers */
#define LINE_MAX_LEN (XC_KEY_MAX + 128)

void command_detail_count(struct command *command, struct command_view *view, uint32_t slot,
			  struct span key, enum tally_event event, uint64_t n)
{
	uint8_t delimiter = command->options.settings.prefix_delimiter;
	struct tally *tally;

	if (!view->prefixes)
		return; /* turned on by another worker, within this turn */
	tally = prefixes_find(prefixes_of(view->prefixes), slot, key,
			      delimiter ? delimiter : DELIMITER_DEFAULT);
	if (tally)
		tally_add(tally, event, n);
}

static int renew(struct command *command)
{
	struct prefixes *prefixes = prefixes_new(command_slot_cnt(command->options.worker_cnt));

	if (!prefixes)
		return -ENOMEM;
	swap_replace(&command->prefixes, (struct swap_item *)prefixes);
	return 0;
}

int command_detail_start(struct command *command)
{
	int err = 0;

	pthread_mutex_lock(&command->lock);
	if (!atomic_load(&command->prefixes.current))
		err = renew(command);
	if (!err)
		atomic_store(&command->detail, true);
	pthread_mutex_unlock(&command->lock);
	return err;
}

void command_detail_clear(struct command *command)
{
	pthread_mutex_lock(&command->lock);
	if (atomic_load(&command->prefixes.current))
		renew(command); /* out of memory: the old counts stay */
	pthread_mutex_unlock(&command->lock);
}

struct dump {
	const struct request *req;
	struct response *resp;
};

static void dump_prefix(void *ctx, struct span prefix, const struct tally *sum)
{
	const struct dump *dump = ctx;
	uint64_t hits = sum->cnt[TALLY_HIT] + sum->cnt[TALLY_KERNEL_HIT];
	uint64_t misses = sum->cnt[TALLY_MISS] + sum->cnt[TALLY_KERNEL_ABSENT];
	char line[LINE_MAX_LEN];

	snprintf(line, sizeof(line),
		 "PREFIX %.*s get %" PRIu64 " hit %" PRIu64 " set %" PRIu64 " del %" PRIu64,
		 (int)prefix.len, (const char *)prefix.ptr, hits + misses, hits,
		 sum->cnt[TALLY_SET], sum->cnt[TALLY_DELETE]);
	dump->req->compose->line(dump->resp, dump->req, line);
}

void command_detail(struct command_worker *w, const struct request *req, struct span mode,
		    struct response *resp)
{
	struct dump dump = { .req = req, .resp = resp };
	enum request_status status = STATUS_OK;

	if (span_equal(mode, span_str("dump"))) {
		if (w->view.prefixes)
			prefixes_walk(prefixes_of(w->view.prefixes), dump_prefix, &dump);
		req->compose->end(resp, req);
		return;
	}
	if (span_equal(mode, span_str("on"))) {
		if (command_detail_start(w->command))
			status = STATUS_NO_MEMORY;
		command_view_pick(w->command, &w->view);
	} else if (span_equal(mode, span_str("off"))) {
		atomic_store(&w->command->detail, false);
	} else {
		status = STATUS_DETAIL_USAGE;
	}
	req->compose->status(resp, req, status);
}
