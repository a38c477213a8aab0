/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How long requests take, at the price of one look at the clock for each send: whoever sends says
 * so once for all requests that the reply answers, and they have all begun with the turn.
 *
 *   wake-up ... request, request, request ... send ........ request ... send
 *   turn_ns |<------------- three took ---------->|                        |
 *           |<------------------------- one took ------------------------->|
 */
#include "command/impl.h"

#include "base/alloc.h"

struct histogram *command_durations_new(void)
{
	struct histogram *durations = alloc_zero(COMMAND_OP_CNT, sizeof(*durations));

	for (int op = 0; durations && op < COMMAND_OP_CNT; op++)
		histogram_init(&durations[op]);
	return durations;
}

static enum command_op op_of(enum request_verb verb)
{
	switch (verb) {
	case REQUEST_GET:
	case REQUEST_GETS:
	case REQUEST_GAT:
	case REQUEST_GATS:
	case REQUEST_META_GET:
		return COMMAND_OP_GET;
	case REQUEST_SET:
	case REQUEST_ADD:
	case REQUEST_REPLACE:
	case REQUEST_APPEND:
	case REQUEST_PREPEND:
	case REQUEST_CAS:
		return COMMAND_OP_SET;
	case REQUEST_DELETE:
	case REQUEST_META_DELETE:
		return COMMAND_OP_DELETE;
	case REQUEST_INCR:
	case REQUEST_DECR:
	case REQUEST_META_ARITH:
		return COMMAND_OP_ARITH;
	case REQUEST_TOUCH:
		return COMMAND_OP_TOUCH;
	default:
		return COMMAND_OP_OTHER;
	}
}

void command_note_request(struct command_worker *w, enum request_verb verb)
{
	w->unreplied[op_of(verb)]++;
	w->has_unreplied = true;
}

void command_replied(struct command_worker *w)
{
	if (!w->has_unreplied)
		return;
	w->replied_ns = clock_now_ns(w->command->options.clock);
	for (int op = 0; op < COMMAND_OP_CNT; op++) {
		histogram_insert_many(&w->durations[op], w->replied_ns - w->turn_ns,
				      w->unreplied[op]);
		w->unreplied[op] = 0;
	}
	w->has_unreplied = false;
}

uint64_t command_turn_took_ns(const struct command_worker *w)
{
	return w->replied_ns ? w->replied_ns - w->turn_ns : 0;
}

void command_durations(struct command *command, enum command_op op, struct histogram *ret)
{
	pthread_mutex_lock(&command->lock);
	for (uint32_t i = 0; i < command->options.worker_cnt; i++) {
		if (command->workers[i])
			histogram_merge(ret, &command->workers[i]->durations[op]);
	}
	pthread_mutex_unlock(&command->lock);
}
