/* SPDX-License-Identifier: BSD-2-Clause */
#include "origin/cache_control.h"

#include <strings.h>

#define MSEC_PER_SEC 1000ULL

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

static struct span trim(struct span text)
{
	while (text.len && is_blank(text.ptr[0])) {
		text.ptr++;
		text.len--;
	}
	while (text.len && is_blank(text.ptr[text.len - 1]))
		text.len--;
	return text;
}

static uint32_t seconds_of(struct span text)
{
	uint64_t sec = 0;

	if (text.len >= 2 && text.ptr[0] == '"' && text.ptr[text.len - 1] == '"')
		text = span_of(text.ptr + 1, text.len - 2);
	if (!text.len)
		return 0;
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return 0;
		sec = sec * 10 + (text.ptr[i] - '0');
		if (sec > CACHE_CONTROL_SEC_MAX)
			sec = CACHE_CONTROL_SEC_MAX;
	}
	return (uint32_t)sec;
}

static bool is(struct span name, const char *text)
{
	return name.len == strlen(text) && strncasecmp((const char *)name.ptr, text, name.len) == 0;
}

/* Of two of a kind the shorter one counts. */
static void set_sec(bool *has, uint32_t *sec, struct span value)
{
	uint32_t given = seconds_of(value);

	if (!*has || given < *sec)
		*sec = given;
	*has = true;
}

static void apply(struct cache_control *c, struct span name, struct span value)
{
	if (is(name, "no-store") || is(name, "private"))
		c->no_store = true;
	else if (is(name, "no-cache"))
		c->no_cache = true;
	else if (is(name, "must-revalidate") || is(name, "proxy-revalidate"))
		c->must_revalidate = true;
	else if (is(name, "max-age"))
		set_sec(&c->has_max_age, &c->max_age_sec, value);
	else if (is(name, "s-maxage"))
		set_sec(&c->has_s_maxage, &c->s_maxage_sec, value);
	else if (is(name, "stale-while-revalidate"))
		set_sec(&c->has_stale, &c->stale_sec, value);
	else if (is(name, "stale-if-error"))
		set_sec(&c->has_stale_if_error, &c->stale_if_error_sec, value);
}

/* Up to the comma that ends a directive; those between quotes end none. */
static size_t directive_len(struct span rest)
{
	bool quoted = false;
	size_t i;

	for (i = 0; i < rest.len && (quoted || rest.ptr[i] != ','); i++) {
		if (quoted && rest.ptr[i] == '\\' && i + 1 < rest.len)
			i++;
		else if (rest.ptr[i] == '"')
			quoted = !quoted;
	}
	return i;
}

void cache_control_parse(struct cache_control *control, struct span value)
{
	while (value.len) {
		size_t len = directive_len(value);
		struct span name = span_of(value.ptr, len), argument = { 0 };
		const uint8_t *equals = memchr(name.ptr, '=', name.len);

		if (equals) {
			argument = span_of(equals + 1, name.len - (size_t)(equals + 1 - name.ptr));
			name.len = (size_t)(equals - name.ptr);
		}
		apply(control, trim(name), trim(argument));
		if (len < value.len)
			len++;
		value = span_of(value.ptr + len, value.len - len);
	}
}

void cache_control_parse_age(struct cache_control *control, struct span value)
{
	control->age_sec = seconds_of(trim(value));
}

struct answer_age cache_control_age(const struct cache_control *c)
{
	struct answer_age age = ANSWER_AGE_UNSAID;
	uint32_t fresh_sec = c->has_s_maxage ? c->s_maxage_sec : c->max_age_sec;

	age.no_store = c->no_store;
	if (c->no_cache)
		age.fresh_ms = 0;
	else if (c->has_s_maxage || c->has_max_age)
		age.fresh_ms = fresh_sec > c->age_sec ? (fresh_sec - c->age_sec) * MSEC_PER_SEC : 0;
	if (c->has_stale)
		age.stale_ms = c->stale_sec * MSEC_PER_SEC;
	if (c->has_stale_if_error)
		age.stale_if_error_ms = c->stale_if_error_sec * MSEC_PER_SEC;
	if (c->must_revalidate || c->no_cache)
		age.stale_ms = age.stale_if_error_ms = 0;
	return age;
}
