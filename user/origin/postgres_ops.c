/* SPDX-License-Identifier: BSD-2-Clause */
/* PostgreSQL as one kind of origin among others. */
#include <errno.h>
#include <stdio.h>

#include "origin/postgres.h"

/* What an operator need not choose. */
#define PIPELINE_MAX 32
#define CONNECT_MS 3000
#define PAUSE_MS 50
#define PAUSE_MAX_MS 2000

static int ops_open(const struct origin_setup *setup, struct loop *loop, void **ret,
		    char why[ORIGIN_WHY_MAX])
{
	struct postgres_conf conf = { .conninfo = setup->target,
				      .statements = setup->statements,
				      .statement_cnt = setup->statement_cnt,
				      .connection_cnt = setup->connection_cnt,
				      .pipeline_max = PIPELINE_MAX,
				      .waiting_max = setup->waiting_max,
				      .connect_ms = CONNECT_MS,
				      .timeout_ms = setup->timeout_ms,
				      .pause_ms = PAUSE_MS,
				      .pause_max_ms = PAUSE_MAX_MS,
				      .clock = setup->clock,
				      .seed = setup->seed };
	struct postgres *postgres;
	int error = postgres_new(&conf, loop, &postgres);

	if (error == -EINVAL)
		snprintf(why, ORIGIN_WHY_MAX,
			 "\"%.80s\" is no connection string; write it like "
			 "host=/run/postgresql dbname=shop",
			 setup->target);
	else if (error)
		snprintf(why, ORIGIN_WHY_MAX, "no memory for the origin");
	else
		*ret = postgres;
	return error;
}

static void ops_close(void *back)
{
	postgres_free(back);
}

static int ops_ask(void *back, struct origin_query *query)
{
	return postgres_ask(back, query);
}

static void ops_turn(void *back)
{
	postgres_turn(back);
}

static uint64_t ops_next_ns(const void *back)
{
	return postgres_next_ns(back);
}

const struct origin_ops postgres_ops = {
	.kind = "postgresql",
	.open = ops_open,
	.close = ops_close,
	.ask = ops_ask,
	.turn = ops_turn,
	.next_ns = ops_next_ns,
};
