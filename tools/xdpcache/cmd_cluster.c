/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xdpcache cluster ring: who owns a key and why, from the file of nodes alone. xdpcache cluster
 * status: how a daemon gets on with the other nodes. What is printed is made from what --json
 * prints.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "client.h"
#include "cluster/ring.h"
#include "config.h"
#include "control/key.h"
#include "table.h"

#define RING_WHOLE (1ULL << 32)
#define WHY_MAX 512

static int usage(void)
{
	fprintf(stderr, "xdpcache cluster: write one of\n"
			"  xdpcache cluster ring KEY [--file FILE]        the nodes that KEY "
			"belongs to, and why\n"
			"  xdpcache cluster ring --hex HEX [--file FILE]  the same of a key that "
			"is no text\n"
			"  xdpcache cluster ring [--file FILE]            every node's share\n"
			"  xdpcache cluster status                        the nodes, as the daemon "
			"here sees them\n"
			"Without --file: " CLUSTER_FILE_DEFAULT "\n");
	return CLI_USAGE;
}

static void say(void *ctx, enum log_level level, const char *line)
{
	(void)ctx;
	fprintf(stderr, "%s: %s\n", level == LOG_ERROR ? "error" : "warning", line);
}

/* --- a key --- */

/* What was hashed for a point, as clients put it together. */
static void point_text(const struct ring *ring, uint32_t idx, char ret[RING_NAME_MAX + 32])
{
	const struct ring_point *point = &ring->points[idx];
	struct span host = span_str("");
	uint16_t port = 0;
	int len;

	ring_name_parse(ring->nodes[point->node].ring_name, &host, &port);
	len = snprintf(ret, RING_NAME_MAX + 16, "%.*s", (int)host.len, host.ptr);
	if (port != RING_PORT_DEFAULT)
		len += snprintf(ret + len, 8, ":%u", port);
	snprintf(ret + len, 16, "-%" PRIu32, point->number / RING_POINTS_STEP);
}

static json_t *node_json(const struct ring_node *node)
{
	json_t *json = json_pack("{s:s, s:s, s:I}", "node", node->name, "ring_name",
				 node->ring_name, "weight", (json_int_t)node->weight);

	if (node->zone)
		json_object_set_new(json, "zone", json_string(node->zone));
	return json;
}

/* The nodes that come clockwise before a copy and hold none. */
static json_t *passed_over(const struct ring *ring, uint32_t arc, const struct ring_copy *copies,
			   uint32_t copy_idx)
{
	bool known[RING_NODE_MAX] = { false };
	json_t *list = json_array();

	for (uint32_t i = 0; i <= copy_idx; i++)
		known[copies[i].node] = true;
	for (uint32_t at = arc; at != copies[copy_idx].point; at = (at + 1) % ring->point_cnt) {
		uint16_t node = ring->points[at].node;

		if (!known[node])
			json_array_append_new(list, json_string(ring->nodes[node].name));
		known[node] = true;
	}
	return list;
}

static json_t *copy_json(const struct ring *ring, uint32_t arc, const struct ring_copy *copies,
			 uint32_t idx)
{
	const struct ring_copy *copy = &copies[idx];
	char text[RING_NAME_MAX + 32], why[WHY_MAX];
	json_t *json = node_json(&ring->nodes[copy->node]);
	json_t *passed = passed_over(ring, arc, copies, idx);

	point_text(ring, copy->point, text);
	if (idx == 0)
		snprintf(why, sizeof(why), "owner: its point %s is the first at or behind the hash",
			 text);
	else if (json_array_size(passed) == 0)
		snprintf(why, sizeof(why), "replica: the next node clockwise, by its point %s",
			 text);
	else
		snprintf(why, sizeof(why),
			 "replica: the next node clockwise in a zone of its own, by its point %s",
			 text);
	json_object_set_new(json, "role", json_string(idx == 0 ? "owner" : "replica"));
	json_object_set_new(json, "point", json_integer(ring->points[copy->point].value));
	json_object_set_new(json, "passed_over", passed);
	json_object_set_new(json, "why", json_string(why));
	return json;
}

static json_t *key_json(const struct ring *ring, uint32_t copies, struct span key)
{
	struct ring_copy list[RING_COPY_MAX];
	uint32_t hash = ring_hash(ring, key), arc = ring_arc(ring, hash);
	uint32_t before = (arc + ring->point_cnt - 1) % ring->point_cnt;
	uint32_t cnt = ring_pick(ring, arc, copies, list);
	json_t *root = json_object(), *nodes = json_array();

	control_set_key(root, (const char *)key.ptr, (uint32_t)key.len);
	for (uint32_t i = 0; i < cnt; i++)
		json_array_append_new(nodes, copy_json(ring, arc, list, i));
	json_object_set_new(root, "hash", json_integer(hash));
	json_object_set_new(root, "arc",
			    json_pack("{s:I, s:I, s:I, s:I}", "index", (json_int_t)arc, "behind",
				      (json_int_t)ring->points[before].value, "to",
				      (json_int_t)ring->points[arc].value, "hashes",
				      (json_int_t)ring_arc_width(ring, arc)));
	json_object_set_new(root, "copies", nodes);
	return root;
}

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "-";
}

