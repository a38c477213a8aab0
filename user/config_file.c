/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files of options. Two forms:
 *
 *   libconfig          network: { port = 11211; listen = [ "127.0.0.1" ]; };
 *   memcached.conf     -p 11211
 *                      -l 127.0.0.1
 *
 * The second is what Debian installs for memcached, a line of flags each. It is recognised by its
 * first line that says something beginning with '-'. Its "-d" is left out, as memcached's own start
 * script does.
 */
#include "config_table.h"

#include <errno.h>
#include <glob.h>
#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_LEN 4096
#define WORD_MAX 64

/* The sections there are, for the message to someone who wrote another. */
static const char section_names[] =
	"network, memory, process, commands, fastpath; and routes, origins";

static bool section_known(const char *name)
{
	for (uint32_t i = 0; i < config_option_cnt; i++) {
		if (config_options[i].section && !strcmp(config_options[i].section, name))
			return true;
	}
	return false;
}

const char *setting_text(const config_setting_t *setting, char buf[64])
{
	switch (config_setting_type(setting)) {
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_INT64:
		snprintf(buf, 64, "%lld", config_setting_get_int64(setting));
		return buf;
	case CONFIG_TYPE_BOOL:
		return config_setting_get_bool(setting) ? "true" : "false";
	case CONFIG_TYPE_STRING:
		return config_setting_get_string(setting);
	default:
		return NULL;
	}
}

static void read_list(struct config_build *b, const struct config_option *option,
		      config_setting_t *setting, const struct config_where *where)
{
	char buf[64];
	const char *text;

	/* An empty list replaces the earlier layer's, too. */
	build_set(b, option, "", where);
	for (int i = 0; i < config_setting_length(setting); i++) {
		text = setting_text(config_setting_get_elem(setting, (unsigned int)i), buf);
		if (text)
			build_set(b, option, text, where);
		else
			build_error(b,
				    "%s: %s: write a list of strings, for example [ \"a\", \"b\" ]",
				    where->source, where->what);
	}
}

/* The name that a file has for what was meant; NULL: no guess. */
static const char *nearest_name(const char *name)
{
	const char *near = option_nearest(name, false);
	const struct config_option *option = near ? option_by_long(near) : NULL;

	return option && option->section ? option->name : NULL;
}

