/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: a key's owner is the node that libmemcached's weighted ketama asks, whatever names,
 * ports, weights and number of nodes; a client that ejected the owner turns to the next distinct
 * node, and how often not is what docs/cluster.md says; copies lie on distinct nodes and in
 * distinct zones while there are any; arcs share out the whole ring; bad nodes are refused.
 * Method: the real libmemcached answers the same questions in the same process, for random keys,
 * seeded; a node is ejected by libmemcached itself, when nothing answers at its address.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <libmemcached/memcached.h>
#include <stdio.h>
#include <string.h>

#include "base/rand.h"
#include "cluster/ring.h"
#include "lib/fault.h"
#include "lib/runopts.h"

#define KEY_CNT 2000
#define KEY_ROOM 251
#define NODE_ROOM 128

/* What both sides are told. */
struct server {
	char name[RING_NAME_MAX + 1]; /* ring_name */
	char host[RING_NAME_MAX + 1];
	uint16_t port;
	uint32_t weight;
};

struct servers {
	struct server all[NODE_ROOM];
	struct ring_node nodes[NODE_ROOM];
	uint32_t cnt;
};

static void add_server(struct servers *s, const char *host, uint16_t port, uint32_t weight)
{
	struct server *server = &s->all[s->cnt];
	bool six = strchr(host, ':') != NULL;

	snprintf(server->host, sizeof(server->host), "%s", host);
	if (port == RING_PORT_DEFAULT)
		snprintf(server->name, sizeof(server->name), six ? "[%.200s]" : "%.200s", host);
	else
		snprintf(server->name, sizeof(server->name), six ? "[%.200s]:%u" : "%.200s:%u",
			 host, port);
	server->port = port;
	server->weight = weight;
	s->nodes[s->cnt++] = (struct ring_node){ .name = server->name,
						 .ring_name = server->name,
						 .weight = weight };
}

static struct ring *ring_of(const struct servers *s)
{
	struct ring *ring = NULL;

	assert_int_equal(ring_new(s->nodes, s->cnt, &ring), 0);
	return ring;
}

static memcached_st *client_of(const struct servers *s)
{
	memcached_st *client = memcached_create(NULL);

	assert_non_null(client);
	assert_int_equal(memcached_behavior_set(client, MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED, 1),
			 MEMCACHED_SUCCESS);
	for (uint32_t i = 0; i < s->cnt; i++)
		assert_int_equal(memcached_server_add_with_weight(client, s->all[i].host,
								  s->all[i].port, s->all[i].weight),
				 MEMCACHED_SUCCESS);
	return client;
}

static uint16_t owner_of(const struct ring *ring, struct span key)
{
	struct ring_copy copy;

	assert_int_equal(ring_pick(ring, ring_arc(ring, ring_hash(ring, key)), 1, &copy), 1);
	return copy.node;
}

/* 1 to 250 bytes of what a key may hold. */
static struct span random_key(struct rand *r, char buf[KEY_ROOM])
{
	size_t len = 1 + rand_below(r, rand_below(r, 10) ? 20 : KEY_ROOM - 1);

	for (size_t i = 0; i < len; i++)
		buf[i] = (char)('!' + rand_below(r, '~' - '!' + 1));
	return span_of(buf, len);
}

static void expect_same(const struct servers *s, struct rand *r)
{
	struct ring *ring = ring_of(s);
	memcached_st *client = client_of(s);
	char buf[KEY_ROOM];

	for (int i = 0; i < KEY_CNT; i++) {
		struct span key = random_key(r, buf);
		uint32_t theirs = memcached_generate_hash(client, (const char *)key.ptr, key.len);
		uint16_t ours = owner_of(ring, key);

		if (theirs != ours)
			fail_msg("%u nodes, first %s: \"%.*s\" is %s for libmemcached, %s for us",
				 s->cnt, s->all[0].name, (int)key.len, key.ptr, s->all[theirs].name,
				 s->all[ours].name);
	}
	memcached_free(client);
	ring_free(ring);
}

/* --- the owner --- */