static void print_key(const json_t *root)
{
	const json_t *copies = json_object_get(root, "copies");
	const json_t *arc = json_object_get(root, "arc");
	json_t *copy, *node;
	size_t i, j;

	printf("%s: hash %" JSON_INTEGER_FORMAT ", on the arc behind %" JSON_INTEGER_FORMAT
	       " up to %" JSON_INTEGER_FORMAT "\n\n",
	       text_of(root, "key"), json_integer_value(json_object_get(root, "hash")),
	       json_integer_value(json_object_get(arc, "behind")),
	       json_integer_value(json_object_get(arc, "to")));
	table_line("%-16s %-24s %-10s %s", "NODE", "RING NAME", "ZONE", "WHY");
	json_array_foreach((json_t *)copies, i, copy)
	{
		table_line("%-16s %-24s %-10s %s", text_of(copy, "node"),
			   text_of(copy, "ring_name"), text_of(copy, "zone"), text_of(copy, "why"));
		json_array_foreach(json_object_get(copy, "passed_over"), j, node)
			printf("%-52s passed over: %s, its zone has a copy already\n", "",
			       json_string_value(node));
	}
}

/* --- all nodes --- */

static json_t *nodes_json(const struct ring *ring, uint32_t copies)
{
	static uint64_t owned[RING_NODE_MAX], held[RING_NODE_MAX];
	json_t *list = json_array();

	for (uint32_t arc = 0; arc < ring->point_cnt; arc++) {
		struct ring_copy holders[RING_COPY_MAX];
		uint32_t cnt = ring_pick(ring, arc, copies, holders);
		uint64_t width = ring_arc_width(ring, arc);

		owned[holders[0].node] += width;
		for (uint32_t i = 0; i < cnt; i++)
			held[holders[i].node] += width;
	}
	for (uint32_t i = 0; i < ring->node_cnt; i++) {
		json_t *node = node_json(&ring->nodes[i]);

		json_object_set_new(node, "points",
				    json_integer(ring_point_cnt(ring, (uint16_t)i)));
		json_object_set_new(node, "owned_hashes", json_integer((json_int_t)owned[i]));
		json_object_set_new(node, "held_hashes", json_integer((json_int_t)held[i]));
		json_array_append_new(list, node);
	}
	return json_pack("{s:I, s:I, s:o}", "copies", (json_int_t)copies, "arcs",
			 (json_int_t)ring->point_cnt, "nodes", list);
}

static void print_nodes(const json_t *root)
{
	char owns[TABLE_TEXT_MAX], holds[TABLE_TEXT_MAX];
	json_t *node;
	size_t i;

	table_line("%-16s %-24s %-10s %6s %7s %8s %8s", "NODE", "RING NAME", "ZONE", "WEIGHT",
		   "POINTS", "OWNS", "HOLDS");
	json_array_foreach(json_object_get(root, "nodes"), i, node)
	{
		uint64_t owned =
			(uint64_t)json_integer_value(json_object_get(node, "owned_hashes"));
		uint64_t held = (uint64_t)json_integer_value(json_object_get(node, "held_hashes"));

		table_line("%-16s %-24s %-10s %6" JSON_INTEGER_FORMAT " %7" JSON_INTEGER_FORMAT
			   " %8s %8s",
			   text_of(node, "node"), text_of(node, "ring_name"), text_of(node, "zone"),
			   json_integer_value(json_object_get(node, "weight")),
			   json_integer_value(json_object_get(node, "points")),
			   table_share(owns, owned, RING_WHOLE),
			   table_share(holds, held, RING_WHOLE));
	}
	printf("\n%" JSON_INTEGER_FORMAT " copies of each item, %" JSON_INTEGER_FORMAT " arcs\n",
	       json_integer_value(json_object_get(root, "copies")),
	       json_integer_value(json_object_get(root, "arcs")));
}

/* --- the command --- */

struct words {
	const char *file;
	const char *key; /* NULL: none */
	bool hex;
};

static bool take_words(int argc, char **argv, struct words *ret)
{
	for (int i = 0; i < argc; i++) {
		if (!strcmp(argv[i], "--file") && i + 1 < argc)
			ret->file = argv[++i];
		else if (!strcmp(argv[i], "--hex") && i + 1 < argc && !ret->key) {
			ret->hex = true;
			ret->key = argv[++i];
		} else if (!ret->key && strncmp(argv[i], "--", 2) != 0) {
			ret->key = argv[i];
		} else {
			return false;
		}
	}
	return true;
}

