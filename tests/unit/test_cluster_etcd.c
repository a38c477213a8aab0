/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: nodes that share an etcd of three members see one sequence of views, which says of
 * each node what is true of it; the node that writes it is one at a time, and another when it dies;
 * no node is told to serve past its lease; members of etcd may die and sleep meanwhile. Answers of
 * the gateway are read or refused, whatever they are. Method: real etcd on loopback, killed and
 * frozen; three nodes in this process, each with a loop of its own, so that one can stand still.
 */
#include "cluster/etcd.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cluster/etcd_text.h"
#include "lib/etcdserver.h"
#include "lib/fault.h"

#define NODE_CNT 3
#define TTL_SEC ETCD_TTL_MIN_SEC
#define TTL_NS (TTL_SEC * NSEC_PER_SEC)

static const struct ring_node ring_nodes[NODE_CNT] = {
	{ .name = "a", .ring_name = "10.0.0.1", .weight = 1 },
	{ .name = "b", .ring_name = "10.0.0.2", .weight = 1 },
	{ .name = "c", .ring_name = "10.0.0.3", .weight = 1 },
};

struct node {
	struct loop loop;
	struct etcd *etcd; /* NULL: dead */
	uint16_t idx;
	uint64_t incarnation;
	uint64_t revision;
	enum view_state states[NODE_CNT];
	uint64_t serve_until_ns;
	uint32_t lease_cnt;
};

static struct etcdserver server;
static const char *endpoints[ETCDSERVER_MAX];
static struct ring *ring;
static struct node nodes[NODE_CNT];
static uint64_t incarnation_last;
static char prefix[32];
static uint32_t test_cnt;

static uint64_t now_ns(void)
{
	return clock_now_ns(clock_system());
}

static void on_view(void *ctx, const struct view *view)
{
	struct node *node = ctx;

	assert_true(view->revision > node->revision);
	node->revision = view->revision;
	for (uint32_t i = 0; i < NODE_CNT; i++)
		node->states[i] = view->nodes[i].state;
}

static void on_lease(void *ctx, uint64_t serve_until_ns)
{
	struct node *node = ctx;

	assert_true(node->revision > 0);
	assert_true(serve_until_ns > node->serve_until_ns);
	/* The request was sent before now, and a tenth of the lease is kept back. */
	assert_true(serve_until_ns <= now_ns() + TTL_NS - TTL_NS / 10);
	node->serve_until_ns = serve_until_ns;
	node->lease_cnt++;
}

static void node_start(uint16_t idx)
{
	struct node *node = &nodes[idx];
	struct etcd_conf conf = {
		.endpoints = endpoints,
		.endpoint_cnt = server.cnt,
		.prefix = prefix,
		.ring = ring,
		.copies = 2,
		.self = idx,
		.ttl_sec = TTL_SEC,
		.clock = clock_system(),
		.ctx = node,
		.on_view = on_view,
		.on_lease = on_lease,
	};

	*node = (struct node){ .idx = idx, .incarnation = ++incarnation_last };
	conf.incarnation = node->incarnation;
	assert_int_equal(loop_init(&node->loop), 0);
	assert_int_equal(etcd_new(&conf, &node->loop, &node->etcd), 0);
}

static void node_die(uint16_t idx)
{
	etcd_free(nodes[idx].etcd);
	loop_fini(&nodes[idx].loop);
	nodes[idx].etcd = NULL;
}

static uint32_t asleep; /* a bit for each node */

static void turn_all(void)
{
	for (uint32_t i = 0; i < NODE_CNT; i++) {
		if (!nodes[i].etcd || asleep & 1U << i)
			continue;
		assert_true(loop_wait(&nodes[i].loop, 2) >= 0);
		loop_drain(&nodes[i].loop);
		etcd_turn(nodes[i].etcd);
	}
}

/* Ends as soon as it is so; fails when it is not so by then. */
static void await(bool (*is_so)(const void *arg), const void *arg, uint64_t ms)
{
	uint64_t end_ns = now_ns() + ms * NSEC_PER_MSEC;

	while (!is_so(arg)) {
		if (now_ns() >= end_ns) {
			for (uint32_t i = 0; i < NODE_CNT; i++) {
				struct etcd_status status = { 0 };

				if (nodes[i].etcd)
					etcd_status(nodes[i].etcd, &status);
				print_message("node %u: revision %llu, states %d %d %d, %s\n", i,
					      (unsigned long long)nodes[i].revision,
					      nodes[i].states[0], nodes[i].states[1],
					      nodes[i].states[2], status.why);
			}
			fail_msg("not so after %llu ms", (unsigned long long)ms);
		}
		turn_all();
	}
}

