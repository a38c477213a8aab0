/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * top_screen - the terminal of xdpcache top.
 *
 * Does      shows a view, with a line for the answers to keys pressed, and reads those.
 * Shape     works without colours and from 40x10 on; follows the terminal's size.
 * Errors    top_screen_open: -ENODEV when the terminal cannot do it.
 * Threads   one.
 * Invariant after top_screen_close, which exit() calls too, the terminal is as it was found.
 */
#ifndef XC_XDPCACHE_TOP_SCREEN_H
#define XC_XDPCACHE_TOP_SCREEN_H

#include "top_text.h"

enum top_key {
	TOP_KEY_NONE,
	TOP_KEY_QUIT,
	TOP_KEY_UP,
	TOP_KEY_DOWN,
	TOP_KEY_SORT,
	TOP_KEY_PIN,
	TOP_KEY_BAN,
	TOP_KEY_EXPLAIN,
	TOP_KEY_PAUSE,
	TOP_KEY_RESIZE,
};

int top_screen_open(void);
void top_screen_close(void); /* safe twice */
/* Waits at most so long. */
enum top_key top_screen_key(uint32_t wait_ms);

struct top_shown {
	const uint32_t *order; /* of the view's keys */
	uint32_t key_cnt;
	uint32_t selected; /* in this order */
	enum top_sort sort;
	bool paused;
	const char *message; /* empty: none */
};

/* view->columns is set here. */
void top_screen_draw(struct top_view *view, const struct top_shown *shown);

#endif
