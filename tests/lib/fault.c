/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/fault.h"

#include "base/alloc.h"

static uint64_t asked_cnt, refuse_nth;

static bool refuse(size_t bytes)
{
	(void)bytes;
	return ++asked_cnt == refuse_nth;
}

void fault_start(uint64_t nth)
{
	asked_cnt = 0;
	refuse_nth = nth;
	alloc_refuse = refuse;
}

uint64_t fault_stop(void)
{
	alloc_refuse = NULL;
	return asked_cnt;
}
