/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: a node that was away or has lost its memory is primary of nothing until it has caught
 * up; the primary is the first ready member; an arc's epoch changes when its primary does, never
 * falls, and without leaving nodes changes with nothing else; what is composed is parsed back, and
 * any other text is refused. Method: random histories of nodes, seeded, each document compared, arc
 * by arc, with a model that remembers every arc's last primary.
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

#include "base/rand.h"
#include "cluster/view.h"
#include "lib/fault.h"
#include "lib/runopts.h"

#define NODE_CNT 6
#define STEP_CNT 150

static const struct ring_node nodes[NODE_CNT] = {
	{ "a", "10.0.0.1", "x", 1 }, { "b", "10.0.0.2", "x", 1 }, { "c", "10.0.0.3", "y", 1 },
	{ "d", "10.0.0.4", "y", 1 }, { "e", "10.0.0.5", "z", 1 }, { "f", "10.0.0.6", "z", 2 },
};

static struct ring *ring_of(uint32_t cnt)
{
	struct ring *ring = NULL;

	assert_int_equal(ring_new(nodes, cnt, &ring), 0);
	return ring;
}

static void all_alive(struct view_seen *seen)
{
	for (uint64_t i = 0; i < NODE_CNT; i++)
		seen[i] = (struct view_seen){ .alive = true, .incarnation = 100 + i };
}

/* The document after *view; the old one is freed. */
static bool step(struct view **view, const struct view_seen *seen)
{
	struct view *next = NULL;

	assert_int_equal(view_next(*view, seen, &next), 0);
	if (!next)
		return false;
	assert_int_equal(next->revision, (*view)->revision + 1);
	view_free(*view);
	*view = next;
	return true;
}

/* --- one node's life --- */

static void view_next_returning_node_is_behind_until_caught_up(void **state)
{
	struct view_seen seen[NODE_CNT];
	struct ring *ring = ring_of(3);
	struct view *view = NULL;
	struct view_arc arc;

	(void)state;
	all_alive(seen);
	assert_int_equal(view_new(ring, 2, seen, &view), 0);
	view_find_arc(view, ring, 0, &arc);
	uint16_t owner = arc.primary, second = arc.members[1];

	assert_int_equal(arc.members[0], owner);
	assert_int_equal(arc.epoch, 1);
	assert_false(step(&view, seen));

	seen[owner].alive = false;
	assert_true(step(&view, seen));
	view_find_arc(view, ring, 0, &arc);
	assert_int_equal(arc.primary, second);
	assert_int_equal(arc.epoch, 2);
	assert_int_equal(arc.members[0], owner);

	/* its claim to have caught up counts from when it is known to be alive */
	seen[owner].alive = true;
	seen[owner].caught_up = true;
	assert_true(step(&view, seen));
	assert_int_equal(view->nodes[owner].state, VIEW_BEHIND);
	seen[owner].caught_up = false;
	assert_false(step(&view, seen));
	view_find_arc(view, ring, 0, &arc);
	assert_int_equal(arc.primary, second);
	assert_int_equal(arc.epoch, 2);

	seen[owner].caught_up = true;
	assert_true(step(&view, seen));
	view_find_arc(view, ring, 0, &arc);
	assert_int_equal(arc.primary, owner);
	assert_int_equal(arc.epoch, 4);
	view_free(view);
	ring_free(ring);
}

static void view_next_other_incarnation_is_behind_though_never_seen_down(void **state)
{
	struct view_seen seen[NODE_CNT];
	struct ring *ring = ring_of(3);
	struct view *view = NULL;

	(void)state;
	all_alive(seen);
	assert_int_equal(view_new(ring, 2, seen, &view), 0);
	seen[1].incarnation++;
	seen[1].caught_up = true;
	assert_true(step(&view, seen));
	assert_int_equal(view->nodes[1].state, VIEW_BEHIND);
	assert_int_equal(view->nodes[1].lost_at, 2);
	view_free(view);
	ring_free(ring);
}

