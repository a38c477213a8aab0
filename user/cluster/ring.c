/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ring, as libmemcached's weighted ketama makes it.
 *
 * A node of weight w among n nodes of total weight W has 4 * floor(40 * n * w / W) points. They
 * come four from one MD5 sum, of the text "host-0", "host-1", … when its port is 11211, else of
 * "host:port-0", …; each four bytes of the sum, low byte first, are a point. A key's hash is the
 * first four bytes of its own sum. Clients compute the number of points in floats, whose rounding
 * decides when the product is near a whole number: with 25 equal nodes each has 156 points.
 *
 * Where two points have one value, libmemcached leaves the order to qsort; here it is the order of
 * the nodes. Such points are 1 in 2^32 / (160 n).
 */
#include "cluster/ring.h"

#include <errno.h>
#include <math.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#define MD5_LEN 16
#define WORD_BITS 64

_Static_assert(RING_NODE_MAX < RING_NO_NODE, "a node's index fits");

/* --- names --- */

static bool parse_port(const char *text, uint16_t *ret)
{
	uint32_t port = 0;

	if (!*text || strlen(text) > 5)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		port = port * 10 + (uint32_t)(*text - '0');
	}
	*ret = (uint16_t)port;
	return port >= 1 && port <= UINT16_MAX;
}

bool ring_name_parse(const char *ring_name, struct span *ret_host, uint16_t *ret_port)
{
	size_t len = strlen(ring_name);
	const char *colon = strrchr(ring_name, ':');
	const char *bracket = strchr(ring_name, ']');
	uint16_t port = RING_PORT_DEFAULT;
	struct span host = span_of(ring_name, len);

	if (len == 0 || len > RING_NAME_MAX || strpbrk(ring_name, "/ \t\r\n"))
		return false;
	if (ring_name[0] == '[') {
		if (!bracket || (bracket[1] && bracket[1] != ':') ||
		    (bracket[1] && !parse_port(bracket + 2, &port)))
			return false;
		host = span_of(ring_name + 1, (size_t)(bracket - ring_name - 1));
	} else if (colon && strchr(ring_name, ':') == colon) {
		/* with more than one it is an address of IPv6 */
		if (!parse_port(colon + 1, &port))
			return false;
		host.len = (size_t)(colon - ring_name);
	}
	if (host.len == 0)
		return false;
	*ret_host = host;
	*ret_port = port;
	return true;
}

static bool same_place(const char *a, const char *b)
{
	struct span host_a, host_b;
	uint16_t port_a, port_b;

	return ring_name_parse(a, &host_a, &port_a) && ring_name_parse(b, &host_b, &port_b) &&
	       port_a == port_b && span_equal(host_a, host_b);
}

bool ring_find_twins(const struct ring_node *nodes, uint32_t cnt, uint32_t *ret_one,
		     uint32_t *ret_other)
{
	for (uint32_t i = 0; i < cnt; i++) {
		for (uint32_t j = 0; j < i; j++) {
			if (!same_place(nodes[i].ring_name, nodes[j].ring_name))
				continue;
			*ret_one = j;
			*ret_other = i;
			return true;
		}
	}
	return false;
}

static int check_nodes(const struct ring_node *nodes, uint32_t cnt)
{
	uint32_t one, other;
	struct span host;
	uint16_t port;

	if (cnt == 0)
		return -EINVAL;
	if (cnt > RING_NODE_MAX)
		return -E2BIG;
	for (uint32_t i = 0; i < cnt; i++) {
		if (!nodes[i].name || !nodes[i].ring_name || nodes[i].weight == 0 ||
		    nodes[i].weight > RING_WEIGHT_MAX ||
		    !ring_name_parse(nodes[i].ring_name, &host, &port))
			return -EINVAL;
	}
	return ring_find_twins(nodes, cnt, &one, &other) ? -EEXIST : 0;
}

/* --- points --- */

static void md5_of(const struct ring *ring, struct span text, uint8_t ret[MD5_LEN])
{
	/* It fails only for want of memory; a wrong place would be worse than an end. */
	if (EVP_Digest(text.ptr, text.len, ret, NULL, ring->md5, NULL) != 1)
		abort();
}

static uint32_t load_le32(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
	       (uint32_t)bytes[3] << 24;
}

/* In the clients' own arithmetic: see the head. */
static uint32_t points_of(const struct ring_node *nodes, uint32_t cnt, uint32_t idx)
{
	uint64_t total_weight = 0;
	float share, product;

	for (uint32_t i = 0; i < cnt; i++)
		total_weight += nodes[i].weight;
	share = (float)nodes[idx].weight / (float)total_weight;
	product = share * RING_POINTS_PER_NODE / RING_POINTS_STEP * (float)cnt;
	return (uint32_t)floorf((float)(product + 0.0000000001)) * RING_POINTS_STEP;
}

static void place_node(struct ring *ring, uint16_t idx, uint32_t point_cnt)
{
	char text[RING_NAME_MAX + 32];
	uint8_t sum[MD5_LEN];
	struct span host;
	uint16_t port;

	ring_name_parse(ring->nodes[idx].ring_name, &host, &port);
	for (uint32_t number = 0; number < point_cnt; number++) {
		struct ring_point *point = &ring->points[ring->point_cnt++];
		uint32_t part = number % RING_POINTS_STEP;
		int len;

		if (part == 0 && port == RING_PORT_DEFAULT) {
			len = snprintf(text, sizeof(text), "%.*s-%u", (int)host.len, host.ptr,
				       number / RING_POINTS_STEP);
			md5_of(ring, span_of(text, (size_t)len), sum);
		} else if (part == 0) {
			len = snprintf(text, sizeof(text), "%.*s:%u-%u", (int)host.len, host.ptr,
				       port, number / RING_POINTS_STEP);
			md5_of(ring, span_of(text, (size_t)len), sum);
		}
		*point = (struct ring_point){ .value = load_le32(sum + 4 * part),
					      .number = number,
					      .node = idx };
	}
}

