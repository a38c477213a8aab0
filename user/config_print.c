/* SPDX-License-Identifier: BSD-2-Clause */
/* What users read: --help and the configuration in effect. Both walk the table. */
#include "config_table.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

/* Sections in the order of the table, with their headings. */
static const char *const sections[][2] = {
	{ "network", "Network" },   { "memory", "Memory" },
	{ "process", "Process" },   { "commands", "Commands" },
	{ "tls", "TLS" },	    { "fastpath", "Fast path" },
	{ "admin", "Watching it" }, { "cluster", "Several nodes" },
};

#define SECTION_CNT (sizeof(sections) / sizeof(sections[0]))

/* --- --help
 * ------------------------------------------------------------------------------------------ */

static void help_row(const struct config_option *option)
{
	const char *fallback = option->fallback;
	const char *arg = option->arg ? option->arg : "";
	const char *sep = option->arg && option->type != OPT_COUNT ? "=" : "";
	char flag[8] = "    ", name[64] = "";
	bool judged = option->type == OPT_IGNORED;
	bool shown = fallback && option->type != OPT_BOOL_OFF &&
		     (strcmp(fallback, "0") || option->type == OPT_COUNT);

	if (option->flag)
		snprintf(flag, sizeof(flag), "-%c%s", option->flag, option->long_name ? ", " : "");
	if (option->long_name)
		snprintf(name, sizeof(name), "--%s%s%s", option->long_name, sep, arg);
	else
		snprintf(name, sizeof(name), " %s", arg);
	printf("  %s%-*s %s", flag, option->long_name ? 29 : 31, name, option->help);
	if (shown && !judged && option->type != OPT_COUNT)
		printf(" (default: %s)", fallback);
	printf("\n");
}

static void help_type(enum option_type type, const char *heading)
{
	printf("\n%s\n", heading);
	for (uint32_t i = 0; i < config_option_cnt; i++) {
		if (config_options[i].type == type)
			help_row(&config_options[i]);
	}
}

static void help_suboptions(void)
{
	size_t column = 6;

	printf("      idle_timeout=<sec> and those of TLS, ssl_..., work; the following are "
	       "accepted without\n      effect, also with no_:\n      ");
	for (uint32_t i = 0; i < config_suboption_cnt; i++) {
		const char *name = config_suboptions[i].name;

		if (config_suboptions[i].maps_to)
			continue;
		if (column + strlen(name) > 96) {
			printf("\n      ");
			column = 6;
		}
		printf("%s%s", column > 6 ? " " : "", name);
		column += strlen(name) + 1;
	}
	printf("\n");
}

static void print_help(void)
{
	printf("xdpcached " XC_VERSION "\n"
	       "A memcached server that answers hot GETs in the network driver. memcached's flags "
	       "keep their\n"
	       "meaning. In a file (--config), an option is\n"
	       "  section: { name = value; };\n"
	       "with the long name, '_' for '-'. `xdpcache config show --effective` prints all of "
	       "them.\n");
	for (size_t i = 0; i < SECTION_CNT; i++) {
		printf("\n%s (section %s)\n", sections[i][1], sections[i][0]);
		for (uint32_t j = 0; j < config_option_cnt; j++) {
			const struct config_option *option = &config_options[j];

			if (option->section && !strcmp(option->section, sections[i][0]))
				help_row(option);
		}
	}
	print_routes_help();
	print_origins_help();
	printf("\nOther\n");
	help_row(option_by_long("config"));
	help_row(option_by_flag('h'));
	help_row(option_by_flag('V'));
	help_row(option_by_flag('i'));
	help_type(OPT_EXTENDED, "memcached's extended options");
	help_suboptions();
	help_type(OPT_IGNORED,
		  "memcached's options accepted with one warning, without effect; and why");
}

void config_print_action(const struct config_option *action)
{
	if (action->flag == 'h')
		print_help();
	else if (action->flag == 'V')
		printf("xdpcached " XC_VERSION "\n");
	else
		printf("xdpcached " XC_VERSION "\n"
		       "License: BSD-2-Clause (the file LICENSE of the source). The program in the "
		       "kernel and the\n"
		       "headers it shares with the daemon: GPL-2.0-only OR BSD-2-Clause, as you "
		       "choose.\n");
}

/* --- the configuration in effect
 * ---------------------------------------------------------------------- */

static const char *word_of(const struct config_option *option, const void *value)
{
	static const char *const modes[] = { "auto", "native", "generic", "off" };
	static const char *const levels[] = { "error", "warn", "info", "debug" };

	return option->type == OPT_XDP_MODE ? modes[*(const enum xdp_mode *)value]
					    : levels[*(const enum log_level *)value];
}

static json_t *list_json(const struct config_list *list)
{
	json_t *array = json_array();

	for (uint32_t i = 0; i < list->cnt; i++)
		json_array_append_new(array, json_string(list->items[i]));
	return array;
}