static void ring_pick_kinds_of_names_owner_is_libmemcacheds(void **state)
{
	static const struct {
		const char *host[4];
		uint16_t port[4];
	} lists[] = {
		{ { "10.0.1.1", "10.0.1.2", "10.0.1.3" }, { 11211, 11211, 11211 } },
		{ { "10.0.1.1", "10.0.1.1", "10.0.1.1" }, { 11211, 11212, 65535 } },
		{ { "cache-a.example.org", "cache-b", "CACHE-B" }, { 11211, 1, 11211 } },
		{ { "fd00::1", "fd00::2", "::1", "fd00::1" }, { 11211, 11211, 11212, 11212 } },
		{ { "127.0.0.1", "localhost", "::1", "10.0.0.9" }, { 11211, 11211, 80, 11211 } },
	};
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		struct servers s = { .cnt = 0 };

		for (int j = 0; j < 4 && lists[i].host[j]; j++)
			add_server(&s, lists[i].host[j], lists[i].port[j], 1);
		expect_same(&s, &r);
	}
}

/* Every number of equal nodes up to a hundred: 25, 47, … have 156 points each, others 160. */
static void ring_pick_equal_weights_owner_is_libmemcacheds(void **state)
{
	struct servers s = { .cnt = 0 };
	struct rand r;
	char host[32];

	(void)state;
	rand_init(&r, runopts_seed());
	for (uint32_t cnt = 1; cnt <= 100; cnt++) {
		snprintf(host, sizeof(host), "192.168.%u.%u", cnt % 7, cnt);
		add_server(&s, host, RING_PORT_DEFAULT, 1);
		if (cnt < 30 || cnt % 10 == 0 || cnt == 47 || cnt == 61)
			expect_same(&s, &r);
	}
}

static void ring_pick_random_weights_owner_is_libmemcacheds(void **state)
{
	struct rand r;
	char host[64];

	(void)state;
	rand_init(&r, runopts_seed());
	for (int round = 0; round < 60; round++) {
		uint32_t cnt = 1 + (uint32_t)rand_below(&r, 12);
		uint32_t most = round % 3 == 0 ? 3 : round % 3 == 1 ? 100 : RING_WEIGHT_MAX;
		struct servers s = { .cnt = 0 };

		for (uint32_t i = 0; i < cnt; i++) {
			snprintf(host, sizeof(host), "host-%u.%llu.example", i,
				 (unsigned long long)rand_below(&r, 1000));
			add_server(&s, host,
				   rand_below(&r, 2) ? RING_PORT_DEFAULT
						     : (uint16_t)(1 + rand_below(&r, 65535)),
				   1 + (uint32_t)rand_below(&r, most));
		}
		expect_same(&s, &r);
	}
}

/* A client's namespace is part of the key for us; the client has to hash it, too. */
static void ring_pick_namespace_hashed_by_the_client_same_owner(void **state)
{
	struct servers s = { .cnt = 0 };
	struct ring *ring;
	memcached_st *client;

	(void)state;
	add_server(&s, "10.0.1.1", 11211, 1);
	add_server(&s, "10.0.1.2", 11211, 1);
	add_server(&s, "10.0.1.3", 11211, 1);
	ring = ring_of(&s);
	client = client_of(&s);
	assert_int_equal(memcached_callback_set(client, MEMCACHED_CALLBACK_NAMESPACE, "app:"),
			 MEMCACHED_SUCCESS);
	memcached_behavior_set(client, MEMCACHED_BEHAVIOR_HASH_WITH_PREFIX_KEY, 1);
	for (int i = 0; i < KEY_CNT; i++) {
		char key[32];
		int len = snprintf(key, sizeof(key), "app:%d", i);

		assert_int_equal(memcached_generate_hash(client, key + 4, (size_t)len - 4),
				 owner_of(ring, span_of(key, (size_t)len)));
	}
	memcached_free(client);
	ring_free(ring);
}

/* --- ejection --- */

/* Asks until libmemcached has ejected the server that owns the key; nothing listens there. */
static void eject(memcached_st *client, const char *key, uint32_t server)
{
	for (int tries = 0; tries < 10; tries++) {
		memcached_set(client, key, strlen(key), "x", 1, 0, 0);
		if (memcached_generate_hash(client, key, strlen(key)) != server)
			return;
	}
	fail_msg("libmemcached does not eject server %u", server);
}

/*
 * The share of the keys, of those which server 0 owned, that a client which ejected it looks for
 * on another node than the second of the copies.
 */
