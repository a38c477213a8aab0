/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: origins and what routes say of them are read with their defaults, shown as they are
 * read back, and every mistake is refused with its line and what to write instead.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "lib/config_rig.h"

#define SHOP "origins = ( { name = \"shop\"; kind = \"sqlite\"; target = \"/shop.db\"; } );\n"
#define READ "read = \"SELECT body FROM product WHERE id = $1\"; "
#define KEY "key = \"product:{id}\"; "
#define PRODUCT "prefix = \"product:\"; origin = \"shop\"; "

static const char *line_of(const char *text)
{
	static char line[512];

	snprintf(line, sizeof(line), "--config %s", write_file("a.conf", text));
	return line;
}

static void origins_and_their_routes_have_defaults(void **state)
{
	const struct route_rule *rule;
	struct outcome o;

	(void)state;
	expect_fine(&o, line_of(SHOP "routes = ( { " PRODUCT KEY READ "}, { prefix = \"\"; } );"));
	assert_int_equal(o.config.origin_cnt, 1);
	assert_string_equal(o.config.origins[0].name, "shop");
	assert_string_equal(o.config.origins[0].kind, "sqlite");
	assert_string_equal(o.config.origins[0].target, "/shop.db");
	assert_int_equal(o.config.origins[0].timeout_ms, 1000);
	assert_int_equal(o.config.origins[0].waiting_max, 1024);
	assert_int_equal(o.config.origins[0].connection_cnt, 4);
	rule = &o.config.routes.rules[0];
	assert_string_equal(rule->origin, "shop");
	assert_string_equal(rule->key, "product:{id}");
	assert_string_equal(rule->read, "SELECT body FROM product WHERE id = $1");
	assert_false(rule->json);
	assert_int_equal(rule->ttl_sec, 60);
	assert_null(rule->write);
	assert_null(rule->remove);
	assert_int_equal(rule->stale_sec + rule->stale_if_error_sec + rule->refresh_ahead_sec, 0);
	assert_int_equal(rule->max_miss_qps, 0);
	assert_null(o.config.routes.rules[1].origin);
	config_fini(&o.config);
}

static void print_to(const struct config *config, const char *name)
{
	FILE *out = fopen(path_of(name), "w");

	assert_non_null(out);
	config_print(config, out, false);
	assert_int_equal(fclose(out), 0);
}

static void what_is_shown_is_read_back_and_differs_from_another(void **state)
{
	struct outcome first, second;
	char line[512];

	(void)state;
	expect_fine(&first,
		    line_of("origins = ( { name = \"s \\\"x\\\"\"; kind = \"postgresql\"; target = "
			    "\"/a b.db\"; timeout = 250; waiting_max = 7; connections = 9; journal "
			    "= \"/j\"; "
			    "journal_delay = 4; } );\n"
			    "routes = ( { prefix = \"p:\"; origin = \"s \\\"x\\\"\"; "
			    "key = \"p:{a}:{b}\"; read = \"SELECT \\\"v\\\" FROM t WHERE a = $1\"; "
			    "ttl = 5; negative_ttl = 0; ttl_jitter = 2; stale = 6; "
			    "behind = true; write = \"UPDATE t\"; delete = \"DELETE t\"; "
			    "stale_if_error = 7; refresh_ahead = 3; max_miss_qps = 8; } );"));
	print_to(&first.config, "b.conf");
	snprintf(line, sizeof(line), "--config %s", path_of("b.conf"));
	expect_fine(&second, line);
	assert_false(config_origins_differ(&first.config, &second.config));
	assert_string_equal(second.config.origins[0].name, "s \"x\"");
	assert_int_equal(second.config.origins[0].timeout_ms, 250);
	assert_int_equal(second.config.origins[0].waiting_max, 7);
	assert_int_equal(second.config.origins[0].connection_cnt, 9);
	assert_string_equal(second.config.routes.rules[0].origin, "s \"x\"");
	assert_string_equal(second.config.routes.rules[0].read, "SELECT \"v\" FROM t WHERE a = $1");
	assert_string_equal(second.config.routes.rules[0].write, "UPDATE t");
	assert_string_equal(second.config.routes.rules[0].remove, "DELETE t");
	assert_true(second.config.routes.rules[0].behind);
	assert_string_equal(second.config.origins[0].journal, "/j");
	assert_int_equal(second.config.origins[0].journal_delay_ms, 4);
	assert_int_equal(second.config.routes.rules[0].ttl_sec, 5);
	assert_int_equal(second.config.routes.rules[0].stale_sec, 6);
	assert_int_equal(second.config.routes.rules[0].stale_if_error_sec, 7);
	assert_int_equal(second.config.routes.rules[0].refresh_ahead_sec, 3);
	assert_int_equal(second.config.routes.rules[0].max_miss_qps, 8);
	config_fini(&second.config);
	expect_fine(&second, line_of(SHOP));
	assert_true(config_origins_differ(&first.config, &second.config));
	config_fini(&second.config);
	config_fini(&first.config);
}

