/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * top_text - the lines of xdpcache top.
 *
 * Does      lays numbers out as lines of text, the same for a screen and for --once.
 * Shape     head lines first, then a title and one line a key. Lines are UTF-8 if `utf8`, and at
 *           most `columns` wide.
 * Threads   any; no state.
 */
#ifndef XC_XDPCACHE_TOP_TEXT_H
#define XC_XDPCACHE_TOP_TEXT_H

#include "top_model.h"

#define TOP_TEXT_MAX 1024
#define TOP_HEAD_LINES 8 /* before the keys, their title included */

struct top_view {
	const struct top_sample *now, *before;
	const struct top_rates *rates;
	const struct top_history *history;
	uint32_t columns;
	bool utf8;
	const char *away; /* what is wrong with the daemon; NULL: nothing */
};

/* Head line number `line`, below TOP_HEAD_LINES. */
void top_head(const struct top_view *view, uint32_t line, char ret[TOP_TEXT_MAX]);
/* place: of the key, in the order it is shown in. */
void top_row(const struct top_view *view, const json_t *row, uint32_t place,
	     char ret[TOP_TEXT_MAX]);
/* Cuts to so many columns, at a character's end. */
void top_cut(char *text, uint32_t columns);

#endif
