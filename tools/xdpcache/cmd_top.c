/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xdpcache top [--interval SECONDS] [--once]. A second thread asks the daemon, so that the screen
 * answers keys and signals while a daemon is stopped or gone.
 */
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli.h"
#include "client.h"
#include "top_screen.h"

#define TICK_MS 100
#define MESSAGE_TICKS 80 /* that an answer stays on the screen */

struct top {
	const struct cli *cli;
	uint32_t every_ms;
	bool once;
	struct top_history history;
	struct top_rates rates;
	struct top_sample now, before;
	bool utf8;

	/* what the asking thread has found, under lock */
	pthread_mutex_t lock;
	struct top_sample fresh; /* until the screen takes it */
	bool fresh_there;
	char away[CLIENT_ERROR_MAX]; /* empty: the daemon answers */
	_Atomic bool paused;

	/* the screen's */
	uint32_t order[TOP_KEYS_MAX];
	uint32_t key_cnt;
	char selected[1024]; /* this key, wherever it moves */
	uint32_t selected_at;
	enum top_sort sort;
	char message[CLIENT_ERROR_MAX];
	uint32_t message_ticks;
};

static volatile sig_atomic_t ended_by;

static void on_signal(int number)
{
	ended_by = number;
}

static int usage(void)
{
	fprintf(stderr,
		"xdpcache top: write one of\n"
		"  xdpcache top [--interval SECONDS]   a screen, until q is pressed\n"
		"  xdpcache top --once [--json]        the same as text, after one interval\n");
	return CLI_USAGE;
}

static bool parse(struct top *top, int argc, char **argv)
{
	top->every_ms = 1000;
	for (int at = 1; at < argc; at++) {
		char *end;
		double sec;

		if (!strcmp(argv[at], "--once")) {
			top->once = true;
			continue;
		}
		if (strcmp(argv[at], "--interval") || at + 1 == argc)
			return false;
		sec = strtod(argv[++at], &end);
		if (*end || !(sec >= 0.1 && sec <= 3600))
			return false;
		top->every_ms = (uint32_t)(sec * 1000);
	}
	return true;
}

/* --- text --- */

/* The second sample replaces the first. */
static void take_over(struct top *top, struct top_sample *fresh)
{
	top_drop(&top->before);
	top->before = top->now;
	top->now = *fresh;
	*fresh = (struct top_sample){ 0 };
	top_rates(&top->before, &top->now, &top->rates);
	if (top->rates.known)
		top_remember(&top->history, &top->rates);
}

static struct top_view view_of(const struct top *top, const char *away)
{
	return (struct top_view){ .now = &top->now,
				  .before = &top->before,
				  .rates = &top->rates,
				  .history = &top->history,
				  .columns = 80,
				  .utf8 = top->utf8,
				  .away = away };
}

static void print_once(struct top *top)
{
	struct top_view view = view_of(top, NULL);
	char text[TOP_TEXT_MAX];

	view.columns = 120;
	top->key_cnt = top_order(&top->now, TOP_BY_RATE, top->order);
	for (uint32_t line = 0; line < TOP_HEAD_LINES; line++) {
		top_head(&view, line, text);
		printf("%s\n", text);
	}
	for (uint32_t i = 0; i < top->key_cnt; i++) {
		top_row(&view, json_array_get(top->now.keys, top->order[i]), i, text);
		printf("%s\n", text);
	}
}

static int run_once(struct top *top)
{
	char error[CLIENT_ERROR_MAX];
	struct top_sample sample;

	for (int i = 0; i < 2; i++) {
		if (i > 0)
			usleep(top->every_ms * 1000);
		if (top_take(top->cli, &sample, error)) {
			fprintf(stderr, "xdpcache top: %s\n", error);
			return CLI_FAILED;
		}
		take_over(top, &sample);
	}
	if (top->cli->json) {
		json_t *all = top_json(&top->now, &top->rates);

		json_dumpf(all, stdout, JSON_INDENT(2));
		printf("\n");
		json_decref(all);
	} else {
		print_once(top);
	}
	return CLI_DONE;
}

/* --- asking --- */

static void *ask_again_and_again(void *arg)
{
	struct top *top = arg;

	for (;;) {
		struct top_sample sample = { 0 };
		char error[CLIENT_ERROR_MAX] = "";

		if (!atomic_load(&top->paused)) {
			int rc = top_take(top->cli, &sample, error);

			pthread_mutex_lock(&top->lock);
			snprintf(top->away, sizeof(top->away), "%s", rc ? error : "");
			if (!rc) {
				top_drop(&top->fresh);
				top->fresh = sample;
				top->fresh_there = true;
			}
			pthread_mutex_unlock(&top->lock);
		}
		usleep(top->every_ms * 1000);
	}
	return NULL;
}

/* --- the screen --- */

static void say(struct top *top, const char *text)
{
	snprintf(top->message, sizeof(top->message), "%s", text);
	top->message_ticks = MESSAGE_TICKS;
}

static const json_t *row_at(const struct top *top, uint32_t place)
{
	return place < top->key_cnt ? json_array_get(top->now.keys, top->order[place]) : NULL;
}

/* The selection stays with its key; with a key that is gone, at its place. */
static void find_selected(struct top *top)
{
	top->key_cnt = top_order(&top->now, top->sort, top->order);
	for (uint32_t i = 0; i < top->key_cnt && top->selected[0]; i++) {
		if (!strcmp(json_string_value(json_object_get(row_at(top, i), "key")),
			    top->selected)) {
			top->selected_at = i;
			return;
		}
	}
	if (top->selected_at >= top->key_cnt)
		top->selected_at = top->key_cnt ? top->key_cnt - 1 : 0;
}