static void go_on_for(uint64_t ms)
{
	uint64_t end_ns = now_ns() + ms * NSEC_PER_MSEC;

	while (now_ns() < end_ns)
		turn_all();
}

/* Every node that lives and is awake sees the same, and that: r, b, d, l for each node. */
static bool all_see(const void *arg)
{
	const char *letters = arg;
	uint64_t revision = 0;

	for (uint32_t i = 0; i < NODE_CNT; i++) {
		if (!nodes[i].etcd || asleep & 1U << i)
			continue;
		if (nodes[i].revision == 0 || (revision && nodes[i].revision != revision))
			return false;
		revision = nodes[i].revision;
		for (uint32_t j = 0; j < NODE_CNT; j++) {
			if ("dbrl"[nodes[i].states[j]] != letters[j])
				return false;
		}
	}
	return true;
}

static uint32_t leader_cnt(uint32_t *ret_leader)
{
	uint32_t cnt = 0;

	for (uint32_t i = 0; i < NODE_CNT; i++) {
		struct etcd_status status;

		if (!nodes[i].etcd || asleep & 1U << i)
			continue;
		etcd_status(nodes[i].etcd, &status);
		if (status.leads) {
			*ret_leader = i;
			cnt++;
		}
	}
	return cnt;
}

static bool is_led(const void *arg)
{
	uint32_t leader;

	(void)arg;
	return leader_cnt(&leader) == 1;
}

static bool all_serve(const void *arg)
{
	(void)arg;
	for (uint32_t i = 0; i < NODE_CNT; i++) {
		if (nodes[i].etcd && nodes[i].serve_until_ns <= now_ns())
			return false;
	}
	return true;
}

static bool is_released(const void *arg)
{
	return etcd_is_released(((const struct node *)arg)->etcd);
}

/* Three nodes, all ready. */
static int setup(void **state)
{
	(void)state;
	if (!etcdserver_installed())
		return 0;
	snprintf(prefix, sizeof(prefix), "/xdpcache-test/%u/", ++test_cnt);
	asleep = 0;
	for (uint16_t i = 0; i < NODE_CNT; i++) {
		node_start(i);
		etcd_set_state(nodes[i].etcd, true, false);
	}
	await(all_see, "rrr", 10000);
	await(is_led, NULL, 5000);
	await(all_serve, NULL, 5000);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (uint16_t i = 0; i < NODE_CNT; i++) {
		if (nodes[i].etcd)
			node_die(i);
	}
	return 0;
}

static void need_etcd(void)
{
	if (etcdserver_installed())
		return;
	print_message("skipped: no /usr/bin/etcd (apt install etcd-server)\n");
	skip();
}

/* One that does not write the documents: while nobody does none is written. */
static uint16_t follower(void)
{
	uint32_t leader = 0;

	assert_int_equal(leader_cnt(&leader), 1);
	return leader == 2 ? 1 : 2;
}

static void view_says_what_a_node_says_of_itself(void **state)
{
	char leaving[] = "rrr", behind[] = "rrr";
	uint16_t node;

	(void)state;
	need_etcd();
	node = follower();
	leaving[node] = 'l';
	behind[node] = 'b';
	etcd_set_state(nodes[node].etcd, true, true);
	await(all_see, leaving, 2000);
	etcd_set_state(nodes[node].etcd, true, false);
	await(all_see, "rrr", 2000);
	/* One that has started anew has to catch up, and its lease was never missed. */
	node_die(node);
	node_start(node);
	await(all_see, behind, 2000);
	go_on_for(TTL_SEC * 1000);
	assert_true(all_see(behind));
	etcd_set_state(nodes[node].etcd, true, false);
	await(all_see, "rrr", 2000);
}

