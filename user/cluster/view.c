/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One entry a node, none an arc: with a thousand nodes there are 160,000 arcs, and a document that
 * named each would be megabytes. That this is enough:
 *
 * Let m1 … mk be an arc's members and mj its primary, the first that is ready. The primary last
 * changed when mj became ready, or when the last of m1 … m(j-1) stopped being ready, whichever
 * came later: before the former mj was not primary, before the latter one of the earlier was, and
 * from then on nothing changed among m1 … mj. So the epoch is the larger of ready_since(mj) and
 * lost_at(m1) … lost_at(m(j-1)). What happens to members behind the primary changes nothing.
 *
 * When no member is ready, the first that is leaving is primary, if any, and the epoch is the
 * latest change of any member: perhaps later than needed, never too early.
 *
 * A node that is not known to have kept its memory (another incarnation) is behind, whatever it
 * was.
 */
#include "cluster/view.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#define FNV_START 0xcbf29ce484222325ULL
#define FNV_PRIME 0x100000001b3ULL

static const char *const state_names[VIEW_STATE_CNT] = {
	[VIEW_DOWN] = "down",
	[VIEW_BEHIND] = "behind",
	[VIEW_READY] = "ready",
	[VIEW_LEAVING] = "leaving",
};

/* FNV-1a; only has to tell configurations apart that people wrote. */
static uint64_t sum_text(uint64_t sum, const char *text)
{
	for (; *text; text++)
		sum = (sum ^ (uint8_t)*text) * FNV_PRIME;
	return (sum ^ 0xff) * FNV_PRIME;
}

uint64_t view_ring_sum(const struct ring *ring, uint32_t copies)
{
	uint64_t sum = FNV_START;
	char number[32];

	snprintf(number, sizeof(number), "%" PRIu32, copies);
	sum = sum_text(sum, number);
	for (uint32_t i = 0; i < ring->node_cnt; i++) {
		const struct ring_node *node = &ring->nodes[i];

		snprintf(number, sizeof(number), "%" PRIu32, node->weight);
		sum = sum_text(sum, node->name);
		sum = sum_text(sum, node->ring_name);
		sum = sum_text(sum, node->zone ? node->zone : "");
		sum = sum_text(sum, number);
	}
	/* JSON's integers have a sign */
	return sum >> 1;
}

/* --- making documents --- */

static struct view *view_alloc(uint32_t node_cnt)
{
	struct view *view = alloc_zero(1, sizeof(*view));

	if (!view)
		return NULL;
	view->node_cnt = node_cnt;
	view->nodes = alloc_zero(node_cnt, sizeof(*view->nodes));
	if (view->nodes)
		return view;
	alloc_free(view);
	return NULL;
}

void view_free(struct view *view)
{
	if (!view)
		return;
	alloc_free(view->nodes);
	alloc_free(view);
}

static enum view_state next_state(const struct view_node *last, const struct view_seen *seen)
{
	if (!seen->alive)
		return VIEW_DOWN;
	if (last->state == VIEW_DOWN || last->incarnation != seen->incarnation)
		return VIEW_BEHIND;
	if (last->state == VIEW_BEHIND && !seen->caught_up)
		return VIEW_BEHIND;
	return seen->leaving ? VIEW_LEAVING : VIEW_READY;
}

/* The node's entry in the document of that revision; false: as it was. */
static bool step_node(const struct view_node *last, const struct view_seen *seen, uint64_t revision,
		      struct view_node *ret)
{
	enum view_state state = next_state(last, seen);
	uint64_t incarnation = seen->alive ? seen->incarnation : last->incarnation;

	*ret = *last;
	if (state == last->state && incarnation == last->incarnation)
		return false;
	if (last->state == VIEW_READY)
		ret->lost_at = revision;
	if (state == VIEW_READY)
		ret->ready_since = revision;
	ret->state = state;
	ret->incarnation = incarnation;
	ret->changed_at = revision;
	return true;
}

int view_new(const struct ring *ring, uint32_t copies, const struct view_seen *seen,
	     struct view **ret)
{
	struct view *view;

	if (copies == 0 || copies > RING_COPY_MAX)
		return -EINVAL;
	view = view_alloc(ring->node_cnt);
	if (!view)
		return -ENOMEM;
	view->revision = 1;
	view->copies = copies;
	view->ring_sum = view_ring_sum(ring, copies);
	for (uint32_t i = 0; i < ring->node_cnt; i++) {
		struct view_node *node = &view->nodes[i];

		if (strlen(ring->nodes[i].name) > VIEW_NAME_MAX) {
			view_free(view);
			return -EINVAL;
		}
		strcpy(node->name, ring->nodes[i].name);
		node->changed_at = 1;
		if (!seen[i].alive)
			continue;
		node->state = VIEW_READY;
		node->ready_since = 1;
		node->incarnation = seen[i].incarnation;
	}
	*ret = view;
	return 0;
}

int view_next(const struct view *last, const struct view_seen *seen, struct view **ret)
{
	struct view *view = view_alloc(last->node_cnt);
	bool changed = false;

	if (!view)
		return -ENOMEM;
	view->revision = last->revision + 1;
	view->copies = last->copies;
	view->ring_sum = last->ring_sum;
	for (uint32_t i = 0; i < last->node_cnt; i++)
		changed |= step_node(&last->nodes[i], &seen[i], view->revision, &view->nodes[i]);
	if (!changed) {
		view_free(view);
		view = NULL;
	}
	*ret = view;
	return 0;
}

