/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From text to values: one function a type, all reached through build_set, so that a flag, a line
 * of a file and a default pass the same checks and get the same messages.
 */
#include "config_table.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"

struct config_string {
	struct config_string *next;
	char text[];
};

static void say(struct config_build *b, enum log_level level, const char *fmt, va_list args)
{
	char line[768];

	vsnprintf(line, sizeof(line), fmt, args);
	b->sink.line(b->sink.ctx, level, line);
}

void build_error(struct config_build *b, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(b, LOG_ERROR, fmt, args);
	va_end(args);
	b->error_cnt++;
}

void build_warn(struct config_build *b, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(b, LOG_WARN, fmt, args);
	va_end(args);
}

const char *build_string(struct config_build *b, const char *text)
{
	struct config_memory *memory = b->config->memory;
	size_t len = strlen(text);
	struct config_string *string = alloc_zero(1, sizeof(*string) + len + 1);

	if (!string) {
		build_error(b, "out of memory");
		return NULL;
	}
	memcpy(string->text, text, len + 1);
	string->next = memory->strings;
	memory->strings = string;
	return string->text;
}

void config_fini(struct config *config)
{
	struct config_string *string, *next;

	if (!config->memory)
		return;
	for (string = config->memory->strings; string; string = next) {
		next = string->next;
		alloc_free(string);
	}
	config_routes_fini(&config->routes);
	alloc_free(config->memory);
	memset(config, 0, sizeof(*config));
}

static void *field(struct config_build *b, const struct config_option *option)
{
	return (char *)b->target + option->offset;
}

/* "file:3: network.port", or the flag alone on the command line. */
static const char *place(const struct config_where *where, char buf[512])
{
	if (!where->source)
		return where->what;
	snprintf(buf, 512, "%s: %s", where->source, where->what);
	return buf;
}

/*
 * A decimal number and an optional suffix k, m or g. scale is what a bare number counts in; the
 * result is in bytes when scaling, else the number itself.
 */
static bool parse_number(const char *text, bool suffixes, int64_t scale, int64_t *ret)
{
	static const char letters[] = "kmg";
	const char *letter;
	char *end;
	long long n;

	errno = 0;
	n = strtoll(text, &end, 10);
	if (end == text || errno || n < 0)
		return false;
	if (suffixes && *end) {
		letter = strchr(letters, tolower((unsigned char)*end));
		if (!letter)
			return false;
		scale = 1024LL << (10 * (letter - letters));
		end++;
		if (tolower((unsigned char)end[0]) == 'b' && !end[1])
			end++;
	}
	return !*end && !__builtin_mul_overflow(n, scale, ret);
}

static void set_number(struct config_build *b, const struct config_option *option, const char *text,
		       const struct config_where *where)
{
	bool mib = option->type == OPT_MIB;
	bool sized = mib || option->type == OPT_SIZE;
	int64_t scale = mib ? 1 << 20 : 1;
	const char *unit = mib			      ? " MiB"
			   : option->type == OPT_SIZE ? " bytes (k and m are understood)"
						      : "";
	char buf[512];
	int64_t n = 0;

	/* parse_number knows no sign; of all options the ports alone have a meaning for one. */
	if (option->min == -1 && !strcmp(text, "-1")) {
		*(int32_t *)field(b, option) = -1;
		return;
	}
	if (!parse_number(text, sized, scale, &n) || n < option->min * scale ||
	    n > option->max * scale) {
		build_error(b,
			    "%s: \"%s\" is not a number from %lld to %lld%s; write for example %s",
			    place(where, buf), text, (long long)option->min, (long long)option->max,
			    unit, option->fallback);
		return;
	}
	if (option->type == OPT_INT32)
		*(int32_t *)field(b, option) = (int32_t)n;
	else if (sized)
		*(uint64_t *)field(b, option) = (uint64_t)n;
	else
		*(uint32_t *)field(b, option) = (uint32_t)n;
}

static void set_octal(struct config_build *b, const struct config_option *option, const char *text,
		      const struct config_where *where)
{
	char buf[512];
	char *end;
	long n = strtol(text, &end, 8);

	if (end == text || *end || n < option->min || n > option->max)
		build_error(
			b,
			"%s: \"%s\" is not an octal access mode up to %llo; write for example %s",
			place(where, buf), text, (unsigned long long)option->max, option->fallback);
	else
		*(uint32_t *)field(b, option) = (uint32_t)n;
}