static void view_next_leaving_node_is_primary_only_where_nobody_else_can_be(void **state)
{
	struct view_seen seen[NODE_CNT];
	struct ring *ring = ring_of(3);
	struct view *view = NULL;
	struct view_arc arc;

	(void)state;
	all_alive(seen);
	assert_int_equal(view_new(ring, 2, seen, &view), 0);
	view_find_arc(view, ring, 0, &arc);
	uint16_t owner = arc.primary, second = arc.members[1];

	seen[owner].leaving = true;
	assert_true(step(&view, seen));
	view_find_arc(view, ring, 0, &arc);
	assert_int_equal(arc.primary, second);
	assert_int_equal(arc.epoch, 2);
	seen[second].alive = false;
	assert_true(step(&view, seen));
	view_find_arc(view, ring, 0, &arc);
	assert_int_equal(arc.primary, owner);
	assert_int_equal(arc.epoch, 3);
	seen[owner].alive = false;
	assert_true(step(&view, seen));
	view_find_arc(view, ring, 0, &arc);
	assert_int_equal(arc.primary, RING_NO_NODE);
	view_free(view);
	ring_free(ring);
}

/* --- random histories --- */

struct history {
	struct view_arc *arcs; /* what each arc's last primary was, and at which epoch */
	bool leaving;	       /* some step let a node leave */
	uint32_t move_cnt;
};

static bool ready(const struct view *view, uint16_t node)
{
	return view->nodes[node].state == VIEW_READY;
}

static void check_arc(struct history *h, const struct view *view, const struct ring *ring,
		      uint32_t arc)
{
	struct view_arc *last = &h->arcs[arc], now;
	uint16_t first = RING_NO_NODE;
	bool moved;

	view_find_arc(view, ring, arc, &now);
	assert_true(now.epoch <= view->revision);
	for (uint16_t i = now.member_cnt; i-- > 0;) {
		if (ready(view, now.members[i]))
			first = now.members[i];
	}
	if (first != RING_NO_NODE)
		assert_int_equal(now.primary, first);
	else if (now.primary != RING_NO_NODE)
		assert_int_equal(view->nodes[now.primary].state, VIEW_LEAVING);
	assert_true(now.epoch >= last->epoch);
	moved = now.primary != last->primary;
	if (now.primary != RING_NO_NODE && moved)
		assert_int_equal(now.epoch, view->revision);
	else if (now.primary != RING_NO_NODE && !h->leaving)
		assert_int_equal(now.epoch, last->epoch);
	h->move_cnt += moved;
	*last = now;
}

static void random_change(struct rand *r, struct view_seen *seen, bool may_leave)
{
	struct view_seen *node = &seen[rand_below(r, NODE_CNT)];

	switch (rand_below(r, may_leave ? 5 : 4)) {
	case 0:
		node->alive = !node->alive;
		node->caught_up = false;
		break;
	case 1:
		node->incarnation++;
		node->caught_up = false;
		break;
	case 4:
		node->leaving = !node->leaving;
		break;
	default:
		node->caught_up = true;
		break;
	}
}

static void expect_round_trip(const struct view *view, const struct ring *ring)
{
	char *text = view_compose(view), *again;
	struct view *read = NULL;

	assert_non_null(text);
	assert_int_equal(view_parse(text, strlen(text), ring, view->copies, &read), 0);
	again = view_compose(read);
	assert_string_equal(text, again);
	assert_int_equal(read->revision, view->revision);
	for (uint32_t i = 0; i < view->node_cnt; i++)
		assert_memory_equal(&read->nodes[i], &view->nodes[i], sizeof(view->nodes[i]));
	free(again);
	free(text);
	view_free(read);
}

