/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: a cluster's file of nodes gives the nodes it names, with the defaults of what it
 * leaves out; every mistake in it is refused with its line and what to write instead; nothing is
 * left behind. Method: files in a scratch directory, the sink's lines compared.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "lib/fault.h"

static char path[64];

struct said {
	char text[4096];
};

static void say(void *ctx, enum log_level level, const char *line)
{
	struct said *said = ctx;
	size_t len = strlen(said->text);

	snprintf(said->text + len, sizeof(said->text) - len, "%s%s\n",
		 level == LOG_ERROR ? "E " : "W ", line);
}

static int load(const char *text, struct said *said, struct config_cluster *ret)
{
	const struct config_sink sink = { .line = say, .ctx = said };
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	said->text[0] = '\0';
	return config_cluster_load(path, &sink, ret);
}

static void config_cluster_peer_is_what_is_written_or_the_ring_names_host(void **state)
{
	struct config_cluster c = { 0 };
	char text[CONFIG_PEER_MAX];
	struct said said;

	(void)state;
	assert_int_equal(
		load("nodes = (\n"
		     "  { name = \"a\"; ring_name = \"10.0.0.1:11212\"; },\n"
		     "  { name = \"b\"; ring_name = \"[fd00::1]:11212\"; },\n"
		     "  { name = \"c\"; ring_name = \"cache-c\"; peer = \"10.1.0.3:7\"; } );\n",
		     &said, &c),
		0);
	config_cluster_peer(&c, 0, text);
	assert_string_equal(text, "10.0.0.1:11311");
	config_cluster_peer(&c, 1, text);
	assert_string_equal(text, "[fd00::1]:11311");
	config_cluster_peer(&c, 2, text);
	assert_string_equal(text, "10.1.0.3:7");
	config_cluster_fini(&c);
	assert_int_equal(
		load("nodes = ( { name = \"a\"; ring_name = \"h\"; peer = \"h:99999\"; } );\n",
		     &said, &c),
		-EINVAL);
	assert_non_null(strstr(said.text, "write host:port"));
}

static void config_cluster_load_reads_nodes_and_defaults(void **state)
{
	struct config_cluster c = { 0 };
	struct said said;

	(void)state;
	assert_int_equal(load("copies = 3;\n"
			      "nodes = (\n"
			      "  { name = \"a\"; ring_name = \"10.0.0.1\"; zone = \"z1\"; },\n"
			      "  { name = \"b\"; ring_name = \"[fd00::1]:11212\"; zone = \"z2\";\n"
			      "    weight = 7; },\n"
			      "  { name = \"c\"; ring_name = \"10.0.0.1:1\"; zone = \"z1\"; } );\n",
			      &said, &c),
			 0);
	assert_string_equal(said.text, "");
	assert_int_equal(c.copies, 3);
	assert_int_equal(c.node_cnt, 3);
	assert_string_equal(c.nodes[0].name, "a");
	assert_string_equal(c.nodes[0].ring_name, "10.0.0.1");
	assert_string_equal(c.nodes[0].zone, "z1");
	assert_int_equal(c.nodes[0].weight, 1);
	assert_string_equal(c.nodes[1].ring_name, "[fd00::1]:11212");
	assert_int_equal(c.nodes[1].weight, 7);
	config_cluster_fini(&c);
	config_cluster_fini(&c);

	assert_int_equal(load("nodes = ( { name = \"a\"; ring_name = \"h\"; },"
			      "{ name = \"b\"; ring_name = \"i\"; } );",
			      &said, &c),
			 0);
	assert_int_equal(c.copies, 2);
	assert_null(c.nodes[0].zone);
	config_cluster_fini(&c);
}

#define A "{ name = \"a\"; ring_name = \"10.0.0.1\"; }"
#define B "{ name = \"b\"; ring_name = \"10.0.0.2\"; }"

