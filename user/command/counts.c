/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The counters of all workers, those that are gone too, as one: what the kernel answered is added,
 * what came before the last `stats reset` is taken off.
 */
#include "command/impl.h"

void command_add_counts(struct command_counts *sum, const struct command_counts *part)
{
#define X(field) sum->field += __atomic_load_n(&part->field, __ATOMIC_RELAXED);
	COMMAND_COUNTS(X)
#undef X
}

static void take_base(struct command_counts *sum, const struct command_counts *base)
{
#define X(field) sum->field -= base->field;
	COMMAND_COUNTS(X)
#undef X
}

/* Caller holds the lock. */
static void sum_own_locked(struct command *command, struct command_counts *ret)
{
	*ret = command->gone;
	for (uint32_t i = 0; i < command->options.worker_cnt; i++) {
		if (command->workers[i])
			command_add_counts(ret, &command->workers[i]->counts);
	}
}

/* Caller holds the lock. */
static void sum_locked(struct command *command, struct command_counts *ret)
{
	const struct command_hooks *hooks = &command->options.hooks;
	struct command_kernel_counts kernel = { 0 };

	sum_own_locked(command, ret);
	if (hooks->kernel_counts)
		hooks->kernel_counts(hooks->ctx, &kernel);
	ret->cmd_get += kernel.hits + kernel.absent;
	ret->get_hits += kernel.hits;
	ret->get_misses += kernel.absent;
	ret->bytes_written += kernel.reply_bytes;
}

void command_totals(struct command *command, struct command_counts *ret)
{
	pthread_mutex_lock(&command->lock);
	sum_locked(command, ret);
	take_base(ret, &command->base);
	pthread_mutex_unlock(&command->lock);
}

void command_own_counts(struct command *command, struct command_counts *ret)
{
	pthread_mutex_lock(&command->lock);
	sum_own_locked(command, ret);
	pthread_mutex_unlock(&command->lock);
}

uint32_t command_conn_cnt(struct command *command)
{
	struct command_counts sum;

	pthread_mutex_lock(&command->lock);
	sum_locked(command, &sum);
	pthread_mutex_unlock(&command->lock);
	return (uint32_t)(sum.conn_opened - sum.conn_closed);
}

void command_limit_conns(struct command *command, uint32_t conn_max)
{
	command->options.settings.conn_max = conn_max;
}

void command_reset_counts(struct command *command)
{
	pthread_mutex_lock(&command->lock);
	sum_locked(command, &command->base);
	pthread_mutex_unlock(&command->lock);
}
