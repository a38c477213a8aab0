/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * This daemon as a node of a cluster: the file of nodes, its place among them, the port that the
 * others come in by.
 */
#include "daemon.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/sock.h"
#include "cluster/ring.h"
#include "cluster/view.h"
#include "net/net.h"
#include "net/node.h"
#include "net/tls.h"
#include "store/store.h"

#define PEER_BACKLOG 128
#define RECORD_KIB 16

static void say(void *ctx, enum log_level level, const char *line)
{
	(void)ctx;
	log_line(level, "cluster", "%s", line);
}

static int find_self(struct daemon_cluster *c, const char *name)
{
	for (uint32_t i = 0; i < c->nodes.node_cnt; i++) {
		if (strcmp(c->nodes.nodes[i].name, name) == 0)
			return (int)i;
	}
	log_line(LOG_ERROR, "cluster", "there is no node \"%s\" in the file: write --node as there",
		 name);
	return -EINVAL;
}

static int resolve_all(struct daemon_cluster *c)
{
	c->addrs = alloc_zero(c->nodes.node_cnt, sizeof(*c->addrs));
	if (!c->addrs)
		return -ENOMEM;
	for (uint32_t i = 0; i < c->nodes.node_cnt; i++) {
		char text[CONFIG_PEER_MAX];

		config_cluster_peer(&c->nodes, i, text);
		if (sock_resolve(text, 0, &c->addrs[i], 1, NULL) < 1) {
			log_line(LOG_ERROR, "cluster",
				 "node \"%s\": no address is known for %s; write peer = "
				 "\"host:port\" in the file of nodes",
				 c->nodes.nodes[i].name, text);
			return -EINVAL;
		}
	}
	return 0;
}

bool daemon_answers_for(const struct daemon *d, struct span key)
{
	const struct ring *ring = d->cluster.ring;

	return !ring || ring->points[ring_arc(ring, ring_hash(ring, key))].node == d->cluster.self;
}

/* --- items of others, which this daemon held when it was alone or the nodes were others --- */

struct sweep {
	const struct daemon *d;
	struct span keys[16]; /* of one bucket: it has fewer places */
	uint8_t bytes[16][XC_KEY_MAX];
	uint32_t cnt;
};

static bool note_foreign(void *ctx, const struct item_view *item)
{
	struct sweep *s = ctx;

	if (daemon_answers_for(s->d, item->key))
		return true;
	memcpy(s->bytes[s->cnt], item->key.ptr, item->key.len);
	s->keys[s->cnt] = span_of(s->bytes[s->cnt], item->key.len);
	return ++s->cnt < sizeof(s->keys) / sizeof(s->keys[0]);
}

static int drop_foreign(struct daemon *d)
{
	struct sweep sweep = { .d = d };
	struct store_thread *thread = store_thread_new(d->store);
	uint64_t cursor = 0, dropped = 0, before;
	bool more = true;

	if (!thread)
		return -ENOMEM;
	while (more) {
		before = cursor;
		sweep.cnt = 0;
		more = store_walk(thread, &cursor, note_foreign, &sweep);
		for (uint32_t i = 0; i < sweep.cnt; i++)
			store_remove(thread, sweep.keys[i], store_hash(d->store, sweep.keys[i]), 0);
		dropped += sweep.cnt;
		/* a bucket with more of them than fit is gone through again */
		if (sweep.cnt == sizeof(sweep.keys) / sizeof(sweep.keys[0])) {
			cursor = before;
			more = true;
		}
		store_quiesce(thread);
	}
	store_thread_free(thread);
	if (dropped > 0)
		log_line(LOG_INFO, "cluster", "dropped %llu items whose keys are other nodes'",
			 (unsigned long long)dropped);
	return 0;
}

/* Both ends show a certificate; nothing older than TLS 1.3 is at either of them. */
static int open_tls(struct daemon *d)
{
	struct daemon_cluster *c = &d->cluster;

	if (!d->config.cluster_cert)
		return 0;
	c->tls_options = (struct command_tls){ .enabled = true,
					       .chain_cert = d->config.cluster_cert,
					       .key = d->config.cluster_key,
					       .ca_cert = d->config.cluster_ca,
					       .verify_mode = 2,
					       .min_version = 3,
					       .wbuf_kib = RECORD_KIB };
	return tls_open(&c->tls_options, d->clock, &c->tls);
}

void daemon_reload_cluster(struct daemon *d)
{
	char why[TLS_WHY_MAX];

	if (!d->cluster.tls)
		return;
	if (tls_reload(d->cluster.tls, why))
		log_line(LOG_ERROR, "cluster", "%s; the old certificates stay", why);
	else
		log_line(LOG_INFO, "cluster", "certificates are read again");
}