/* --- reading them --- */

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

void view_find_arc(const struct view *view, const struct ring *ring, uint32_t arc,
		   struct view_arc *ret)
{
	struct ring_copy copies[RING_COPY_MAX];
	uint64_t lost_at = 0, changed_at = 0;
	uint16_t leaving = RING_NO_NODE;

	*ret = (struct view_arc){ .primary = RING_NO_NODE };
	ret->member_cnt = (uint16_t)ring_pick(ring, arc, view->copies, copies);
	for (uint16_t i = 0; i < ret->member_cnt; i++)
		ret->members[i] = copies[i].node;
	for (uint16_t i = 0; i < ret->member_cnt; i++) {
		const struct view_node *node = &view->nodes[ret->members[i]];

		if (node->state == VIEW_READY) {
			ret->primary = ret->members[i];
			ret->epoch = max_u64(node->ready_since, lost_at);
			return;
		}
		if (node->state == VIEW_LEAVING && leaving == RING_NO_NODE)
			leaving = ret->members[i];
		lost_at = max_u64(lost_at, node->lost_at);
		changed_at = max_u64(changed_at, node->changed_at);
	}
	ret->primary = leaving;
	ret->epoch = changed_at;
}

/* --- JSON --- */

char *view_compose(const struct view *view)
{
	json_t *nodes = json_array();
	json_t *root = json_pack("{s:i, s:I, s:I, s:I, s:o}", "version", VIEW_VERSION, "revision",
				 (json_int_t)view->revision, "ring", (json_int_t)view->ring_sum,
				 "copies", (json_int_t)view->copies, "nodes", nodes);
	char *text;

	for (uint32_t i = 0; i < view->node_cnt; i++) {
		const struct view_node *node = &view->nodes[i];

		json_array_append_new(nodes,
				      json_pack("{s:s, s:s, s:I, s:I, s:I, s:I}", "name",
						node->name, "state", state_names[node->state],
						"incarnation", (json_int_t)node->incarnation,
						"ready_since", (json_int_t)node->ready_since,
						"lost_at", (json_int_t)node->lost_at, "changed_at",
						(json_int_t)node->changed_at));
	}
	text = json_array_size(nodes) == view->node_cnt ? json_dumps(root, JSON_COMPACT) : NULL;
	json_decref(root);
	return text;
}

/* A revision that some document up to this one had, or 0. */
static bool parse_revision(json_int_t from, uint64_t most, uint64_t *ret)
{
	*ret = (uint64_t)from;
	return from >= 0 && *ret <= most;
}

static bool parse_node(json_t *json, const struct ring_node *known, uint64_t revision,
		       struct view_node *ret)
{
	json_int_t incarnation, ready_since, lost_at, changed_at;
	const char *name, *state;
	uint32_t i = 0;

	if (json_unpack(json, "{s:s, s:s, s:I, s:I, s:I, s:I}", "name", &name, "state", &state,
			"incarnation", &incarnation, "ready_since", &ready_since, "lost_at",
			&lost_at, "changed_at", &changed_at) ||
	    strcmp(name, known->name) != 0 || strlen(name) > VIEW_NAME_MAX || incarnation < 0 ||
	    !parse_revision(ready_since, revision, &ret->ready_since) ||
	    !parse_revision(lost_at, revision, &ret->lost_at) ||
	    !parse_revision(changed_at, revision, &ret->changed_at))
		return false;
	while (i < VIEW_STATE_CNT && strcmp(state, state_names[i]) != 0)
		i++;
	strcpy(ret->name, name);
	ret->state = (enum view_state)i;
	ret->incarnation = (uint64_t)incarnation;
	return i < VIEW_STATE_CNT;
}

static int parse_root(json_t *root, const struct ring *ring, uint32_t copies, struct view **ret)
{
	json_int_t version, revision, ring_sum, copy_cnt;
	struct view *view;
	json_t *nodes;

	if (json_unpack(root, "{s:I}", "version", &version))
		return -EBADMSG;
	if (version != VIEW_VERSION)
		return -EPROTO;
	if (json_unpack(root, "{s:I, s:I, s:I, s:o}", "revision", &revision, "ring", &ring_sum,
			"copies", &copy_cnt, "nodes", &nodes) ||
	    revision < 1 || (uint64_t)ring_sum != view_ring_sum(ring, copies) ||
	    copy_cnt != (json_int_t)copies || json_array_size(nodes) != ring->node_cnt)
		return -EBADMSG;
	view = view_alloc(ring->node_cnt);
	if (!view)
		return -ENOMEM;
	view->revision = (uint64_t)revision;
	view->ring_sum = (uint64_t)ring_sum;
	view->copies = copies;
	for (uint32_t i = 0; i < ring->node_cnt; i++) {
		if (!parse_node(json_array_get(nodes, i), &ring->nodes[i], view->revision,
				&view->nodes[i])) {
			view_free(view);
			return -EBADMSG;
		}
	}
	*ret = view;
	return 0;
}

int view_parse(const char *text, size_t len, const struct ring *ring, uint32_t copies,
	       struct view **ret)
{
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	int rc;

	if (!root)
		return -EBADMSG;
	rc = parse_root(root, ring, copies, ret);
	json_decref(root);
	return rc;
}
