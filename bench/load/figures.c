/* SPDX-License-Identifier: BSD-2-Clause */
#include "figures.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void figures_init(struct figures *figures, uint64_t now_ns)
{
	memset(figures, 0, sizeof(*figures));
	for (uint32_t i = 0; i < FIGURES_KIND_CNT; i++)
		histogram_init(&figures->times[i]);
	histogram_init(&figures->window);
	figures->start_ns = now_ns;
	figures->end_ns = now_ns;
}

void figures_insert(struct figures *figures, enum figures_kind kind, uint64_t took_ns)
{
	histogram_insert(&figures->times[kind], took_ns);
	if (kind != FIGURES_FILL)
		figures->requests++;
	if (kind < FIGURES_WRITE)
		histogram_insert(&figures->window, took_ns);
}

void figures_list(struct figures *figures, const char *fmt, ...)
{
	va_list args;

	if (figures->wrong_listed == FIGURES_WRONG_LIST_MAX)
		return;
	va_start(args, fmt);
	vsnprintf(figures->wrong_list[figures->wrong_listed++], FIGURES_WRONG_TEXT_MAX, fmt, args);
	va_end(args);
}

uint64_t figures_wrong(const struct figures *figures)
{
	uint64_t wrong = figures->broken + figures->refused;

	for (uint32_t i = ORACLE_WRONG_FIRST; i < ORACLE_VERDICT_CNT; i++)
		wrong += figures->verdicts[i];
	return wrong;
}

uint64_t figures_reads(const struct figures *figures)
{
	return figures->times[FIGURES_KERNEL].cnt + figures->times[FIGURES_DAEMON].cnt +
	       figures->times[FIGURES_MISS].cnt;
}
