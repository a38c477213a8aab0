/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Origins in a file, and what routes say of them:
 *
 *   origins = ( { name = "shop"; kind = "sqlite"; target = "/var/lib/shop.db"; } );
 *   routes = (
 *       { prefix = "product:"; origin = "shop"; key = "product:{id}"; ttl = 60;
 *         read = "SELECT body FROM product WHERE id = $1"; }
 *   );
 *
 * Origins of several files add up. They are those of the daemon's start: a reload leaves them.
 */
#include "config_table.h"

#include <jansson.h>
#include <libconfig.h>
#include <stdio.h>
#include <string.h>

#define FIELD(member) offsetof(struct config_origin, member)
#define TIMEOUT_MAX_MS 60000

static bool check_kind(const char *text, char why[CONFIG_WHY_MAX])
{
	if (origins_kind(text))
		return true;
	snprintf(why, CONFIG_WHY_MAX, "no kind of origin; there is %s", origins_kinds());
	return false;
}

static const struct config_option origin_options[] = {
	{ "origins", "name", NULL, 0, OPT_STRING, FIELD(name), NULL, "<name>", 0, 0, NULL,
	  "what routes call it" },
	{ "origins", "kind", NULL, 0, OPT_STRING, FIELD(kind), NULL, "<kind>", 0, 0, check_kind,
	  "sqlite, postgresql or http" },
	{ "origins", "target", NULL, 0, OPT_STRING, FIELD(target), NULL, "<where>", 0, 0, NULL,
	  "sqlite: the path of the database; postgresql: a connection string; http: how URLs "
	  "begin" },
	{ "origins", "timeout", NULL, 0, OPT_UINT32, FIELD(timeout_ms), "1000", "<ms>", 1,
	  TIMEOUT_MAX_MS, NULL, "a client that has no answer by then is told so" },
	{ "origins", "waiting_max", NULL, 0, OPT_UINT32, FIELD(waiting_max), "1024", "<n>", 1,
	  65536, NULL,
	  "keys that may be asked for at a time; for more clients are told so at once" },
	{ "origins", "connections", NULL, 0, OPT_UINT32, FIELD(connection_cnt), "4", "<n>", 1, 64,
	  NULL, "to a postgresql or http server" },
	{ "origins", "journal", NULL, 0, OPT_STRING, FIELD(journal), NULL, "<path>", 0, 0, NULL,
	  "a file for what routes write behind; one of its own for each origin" },
	{ "origins", "journal_delay", NULL, 0, OPT_UINT32, FIELD(journal_delay_ms), "0", "<ms>", 0,
	  1000, NULL, "a change waits so long for others to be written to the disk with it" },
};

#define OPTION_CNT (sizeof(origin_options) / sizeof(origin_options[0]))

static const struct config_entries origin_entries = {
	.list = "origins",
	.entry = "an origin",
	.options = origin_options,
	.option_cnt = OPTION_CNT,
};

/* --- reading --- */

static const struct config_origin *find(const struct config *config, const char *name)
{
	for (uint32_t i = 0; i < config->origin_cnt; i++) {
		if (!strcmp(config->origins[i].name, name))
			return &config->origins[i];
	}
	return NULL;
}

static void read_origin(struct config_build *b, config_setting_t *group, const char *path)
{
	struct config_origin origin = { 0 };
	uint32_t error_cnt = b->error_cnt;
	char source[512];

	setting_source(group, path, source);
	if (!config_setting_is_group(group)) {
		build_error(b,
			    "%s: origins: write each as { name = \"shop\"; kind = \"sqlite\"; … }",
			    source);
		return;
	}
	build_entry_defaults(b, &origin_entries, &origin);
	for (int i = 0; i < config_setting_length(group); i++)
		build_entry(b, &origin_entries, &origin,
			    config_setting_get_elem(group, (unsigned int)i), path);
	if (b->error_cnt > error_cnt)
		return;
	if (!origin.name || !origin.kind || !origin.target)
		build_error(b, "%s: origins: an origin without a %s; write %s", source,
			    !origin.name   ? "name"
			    : !origin.kind ? "kind"
					   : "target",
			    !origin.name   ? "name = \"shop\""
			    : !origin.kind ? "kind = \"sqlite\""
					   : "target = \"/var/lib/shop.db\"");
	else if (find(b->config, origin.name))
		build_error(b,
			    "%s: origins: there is a \"%s\" already; give each a name of its own",
			    source, origin.name);
	else if (b->config->origin_cnt == ORIGINS_MAX)
		build_error(b, "%s: origins: more than %d of them; leave some out", source,
			    ORIGINS_MAX);
	else
		b->config->origins[b->config->origin_cnt++] = origin;
}