static void mistake_names_its_line_and_what_to_write(void **state)
{
	static const char *const files[][2] = {
		{ "\norigins = 5;", ":2: origins: write a list, origins = ( {" },
		{ "origins = (\n 5 );", ": origins: write each as { name = \"shop\"" },
		{ "origins = (\n { kind = \"sqlite\"; target = \"/a\"; } );",
		  ":2: origins: an origin without a name; write name = \"shop\"" },
		{ "origins = (\n { name = \"a\"; target = \"/a\"; } );",
		  ":2: origins: an origin without a kind; write kind = \"sqlite\"" },
		{ "origins = (\n { name = \"a\"; kind = \"sqlite\"; } );",
		  ":2: origins: an origin without a target; write target = " },
		{ "origins = ( { name = \"a\";\n kind = \"sqlit\"; target = \"/a\"; } );",
		  ":2: origins.kind: \"sqlit\": no kind of origin; there is sqlite, postgresql, "
		  "http" },
		{ "origins = ( { name = \"a\";\n kid = \"sqlite\"; } );",
		  ":2: origins.kid: no such option; an origin has name, kind, target" },
		{ "origins = ( { name = \"a\";\n timeout = 0; } );",
		  ":2: origins.timeout: \"0\" is not a number from 1 to 60000" },
		{ SHOP SHOP, ":2: duplicate setting name" },
		{ "origins = ( { name = \"a\"; kind = \"sqlite\"; target = \"/a\"; },\n"
		  "{ name = \"a\"; kind = \"sqlite\"; target = \"/b\"; } );",
		  ":2: origins: there is a \"a\" already; give each a name of its own" },
		{ SHOP "routes = ( { prefix = \"product:\"; " READ "} );",
		  ":2: routes: \"product:\" has a read and no origin; write origin = \"shop\"" },
		{ "routes = ( { " PRODUCT KEY READ "} );",
		  ":1: routes: \"product:\": there is no origin \"shop\"; write origins = ( {" },
		{ SHOP "routes = ( { " PRODUCT KEY "} );",
		  ":2: routes: \"product:\" has an origin and no read; write read = \"SELECT" },
		{ SHOP "routes = ( { " PRODUCT READ "} );",
		  ":2: routes: \"product:\" has an origin and no key; write key = "
		  "\"product:{id}\"" },
		{ SHOP "routes = ( { " PRODUCT READ "key = \"product:{id\"; } );",
		  ":2: routes: key: " },
		{ SHOP "routes = ( { " PRODUCT READ "key = \"user:{id}\"; } );",
		  ":2: routes: the key \"user:{id}\" does not begin with the prefix \"product:\"" },
		{ SHOP "routes = ( { " PRODUCT KEY READ "\n ttl = 0; } );",
		  ":3: routes.ttl: \"0\" is not a number from 1 to 2592000" },
		{ SHOP "routes = ( { " PRODUCT KEY READ "\n refresh_ahead = 60; } );",
		  ":2: routes: \"product:\": a refresh_ahead of 60 s begins before the value is "
		  "there: its ttl is 60 s; write less" },
		{ SHOP "routes = ( { " PRODUCT KEY READ "\n json = true; write = \"x\"; } );",
		  ":2: routes: \"product:\": json makes a value of a row, and write is given "
		  "values; leave one of them out" },
		{ "routes = ( { prefix = \"a:\"; delete = \"x\"; } );",
		  ":1: routes: \"a:\" has a delete and no origin; write origin = \"shop\"" },
		{ SHOP "routes = ( { " PRODUCT KEY READ "\n behind = true; write = \"x\"; } );",
		  ":2: routes: \"product:\" is to be written behind and its origin has no "
		  "journal; write journal = \"/var/lib/xdpcache/shop.journal\" there" },
		{ SHOP "routes = ( { " PRODUCT KEY READ "\n behind = true; } );",
		  ":2: routes: \"product:\" is to be written behind and has no write; write the "
		  "statement that changes a row" },
		{ "routes = ( { prefix = \"a:\"; stale = 5; } );",
		  ":1: routes: \"a:\" has a stale and no origin; write origin = \"shop\"" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		expect_refused(line_of(files[i][0]), files[i][1]);
}

static int remove_scratch(void **state)
{
	static const char *const names[] = { "a.conf", "b.conf" };

	(void)state;
	return config_rig_remove(names, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(origins_and_their_routes_have_defaults),
		cmocka_unit_test(what_is_shown_is_read_back_and_differs_from_another),
		cmocka_unit_test(mistake_names_its_line_and_what_to_write),
	};

	return cmocka_run_group_tests(tests, config_rig_make, remove_scratch);
}
