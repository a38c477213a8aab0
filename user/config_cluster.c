/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The nodes of a cluster in a file of their own:
 *
 *   copies = 2;
 *   nodes = (
 *       { name = "cache-a"; ring_name = "10.0.0.1"; zone = "row1"; },
 *       { name = "cache-b"; ring_name = "10.0.0.2"; zone = "row2"; weight = 2; }
 *   );
 *
 * A ring of these nodes is made at the end: what the file cannot be used for is said here.
 */
#include "config_table.h"

#include <errno.h>
#include <libconfig.h>
#include <string.h>

#include "base/alloc.h"

#define FIELD(member) offsetof(struct node_entry, member)
#define COPIES_DEFAULT 2
#define PEER_PORT_DEFAULT 11311

struct node_entry {
	struct ring_node ring;
	const char *peer;
};

static bool check_ring_name(const char *text, char why[CONFIG_WHY_MAX])
{
	struct span host;
	uint16_t port;

	if (ring_name_parse(text, &host, &port))
		return true;
	snprintf(why, CONFIG_WHY_MAX,
		 "no server's name; write it as the clients' list of servers does: host, "
		 "host:port, [v6] or [v6]:port");
	return false;
}

static bool check_peer(const char *text, char why[CONFIG_WHY_MAX])
{
	struct span host;
	uint16_t port;

	if (ring_name_parse(text, &host, &port))
		return true;
	snprintf(why, CONFIG_WHY_MAX, "no address; write host:port or [v6]:port");
	return false;
}

static bool check_name(const char *text, char why[CONFIG_WHY_MAX])
{
	size_t len = strlen(text);

	if (len <= 64 && text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					   "0123456789._-")] == '\0')
		return true;
	snprintf(why, CONFIG_WHY_MAX, "write at most 64 letters, digits, dots, - and _");
	return false;
}

static const struct config_option node_options[] = {
	{ "nodes", "name", NULL, 0, OPT_STRING, FIELD(ring.name), NULL, "<name>", 0, 0, check_name,
	  "what commands and logs call the node" },
	{ "nodes", "ring_name", NULL, 0, OPT_STRING, FIELD(ring.ring_name), NULL, "<host[:port]>",
	  0, 0, check_ring_name, "as the clients' list of servers has it" },
	{ "nodes", "weight", NULL, 0, OPT_UINT32, FIELD(ring.weight), "1", "<n>", 1,
	  RING_WEIGHT_MAX, NULL, "as the clients have it" },
	{ "nodes", "zone", NULL, 0, OPT_STRING, FIELD(ring.zone), NULL, "<name>", 0, 0, check_name,
	  "what may fail at once: copies of an item lie in different zones" },
	{ "nodes", "peer", NULL, 0, OPT_STRING, FIELD(peer), NULL, "<host:port>", 0, 0, check_peer,
	  "where the other nodes reach it" },
};

static const struct config_entries node_entries = {
	.list = "nodes",
	.entry = "a node",
	.options = node_options,
	.option_cnt = sizeof(node_options) / sizeof(node_options[0]),
};

/* options' offsets count from the whole file's values */
static const struct config_option file_options[] = {
	{ NULL, "copies", NULL, 0, OPT_UINT32, offsetof(struct config_cluster, copies), "2", "<n>",
	  1, RING_COPY_MAX, NULL, "how many nodes hold each item" },
};

static const struct config_entries file_entries = {
	.list = "cluster",
	.entry = "a file of nodes",
	.key = "nodes",
	.options = file_options,
	.option_cnt = 1,
};

struct cluster_build {
	struct config_build base; /* first: the readers of files know this alone */
	struct config config;	  /* owns the strings */
	struct config_cluster *cluster;
	const char *sources[RING_NODE_MAX]; /* file and line of each node */
};