static void node_that_dies_is_down_after_its_lease(void **state)
{
	uint64_t began_ns, serve_until_ns;
	uint16_t dead;

	(void)state;
	need_etcd();
	dead = follower();
	serve_until_ns = nodes[dead].serve_until_ns;
	node_die(dead);
	began_ns = now_ns();
	await(all_see, dead == 2 ? "rrd" : "rdr", 5000);
	/* Never while it could still be serving. */
	assert_true(now_ns() > serve_until_ns);
	print_message("seen after %llu ms\n",
		      (unsigned long long)((now_ns() - began_ns) / NSEC_PER_MSEC));
}

static void leader_that_dies_is_followed_by_another(void **state)
{
	uint32_t first = 0, second = 0;
	char expected[] = "rrr";

	(void)state;
	need_etcd();
	assert_int_equal(leader_cnt(&first), 1);
	node_die((uint16_t)first);
	expected[first] = 'd';
	await(all_see, expected, 6000);
	assert_int_equal(leader_cnt(&second), 1);
	assert_int_not_equal(first, second);
	node_start((uint16_t)first);
	expected[first] = 'b';
	await(all_see, expected, 3000);
}

static void node_that_gives_its_lease_back_is_down_at_once(void **state)
{
	uint64_t began_ns = now_ns();

	(void)state;
	need_etcd();
	etcd_release(nodes[0].etcd);
	await(is_released, &nodes[0], 1000);
	node_die(0);
	await(all_see, "drr", 1500);
	/* Before its lease would have ended. */
	assert_true(now_ns() - began_ns < TTL_NS * 3 / 4);
	await(is_led, NULL, 1500);
}

static void node_that_slept_past_its_lease_starts_behind(void **state)
{
	uint64_t serve_until_ns;

	(void)state;
	need_etcd();
	serve_until_ns = nodes[1].serve_until_ns;
	asleep = 1U << 1;
	await(all_see, "rdr", 5000);
	asleep = 0;
	assert_true(nodes[1].serve_until_ns == serve_until_ns);
	assert_true(now_ns() > serve_until_ns);
	/* It says that it has all, but of before. */
	await(all_see, "rrr", 3000);
	assert_true(nodes[1].revision >= 3);
}

static void member_that_dies_is_asked_no_more(void **state)
{
	uint64_t serve_until_ns = nodes[0].serve_until_ns;
	struct etcd_status status;

	(void)state;
	need_etcd();
	etcd_status(nodes[0].etcd, &status);
	assert_string_equal(status.endpoint, server.urls[0]);
	etcdserver_kill(&server, 0);
	go_on_for(TTL_SEC * 1000 + 1500);
	/* It has been renewed since, which takes one of the others. */
	assert_true(nodes[0].serve_until_ns > serve_until_ns + TTL_NS / 2);
	await(all_serve, NULL, 5000);
	etcd_status(nodes[0].etcd, &status);
	assert_string_not_equal(status.endpoint, server.urls[0]);
	etcdserver_start(&server, 0);
}

static void etcd_without_its_leader_keeps_leases(void **state)
{
	uint64_t revision = nodes[0].revision, began_ns = now_ns();
	uint32_t leader = 0;

	(void)state;
	need_etcd();
	leader = etcdserver_leader(&server);
	etcdserver_kill(&server, leader);
	etcdserver_leader(&server);
	await(all_serve, NULL, 6000);
	print_message("renewed after %llu ms\n",
		      (unsigned long long)((now_ns() - began_ns) / NSEC_PER_MSEC));
	go_on_for(1500);
	/* Nobody was taken for dead. */
	assert_true(all_see("rrr"));
	assert_int_equal(nodes[0].revision, revision);
	etcdserver_start(&server, leader);
	go_on_for(500);
	assert_true(all_serve(NULL));
	/* One that hears and does not answer. */
	leader = etcdserver_leader(&server);
	etcdserver_freeze(&server, leader);
	go_on_for(500);
	await(all_serve, NULL, 8000);
	go_on_for(1500);
	etcdserver_thaw(&server, leader);
	assert_true(all_see("rrr"));
	assert_int_equal(nodes[0].revision, revision);
}