static double share_elsewhere(const struct servers *s, struct rand *r)
{
	struct ring *ring = ring_of(s);
	memcached_st *client = client_of(s);
	uint32_t asked = 0, elsewhere = 0;
	char dead_key[32];

	memcached_behavior_set(client, MEMCACHED_BEHAVIOR_REMOVE_FAILED_SERVERS, 1);
	memcached_behavior_set(client, MEMCACHED_BEHAVIOR_SERVER_FAILURE_LIMIT, 1);
	memcached_behavior_set(client, MEMCACHED_BEHAVIOR_RETRY_TIMEOUT, 600);
	memcached_behavior_set(client, MEMCACHED_BEHAVIOR_CONNECT_TIMEOUT, 100);
	do {
		snprintf(dead_key, sizeof(dead_key), "d%llx", (unsigned long long)rand_next(r));
	} while (owner_of(ring, span_str(dead_key)) != 0);
	eject(client, dead_key, 0);
	while (asked < 4 * KEY_CNT) {
		char buf[KEY_ROOM];
		struct span key = random_key(r, buf);
		uint32_t arc = ring_arc(ring, ring_hash(ring, key));
		struct ring_copy copies[RING_COPY_MAX];

		assert_int_equal(ring_pick(ring, arc, 2, copies), 2);
		if (copies[0].node != 0)
			continue;
		asked++;
		elsewhere += memcached_generate_hash(client, (const char *)key.ptr, key.len) !=
			     copies[1].node;
	}
	memcached_free(client);
	ring_free(ring);
	return (double)elsewhere / asked;
}

static void equal_servers(struct servers *s, uint32_t cnt)
{
	char host[32];

	s->cnt = 0;
	for (uint32_t i = 0; i < cnt; i++) {
		snprintf(host, sizeof(host), "127.0.0.%u", 1 + i);
		/* the discard port: nothing listens there in the box that tests run in */
		add_server(s, host, 9, 1);
	}
}

static void ring_pick_equal_weights_ejecting_client_lands_on_second_copy(void **state)
{
	static const uint32_t cnts[] = { 2, 3, 4, 5, 8, 16, 24 };
	struct servers s;
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	for (size_t i = 0; i < sizeof(cnts) / sizeof(cnts[0]); i++) {
		equal_servers(&s, cnts[i]);
		assert_true(share_elsewhere(&s, &r) == 0);
	}
	/* 25 equal nodes have 156 points each, the 24 that are left 160: 1 in 40 is new. */
	equal_servers(&s, 25);
	assert_in_range((uint64_t)(share_elsewhere(&s, &r) * 1000), 5, 80);
}

static void ring_pick_unequal_weights_ejecting_client_lands_elsewhere_at_times(void **state)
{
	static const uint32_t weights[][4] = { { 1, 2, 3, 4 }, { 4, 3, 2, 1 }, { 2, 1, 1, 1 } };
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	for (size_t i = 0; i < sizeof(weights) / sizeof(weights[0]); i++) {
		struct servers s;
		double share;

		equal_servers(&s, 4);
		for (uint32_t j = 0; j < 4; j++)
			s.all[j].weight = s.nodes[j].weight = weights[i][j];
		share = share_elsewhere(&s, &r);
		printf("# weights %u %u %u %u, the first ejected: %.1f %% elsewhere\n",
		       weights[i][0], weights[i][1], weights[i][2], weights[i][3], 100 * share);
		assert_true(share < 0.30);
	}
}

/* --- copies and arcs --- */

static void ring_pick_copies_are_distinct_and_clockwise(void **state)
{
	struct servers s = { .cnt = 0 };
	struct ring *ring;
	char host[32];

	(void)state;
	for (uint32_t i = 0; i < 6; i++) {
		snprintf(host, sizeof(host), "10.9.0.%u", i);
		add_server(&s, host, 11211, 1 + i % 3);
	}
	ring = ring_of(&s);
	for (uint32_t arc = 0; arc < ring->point_cnt; arc++) {
		struct ring_copy copies[RING_COPY_MAX];
		uint32_t step = 0;

		assert_int_equal(ring_pick(ring, arc, RING_COPY_MAX, copies), 6);
		for (uint16_t i = 0; i < 6; i++) {
			assert_int_equal(copies[i].rank, i);
			/* nothing new lies between the last copy's point and this one's */
			for (; (arc + step) % ring->point_cnt != copies[i].point; step++) {
				uint16_t node = ring->points[(arc + step) % ring->point_cnt].node;
				bool known = false;

				for (uint16_t j = 0; j < i; j++)
					known |= copies[j].node == node;
				assert_true(known);
			}
			assert_int_equal(ring->points[copies[i].point].node, copies[i].node);
			for (uint16_t j = 0; j < i; j++)
				assert_int_not_equal(copies[j].node, copies[i].node);
		}
	}
	ring_free(ring);
}

