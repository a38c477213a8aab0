/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Routes in a file:
 *
 *   routes = (
 *       { prefix = "session:"; ttl_jitter = 30; },
 *       { prefix = "session:admin:"; auth = true; }
 *   );
 *
 * The options of a route are rows of a table like config_table.c's, so that their values pass the
 * same checks. Routes of several files add up; a prefix that is there already is a mistake.
 */
#include "config_table.h"

#include <jansson.h>
#include <libconfig.h>
#include <stdio.h>
#include <string.h>

#include "abi/limits.h"
#include "base/alloc.h"

#define FIELD(member) offsetof(struct route_rule, member)

static const struct config_option route_options[] = {
	{ "routes", "ttl_jitter", NULL, 0, OPT_UINT32, FIELD(ttl_jitter_sec), "0", "<sec>", 0,
	  ROUTE_JITTER_MAX_SEC, NULL,
	  "lengthens or shortens each TTL by a random time up to this, so that keys which were "
	  "stored together do not end together" },
	{ "routes", "negative_ttl", NULL, 0, OPT_UINT32, FIELD(negative_ttl_sec), NULL, "<sec>", 0,
	  ROUTE_NEGATIVE_MAX_SEC, NULL,
	  "how long the kernel may answer at a time that a hot key has no item; 0: never" },
	{ "routes", "promote", NULL, 0, OPT_BOOL, FIELD(promote), "true", "<bool>", 0, 0, NULL,
	  "false: the kernel never answers for these keys" },
	{ "routes", "origin", NULL, 0, OPT_STRING, FIELD(origin), NULL, "<name>", 0, 0, NULL,
	  "where keys that have no item are asked for: one of the origins" },
	{ "routes", "key", NULL, 0, OPT_STRING, FIELD(key), NULL, "<pattern>", 0, 0, NULL,
	  "of its keys, like product:{id}; its parts are the parameters $1 …" },
	{ "routes", "read", NULL, 0, OPT_STRING, FIELD(read), NULL, "<statement>", 0, 0, NULL,
	  "asks the origin for one key" },
	{ "routes", "write", NULL, 0, OPT_STRING, FIELD(write), NULL, "<statement>", 0, 0, NULL,
	  "tells the origin of a new value, its last parameter, before clients are told STORED" },
	{ "routes", "delete", NULL, 0, OPT_STRING, FIELD(remove), NULL, "<statement>", 0, 0, NULL,
	  "… of a removal" },
	{ "routes", "behind", NULL, 0, OPT_BOOL, FIELD(behind), "false", "<bool>", 0, 0, NULL,
	  "true: clients are told as soon as a change is in the origin's journal" },
	{ "routes", "json", NULL, 0, OPT_BOOL, FIELD(json), "false", "<bool>", 0, 0, NULL,
	  "true: a value is the whole row as a JSON object, not its first column" },
	{ "routes", "ttl", NULL, 0, OPT_UINT32, FIELD(ttl_sec), "60", "<sec>", 1,
	  ROUTE_JITTER_MAX_SEC, NULL, "how long what the origin said is fresh" },
	{ "routes", "stale", NULL, 0, OPT_UINT32, FIELD(stale_sec), "0", "<sec>", 0,
	  ROUTE_JITTER_MAX_SEC, NULL,
	  "after that it may be served for so long while a newer value is fetched" },
	{ "routes", "stale_if_error", NULL, 0, OPT_UINT32, FIELD(stale_if_error_sec), "0", "<sec>",
	  0, ROUTE_JITTER_MAX_SEC, NULL, "… and for so long while the origin cannot be asked" },
	{ "routes", "refresh_ahead", NULL, 0, OPT_UINT32, FIELD(refresh_ahead_sec), "0", "<sec>", 0,
	  ROUTE_JITTER_MAX_SEC, NULL,
	  "who asks for a key so long before its time is over has a newer value fetched" },
	{ "routes", "max_miss_qps", NULL, 0, OPT_UINT32, FIELD(max_miss_qps), "0", "<n>", 0,
	  1000000, NULL, "questions a second to the origin; 0: no bound" },
	{ "routes", "auth", NULL, 0, OPT_BOOL, FIELD(auth), "false", "<bool>", 0, 0, NULL,
	  "true: meant for clients that have proved who they are; such keys are never in the "
	  "kernel" },
};

/* As --negative-ttl says, once that is known. */
#define NEGATIVE_TTL_INHERITED UINT32_MAX

#define ROUTE_OPTION_CNT (sizeof(route_options) / sizeof(route_options[0]))

static const struct config_entries route_entries = {
	.list = "routes",
	.entry = "a route",
	.key = "prefix",
	.options = route_options,
	.option_cnt = ROUTE_OPTION_CNT,
};

/* --- reading --- */

static void free_texts(struct route_rule *rule)
{
	alloc_free((void *)rule->origin);
	alloc_free((void *)rule->key);
	alloc_free((void *)rule->read);
	alloc_free((void *)rule->write);
	alloc_free((void *)rule->remove);
}