static void read_setting(struct config_build *b, const char *section, config_setting_t *setting,
			 const char *source)
{
	const char *name = config_setting_name(setting);
	const struct config_option *option = option_by_name(section, name);
	const struct config_option *elsewhere = option_by_long(name);
	char what[160], buf[64];
	const struct config_where where = { .source = source, .what = what };
	const char *text = setting_text(setting, buf);
	const char *near;

	snprintf(what, sizeof(what), "%s.%s", section, name);
	if (!option && elsewhere && elsewhere->section) {
		build_error(b, "%s: %s: write it as %s in the section %s", source, what,
			    elsewhere->name, elsewhere->section);
	} else if (!option) {
		near = nearest_name(name);
		build_error(b, "%s: %s: no such option%s%s%s", source, what,
			    near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
	} else if (option->type == OPT_LIST && !text && !config_setting_is_group(setting)) {
		read_list(b, option, setting, &where);
	} else if (!text) {
		build_error(b, "%s: %s: one value is expected", source, what);
	} else {
		build_set(b, option, text, &where);
	}
}

void setting_source(const config_setting_t *setting, const char *path, char buf[512])
{
	const char *file = config_setting_source_file(setting);

	snprintf(buf, 512, "%s:%u", file ? file : path, config_setting_source_line(setting));
}

static void read_root(struct config_build *b, const config_setting_t *root, const char *path)
{
	const struct config_option *option;
	char source[512];

	for (int i = 0; i < config_setting_length(root); i++) {
		config_setting_t *group = config_setting_get_elem(root, (unsigned int)i);
		const char *name = config_setting_name(group);

		setting_source(group, path, source);
		option = option_by_long(name);
		if (!strcmp(name, "routes")) {
			build_routes(b, group, path);
			continue;
		}
		if (!strcmp(name, "origins")) {
			build_origins(b, group, path);
			continue;
		}
		if (!section_known(name) && option && option->section) {
			build_error(b, "%s: %s: write it in its section, %s: { %s = … };", source,
				    name, option->section, option->name);
			continue;
		}
		if (!section_known(name) || !config_setting_is_group(group)) {
			build_error(b, "%s: %s: not a section; the sections are %s", source, name,
				    section_names);
			continue;
		}
		for (int j = 0; j < config_setting_length(group); j++) {
			config_setting_t *setting = config_setting_get_elem(group, (unsigned int)j);

			setting_source(setting, path, source);
			read_setting(b, name, setting, source);
		}
	}
}

void build_libconfig(struct config_build *b, const char *path, const char *example,
		     void (*read)(struct config_build *b, const config_setting_t *root,
				  const char *path))
{
	config_t file;

	config_init(&file);
	if (config_read_file(&file, path))
		read(b, config_root_setting(&file), path);
	else if (config_error_type(&file) == CONFIG_ERR_PARSE)
		build_error(b, "%s:%d: %s here or just before; %s",
			    config_error_file(&file) ? config_error_file(&file) : path,
			    config_error_line(&file), config_error_text(&file), example);
	else
		build_error(b, "%s: cannot be read: %s", path, strerror(errno));
	config_destroy(&file);
}

/* Cuts the comment (from a '#' that no backslash precedes) and blanks off; returns the line's first
 * word. */
static char *strip_line(char *line)
{
	char *end = line;

	while (*end && (*end != '#' || (end > line && end[-1] == '\\')))
		end++;
	*end = '\0';
	while (end > line && strchr(" \t\r\n", end[-1]))
		*--end = '\0';
	return line + strspn(line, " \t");
}

static void read_flag_line(struct config_build *b, char *line, const char *source)
{
	char *words[WORD_MAX + 1] = { (char *)source };
	char *word, *rest;
	int cnt = 1;

	if (!strcmp(line, "-d") || !strcmp(line, "-h"))
		return;
	if (line[0] != '-') {
		if (!strncmp(line, "logfile", 7))
			build_warn(b,
				   "%s: logfile has no effect here: the log goes to standard error",
				   source);
		else
			build_error(b, "%s: \"%s\" is not a flag", source, line);
		return;
	}
	for (word = strtok_r(line, " \t", &rest); word && cnt < WORD_MAX;
	     word = strtok_r(NULL, " \t", &rest))
		words[cnt++] = word;
	if (word)
		build_error(b, "%s: more than %d words in a line", source, WORD_MAX);
	else
		build_flags(b, cnt, words, source);
}

/* NULL-terminated first line that says something; false: there is none. */
static bool first_line(FILE *file, char line[LINE_MAX_LEN], char **ret)
{
	while (fgets(line, LINE_MAX_LEN, file)) {
		*ret = strip_line(line);
		if (**ret)
			return true;
	}
	return false;
}

static void read_flag_file(struct config_build *b, FILE *file, const char *path)
{
	char line[LINE_MAX_LEN], source[512];
	char *text;

	for (int number = 1; fgets(line, sizeof(line), file); number++) {
		snprintf(source, sizeof(source), "%s:%d", path, number);
		text = strip_line(line);
		if (*text)
			read_flag_line(b, text, source);
	}
}

/* One file of either form; true if it was libconfig's. */
static bool read_one(struct config_build *b, const char *path)
{
	char line[LINE_MAX_LEN];
	char *text = NULL;
	FILE *file = fopen(path, "re");
	bool flags;

	b->layer++;
	if (!file) {
		build_error(b, "%s: cannot be read: %s", path, strerror(errno));
		return false;
	}
	flags = first_line(file, line, &text) && text[0] == '-';
	if (flags) {
		rewind(file);
		read_flag_file(b, file, path);
	} else {
		build_libconfig(b, path, "a section is written network: { port = 11211; };",
				read_root);
	}
	fclose(file);
	return !flags;
}

static void read_conf_d(struct config_build *b, const char *path)
{
	const char *slash = strrchr(path, '/');
	int dir_len = slash ? (int)(slash - path + 1) : 0;
	char pattern[4096];
	glob_t found = { .gl_pathc = 0 };

	if (snprintf(pattern, sizeof(pattern), "%.*sconf.d/*.conf", dir_len, path) >=
	    (int)sizeof(pattern)) {
		build_error(b, "%s: the path is too long", path);
		return;
	}
	if (glob(pattern, 0, NULL, &found) == 0) {
		for (size_t i = 0; i < found.gl_pathc; i++)
			read_one(b, found.gl_pathv[i]);
	}
	globfree(&found);
}

void build_file(struct config_build *b, const char *path)
{
	/* memcached.conf lies in /etc itself, where conf.d is someone else's. */
	if (read_one(b, path))
		read_conf_d(b, path);
}