void build_origins(struct config_build *b, config_setting_t *list, const char *path)
{
	char source[512];

	setting_source(list, path, source);
	if (!config_setting_is_list(list)) {
		build_error(b,
			    "%s: origins: write a list, origins = ( { name = \"shop\"; kind = "
			    "\"sqlite\"; target = \"/var/lib/shop.db\"; } );",
			    source);
		return;
	}
	for (int i = 0; i < config_setting_length(list); i++)
		read_origin(b, config_setting_get_elem(list, (unsigned int)i), path);
}

static const char *journal_of(const struct config *config, const char *name)
{
	const struct config_origin *origin = find(config, name);

	return origin ? origin->journal : NULL;
}

/* What only an origin gives a sense; NULL: nothing. */
static const char *needs_origin(const struct route_rule *rule)
{
	return rule->read		  ? "read"
	       : rule->write		  ? "write"
	       : rule->remove		  ? "delete"
	       : rule->behind		  ? "behind"
	       : rule->key		  ? "key"
	       : rule->stale_sec	  ? "stale"
	       : rule->stale_if_error_sec ? "stale_if_error"
	       : rule->refresh_ahead_sec  ? "refresh_ahead"
	       : rule->max_miss_qps	  ? "max_miss_qps"
					  : NULL;
}

void build_finish_origin(struct config_build *b, const struct route_rule *rule, const char *source)
{
	const char *prefix = (const char *)rule->prefix.ptr;
	struct origin_pattern pattern;
	char why[ORIGIN_WHY_MAX];

	if (!rule->origin) {
		if (needs_origin(rule))
			build_error(b,
				    "%s: routes: \"%s\" has a %s and no origin; write origin = "
				    "\"shop\", the name of one of the origins",
				    source, prefix, needs_origin(rule));
		return;
	}
	if (rule->behind && (!rule->write || !journal_of(b->config, rule->origin)))
		build_error(b, "%s: routes: \"%s\" is to be written behind and %s", source, prefix,
			    rule->write ? "its origin has no journal; write journal = "
					  "\"/var/lib/xdpcache/shop.journal\" there"
					: "has no write; write the statement that changes a row");
	if (rule->json && rule->write)
		build_error(b,
			    "%s: routes: \"%s\": json makes a value of a row, and write is given "
			    "values; leave one of them out",
			    source, prefix);
	if (rule->refresh_ahead_sec >= rule->ttl_sec)
		build_error(b,
			    "%s: routes: \"%s\": a refresh_ahead of %u s begins before the value "
			    "is there: its ttl is %u s; write less",
			    source, prefix, rule->refresh_ahead_sec, rule->ttl_sec);
	if (!find(b->config, rule->origin))
		build_error(b,
			    "%s: routes: \"%s\": there is no origin \"%s\"; write origins = ( { "
			    "name = \"%s\"; … } );",
			    source, prefix, rule->origin, rule->origin);
	if (!rule->read || !rule->key)
		build_error(b, "%s: routes: \"%s\" has an origin and no %s; write %s", source,
			    prefix, rule->read ? "key" : "read",
			    rule->read ? "key = \"product:{id}\", how its keys are made"
				       : "read = \"SELECT body FROM product WHERE id = $1\"");
	else if (origin_pattern_init(&pattern, rule->key, why))
		build_error(b, "%s: routes: key: %s", source, why);
	else if (strncmp(rule->key, prefix, rule->prefix.len) != 0)
		build_error(b, "%s: routes: the key \"%s\" does not begin with the prefix \"%s\"",
			    source, rule->key, prefix);
}

/* --- showing --- */

void origins_json(const struct config *config, json_t *root)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < config->origin_cnt; i++) {
		json_t *origin = json_object();

		for (size_t o = 0; o < OPTION_CNT; o++)
			json_object_set_new(origin, origin_options[o].name,
					    option_json(&config->origins[i], &origin_options[o]));
		json_array_append_new(list, origin);
	}
	json_object_set_new(root, "origins", list);
}

bool config_origins_differ(const struct config *a, const struct config *b)
{
	json_t *one = json_object(), *other = json_object();
	bool differ;

	origins_json(a, one);
	origins_json(b, other);
	differ = !json_equal(one, other);
	json_decref(one);
	json_decref(other);
	return differ;
}

void print_origins_help(void)
{
	printf("\nOrigins (in a file only: origins = ( { name = \"shop\"; kind = \"sqlite\"; … } "
	       ");)\n");
	for (size_t i = 0; i < OPTION_CNT; i++) {
		const struct config_option *option = &origin_options[i];

		printf("      %s=%-*s %s%s%s%s\n", option->name, 28 - (int)strlen(option->name),
		       option->arg, option->help, option->fallback ? " (default: " : "",
		       option->fallback ? option->fallback : "", option->fallback ? ")" : "");
	}
}