static void set_bool(struct config_build *b, const struct config_option *option, const char *text,
		     const struct config_where *where)
{
	static const char *const words[][2] = {
		{ "false", "true" }, { "no", "yes" }, { "off", "on" }, { "0", "1" }
	};
	char buf[512];

	if (!text) {
		*(bool *)field(b, option) = option->type == OPT_BOOL;
		return;
	}
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		for (int value = 0; value < 2; value++) {
			if (!strcasecmp(text, words[i][value])) {
				*(bool *)field(b, option) = value;
				return;
			}
		}
	}
	build_error(b, "%s: \"%s\" is neither true nor false", place(where, buf), text);
}

static void set_string(struct config_build *b, const struct config_option *option, const char *text,
		       const struct config_where *where)
{
	char why[CONFIG_WHY_MAX], buf[512];

	if (option->check && !option->check(text, why))
		build_error(b, "%s: \"%s\": %s", place(where, buf), text, why);
	else
		*(const char **)field(b, option) = *text ? build_string(b, text) : NULL;
}

static void add_item(struct config_build *b, const struct config_option *option, const char *item,
		     const struct config_where *where)
{
	struct config_list *list = field(b, option);
	char why[CONFIG_WHY_MAX], buf[512], canonical[320];

	if (option->check && !option->check(item, why)) {
		build_error(b, "%s: \"%s\": %s", place(where, buf), item, why);
		return;
	}
	if (option->offset == offsetof(struct config, listen)) {
		config_listen_parse(item, canonical, sizeof(canonical), why);
		item = canonical;
	}
	for (uint32_t i = 0; i < list->cnt; i++) {
		if (!strcmp(list->items[i], item))
			return;
	}
	if (list->cnt == CONFIG_LIST_MAX) {
		build_error(b, "%s: more than %d items; leave some out", place(where, buf),
			    CONFIG_LIST_MAX);
		return;
	}
	item = build_string(b, item);
	if (item)
		list->items[list->cnt++] = item;
}

static void set_list(struct config_build *b, const struct config_option *option, const char *text,
		     const struct config_where *where)
{
	size_t idx = (size_t)(option - config_options);
	struct config_list *list = field(b, option);
	char buf[4096], place_buf[512];
	char *item, *rest;

	if (b->config->memory->layer[idx] != b->layer)
		list->cnt = 0;
	if (strlen(text) >= sizeof(buf)) {
		build_error(b, "%s: longer than %zu bytes; repeat the option instead",
			    place(where, place_buf), sizeof(buf) - 1);
		return;
	}
	strcpy(buf, text);
	for (item = strtok_r(buf, ",; \t", &rest); item; item = strtok_r(NULL, ",; \t", &rest))
		add_item(b, option, item, where);
}

static void set_word(struct config_build *b, const struct config_option *option, const char *text,
		     const struct config_where *where)
{
	static const char *const modes[] = { "auto", "native", "generic", "off" };
	static const char *const levels[] = { "error", "warn", "info", "debug" };
	const char *const *words = option->type == OPT_XDP_MODE ? modes : levels;
	char buf[512];

	for (int i = 0; i < 4; i++) {
		if (strcmp(text, words[i]))
			continue;
		if (option->type == OPT_XDP_MODE)
			*(enum xdp_mode *)field(b, option) = (enum xdp_mode)i;
		else
			*(enum log_level *)field(b, option) = (enum log_level)i;
		return;
	}
	build_error(b, "%s: \"%s\" is none of %s, %s, %s, %s", place(where, buf), text, words[0],
		    words[1], words[2], words[3]);
}

static void set_count(struct config_build *b, const struct config_option *option, const char *text,
		      const struct config_where *where)
{
	uint32_t *count = field(b, option);

	if (text)
		set_number(b, option, text, where);
	else if (b->config->memory->layer[option - config_options] != b->layer)
		*count = 1; /* the flags count from the command line's own start */
	else if (*count < option->max)
		++*count;
}

static void set_extended(struct config_build *b, const char *text,
			 const struct config_where *where);