void config_routes_fini(struct config_routes *routes)
{
	for (uint32_t i = 0; i < routes->cnt; i++) {
		free_texts(&routes->rules[i]);
		alloc_free((void *)routes->rules[i].prefix.ptr);
		alloc_free(routes->sources[i]);
	}
	alloc_free(routes->rules);
	alloc_free(routes->sources);
	*routes = (struct config_routes){ 0 };
}

static char *copy_of(const char *text)
{
	char *copy = alloc_zero(1, strlen(text) + 1);

	return copy ? strcpy(copy, text) : NULL;
}

/* Routes outlive the configuration that they were read into. */
static bool own_texts(struct route_rule *rule)
{
	const char **const texts[] = { &rule->origin, &rule->key, &rule->read, &rule->write,
				       &rule->remove };
	bool whole = true;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (*texts[i])
			whole &= (*texts[i] = copy_of(*texts[i])) != NULL;
	}
	if (!whole)
		free_texts(rule);
	return whole;
}

static bool keep_route(struct config_routes *routes, const struct route_rule *rule,
		       const char *prefix, const char *source)
{
	struct route_rule *rules = alloc_resize(routes->rules, (routes->cnt + 1) * sizeof(*rules));
	char **sources;
	char *kept_prefix, *kept_source;

	if (!rules)
		return false;
	routes->rules = rules;
	sources = alloc_resize(routes->sources, (routes->cnt + 1) * sizeof(*sources));
	if (!sources)
		return false;
	routes->sources = sources;
	kept_prefix = copy_of(prefix);
	kept_source = copy_of(source);
	rules[routes->cnt] = *rule;
	if (!own_texts(&rules[routes->cnt]) || !kept_prefix || !kept_source) {
		alloc_free(kept_prefix);
		alloc_free(kept_source);
		return false;
	}
	rules[routes->cnt].prefix = span_str(kept_prefix);
	sources[routes->cnt++] = kept_source;
	return true;
}

static bool is_utf8(const char *text)
{
	json_t *string = json_string(text);

	json_decref(string);
	return string != NULL;
}

/* Adds the route, or says why not. */
static void add_route(struct config_build *b, const struct route_rule *rule, const char *prefix,
		      const char *source)
{
	struct config_routes *routes = &b->config->routes;

	for (uint32_t i = 0; i < routes->cnt; i++) {
		if (span_equal(routes->rules[i].prefix, span_str(prefix))) {
			build_error(b,
				    "%s: routes: \"%s\" is a route already, at %s: write both as "
				    "one, or remove one",
				    source, prefix, routes->sources[i]);
			return;
		}
	}
	if (strlen(prefix) > XC_KEY_MAX)
		build_error(b, "%s: routes: the prefix is longer than the %d bytes of a key",
			    source, XC_KEY_MAX);
	else if (!is_utf8(prefix))
		build_error(b, "%s: routes: the prefix is not UTF-8 text; write one that is",
			    source);
	else if (routes->cnt == ROUTE_MAX)
		build_error(b, "%s: routes: more than %d of them; leave some out", source,
			    ROUTE_MAX);
	else if (!keep_route(routes, rule, prefix, source))
		build_error(b, "out of memory");
}

static void set_option(struct config_build *b, const struct config_option *option, void *target,
		       const char *text, const struct config_where *where)
{
	char buf[700];

	snprintf(buf, sizeof(buf), "%s: %s", where->source, where->what);
	b->target = target;
	if (text)
		build_value(b, option, text, where);
	else
		build_error(b, "%s: one value is expected", buf);
	b->target = b->config;
}

void build_entry_defaults(struct config_build *b, const struct config_entries *entries,
			  void *target)
{
	static const struct config_where where = { .source = "default", .what = "default" };

	for (size_t i = 0; i < entries->option_cnt; i++) {
		if (entries->options[i].fallback)
			set_option(b, &entries->options[i], target, entries->options[i].fallback,
				   &where);
	}
}

void build_entry(struct config_build *b, const struct config_entries *entries, void *target,
		 const config_setting_t *setting, const char *path)
{
	const char *name = config_setting_name(setting);
	char source[512], what[160], buf[64], names[240] = "";
	const struct config_where where = { .source = source, .what = what };

	setting_source(setting, path, source);
	snprintf(what, sizeof(what), "%s.%s", entries->list, name);
	if (entries->key)
		strcpy(names, entries->key);
	for (size_t i = 0; i < entries->option_cnt; i++) {
		if (!strcmp(entries->options[i].name, name)) {
			set_option(b, &entries->options[i], target, setting_text(setting, buf),
				   &where);
			return;
		}
		snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s",
			 names[0] ? ", " : "", entries->options[i].name);
	}
	build_error(b, "%s: %s: no such option; %s has %s", source, what, entries->entry, names);
}