/* What changes hands when a node comes is what it gets; when it goes, what it had. */
static void ring_pick_another_node_moves_only_what_it_gets(void **state)
{
	struct ring *three, *four;
	struct servers s = { .cnt = 0 };
	uint32_t moved = 0;
	struct rand r;
	char host[32], buf[KEY_ROOM];

	(void)state;
	rand_init(&r, runopts_seed());
	for (uint32_t i = 0; i < 4; i++) {
		snprintf(host, sizeof(host), "10.9.0.%u", i);
		add_server(&s, host, 11211, 1);
	}
	four = ring_of(&s);
	s.cnt = 3;
	three = ring_of(&s);
	for (int i = 0; i < 20000; i++) {
		struct span key = random_key(&r, buf);
		uint16_t now = owner_of(four, key);

		if (now == owner_of(three, key))
			continue;
		assert_int_equal(now, 3);
		moved++;
	}
	assert_in_range(moved, 4000, 6000);
	ring_free(three);
	ring_free(four);
}

static uint32_t zones_of(const struct ring *ring, const struct ring_copy *copies, uint32_t cnt)
{
	uint32_t zones = 0;

	for (uint32_t i = 0; i < cnt; i++) {
		uint32_t j = 0;

		while (j < i && strcmp(ring->nodes[copies[i].node].zone,
				       ring->nodes[copies[j].node].zone) != 0)
			j++;
		zones += j == i;
	}
	return zones;
}

/* Nodes 0 to 3 in zone a, 4 in b, 5 in c: most neighbours are in one zone. */
static void ring_pick_zones_each_copy_in_its_own_while_there_are_any(void **state)
{
	static const char *const zones[] = { "a", "a", "a", "a", "b", "c" };
	struct servers s = { .cnt = 0 };
	uint32_t passed_over = 0;
	struct ring *ring;
	char host[32];

	(void)state;
	for (uint32_t i = 0; i < 6; i++) {
		snprintf(host, sizeof(host), "10.9.0.%u", i);
		add_server(&s, host, 11211, 1);
		s.nodes[i].zone = zones[i];
	}
	ring = ring_of(&s);
	for (uint32_t arc = 0; arc < ring->point_cnt; arc++) {
		struct ring_copy copies[RING_COPY_MAX], plain;

		/* the owner is the ring's, whatever the zones */
		ring_pick(ring, arc, 1, &plain);
		for (uint32_t wish = 2; wish <= 5; wish++) {
			assert_int_equal(ring_pick(ring, arc, wish, copies), wish);
			assert_int_equal(copies[0].node, plain.node);
			assert_int_equal(copies[0].rank, 0);
			assert_int_equal(zones_of(ring, copies, wish), wish < 3 ? wish : 3);
			for (uint32_t i = 1; i < wish; i++)
				assert_true(copies[i].rank > copies[i - 1].rank);
			passed_over += copies[wish - 1].rank > wish - 1;
		}
	}
	assert_true(passed_over > 100);
	ring_free(ring);
}

static void ring_arc_width_of_all_is_the_ring_and_keys_fall_by_it(void **state)
{
	struct servers s = { .cnt = 0 };
	uint64_t sum = 0, share[3] = { 0 };
	uint32_t hits[3] = { 0 };
	struct ring *ring;
	struct rand r;
	char buf[KEY_ROOM];

	(void)state;
	rand_init(&r, runopts_seed());
	add_server(&s, "10.9.0.1", 11211, 1);
	add_server(&s, "10.9.0.2", 11211, 2);
	add_server(&s, "10.9.0.3", 11211, 3);
	ring = ring_of(&s);
	for (uint32_t arc = 0; arc < ring->point_cnt; arc++) {
		sum += ring_arc_width(ring, arc);
		share[ring->points[arc].node] += ring_arc_width(ring, arc);
		/* both ends of the arc */
		assert_int_equal(ring_arc(ring, ring->points[arc].value), arc);
		assert_int_equal(ring_arc(ring, ring->points[arc].value + 1),
				 (arc + 1) % ring->point_cnt);
	}
	assert_true(sum == 1ULL << 32);
	for (int i = 0; i < 20000; i++)
		hits[owner_of(ring, random_key(&r, buf))]++;
	for (int i = 0; i < 3; i++) {
		double expected = (double)share[i] / (double)sum * 20000;

		assert_true(hits[i] > expected * 0.93 && hits[i] < expected * 1.07);
	}
	ring_free(ring);
}

/* --- what is refused --- */