/* memcached's options that do nothing here. */
static void set_judged(struct config_build *b, const struct config_option *option, const char *text,
		       const struct config_where *where)
{
	size_t idx = (size_t)(option - config_options);
	char why[CONFIG_WHY_MAX], buf[512];

	if (option->check) {
		/* Values that pass the check ask for what is done anyway. */
		if (!option->check(text, why))
			build_error(b, "%s: \"%s\": %s", place(where, buf), text, why);
	} else if (!b->warned[idx]) {
		build_warn(b, "%s has no effect here: %s", place(where, buf), option->help);
		b->warned[idx] = true;
	}
}

void build_value(struct config_build *b, const struct config_option *option, const char *text,
		 const struct config_where *where)
{
	switch (option->type) {
	case OPT_BOOL:
	case OPT_BOOL_OFF:
		set_bool(b, option, text, where);
		break;
	case OPT_COUNT:
		set_count(b, option, text, where);
		break;
	case OPT_INT32:
	case OPT_UINT32:
	case OPT_MIB:
	case OPT_SIZE:
		set_number(b, option, text, where);
		break;
	case OPT_OCTAL:
		set_octal(b, option, text, where);
		break;
	case OPT_STRING:
	case OPT_FILE:
		set_string(b, option, text, where);
		break;
	case OPT_LIST:
		set_list(b, option, text, where);
		break;
	case OPT_XDP_MODE:
	case OPT_LOG_LEVEL:
		set_word(b, option, text, where);
		break;
	case OPT_EXTENDED:
		set_extended(b, text, where);
		break;
	case OPT_ACTION:
		break; /* answered by config_load before anything is set */
	case OPT_IGNORED:
		set_judged(b, option, text, where);
		break;
	}
}

void build_set(struct config_build *b, const struct config_option *option, const char *text,
	       const struct config_where *where)
{
	size_t idx = (size_t)(option - config_options);
	struct config_memory *memory = b->config->memory;

	build_value(b, option, text, where);
	if (option->type >= OPT_EXTENDED)
		return; /* sets no field */
	memory->layer[idx] = b->layer;
	if (b->layer > 0)
		memory->source[idx] =
			where->source ? build_string(b, where->source) : "command line";
}

/* -o name=value; value NULL: there was none. */
static void set_mapped(struct config_build *b, const struct config_option *option,
		       const char *value, const struct config_where *where)
{
	char buf[512];

	if (!value && option->type != OPT_BOOL)
		build_error(b, "%s: its value is missing; write it as =%s", place(where, buf),
			    option->arg);
	else
		build_set(b, option, value, where);
}

static void set_suboption(struct config_build *b, const char *name, const char *value,
			  const struct config_where *where)
{
	const char *bare = strncmp(name, "no_", 3) ? name : name + 3;
	const struct config_suboption *sub = NULL;
	struct config_where inner = { .source = where->source };
	char what[96], buf[512];
	const char *near;

	snprintf(what, sizeof(what), "%s %s", where->what, name);
	inner.what = what;
	for (uint32_t i = 0; i < config_suboption_cnt && !sub; i++) {
		if (!strcmp(config_suboptions[i].name, bare))
			sub = &config_suboptions[i];
	}
	if (!sub) {
		near = option_nearest(name, true);
		build_error(b, "%s: no such extended option%s%s%s", place(&inner, buf),
			    near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
	} else if (sub->maps_to) {
		set_mapped(b, option_by_long(sub->maps_to), bare == name ? value : "false", &inner);
	} else if (!b->sub_warned[sub - config_suboptions]) {
		build_warn(b,
			   "%s has no effect here: it tunes a part that memcached has and xdpcache "
			   "has not",
			   place(&inner, buf));
		b->sub_warned[sub - config_suboptions] = true;
	}
}

static void set_extended(struct config_build *b, const char *text, const struct config_where *where)
{
	char buf[4096], place_buf[512];
	char *item, *rest, *value;

	if (strlen(text) >= sizeof(buf)) {
		build_error(b, "%s: longer than %zu bytes; repeat the option instead",
			    place(where, place_buf), sizeof(buf) - 1);
		return;
	}
	strcpy(buf, text);
	for (item = strtok_r(buf, ",", &rest); item; item = strtok_r(NULL, ",", &rest)) {
		value = strchr(item, '=');
		if (value)
			*value++ = '\0';
		set_suboption(b, item, value, where);
	}
}

void build_defaults(struct config_build *b)
{
	static const struct config_where where = { .what = "default" };

	for (uint32_t i = 0; i < config_option_cnt; i++) {
		if (config_options[i].fallback)
			build_set(b, &config_options[i], config_options[i].fallback, &where);
	}
}