static void add_node(struct cluster_build *b, const struct node_entry *entry, const char *source)
{
	const struct ring_node *node = &entry->ring;
	struct config_cluster *c = b->cluster;
	struct ring_node *nodes;
	const char **peers;

	for (uint32_t i = 0; i < c->node_cnt; i++) {
		if (!strcmp(c->nodes[i].name, node->name)) {
			build_error(&b->base,
				    "%s: nodes: there is a \"%s\" already; give each a "
				    "name of its own",
				    source, node->name);
			return;
		}
	}
	if (c->node_cnt == RING_NODE_MAX) {
		build_error(&b->base, "%s: nodes: more than %d of them; leave some out", source,
			    RING_NODE_MAX);
		return;
	}
	nodes = alloc_resize(c->nodes, (c->node_cnt + 1) * sizeof(*nodes));
	c->nodes = nodes ? nodes : c->nodes;
	peers = alloc_resize(c->peers, (c->node_cnt + 1) * sizeof(*peers));
	c->peers = peers ? peers : c->peers;
	if (!nodes || !peers) {
		build_error(&b->base, "out of memory");
		return;
	}
	peers[c->node_cnt] = entry->peer;
	b->sources[c->node_cnt] = build_string(&b->base, source);
	nodes[c->node_cnt++] = *node;
}

static void read_node(struct cluster_build *b, config_setting_t *group, const char *path)
{
	struct node_entry node = { 0 };
	uint32_t error_cnt = b->base.error_cnt;
	char source[512];

	setting_source(group, path, source);
	if (!config_setting_is_group(group)) {
		build_error(&b->base,
			    "%s: nodes: write each as { name = \"cache-a\"; ring_name = "
			    "\"10.0.0.1\"; }",
			    source);
		return;
	}
	build_entry_defaults(&b->base, &node_entries, &node);
	for (int i = 0; i < config_setting_length(group); i++)
		build_entry(&b->base, &node_entries, &node,
			    config_setting_get_elem(group, (unsigned int)i), path);
	if (b->base.error_cnt > error_cnt)
		return;
	if (!node.ring.name || !node.ring.ring_name)
		build_error(&b->base, "%s: nodes: a node without a %s; write %s", source,
			    node.ring.name ? "ring_name" : "name",
			    node.ring.name ? "ring_name = \"10.0.0.1\", as the clients' list has it"
					   : "name = \"cache-a\"");
	else
		add_node(b, &node, source);
}

static void read_nodes(struct cluster_build *b, config_setting_t *list, const char *path)
{
	char source[512];

	setting_source(list, path, source);
	if (!config_setting_is_list(list)) {
		build_error(&b->base,
			    "%s: nodes: write a list, nodes = ( { name = \"cache-a\"; ring_name = "
			    "\"10.0.0.1\"; } );",
			    source);
		return;
	}
	for (int i = 0; i < config_setting_length(list); i++)
		read_node(b, config_setting_get_elem(list, (unsigned int)i), path);
}

static void read_root(struct config_build *base, const config_setting_t *root, const char *path)
{
	struct cluster_build *b = (struct cluster_build *)base;

	for (int i = 0; i < config_setting_length(root); i++) {
		config_setting_t *setting = config_setting_get_elem(root, (unsigned int)i);

		if (!strcmp(config_setting_name(setting), "nodes"))
			read_nodes(b, setting, path);
		else
			build_entry(base, &file_entries, b->cluster, setting, path);
	}
}

/* All nodes have a zone, or none has: one without would count as one more zone. */
static void check_zones(struct cluster_build *b)
{
	const struct config_cluster *c = b->cluster;
	uint32_t with = 0;

	for (uint32_t i = 0; i < c->node_cnt; i++)
		with += c->nodes[i].zone != NULL;
	if (with == 0 || with == c->node_cnt)
		return;
	for (uint32_t i = 0; i < c->node_cnt; i++) {
		if (!c->nodes[i].zone)
			build_error(&b->base,
				    "%s: nodes: \"%s\" has no zone and others have; give all of "
				    "them one, or none",
				    b->sources[i], c->nodes[i].name);
	}
}