static void read_route(struct config_build *b, config_setting_t *group, const char *path)
{
	struct route_rule rule = { .negative_ttl_sec = NEGATIVE_TTL_INHERITED };
	const char *prefix = NULL, *group_at;
	char source[512];
	bool promote_given = false;

	setting_source(group, path, source);
	group_at = source;
	if (!config_setting_is_group(group)) {
		build_error(b, "%s: routes: write each as { prefix = \"user:\"; … }", group_at);
		return;
	}
	build_entry_defaults(b, &route_entries, &rule);
	for (int i = 0; i < config_setting_length(group); i++) {
		config_setting_t *setting = config_setting_get_elem(group, (unsigned int)i);
		const char *name = config_setting_name(setting);

		if (strcmp(name, "prefix") == 0)
			prefix = config_setting_get_string(setting);
		else
			build_entry(b, &route_entries, &rule, setting, path);
		promote_given |= strcmp(name, "promote") == 0;
	}
	if (!prefix) {
		build_error(
			b,
			"%s: routes: a route without a prefix; write prefix = \"user:\", or \"\" "
			"for all keys",
			group_at);
		return;
	}
	if (rule.auth && rule.promote && promote_given) {
		build_error(b, "%s: routes: \"%s\" cannot have both auth and promote; remove one",
			    group_at, prefix);
		return;
	}
	rule.promote &= !rule.auth;
	if (rule.auth)
		build_warn(b,
			   "%s: routes: auth keeps \"%s\" out of the kernel and no more; -S or -Y "
			   "make "
			   "every client prove who it is",
			   group_at, prefix);
	add_route(b, &rule, prefix, group_at);
}

void build_routes(struct config_build *b, config_setting_t *list, const char *path)
{
	char source[512];

	setting_source(list, path, source);
	if (!config_setting_is_list(list)) {
		build_error(b,
			    "%s: routes: write a list, routes = ( { prefix = \"user:\"; "
			    "ttl_jitter = 10; } );",
			    source);
		return;
	}
	for (int i = 0; i < config_setting_length(list); i++)
		read_route(b, config_setting_get_elem(list, (unsigned int)i), path);
}

void build_finish_routes(struct config_build *b)
{
	struct config_routes *routes = &b->config->routes;

	for (uint32_t i = 0; i < routes->cnt; i++) {
		if (routes->rules[i].negative_ttl_sec == NEGATIVE_TTL_INHERITED)
			routes->rules[i].negative_ttl_sec = b->config->negative_ttl_sec;
		build_finish_origin(b, &routes->rules[i], routes->sources[i]);
	}
}

/* --- showing --- */

/* Says nothing where a route has no origin. */
static bool is_of_origin(const struct config_option *option)
{
	return option->offset >= FIELD(ttl_sec);
}

void routes_json(const struct config_routes *routes, json_t *root, json_t *sources)
{
	json_t *list = json_array();
	char name[32];

	for (uint32_t i = 0; i < routes->cnt; i++) {
		const struct route_rule *rule = &routes->rules[i];
		json_t *route = json_object();

		json_object_set_new(route, "prefix", json_string((const char *)rule->prefix.ptr));
		for (size_t o = 0; o < ROUTE_OPTION_CNT; o++) {
			if (rule->origin || !is_of_origin(&route_options[o]))
				json_object_set_new(route, route_options[o].name,
						    option_json(rule, &route_options[o]));
		}
		json_array_append_new(list, route);
		snprintf(name, sizeof(name), "routes.%u", i);
		json_object_set_new(sources, name, json_string(routes->sources[i]));
	}
	json_object_set_new(root, "routes", list);
}

static void print_entry(const json_t *entry, FILE *out)
{
	const char *name;
	json_t *value;

	fprintf(out, "\t{ ");
	json_object_foreach((json_t *)entry, name, value)
	{
		fprintf(out, "%s = ", name);
		if (json_is_string(value))
			print_quoted(json_string_value(value), out);
		else if (json_is_integer(value))
			fprintf(out, "%lld", (long long)json_integer_value(value));
		else
			fprintf(out, "%s", json_is_true(value) ? "true" : "false");
		fprintf(out, "; ");
	}
	fprintf(out, "}");
}

static void print_list(const json_t *root, const char *list_name, FILE *out)
{
	const json_t *list = json_object_get(root, list_name);
	const json_t *sources = json_object_get(root, "sources");
	size_t i, cnt = json_array_size(list);
	char name[32];

	if (cnt == 0)
		return;
	fprintf(out, "%s =\n(\n", list_name);
	for (i = 0; i < cnt; i++) {
		const char *source;

		snprintf(name, sizeof(name), "%s.%zu", list_name, i);
		source = json_string_value(json_object_get(sources, name));
		print_entry(json_array_get(list, i), out);
		fprintf(out, "%s%s%s\n", i + 1 < cnt ? "," : "", source ? "\t# " : "",
			source ? source : "");
	}
	fprintf(out, ");\n");
}

void config_print_routes(const json_t *root, FILE *out)
{
	print_list(root, "origins", out);
	print_list(root, "routes", out);
}

void print_routes_help(void)
{
	printf("\nRoutes (in a file only: routes = ( { prefix = \"user:\"; ttl_jitter = 10; }, … "
	       ");)\n");
	for (size_t i = 0; i < ROUTE_OPTION_CNT; i++) {
		const struct config_option *option = &route_options[i];

		printf("      %s=%-*s %s (default: %s)\n", option->name,
		       28 - (int)strlen(option->name), option->arg, option->help,
		       option->fallback ? option->fallback : "as without a route");
	}
}
