/* SPDX-License-Identifier: BSD-2-Clause */
#include "top_screen.h"

#include <errno.h>
#include <ncurses.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static SCREEN *screen;

int top_screen_open(void)
{
	/* initscr() would end the process itself. */
	screen = newterm(NULL, stdout, stdin);
	if (!screen)
		return -ENODEV;
	atexit(top_screen_close);
	cbreak();
	noecho();
	nonl();
	intrflush(stdscr, FALSE);
	keypad(stdscr, TRUE);
	set_escdelay(50);
	curs_set(0);
	return 0;
}

void top_screen_close(void)
{
	if (!screen)
		return;
	endwin();
	delscreen(screen);
	screen = NULL;
}

enum top_key top_screen_key(uint32_t wait_ms)
{
	timeout((int)wait_ms);
	switch (getch()) {
	case 'q':
	case 'Q':
		return TOP_KEY_QUIT;
	case KEY_UP:
	case 'k':
		return TOP_KEY_UP;
	case KEY_DOWN:
	case 'j':
		return TOP_KEY_DOWN;
	case 's':
		return TOP_KEY_SORT;
	case 'p':
		return TOP_KEY_PIN;
	case 'b':
		return TOP_KEY_BAN;
	case 'e':
	case '\r':
	case KEY_ENTER:
		return TOP_KEY_EXPLAIN;
	case ' ':
		return TOP_KEY_PAUSE;
	case KEY_RESIZE:
		return TOP_KEY_RESIZE;
	default:
		return TOP_KEY_NONE;
	}
}

static void line(uint32_t at, const char *text, attr_t how)
{
	if (at >= (uint32_t)LINES)
		return;
	attrset(how);
	mvaddstr((int)at, 0, text);
	if (how & A_REVERSE) {
		int y, x;

		getyx(stdscr, y, x);
		for (; y == (int)at && x < COLS; x++)
			addch(' ');
	} else {
		clrtoeol();
	}
	attrset(A_NORMAL);
}

static void draw_foot(const struct top_view *view, const struct top_shown *shown)
{
	char text[TOP_TEXT_MAX];

	if (shown->message[0])
		snprintf(text, sizeof(text), "%s", shown->message);
	else
		snprintf(text, sizeof(text),
			 "q quit  s sort: %s  p pin  b ban  e explain  space %s",
			 top_sort_name(shown->sort), shown->paused ? "go on (PAUSED)" : "pause");
	/* A terminal scrolls when its last cell is written. */
	top_cut(text, view->columns > 1 ? view->columns - 1 : 1);
	line((uint32_t)LINES - 1, text, A_BOLD);
}

void top_screen_draw(struct top_view *view, const struct top_shown *shown)
{
	uint32_t rows = LINES > TOP_HEAD_LINES + 1 ? (uint32_t)LINES - TOP_HEAD_LINES - 1 : 0;
	uint32_t first = shown->selected >= rows ? shown->selected - rows + 1 : 0;
	char text[TOP_TEXT_MAX];

	view->columns = (uint32_t)COLS;
	erase();
	for (uint32_t at = 0; at < TOP_HEAD_LINES; at++) {
		top_head(view, at, text);
		line(at, text, at == 0 || at == TOP_HEAD_LINES - 1 ? A_REVERSE : (attr_t)A_NORMAL);
	}
	for (uint32_t at = 0; at < rows && first + at < shown->key_cnt; at++) {
		uint32_t place = first + at;
		const json_t *row = json_array_get(view->now->keys, shown->order[place]);

		top_row(view, row, place, text);
		/* The mark is enough where a terminal cannot reverse. */
		if (place == shown->selected)
			text[0] = '>';
		line(TOP_HEAD_LINES + at, text,
		     place == shown->selected ? A_BOLD : (attr_t)A_NORMAL);
	}
	draw_foot(view, shown);
	refresh();
}