json_t *option_json(const void *target, const struct config_option *option)
{
	const void *value = (const char *)target + option->offset;
	const char *text;
	char octal[16];

	switch (option->type) {
	case OPT_BOOL:
	case OPT_BOOL_OFF:
		return json_boolean(*(const bool *)value);
	case OPT_INT32:
		return json_integer(*(const int32_t *)value);
	case OPT_COUNT:
	case OPT_UINT32:
		return json_integer(*(const uint32_t *)value);
	case OPT_MIB:
		return json_integer((json_int_t)(*(const uint64_t *)value >> 20));
	case OPT_SIZE:
		return json_integer((json_int_t) * (const uint64_t *)value);
	case OPT_OCTAL:
		snprintf(octal, sizeof(octal), "%o", *(const uint32_t *)value);
		return json_string(octal);
	case OPT_XDP_MODE:
	case OPT_LOG_LEVEL:
		return json_string(word_of(option, value));
	case OPT_LIST:
		return list_json(value);
	default:
		text = *(const char *const *)value;
		return json_string(text ? text : "");
	}
}

static void print_json(const struct config *config, FILE *out)
{
	json_t *root = json_object();
	json_t *sources = json_object();
	char name[96];

	for (size_t i = 0; i < SECTION_CNT; i++)
		json_object_set_new(root, sections[i][0], json_object());
	for (uint32_t i = 0; i < config_option_cnt; i++) {
		const struct config_option *option = &config_options[i];
		const char *source = config->memory->source[i];

		if (!option->section)
			continue;
		json_object_set_new(json_object_get(root, option->section), option->name,
				    option_json(config, option));
		snprintf(name, sizeof(name), "%s.%s", option->section, option->name);
		if (source)
			json_object_set_new(sources, name, json_string(source));
	}
	routes_json(&config->routes, root, sources);
	origins_json(config, root);
	json_object_set_new(root, "sources", sources);
	json_dumpf(root, out, JSON_INDENT(2));
	fprintf(out, "\n");
	json_decref(root);
}

void print_quoted(const char *text, FILE *out)
{
	fputc('"', out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fprintf(out, "\\%c", *text);
		else if ((unsigned char)*text < ' ')
			fprintf(out, "\\x%02x", (unsigned char)*text);
		else
			fputc(*text, out);
	}
	fputc('"', out);
}

static void print_value(const json_t *value, FILE *out)
{
	size_t i;
	json_t *item;

	switch (json_typeof(value)) {
	case JSON_ARRAY:
		fprintf(out, "[");
		json_array_foreach(value, i, item)
		{
			fprintf(out, i ? ", " : " ");
			print_quoted(json_string_value(item), out);
		}
		fprintf(out, " ]");
		break;
	case JSON_STRING:
		print_quoted(json_string_value(value), out);
		break;
	case JSON_INTEGER:
		/* Beyond 31 bits libconfig wants to be told. */
		fprintf(out, json_integer_value(value) > INT32_MAX ? "%lldL" : "%lld",
			(long long)json_integer_value(value));
		break;
	default:
		fprintf(out, "%s", json_is_true(value) ? "true" : "false");
	}
}

static void print_text(const struct config *config, FILE *out)
{
	for (size_t i = 0; i < SECTION_CNT; i++) {
		fprintf(out, "%s:\n{\n", sections[i][0]);
		for (uint32_t j = 0; j < config_option_cnt; j++) {
			const struct config_option *option = &config_options[j];
			const char *source = config->memory->source[j];
			json_t *value;

			if (!option->section || strcmp(option->section, sections[i][0]))
				continue;
			value = option_json(config, option);
			fprintf(out, "\t%s = ", option->name);
			print_value(value, out);
			fprintf(out, source ? ";\t# %s\n" : ";\n", source);
			json_decref(value);
		}
		fprintf(out, "};\n");
	}
}

static void print_text_routes(const struct config *config, FILE *out)
{
	json_t *root = json_object();
	json_t *sources = json_object();

	routes_json(&config->routes, root, sources);
	origins_json(config, root);
	json_object_set_new(root, "sources", sources);
	config_print_routes(root, out);
	json_decref(root);
}

bool config_warn_changed(const struct config *running, const struct config *fresh)
{
	bool changed = false;

	for (uint32_t i = 0; i < config_option_cnt; i++) {
		const struct config_option *option = &config_options[i];
		json_t *now, *then;

		if (!option->section)
			continue;
		now = option_json(running, option);
		then = option_json(fresh, option);
		if (!json_equal(now, then)) {
			log_line(LOG_WARN, "config", "%s.%s has changed: restart to apply it",
				 option->section, option->name);
			changed = true;
		}
		json_decref(now);
		json_decref(then);
	}
	return changed;
}

void config_print(const struct config *config, FILE *out, bool json)
{
	if (json) {
		print_json(config, out);
	} else {
		print_text(config, out);
		print_text_routes(config, out);
	}
}