static void run_history(struct rand *r, uint32_t copies, bool may_leave)
{
	struct ring *ring = ring_of(NODE_CNT);
	struct history h = { .arcs = calloc(ring->point_cnt, sizeof(*h.arcs)),
			     .leaving = may_leave };
	struct view_seen seen[NODE_CNT];
	struct view *view = NULL;

	all_alive(seen);
	assert_int_equal(view_new(ring, copies, seen, &view), 0);
	for (uint32_t arc = 0; arc < ring->point_cnt; arc++)
		view_find_arc(view, ring, arc, &h.arcs[arc]);
	for (int i = 0; i < STEP_CNT; i++) {
		random_change(r, seen, may_leave);
		if (rand_below(r, 3) == 0)
			random_change(r, seen, may_leave);
		if (!step(&view, seen))
			continue;
		for (uint32_t arc = 0; arc < ring->point_cnt; arc++)
			check_arc(&h, view, ring, arc);
		if (i % 10 == 0)
			expect_round_trip(view, ring);
	}
	assert_true(h.move_cnt > 1000);
	free(h.arcs);
	view_free(view);
	ring_free(ring);
}

static void view_find_arc_random_histories_epoch_moves_with_the_primary(void **state)
{
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	for (uint32_t copies = 1; copies <= 4; copies++)
		run_history(&r, copies, false);
}

static void view_find_arc_random_leaving_epoch_never_too_early(void **state)
{
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	for (uint32_t copies = 1; copies <= 4; copies++)
		run_history(&r, copies, true);
}

/* --- text --- */

static void expect_refused(const char *text, const struct ring *ring, int rc)
{
	struct view *view = (struct view *)text;

	if (view_parse(text, strlen(text), ring, 2, &view) != rc)
		fail_msg("not %d: %s", rc, text);
	assert_ptr_equal(view, text);
}

/* `text` with the first `from` replaced. */
static void expect_changed_refused(const char *text, const char *from, const char *to, int rc,
				   const struct ring *ring)
{
	const char *at = strstr(text, from);
	char changed[4096];

	if (!at)
		fail_msg("no %s in %s", from, text);
	snprintf(changed, sizeof(changed), "%.*s%s%s", (int)(at - text), text, to,
		 at + strlen(from));
	expect_refused(changed, ring, rc);
}

static void view_parse_other_texts_are_refused(void **state)
{
	static const struct ring_node moved[2] = { { "a", "10.0.0.1", "x", 1 },
						   { "b", "10.0.0.9", "x", 1 } };
	struct view_seen seen[NODE_CNT];
	struct ring *ring = ring_of(2), *other = NULL;
	struct view *view = NULL, *read = NULL;
	char *text;

	(void)state;
	all_alive(seen);
	assert_int_equal(view_new(ring, 2, seen, &view), 0);
	text = view_compose(view);
	expect_changed_refused(text, "\"version\":1", "\"version\":2", -EPROTO, ring);
	expect_changed_refused(text, "\"version\":1", "\"version\":\"1\"", -EBADMSG, ring);
	expect_changed_refused(text, "\"revision\":1", "\"revision\":0", -EBADMSG, ring);
	expect_changed_refused(text, "\"revision\":1", "\"revision\":1,\"revision\":2", -EBADMSG,
			       ring);
	expect_changed_refused(text, "\"copies\":2", "\"copies\":3", -EBADMSG, ring);
	expect_changed_refused(text, "\"ready\"", "\"well\"", -EBADMSG, ring);
	expect_changed_refused(text, "\"name\":\"b\"", "\"name\":\"c\"", -EBADMSG, ring);
	expect_changed_refused(text, "\"lost_at\":0", "\"lost_at\":-1", -EBADMSG, ring);
	expect_changed_refused(text, "\"ready_since\":1", "\"ready_since\":2", -EBADMSG, ring);
	expect_changed_refused(text, "\"incarnation\":100", "\"incarnation\":-1", -EBADMSG, ring);
	expect_changed_refused(text, "\"nodes\":[", "\"nodes\":[{},", -EBADMSG, ring);
	expect_refused("", ring, -EBADMSG);
	expect_refused("[]", ring, -EBADMSG);
	for (size_t len = 0; len < strlen(text); len++)
		assert_int_equal(view_parse(text, len, ring, 2, &read), -EBADMSG);
	/* a ring with other places, zones or copies is another ring */
	assert_int_equal(ring_new(moved, 2, &other), 0);
	assert_int_equal(view_parse(text, strlen(text), other, 2, &read), -EBADMSG);
	assert_int_equal(view_parse(text, strlen(text), ring, 1, &read), -EBADMSG);
	ring_free(other);
	free(text);
	view_free(view);
	ring_free(ring);
}