static int make_node(struct daemon *d)
{
	struct daemon_cluster *c = &d->cluster;
	struct node_conf conf = { .ring = c->ring,
				  .ring_sum = view_ring_sum(c->ring, c->nodes.copies),
				  .addrs = c->addrs,
				  .self = c->self,
				  .timeout_ms = d->config.forward_ms,
				  .tls = c->tls,
				  .record_bytes = RECORD_KIB << 10,
				  .clock = d->clock };
	int fd = sock_listen_tcp(&c->addrs[c->self], PEER_BACKLOG);
	char text[SOCK_TEXT_MAX];

	sock_text(&c->addrs[c->self], text);
	if (fd < 0) {
		log_line(LOG_ERROR, "cluster",
			 "cannot listen on %s, where the other nodes reach this one: %s", text,
			 strerror(-fd));
		return fd;
	}
	log_line(LOG_INFO, "cluster", "node \"%s\" of %u, reached at %s%s", d->config.node,
		 c->nodes.node_cnt, text, c->tls ? " (TLS)" : "");
	return node_new(&conf, fd, &c->node);
}

int daemon_open_cluster(struct daemon *d)
{
	const struct config_sink sink = { .line = say };
	struct daemon_cluster *c = &d->cluster;
	int err;

	if (!d->config.cluster_file)
		return 0;
	err = config_cluster_load(d->config.cluster_file, &sink, &c->nodes);
	if (!err)
		err = find_self(c, d->config.node);
	if (err < 0)
		return err;
	c->self = (uint16_t)err;
	err = ring_new(c->nodes.nodes, c->nodes.node_cnt, &c->ring);
	if (!err)
		err = resolve_all(c);
	if (!err)
		err = drop_foreign(d);
	if (!err)
		err = open_tls(d);
	if (!err)
		err = make_node(d);
	return err;
}

int daemon_start_cluster(struct daemon *d)
{
	return d->cluster.node
		       ? node_start(d->cluster.node, net_command(d->net), d->config.thread_cnt)
		       : 0;
}

void daemon_close_cluster(struct daemon *d)
{
	node_free(d->cluster.node);
	tls_close(d->cluster.tls);
	ring_free(d->cluster.ring);
	alloc_free(d->cluster.addrs);
	config_cluster_fini(&d->cluster.nodes);
}

/* --- for operators --- */

static json_t *peer_json(const struct daemon_cluster *c, uint16_t idx)
{
	char text[SOCK_TEXT_MAX];
	struct peers_status status;
	json_t *json;

	sock_text(&c->addrs[idx], text);
	json = json_pack("{s:s, s:s, s:s, s:b}", "node", c->nodes.nodes[idx].name, "ring_name",
			 c->nodes.nodes[idx].ring_name, "peer", text, "self", idx == c->self);
	if (!json || idx == c->self)
		return json;
	node_peer(c->node, idx, &status);
	json_object_set_new(json, "connected", json_boolean(status.connected));
	json_object_set_new(json, "heard", json_boolean(status.heard));
	json_object_set_new(json, "lost_connections", json_integer((json_int_t)status.lost_cnt));
	json_object_set_new(json, "sent_bytes", json_integer((json_int_t)status.sent_bytes));
	json_object_set_new(json, "received_bytes",
			    json_integer((json_int_t)status.received_bytes));
	json_object_set_new(json, "waiting_bytes", json_integer((json_int_t)status.waiting_bytes));
	return json;
}

void daemon_print_cluster(void *ctx, FILE *out)
{
	const struct daemon *d = ctx;
	const struct daemon_cluster *c = &d->cluster;
	const struct node_counts *counts = node_counts(c->node);
	json_t *nodes = json_array();
	json_t *root = json_pack("{s:s, s:s, s:I, s:b, s:o}", "node", d->config.node, "file",
				 d->config.cluster_file, "copies", (json_int_t)c->nodes.copies,
				 "tls", c->tls != NULL, "nodes", nodes);

	for (uint32_t i = 0; i < c->nodes.node_cnt; i++)
		json_array_append_new(nodes, peer_json(c, (uint16_t)i));
#define X(field)                                                                                   \
	json_object_set_new(root, #field, json_integer((json_int_t)atomic_load(&counts->field)));
	NODE_COUNTS(X)
#undef X
	json_dumpf(root, out, JSON_COMPACT);
	json_decref(root);
}