static void config_cluster_load_mistakes_are_refused_with_place_and_hint(void **state)
{
	static const struct {
		const char *text;
		const char *said;
	} rows[] = {
		{ "", ": no nodes; write nodes = ( { name = " },
		{ "nodes = ( );", ": no nodes; write nodes = ( { name = " },
		{ "copies = 2;\nnodes = 5;", ":2: nodes: write a list, nodes = (" },
		{ "nodes = (\n5 );", ": nodes: write each as { name = " },
		{ "nodes = (\n" A ", { name = \"b\"; } );",
		  ":2: nodes: a node without a ring_name; write ring_name = \"10.0.0.1\"" },
		{ "nodes = (\n\n{ ring_name = \"a\"; } );",
		  ":3: nodes: a node without a name; write name = \"cache-a\"" },
		{ "nodes = ( { name = \"a\";\nring_nam = \"b\"; } );",
		  ":2: nodes.ring_nam: no such option; a node has name, ring_name, weight, zone" },
		{ "nodes = ( { name = \"a\";\nring_name = \"a:0\"; } );",
		  ":2: nodes.ring_name: \"a:0\": no server's name; write it as the clients' " },
		{ "nodes = ( { name = \"a b\"; } );",
		  ":1: nodes.name: \"a b\": write at most 64 " },
		{ "nodes = ( { name = \"a\";\nring_name = \"a\";\nweight = 0; } );",
		  ":3: nodes.weight: \"0\" is not a number from 1 to 10000; write for example 1" },
		{ "nodes = ( { name = \"a\";\nweight = [ 1 ]; } );",
		  ":2: nodes.weight: one value is expected" },
		{ "copies = 9;\nnodes = ( " A " );",
		  ":1: cluster.copies: \"9\" is not a number from 1 to 8; write for example 2" },
		{ "\ncopys = 2;\nnodes = ( " A " );",
		  ":2: cluster.copys: no such option; a file of nodes has nodes, copies" },
		{ "nodes = ( " A ",\n" A " );",
		  ":2: nodes: there is a \"a\" already; give each a name of its own" },
		{ "nodes = ( " A ",\n{ name = \"b\"; ring_name = \"10.0.0.1:11211\"; } );",
		  ":2: nodes: \"a\" and \"b\" are one server for the clients (10.0.0.1:11211); " },
		{ "nodes = ( " A ",\n{ name = \"b\"; ring_name = \"b\"; zone = \"z\"; } );",
		  ":1: nodes: \"a\" has no zone and others have; give all of them one, or none" },
		{ "nodes = (\n" A "\n" B " );",
		  ":3: syntax error here or just before; nodes are " },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct config_cluster c = { .copies = 77 };
		struct said said;
		int rc = load(rows[i].text, &said, &c);

		if (rc != -EINVAL || strncmp(said.text, "E ", 2) ||
		    strncmp(said.text + 2, path, strlen(path)) || !strstr(said.text, rows[i].said))
			fail_msg("%s\ngave %d, expected \"%s\": %s", rows[i].text, rc, rows[i].said,
				 said.text);
		assert_int_equal(c.copies, 77);
	}
}

static void config_cluster_load_useless_settings_are_warned_about(void **state)
{
	struct config_cluster c = { 0 };
	struct said said;

	(void)state;
	assert_int_equal(load("copies = 3; nodes = ( " A ", " B " );", &said, &c), 0);
	assert_non_null(strstr(said.text, "W "));
	assert_non_null(strstr(said.text, ": copies = 3, but there are 2 nodes: "));
	config_cluster_fini(&c);
	assert_int_equal(load("nodes = ( " A
			      ",\n{ name = \"b\"; ring_name = \"b\"; weight = 10000; "
			      "} );",
			      &said, &c),
			 0);
	assert_non_null(strstr(said.text, ":1: nodes: \"a\" weighs so little that no key is its"));
	config_cluster_fini(&c);
}

static void config_cluster_load_out_of_memory_leaves_nothing(void **state)
{
	struct config_cluster c = { 0 };
	struct said said = { "" };
	int rc = -ENOMEM;

	(void)state;
	for (uint64_t nth = 1; rc; nth++) {
		fault_start(nth);
		rc = load("nodes = ( " A ", " B " );", &said, &c);
		fault_stop();
		assert_true(rc == 0 || (!c.nodes && nth < 100));
	}
	config_cluster_fini(&c);
}

static void config_cluster_load_no_file_is_refused(void **state)
{
	struct said said = { "" };
	const struct config_sink sink = { .line = say, .ctx = &said };
	struct config_cluster c;

	(void)state;
	unlink(path);
	assert_int_equal(config_cluster_load(path, &sink, &c), -EINVAL);
	assert_non_null(strstr(said.text, ": cannot be read: No such file"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(config_cluster_load_reads_nodes_and_defaults),
		cmocka_unit_test(config_cluster_peer_is_what_is_written_or_the_ring_names_host),
		cmocka_unit_test(config_cluster_load_mistakes_are_refused_with_place_and_hint),
		cmocka_unit_test(config_cluster_load_useless_settings_are_warned_about),
		cmocka_unit_test(config_cluster_load_out_of_memory_leaves_nothing),
		cmocka_unit_test(config_cluster_load_no_file_is_refused),
	};
	int fd, failed;

	snprintf(path, sizeof(path), "/tmp/xct_cluster.XXXXXX");
	fd = mkstemp(path);
	if (fd < 0)
		return 1;
	close(fd);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return failed;
}