/* etcd takes requests of 1.5 MiB. */
static void view_compose_thousand_nodes_fits_a_document(void **state)
{
	static struct ring_node many[1000];
	static struct view_seen seen[1000];
	static char names[1000][2][32];
	struct view *view = NULL, *next = NULL;
	struct ring *ring = NULL;
	char *text;

	(void)state;
	for (uint32_t i = 0; i < 1000; i++) {
		snprintf(names[i][0], sizeof(names[i][0]), "cache-%u.rack-%u", i, i % 40);
		snprintf(names[i][1], sizeof(names[i][1]), "10.1.%u.%u", i / 250, i % 250);
		many[i] = (struct ring_node){ names[i][0], names[i][1], NULL, 1 };
		seen[i] = (struct view_seen){ .alive = true, .incarnation = INT64_MAX - i };
	}
	assert_int_equal(ring_new(many, 1000, &ring), 0);
	assert_true(ring->point_cnt > 150000);
	assert_int_equal(view_new(ring, 3, seen, &view), 0);
	view->revision = 1ULL << 40;
	/* a storm: half of the nodes are lost at once */
	for (uint32_t i = 0; i < 1000; i += 2)
		seen[i].alive = false;
	assert_int_equal(view_next(view, seen, &next), 0);
	text = view_compose(next);
	printf("# 1,000 nodes, %u arcs: a document of %zu bytes\n", ring->point_cnt, strlen(text));
	assert_true(strlen(text) < 256 << 10);
	free(text);
	view_free(view);
	view_free(next);
	ring_free(ring);
}

static void view_new_out_of_memory_leaves_nothing(void **state)
{
	struct view_seen seen[NODE_CNT];
	struct ring *ring = ring_of(3);
	struct view *view = NULL, *next = NULL;
	int rc = -ENOMEM;

	(void)state;
	all_alive(seen);
	assert_int_equal(view_new(ring, 0, seen, &view), -EINVAL);
	assert_int_equal(view_new(ring, RING_COPY_MAX + 1, seen, &view), -EINVAL);
	for (uint64_t nth = 1; rc == -ENOMEM; nth++) {
		fault_start(nth);
		rc = view_new(ring, 2, seen, &view);
		if (rc == 0) {
			seen[0].alive = false;
			rc = view_next(view, seen, &next);
			view_free(rc ? view : NULL);
		}
		fault_stop();
		assert_true(nth < 20);
	}
	assert_int_equal(rc, 0);
	view_free(view);
	view_free(next);
	view_free(NULL);
	ring_free(ring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(view_next_returning_node_is_behind_until_caught_up),
		cmocka_unit_test(view_next_other_incarnation_is_behind_though_never_seen_down),
		cmocka_unit_test(view_next_leaving_node_is_primary_only_where_nobody_else_can_be),
		cmocka_unit_test(view_find_arc_random_histories_epoch_moves_with_the_primary),
		cmocka_unit_test(view_find_arc_random_leaving_epoch_never_too_early),
		cmocka_unit_test(view_parse_other_texts_are_refused),
		cmocka_unit_test(view_compose_thousand_nodes_fits_a_document),
		cmocka_unit_test(view_new_out_of_memory_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