/* The key's bytes, in buf; false: what is wrong with it has been said. */
static bool key_of(const struct words *words, char buf[XC_KEY_MAX], struct span *ret)
{
	json_t *request = json_pack("{s:s}", words->hex ? "key_hex" : "key", words->key);
	char error[CONTROL_ERROR_MAX];
	bool fine;

	if (!request) {
		fprintf(stderr, "xdpcache cluster ring: the key is not UTF-8 text: write it in "
				"hexadecimal, with --hex\n");
		return false;
	}
	fine = control_key(request, buf, ret, error);
	if (!fine)
		fprintf(stderr, "xdpcache cluster ring: %s\n", error);
	json_decref(request);
	return fine;
}

static int show_ring(const struct cli *cli, const struct words *words,
		     const struct config_cluster *cluster)
{
	char buf[XC_KEY_MAX];
	struct ring *ring = NULL;
	struct span key;
	json_t *root;

	if (words->key && !key_of(words, buf, &key))
		return CLI_USAGE;
	if (ring_new(cluster->nodes, cluster->node_cnt, &ring)) {
		fprintf(stderr, "xdpcache cluster ring: out of memory\n");
		return CLI_FAILED;
	}
	root = words->key ? key_json(ring, cluster->copies, key)
			  : nodes_json(ring, cluster->copies);
	if (cli->json) {
		json_dumpf(root, stdout, JSON_INDENT(2));
		printf("\n");
	} else if (words->key) {
		print_key(root);
	} else {
		print_nodes(root);
	}
	json_decref(root);
	ring_free(ring);
	return CLI_DONE;
}

/* --- status --- */

static json_int_t number_of(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

static const char *link_state(const json_t *node)
{
	bool connected = json_is_true(json_object_get(node, "connected"));
	bool heard = json_is_true(json_object_get(node, "heard"));

	if (json_is_true(json_object_get(node, "self")))
		return "this one";
	return connected && heard ? "connected" : connected ? "silent" : "not reached";
}

static void print_status(const json_t *root)
{
	json_t *node;
	size_t i;

	table_line("%-16s %-24s %-24s %-11s %6s %12s %12s", "NODE", "RING NAME", "REACHED AT",
		   "STATE", "LOST", "SENT", "RECEIVED");
	json_array_foreach(json_object_get(root, "nodes"), i, node)
	{
		table_line("%-16s %-24s %-24s %-11s %6" JSON_INTEGER_FORMAT
			   " %12" JSON_INTEGER_FORMAT " %12" JSON_INTEGER_FORMAT,
			   text_of(node, "node"), text_of(node, "ring_name"), text_of(node, "peer"),
			   link_state(node), number_of(node, "lost_connections"),
			   number_of(node, "sent_bytes"), number_of(node, "received_bytes"));
	}
	printf("\nasked of other nodes: %" JSON_INTEGER_FORMAT ", answered %" JSON_INTEGER_FORMAT
	       ", failed %" JSON_INTEGER_FORMAT "; carried out for them: %" JSON_INTEGER_FORMAT
	       "\n",
	       number_of(root, "asked"), number_of(root, "answered"), number_of(root, "failed"),
	       number_of(root, "guests"));
}

static int show_status(const struct cli *cli)
{
	char error[CLIENT_ERROR_MAX];
	json_t *root;

	if (client_ask(cli->control, json_pack("{s:s}", "cmd", "cluster"), &root, error)) {
		fprintf(stderr, "xdpcache cluster status: %s\n", error);
		return CLI_FAILED;
	}
	if (cli->json) {
		json_dumpf(root, stdout, JSON_INDENT(2));
		printf("\n");
	} else {
		print_status(root);
	}
	json_decref(root);
	return CLI_DONE;
}

int cmd_cluster(const struct cli *cli, int argc, char **argv)
{
	struct words words = { .file = CLUSTER_FILE_DEFAULT };
	const struct config_sink sink = { .line = say };
	struct config_cluster cluster = { 0 };
	int rc;

	if (argc == 2 && !strcmp(argv[1], "status"))
		return show_status(cli);
	if (argc < 2 || strcmp(argv[1], "ring") || !take_words(argc - 2, argv + 2, &words))
		return usage();
	if (config_cluster_load(words.file, &sink, &cluster)) {
		if (access(words.file, F_OK) < 0)
			fprintf(stderr, "docs/cluster.md shows how the file of nodes is written; "
					"--file FILE names another\n");
		return CLI_FAILED;
	}
	rc = show_ring(cli, &words, &cluster);
	config_cluster_fini(&cluster);
	return rc;
}