static int compare_points(const void *left, const void *right)
{
	const struct ring_point *a = left, *b = right;

	if (a->value != b->value)
		return a->value < b->value ? -1 : 1;
	if (a->node != b->node)
		return a->node < b->node ? -1 : 1;
	return a->number < b->number ? -1 : a->number > b->number;
}

/* Nodes without a zone are all in one. */
static void number_zones(struct ring *ring)
{
	for (uint32_t i = 0; i < ring->node_cnt; i++) {
		const char *zone = ring->nodes[i].zone ? ring->nodes[i].zone : "";
		uint32_t j;

		for (j = 0; j < i; j++) {
			const char *other = ring->nodes[j].zone ? ring->nodes[j].zone : "";

			if (!strcmp(zone, other))
				break;
		}
		ring->zones[i] = j < i ? ring->zones[j] : (uint16_t)ring->zone_cnt++;
	}
}

int ring_new(const struct ring_node *nodes, uint32_t cnt, struct ring **ret)
{
	int rc = check_nodes(nodes, cnt);
	uint64_t point_cnt = 0;
	struct ring *ring;

	if (rc)
		return rc;
	ring = alloc_zero(1, sizeof(*ring));
	if (!ring)
		return -ENOMEM;
	for (uint32_t i = 0; i < cnt; i++)
		point_cnt += points_of(nodes, cnt, i);
	ring->nodes = nodes;
	ring->node_cnt = cnt;
	ring->zones = alloc_zero(cnt, sizeof(*ring->zones));
	ring->points = alloc_zero(point_cnt, sizeof(*ring->points));
	if (!ring->zones || !ring->points) {
		ring_free(ring);
		return -ENOMEM;
	}
	ring->md5 = EVP_MD_fetch(NULL, "MD5", NULL);
	if (!ring->md5) {
		ring_free(ring);
		return -ENOTSUP;
	}
	number_zones(ring);
	for (uint32_t i = 0; i < cnt; i++)
		place_node(ring, (uint16_t)i, points_of(nodes, cnt, i));
	qsort(ring->points, ring->point_cnt, sizeof(*ring->points), compare_points);
	*ret = ring;
	return 0;
}

void ring_free(struct ring *ring)
{
	if (!ring)
		return;
	EVP_MD_free(ring->md5);
	alloc_free(ring->points);
	alloc_free(ring->zones);
	alloc_free(ring);
}

/* --- places --- */

uint32_t ring_hash(const struct ring *ring, struct span key)
{
	uint8_t sum[MD5_LEN];

	md5_of(ring, key, sum);
	return load_le32(sum);
}

uint32_t ring_arc(const struct ring *ring, uint32_t hash)
{
	uint32_t left = 0, right = ring->point_cnt;

	while (left < right) {
		uint32_t middle = left + (right - left) / 2;

		if (ring->points[middle].value < hash)
			left = middle + 1;
		else
			right = middle;
	}
	return left == ring->point_cnt ? 0 : left;
}

uint64_t ring_arc_width(const struct ring *ring, uint32_t arc)
{
	uint32_t last = ring->point_cnt - 1;

	if (arc > 0)
		return ring->points[arc].value - ring->points[arc - 1].value;
	return (1ULL << 32) - ring->points[last].value + ring->points[0].value;
}

uint32_t ring_point_cnt(const struct ring *ring, uint16_t node)
{
	return points_of(ring->nodes, ring->node_cnt, node);
}

/* One bit a node or zone. */
struct seen {
	uint64_t bits[RING_NODE_MAX / WORD_BITS];
};

static bool see(struct seen *seen, uint32_t idx)
{
	uint64_t bit = 1ULL << (idx % WORD_BITS);
	bool before = seen->bits[idx / WORD_BITS] & bit;

	seen->bits[idx / WORD_BITS] |= bit;
	return before;
}

/* Clockwise: the first is the owner. */
static void sort_copies(struct ring_copy *copies, uint32_t cnt)
{
	for (uint32_t i = 1; i < cnt; i++) {
		struct ring_copy copy = copies[i];
		uint32_t j = i;

		for (; j > 0 && copies[j - 1].rank > copy.rank; j--)
			copies[j] = copies[j - 1];
		copies[j] = copy;
	}
}

uint32_t ring_pick(const struct ring *ring, uint32_t arc, uint32_t copies, struct ring_copy *ret)
{
	struct ring_copy spare[RING_COPY_MAX];
	struct seen nodes = { { 0 } }, zones = { { 0 } };
	uint32_t cnt = 0, spare_cnt = 0, zone_cnt = 0;
	uint16_t rank = 0;

	if (copies > RING_COPY_MAX)
		copies = RING_COPY_MAX;
	for (uint32_t step = 0; step < ring->point_cnt && cnt < copies; step++) {
		uint32_t at = (arc + step) % ring->point_cnt;
		struct ring_copy copy = { .node = ring->points[at].node, .point = at };

		if (zone_cnt == ring->zone_cnt && cnt + spare_cnt >= copies)
			break;
		if (see(&nodes, copy.node))
			continue;
		copy.rank = rank++;
		if (!see(&zones, ring->zones[copy.node])) {
			zone_cnt++;
			ret[cnt++] = copy;
		} else if (spare_cnt < RING_COPY_MAX) {
			spare[spare_cnt++] = copy;
		}
	}
	for (uint32_t i = 0; cnt < copies && i < spare_cnt; i++)
		ret[cnt++] = spare[i];
	sort_copies(ret, cnt);
	return cnt;
}