static void move_selected(struct top *top, int by)
{
	const json_t *row;

	if (by < 0 && top->selected_at > 0)
		top->selected_at--;
	if (by > 0 && top->selected_at + 1 < top->key_cnt)
		top->selected_at++;
	row = row_at(top, top->selected_at);
	snprintf(top->selected, sizeof(top->selected), "%s",
		 row ? json_string_value(json_object_get(row, "key")) : "");
}

/* Asks for something about the selected key; NULL: it was said why not. */
static json_t *ask_of_selected(struct top *top, const char *cmd)
{
	const json_t *row = row_at(top, top->selected_at);
	const json_t *hex = json_object_get(row, "key_hex");
	char error[CLIENT_ERROR_MAX];
	json_t *result = NULL;

	if (!row) {
		say(top, "no key is selected");
		return NULL;
	}
	if (client_ask(top->cli->control,
		       json_pack("{s:s, s:O}", "cmd", cmd, hex ? "key_hex" : "key",
				 hex ? hex : json_object_get(row, "key")),
		       &result, error)) {
		say(top, error);
		return NULL;
	}
	return result;
}

static void toggle(struct top *top, const char *what, const char *on, const char *off)
{
	const json_t *row = row_at(top, top->selected_at);
	const char *cmd = json_is_true(json_object_get(row, what)) ? off : on;
	json_t *result = ask_of_selected(top, cmd);
	char text[CLIENT_ERROR_MAX];

	if (!result)
		return;
	snprintf(text, sizeof(text), "%s: %s%s", what,
		 json_is_true(json_object_get(result, what)) ? "yes, " : "no longer, ",
		 json_string_value(json_object_get(row, "key")));
	say(top, text);
	json_decref(result);
}

static void explain(struct top *top)
{
	json_t *result = ask_of_selected(top, "hot_explain");
	const char *advice = json_string_value(json_object_get(result, "advice"));
	char text[CLIENT_ERROR_MAX];

	if (!result)
		return;
	snprintf(text, sizeof(text), "%.60s: %s%s%s",
		 json_string_value(json_object_get(result, "key")),
		 json_string_value(json_object_get(result, "why")), advice && *advice ? ". " : "",
		 advice ? advice : "");
	say(top, text);
	json_decref(result);
}

/* False: it was the last. */
static bool obey(struct top *top, enum top_key key)
{
	switch (key) {
	case TOP_KEY_QUIT:
		return false;
	case TOP_KEY_UP:
		move_selected(top, -1);
		break;
	case TOP_KEY_DOWN:
		move_selected(top, 1);
		break;
	case TOP_KEY_SORT:
		top->sort = (enum top_sort)((top->sort + 1) % TOP_SORT_CNT);
		break;
	case TOP_KEY_PIN:
		toggle(top, "pinned", "hot_pin", "hot_unpin");
		break;
	case TOP_KEY_BAN:
		toggle(top, "banned", "hot_ban", "hot_unban");
		break;
	case TOP_KEY_EXPLAIN:
		explain(top);
		break;
	case TOP_KEY_PAUSE:
		atomic_store(&top->paused, !atomic_load(&top->paused));
		break;
	default:
		break;
	}
	return true;
}

static void draw(struct top *top)
{
	char away[CLIENT_ERROR_MAX];
	struct top_view view;
	struct top_shown shown;

	pthread_mutex_lock(&top->lock);
	if (top->fresh_there)
		take_over(top, &top->fresh);
	top->fresh_there = false;
	snprintf(away, sizeof(away), "%s", top->away);
	pthread_mutex_unlock(&top->lock);
	find_selected(top);
	if (top->message_ticks > 0 && --top->message_ticks == 0)
		top->message[0] = '\0';
	view = view_of(top, away[0] ? away : NULL);
	shown = (struct top_shown){ .order = top->order,
				    .key_cnt = top->key_cnt,
				    .selected = top->selected_at,
				    .sort = top->sort,
				    .paused = atomic_load(&top->paused),
				    .message = top->message };
	top_screen_draw(&view, &shown);
}

static int run_screen(struct top *top)
{
	static const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE };
	struct sigaction action = { .sa_handler = on_signal };
	pthread_t asking;

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || top_screen_open()) {
		fprintf(stderr,
			"xdpcache top: needs a terminal (TERM is \"%s\"); without one: "
			"xdpcache top --once\n",
			getenv("TERM") ? getenv("TERM") : "");
		return CLI_FAILED;
	}
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		sigaction(ends[i], &action, NULL);
	if (pthread_create(&asking, NULL, ask_again_and_again, top)) {
		top_screen_close();
		fprintf(stderr, "xdpcache top: no thread to be had\n");
		return CLI_FAILED;
	}
	do
		draw(top);
	while (!ended_by && obey(top, top_screen_key(TICK_MS)));
	top_screen_close();
	/* The asking thread may wait for a daemon: it ends with the process. */
	fflush(stdout);
	_exit(ended_by ? 128 + ended_by : CLI_DONE);
}

int cmd_top(const struct cli *cli, int argc, char **argv)
{
	struct top top = { .cli = cli };

	if (!parse(&top, argc, argv))
		return usage();
	setlocale(LC_ALL, "");
	top.utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
	pthread_mutex_init(&top.lock, NULL);
	return top.once || cli->json ? run_once(&top) : run_screen(&top);
}