static void ring_name_parse_reads_what_clients_write(void **state)
{
	static const struct {
		const char *text;
		const char *host; /* NULL: refused */
		uint16_t port;
	} rows[] = {
		{ "10.0.0.1", "10.0.0.1", 11211 },
		{ "10.0.0.1:11211", "10.0.0.1", 11211 },
		{ "a:1", "a", 1 },
		{ "a:65535", "a", 65535 },
		{ "::1", "::1", 11211 },
		{ "[::1]", "::1", 11211 },
		{ "[::1]:11212", "::1", 11212 },
		{ "fd00::2:11212", "fd00::2:11212", 11211 },
		{ "", NULL, 0 },
		{ "a:0", NULL, 0 },
		{ "a:", NULL, 0 },
		{ "a:65536", NULL, 0 },
		{ "a:123456", NULL, 0 },
		{ "a:1x", NULL, 0 },
		{ ":1", NULL, 0 },
		{ "[]:1", NULL, 0 },
		{ "[::1", NULL, 0 },
		{ "[::1]1", NULL, 0 },
		{ "[::1]:", NULL, 0 },
		{ "/run/cache.sock", NULL, 0 },
		{ "a b", NULL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct span host = span_str("untouched");
		uint16_t port = 7;
		bool fine = ring_name_parse(rows[i].text, &host, &port);

		if (fine != (rows[i].host != NULL))
			fail_msg("\"%s\" was %s", rows[i].text, fine ? "taken" : "refused");
		assert_true(span_equal(host, span_str(fine ? rows[i].host : "untouched")));
		assert_int_equal(port, fine ? rows[i].port : 7);
	}
}

static void ring_new_bad_nodes_are_refused(void **state)
{
	static struct ring_node many[RING_NODE_MAX + 1];
	struct ring_node nodes[] = { { "a", "a", NULL, 1 }, { "b", "b", NULL, 1 } };
	struct ring *ring = (struct ring *)&nodes;

	(void)state;
	assert_int_equal(ring_new(nodes, 0, &ring), -EINVAL);
	nodes[1].weight = 0;
	assert_int_equal(ring_new(nodes, 2, &ring), -EINVAL);
	nodes[1].weight = RING_WEIGHT_MAX + 1;
	assert_int_equal(ring_new(nodes, 2, &ring), -EINVAL);
	nodes[1] = (struct ring_node){ "b", "b:0", NULL, 1 };
	assert_int_equal(ring_new(nodes, 2, &ring), -EINVAL);
	nodes[1] = (struct ring_node){ "b", "a:11211", NULL, 1 };
	assert_int_equal(ring_new(nodes, 2, &ring), -EEXIST);
	assert_int_equal(ring_new(many, RING_NODE_MAX + 1, &ring), -E2BIG);
	assert_ptr_equal(ring, &nodes);
}

static void ring_new_out_of_memory_leaves_nothing(void **state)
{
	struct ring_node nodes[] = { { "a", "a", NULL, 1 }, { "b", "b", NULL, 1 } };
	struct ring *ring = NULL;
	int rc = -ENOMEM;

	(void)state;
	for (uint64_t nth = 1; rc == -ENOMEM; nth++) {
		fault_start(nth);
		rc = ring_new(nodes, 2, &ring);
		fault_stop();
		assert_true(rc == 0 || (rc == -ENOMEM && !ring && nth < 10));
	}
	ring_free(ring);
	ring_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ring_pick_kinds_of_names_owner_is_libmemcacheds),
		cmocka_unit_test(ring_pick_equal_weights_owner_is_libmemcacheds),
		cmocka_unit_test(ring_pick_random_weights_owner_is_libmemcacheds),
		cmocka_unit_test(ring_pick_namespace_hashed_by_the_client_same_owner),
		cmocka_unit_test(ring_pick_equal_weights_ejecting_client_lands_on_second_copy),
		cmocka_unit_test(
			ring_pick_unequal_weights_ejecting_client_lands_elsewhere_at_times),
		cmocka_unit_test(ring_pick_copies_are_distinct_and_clockwise),
		cmocka_unit_test(ring_pick_another_node_moves_only_what_it_gets),
		cmocka_unit_test(ring_pick_zones_each_copy_in_its_own_while_there_are_any),
		cmocka_unit_test(ring_arc_width_of_all_is_the_ring_and_keys_fall_by_it),
		cmocka_unit_test(ring_name_parse_reads_what_clients_write),
		cmocka_unit_test(ring_new_bad_nodes_are_refused),
		cmocka_unit_test(ring_new_out_of_memory_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