static void etcd_without_a_majority_renews_nothing(void **state)
{
	uint32_t lease_cnts[NODE_CNT];

	(void)state;
	need_etcd();
	etcdserver_leader(&server);
	etcdserver_kill(&server, 0);
	etcdserver_kill(&server, 1);
	go_on_for(1500);
	for (uint32_t i = 0; i < NODE_CNT; i++)
		lease_cnts[i] = nodes[i].lease_cnt;
	go_on_for(2000);
	for (uint32_t i = 0; i < NODE_CNT; i++) {
		struct etcd_status status;

		assert_int_equal(nodes[i].lease_cnt, lease_cnts[i]);
		assert_true(nodes[i].serve_until_ns < now_ns());
		etcd_status(nodes[i].etcd, &status);
		assert_int_not_equal(strlen(status.why), 0);
	}
	etcdserver_start(&server, 0);
	etcdserver_start(&server, 1);
	await(all_serve, NULL, 10000);
	await(all_see, "rrr", 5000);
}

static void view_of_another_ring_is_left_alone(void **state)
{
	struct ring_node other[NODE_CNT];
	struct ring *other_ring, *mine = ring;
	struct etcd_status status = { .why = "" };

	(void)state;
	need_etcd();
	memcpy(other, ring_nodes, sizeof(other));
	other[1].weight = 7;
	assert_int_equal(ring_new(other, NODE_CNT, &other_ring), 0);
	node_die(2);
	ring = other_ring;
	node_start(2);
	ring = mine;
	go_on_for(1000);
	etcd_status(nodes[2].etcd, &status);
	assert_non_null(strstr(status.why, "another ring"));
	assert_int_equal(nodes[2].lease_cnt, 0);
	assert_int_equal(nodes[0].states[0], VIEW_READY);
	node_die(2);
	ring_free(other_ring);
}

/* --- what is said and heard --- */

static void text_compose_says_what_the_gateway_reads(void **state)
{
	const struct etcd_guard guards[] = {
		{ .key = "/a/leader", .same_creation = true, .revision = 7 },
		{ .key = "/a/view" },
	};
	char *text = etcd_text_put_if("/a/view", span_str("v"), 0, guards, 2);

	(void)state;
	assert_string_equal(
		text,
		"{\"compare\":[{\"result\":\"EQUAL\",\"target\":\"CREATE\",\"key\":"
		"\"L2EvbGVhZGVy\",\"create_revision\":\"7\"},{\"result\":\"EQUAL\",\"target\":"
		"\"MOD\",\"key\":\"L2Evdmlldw==\",\"mod_revision\":\"0\"}],\"success\":[{"
		"\"request_put\":{\"key\":\"L2Evdmlldw==\",\"value\":\"dg==\",\"lease\":\"0\"}}]}");
	free(text);
	text = etcd_text_watch("/a/", 12);
	assert_string_equal(text, "{\"create_request\":{\"key\":\"L2Ev\",\"range_end\":\"L2Ew\","
				  "\"start_revision\":\"12\"}}");
	free(text);
}

static const char range_text[] =
	"{\"header\":{\"revision\":\"9\"},\"kvs\":[{\"key\":\"L2E=\",\"create_revision\":\"2\","
	"\"mod_revision\":\"3\",\"version\":\"2\",\"value\":\"djE=\",\"lease\":\"77\"},"
	"{\"key\":\"L2I=\",\"create_revision\":\"4\",\"mod_revision\":\"4\"}],\"count\":\"2\"}";

static void text_parse_reads_what_is_there(void **state)
{
	struct etcd_range range;
	uint64_t lease;
	uint32_t ttl_sec;
	bool done = true;

	(void)state;
	assert_int_equal(etcd_text_parse_range(span_str(range_text), &range), 0);
	assert_int_equal(range.revision, 9);
	assert_int_equal(range.cnt, 2);
	assert_true(span_equal(range.kvs[0].key, span_str("/a")));
	assert_true(span_equal(range.kvs[0].value, span_str("v1")));
	assert_int_equal(range.kvs[0].create_revision, 2);
	assert_int_equal(range.kvs[0].mod_revision, 3);
	assert_int_equal(range.kvs[0].lease, 77);
	assert_true(span_equal(range.kvs[1].key, span_str("/b")));
	assert_int_equal(range.kvs[1].value.len, 0);
	etcd_range_fini(&range);
	assert_int_equal(
		etcd_text_parse_lease(span_str("{\"ID\":\"5\",\"TTL\":\"2\"}"), &lease, &ttl_sec),
		0);
	assert_int_equal(lease, 5);
	assert_int_equal(ttl_sec, 2);
	/* A renewal of a lease that is gone. */
	assert_int_equal(
		etcd_text_parse_lease(span_str("{\"result\":{\"ID\":\"5\"}}\n"), &lease, &ttl_sec),
		0);
	assert_int_equal(ttl_sec, 0);
	assert_int_equal(etcd_text_parse_put_if(span_str("{\"header\":{}}"), &done), 0);
	assert_false(done);
}