static void warn_useless(struct cluster_build *b, const struct ring *ring, const char *path)
{
	const struct config_cluster *c = b->cluster;

	for (uint32_t i = 0; i < c->node_cnt; i++) {
		if (ring_point_cnt(ring, (uint16_t)i) == 0)
			build_warn(&b->base,
				   "%s: nodes: \"%s\" weighs so little that no key is its own; "
				   "give it a larger weight",
				   b->sources[i], c->nodes[i].name);
	}
	if (c->copies > c->node_cnt)
		build_warn(&b->base,
			   "%s: copies = %u, but there are %u nodes: each item is on all of them",
			   path, c->copies, c->node_cnt);
}

static void check_ring(struct cluster_build *b, const char *path)
{
	const struct config_cluster *c = b->cluster;
	struct ring *ring = NULL;
	uint32_t one, other;
	int rc;

	if (c->node_cnt == 0) {
		build_error(&b->base,
			    "%s: no nodes; write nodes = ( { name = \"cache-a\"; ring_name = "
			    "\"10.0.0.1\"; } );",
			    path);
		return;
	}
	check_zones(b);
	rc = ring_new(c->nodes, c->node_cnt, &ring);
	if (rc == -EEXIST && ring_find_twins(c->nodes, c->node_cnt, &one, &other))
		build_error(&b->base,
			    "%s: nodes: \"%s\" and \"%s\" are one server for the clients (%s); "
			    "correct one of them",
			    b->sources[other], c->nodes[one].name, c->nodes[other].name,
			    c->nodes[other].ring_name);
	else if (rc)
		build_error(&b->base, "%s: no ring can be made of the nodes: %s", path,
			    rc == -ENOTSUP ? "OpenSSL refuses MD5 here (FIPS mode?), which clients "
					     "place keys by"
					   : strerror(-rc));
	else
		warn_useless(b, ring, path);
	ring_free(ring);
}

int config_cluster_load(const char *path, const struct config_sink *sink,
			struct config_cluster *ret)
{
	struct config_cluster cluster = { .copies = COPIES_DEFAULT };
	struct cluster_build b = { .cluster = &cluster };

	b.base.config = &b.config;
	b.base.target = &b.config;
	b.base.sink = *sink;
	b.config.memory = alloc_zero(1, sizeof(*b.config.memory));
	if (!b.config.memory)
		return -ENOMEM;
	build_libconfig(&b.base, path,
			"nodes are written nodes = ( { name = \"cache-a\"; ring_name = "
			"\"10.0.0.1\"; } );",
			read_root);
	if (b.base.error_cnt == 0)
		check_ring(&b, path);
	cluster.memory = b.config.memory;
	if (b.base.error_cnt) {
		config_cluster_fini(&cluster);
		return -EINVAL;
	}
	*ret = cluster;
	return 0;
}

void config_cluster_peer(const struct config_cluster *cluster, uint32_t node,
			 char ret[CONFIG_PEER_MAX])
{
	const char *text = cluster->peers[node];
	struct span host;
	uint16_t port;

	if (text) {
		snprintf(ret, CONFIG_PEER_MAX, "%s", text);
		return;
	}
	ring_name_parse(cluster->nodes[node].ring_name, &host, &port);
	snprintf(ret, CONFIG_PEER_MAX, memchr(host.ptr, ':', host.len) ? "[%.*s]:%u" : "%.*s:%u",
		 (int)host.len, (const char *)host.ptr, PEER_PORT_DEFAULT);
}

void config_cluster_fini(struct config_cluster *cluster)
{
	struct config strings = { .memory = cluster->memory };

	config_fini(&strings);
	alloc_free(cluster->nodes);
	alloc_free(cluster->peers);
	*cluster = (struct config_cluster){ 0 };
}
