/* SPDX-License-Identifier: BSD-2-Clause */
/* Finding options by what the user wrote, and guessing what was meant. */
#include "config_table.h"

#include <ctype.h>
#include <string.h>

/* As getopt and memcached's own help spell them: --napi_ids and --napi-ids are one. */
static int fold(char c)
{
	return c == '_' ? '-' : tolower((unsigned char)c);
}

static bool same_name(const char *a, const char *b)
{
	for (; *a && *b; a++, b++) {
		if (fold(*a) != fold(*b))
			return false;
	}
	return *a == *b;
}

const struct config_option *option_by_long(const char *name)
{
	for (uint32_t i = 0; i < config_option_cnt; i++) {
		if (config_options[i].long_name && same_name(config_options[i].long_name, name))
			return &config_options[i];
	}
	return NULL;
}

const struct config_option *option_by_flag(char flag)
{
	for (uint32_t i = 0; i < config_option_cnt; i++) {
		if (config_options[i].flag && config_options[i].flag == flag)
			return &config_options[i];
	}
	return NULL;
}

const struct config_option *option_by_name(const char *section, const char *name)
{
	for (uint32_t i = 0; i < config_option_cnt; i++) {
		const struct config_option *option = &config_options[i];

		if (option->section && !strcmp(option->section, section) &&
		    !strcmp(option->name, name))
			return option;
	}
	return NULL;
}

/* Edits (insert, remove, replace) that turn one name into the other, by rows of the usual table. */
static uint32_t distance(const char *a, const char *b)
{
	uint32_t row[64];
	size_t len = strlen(b);

	if (len >= sizeof(row) / sizeof(row[0]))
		return UINT32_MAX;
	for (uint32_t j = 0; j <= len; j++)
		row[j] = j;
	for (uint32_t i = 1; *a; a++, i++) {
		uint32_t corner = row[0];

		row[0] = i;
		for (size_t j = 1; j <= len; j++) {
			uint32_t best = corner + (fold(*a) != fold(b[j - 1]));

			corner = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[len];
}

const char *option_nearest(const char *name, bool suboption)
{
	uint32_t cnt = suboption ? config_suboption_cnt : config_option_cnt;
	uint32_t best = 3; /* two letters may be wrong, fewer in a short name */
	const char *found = NULL;

	if (strlen(name) / 2 + 1 < best)
		best = (uint32_t)(strlen(name) / 2) + 1;
	for (uint32_t i = 0; i < cnt; i++) {
		const char *known =
			suboption ? config_suboptions[i].name : config_options[i].long_name;
		uint32_t edits = known ? distance(name, known) : UINT32_MAX;

		if (edits < best) {
			best = edits;
			found = known;
		}
	}
	return found;
}