static void text_parse_refuses_what_is_no_answer(void **state)
{
	static const char *const ranges[] = {
		"",
		"[]",
		"null",
		"{}",
		"{\"header\":{}}",
		"{\"header\":{\"revision\":9}}",
		"{\"header\":{\"revision\":\"-1\"}}",
		"{\"header\":{\"revision\":\"1x\"}}",
		"{\"header\":{\"revision\":\"99999999999999999999999\"}}",
		"{\"header\":{\"revision\":\"1\"},\"kvs\":[7]}",
		"{\"header\":{\"revision\":\"1\"},\"kvs\":[{\"key\":\"?\"}]}",
		"{\"header\":{\"revision\":\"1\"},\"kvs\":[{\"key\":[]}]}",
		"{\"header\":{\"revision\":\"1\"},\"kvs\":[{\"key\":\"L2E=\",\"lease\":true}]}",
	};
	struct etcd_range range;
	uint64_t lease;
	uint32_t ttl_sec;
	bool done;

	(void)state;
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		if (etcd_text_parse_range(span_str(ranges[i]), &range) != -EBADMSG)
			fail_msg("%s was taken", ranges[i]);
	}
	/* Cut anywhere. */
	for (size_t len = 0; len + 1 < sizeof(range_text); len++)
		assert_int_equal(etcd_text_parse_range(span_of(range_text, len), &range), -EBADMSG);
	assert_int_equal(etcd_text_parse_lease(span_str("{\"TTL\":\"2\"}"), &lease, &ttl_sec),
			 -EBADMSG);
	assert_int_equal(etcd_text_parse_lease(span_str("{\"ID\":\"5\",\"TTL\":\"5000000000\"}"),
					       &lease, &ttl_sec),
			 -EBADMSG);
	assert_int_equal(etcd_text_parse_put_if(span_str("{\"succeeded\":true}"), &done), -EBADMSG);
}

static void text_parse_out_of_memory_leaves_nothing(void **state)
{
	struct etcd_range range;
	int rc;

	(void)state;
	for (uint64_t nth = 1;; nth++) {
		fault_start(nth);
		rc = etcd_text_parse_range(span_str(range_text), &range);
		fault_stop();
		if (!rc)
			break;
		assert_int_equal(rc, -ENOMEM);
	}
	etcd_range_fini(&range);
}

static int setup_server(void **state)
{
	(void)state;
	if (!etcdserver_installed())
		return 0;
	etcdserver_init(&server, 3);
	for (uint32_t i = 0; i < server.cnt; i++)
		endpoints[i] = server.urls[i];
	return ring_new(ring_nodes, NODE_CNT, &ring);
}

static int teardown_server(void **state)
{
	(void)state;
	etcdserver_fini(&server);
	ring_free(ring);
	return 0;
}

#define WITH_NODES(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_compose_says_what_the_gateway_reads),
		cmocka_unit_test(text_parse_reads_what_is_there),
		cmocka_unit_test(text_parse_refuses_what_is_no_answer),
		cmocka_unit_test(text_parse_out_of_memory_leaves_nothing),
		WITH_NODES(view_says_what_a_node_says_of_itself),
		WITH_NODES(node_that_dies_is_down_after_its_lease),
		WITH_NODES(leader_that_dies_is_followed_by_another),
		WITH_NODES(node_that_gives_its_lease_back_is_down_at_once),
		WITH_NODES(node_that_slept_past_its_lease_starts_behind),
		WITH_NODES(view_of_another_ring_is_left_alone),
		WITH_NODES(member_that_dies_is_asked_no_more),
		WITH_NODES(etcd_without_its_leader_keeps_leases),
		WITH_NODES(etcd_without_a_majority_renews_nothing),
	};

	return cmocka_run_group_tests(tests, setup_server, teardown_server);
}
