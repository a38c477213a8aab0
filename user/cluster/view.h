/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * view - who is primary of which arc, at which epoch.
 *
 * Does      keeps one document a cluster: what state each node of the ring is in, and since when.
 *           From it and the ring follows, for every arc, who its members are, which of them is
 *           primary, and the arc's epoch. Makes the next document from the last and from what the
 *           leader sees of the nodes. Writes and reads it as JSON.
 * Shape     an arc's members are the nodes that the ring picks for it, dead ones too, so that a
 *           majority is one of the same nodes all the time. Its primary is the first of them that
 *           is ready; when none is, the first that is leaving; else it has none. Its epoch is the
 *           revision of the document that made that node its primary.
 * Units     revisions count documents from 1; incarnations are numbers that a node draws when it
 *           starts with nothing in memory.
 * Errors    view_new: -ENOMEM, -EINVAL. view_parse: -EBADMSG no such document, or one of another
 *           ring; -EPROTO one of a version that this program does not know; -ENOMEM.
 * Owner     a view is complete in itself: the ring need not outlive it.
 * Threads   never changes once made: any.
 * Invariant of one arc, the primaries of two documents differ only if its epochs do; and the epoch
 *           in the later document is not the lower one.
 */
#ifndef XC_CLUSTER_VIEW_H
#define XC_CLUSTER_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/ring.h"

#define VIEW_VERSION 1
#define VIEW_NAME_MAX 64

enum view_state {
	VIEW_DOWN,    /* its lease is gone */
	VIEW_BEHIND,  /* alive; follows the primaries, but has not what they have yet */
	VIEW_READY,   /* alive and caught up: may be primary */
	VIEW_LEAVING, /* the same, but primary only where nobody else can be */
	VIEW_STATE_CNT,
};

struct view_node {
	char name[VIEW_NAME_MAX + 1];
	enum view_state state;
	uint64_t incarnation;
	uint64_t ready_since; /* the document that made it ready last; 0: never */
	uint64_t lost_at;     /* the document in which it was not ready any more; 0: never */
	uint64_t changed_at;  /* the document that gave it its state */
};

struct view {
	uint64_t revision;
	uint64_t ring_sum; /* of the ring that the document is about */
	uint32_t copies;
	uint32_t node_cnt;
	struct view_node *nodes; /* as in the ring */
};

/* What the leader sees of a node. */
struct view_seen {
	bool alive; /* it holds a lease */
	bool caught_up;
	bool leaving;
	uint64_t incarnation;
};

struct view_arc {
	uint64_t epoch;	  /* since which document the primary is that */
	uint16_t primary; /* RING_NO_NODE: none */
	uint16_t member_cnt;
	uint16_t members[RING_COPY_MAX]; /* first choice first */
};

/* Tells rings apart: names, places, weights, zones and the number of copies. */
uint64_t view_ring_sum(const struct ring *ring, uint32_t copies);

/*
 * The first document of a cluster: who is alive is ready, there being nothing to catch up with.
 * seen: one for each node of the ring.
 */
int view_new(const struct ring *ring, uint32_t copies, const struct view_seen *seen,
	     struct view **ret);
/* The document after `last`. *ret is NULL with 0 when it would say the same. */
int view_next(const struct view *last, const struct view_seen *seen, struct view **ret);
void view_free(struct view *view); /* NULL-safe */

void view_find_arc(const struct view *view, const struct ring *ring, uint32_t arc,
		   struct view_arc *ret);

/* The document's text, for the caller to free() ; NULL: out of memory. */
char *view_compose(const struct view *view);
int view_parse(const char *text, size_t len, const struct ring *ring, uint32_t copies,
	       struct view **ret);

#endif
