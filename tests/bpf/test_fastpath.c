/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every way a packet can leave the fast path, as a table: a packet built layer by layer, what the
 * maps say, the outcome that must follow. For each row: exactly one counter moves and by one; the
 * action is the outcome's; a hit is the reply that pktgen builds, byte for byte; anything else is
 * the request, byte for byte. The last test counts that the table produced every outcome there is.
 *
 * Method: BPF_PROG_TEST_RUN on the product's object, and on the same source with growing and
 * storing helpers that refuse on demand (stage_mock.bpf.c) for what a test run's roomy frames never
 * meet. Time stands still at RIG_NOW_NS. No randomness.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include "fastpath.skel.h"
#include "lib/fastrig.h"
#include "tests/bpf/stage_mock.skel.h"

/* Bits of mock_refuse, as in stage_mock.bpf.c. */
enum {
	REFUSE_TAIL = 1,
	REFUSE_HEAD = 2,
	REFUSE_META = 4,
	REFUSE_STORE = 8,
	REFUSE_CHANGE = 16,
};

enum hook {
	HOOK_XDP, /* the product's program */
	HOOK_MOCK,
	HOOK_TC,
};

struct row {
	const char *name;
	struct pktgen_request request;
	uint32_t cut; /* frame ends here; 0: whole */
	void (*tweak)(struct fastrig *rig);
	enum hook hook;
	uint32_t refuse;
	enum xc_outcome outcome;
	bool gets;		  /* of a hit */
	const struct span *value; /* of a hit, unless the hot item's */
};

#define TEXT(s)                                                                                    \
	{                                                                                          \
		(const uint8_t *)(s), sizeof(s) - 1                                                \
	}
#define HOT "hot-key:0123456789abcdef-0123456"
#define HOTS HOT " " HOT " " HOT " " HOT
#define GET TEXT("get " HOT "\r\n")
#define GETS TEXT("gets " HOT "\r\n")

static const struct rig_item hot_item = {
	.key = TEXT(HOT),
	.value = TEXT("a value of 32 bytes, no more, ok"),
	.flags = 5,
	.cas = 123456789012ULL,
};

static struct fastpath_bpf *product;
static struct stage_mock_bpf *mock;
static struct fastrig product_rig, mock_rig;
static uint32_t produced[XC_OUTCOME_CNT];

/* --- what a row changes before its packet --- */

static void tweak_unconfigured(struct fastrig *rig)
{
	*rig->conf = (struct xc_conf){ 0 };
}

static void tweak_version(struct fastrig *rig)
{
	rig->conf->version++;
}

static void tweak_no_port(struct fastrig *rig)
{
	rig->conf->port_be = 0;
}

static void tweak_no_digest_key(struct fastrig *rig)
{
	rig->conf->digest_key[0] = rig->conf->digest_key[1] = 0;
}

static void tweak_lease_ends_now(struct fastrig *rig)
{
	rig->conf->serve_until_ns = RIG_NOW_NS;
}

static void tweak_vacant(struct fastrig *rig)
{
	rig->entries[0].kind = XC_ENTRY_VACANT;
}

static void tweak_kind_unknown(struct fastrig *rig)
{
	rig->entries[0].kind = 3;
}

static void tweak_absent(struct fastrig *rig)
{
	rig->entries[0].kind = XC_ENTRY_ABSENT;
	rig->entries[0].value_len = 0;
}

static void tweak_entry_beyond(struct fastrig *rig)
{
	fastrig_hot(rig, hot_item.key, rig->entry_cnt);
}

static void tweak_busy(struct fastrig *rig)
{
	rig->entries[0].seq = 41;
}

static void tweak_even_seq(struct fastrig *rig)
{
	rig->entries[0].seq = 42;
}

/* Resident, but nobody set the filter's bit: no key that a hint remembers. */
static void tweak_filter_off(struct fastrig *rig)
{
	struct rig_item item = hot_item;

	item.key = (struct span)TEXT("filtered");
	fastrig_insert(rig, &item);
	memset(rig->filter, 0, XC_FILTER_WORDS * sizeof(*rig->filter));
}

static void tweak_expires_now(struct fastrig *rig)
{
	rig->entries[0].expire_ns = RIG_NOW_NS;
}

static void tweak_expired_long_ago(struct fastrig *rig)
{
	rig->entries[0].expire_ns = 1;
}

static void tweak_expires_next(struct fastrig *rig)
{
	rig->entries[0].expire_ns = RIG_NOW_NS + 1;
}

static void tweak_flush_gen(struct fastrig *rig)
{
	rig->conf->flush_gen++;
}

static void tweak_flush_at_now(struct fastrig *rig)
{
	rig->conf->flush_at_ns = RIG_NOW_NS;
}

static void tweak_flush_at_next(struct fastrig *rig)
{
	rig->conf->flush_at_ns = RIG_NOW_NS + 1;
}

/* The digest's element names an entry over another key, as with two keys of one digest. */
static void collide(struct fastrig *rig, struct span other)
{
	struct rig_item item = hot_item;

	item.key = other;
	fastrig_hot(rig, hot_item.key, fastrig_insert(rig, &item));
}

static void tweak_collision_first_byte(struct fastrig *rig)
{
	collide(rig, (struct span)TEXT("Hot-key:0123456789abcdef-0123456"));
}

static void tweak_collision_middle(struct fastrig *rig)
{
	collide(rig, (struct span)TEXT("hot-key:012345678_abcdef-0123456"));
}

static void tweak_collision_last_byte(struct fastrig *rig)
{
	collide(rig, (struct span)TEXT("hot-key:0123456789abcdef-012345_"));
}

static void tweak_collision_prefix(struct fastrig *rig)
{
	collide(rig, (struct span)TEXT("hot-key:0123456789abcdef-01234567"));
}

static void tweak_extent_missing(struct fastrig *rig)
{
	rig->entries[0].key_loc += XC_EXTENT_SIZE;
}

static void tweak_extent_beyond(struct fastrig *rig)
{
	rig->entries[0].key_loc += (uint64_t)XC_EXTENT_MAX << XC_EXTENT_SHIFT;
}

/* Extent 2^32: its low half alone would be extent 0. */
static void tweak_extent_wraps(struct fastrig *rig)
{
	rig->entries[0].key_loc += 1ULL << (32 + XC_EXTENT_SHIFT);
}

static void tweak_far_extent(struct fastrig *rig)
{
	struct rig_item item = hot_item;

	item.key_loc = ((uint64_t)RIG_FAR_EXTENT << XC_EXTENT_SHIFT) + 15 * XC_BLOCK_SIZE + 8;
	fastrig_insert(rig, &item);
}

static void tweak_last_place_in_block(struct fastrig *rig)
{
	struct rig_item item = hot_item;

	item.key_loc = 2 * XC_BLOCK_SIZE - XC_BLOCK_TAIL + XC_KEY_LEAD - 1;
	fastrig_insert(rig, &item);
}

static void tweak_in_block_tail(struct fastrig *rig)
{
	struct rig_item item = hot_item;

	item.key_loc = 2 * XC_BLOCK_SIZE - XC_BLOCK_TAIL + XC_KEY_LEAD;
	fastrig_insert(rig, &item);
}

static void tweak_no_lead(struct fastrig *rig)
{
	rig->entries[0].key_loc = XC_BLOCK_SIZE + XC_KEY_LEAD - 1;
}

static void tweak_value_too_long(struct fastrig *rig)
{
	rig->entries[0].value_len = XC_VALUE_MAX + 1;
}

static void tweak_suffix_too_long(struct fastrig *rig)
{
	rig->entries[0].suffix_len = XC_SUFFIX_MAX + 1;
}

static void tweak_suffix_too_short(struct fastrig *rig)
{
	rig->entries[0].suffix_len = XC_SUFFIX_MIN - 1;
}

/* Too long for the words that are stored one by one, and to go to the front first. */
static const struct span long_value = TEXT(
	"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567"
	"8901234567890123456789012345678901234567890123456789012345678901234567890123456789012345");

static void tweak_long_value(struct fastrig *rig)
{
	struct rig_item item = hot_item;

	item.value = long_value;
	fastrig_insert(rig, &item);
}

/* IPv4 reply to GET: 20 + 8 + 8 + "VALUE " 6 + 32 + " 5 32" 5 + 2 + 32 + 7. */
#define HOT_REPLY_IP_LEN 120
/* What it is longer than the request by: 20 + 8 + 8 + 4 + 32 + 2. */
#define HOT_GROWTH (HOT_REPLY_IP_LEN - 74)

static void set_mtu(struct fastrig *rig, uint16_t mtu)
{
	struct xc_local local = { .mtu = mtu };

	memcpy(local.mac, pktgen_server.mac, 6);
	fastrig_local(rig, span_of(pktgen_server.ip4, 4), &local);
}

static void tweak_mtu_too_small(struct fastrig *rig)
{
	set_mtu(rig, HOT_REPLY_IP_LEN - 1);
}

static void tweak_mtu_exact(struct fastrig *rig)
{
	set_mtu(rig, HOT_REPLY_IP_LEN);
}

static void set_local_flags(struct fastrig *rig, uint32_t flags)
{
	struct xc_local local = { .mtu = RIG_MTU, .flags = flags };

	memcpy(local.mac, pktgen_server.mac, 6);
	fastrig_local(rig, span_of(pktgen_server.ip4, 4), &local);
	fastrig_local(rig, span_of(pktgen_server.ip6, 16), &local);
}

static void tweak_any_mac(struct fastrig *rig)
{
	set_local_flags(rig, XC_LOCAL_ANY_MAC);
}

static void tweak_needs_tag(struct fastrig *rig)
{
	set_local_flags(rig, XC_LOCAL_NEEDS_TAG);
}

static const uint8_t loopback4[4] = { 127, 0, 0, 9 };
static const uint8_t loopback6[16] = { [15] = 1 };

static void tweak_loopback_on_lo(struct fastrig *rig)
{
	set_local_flags(rig, XC_LOCAL_ANY_MAC);
	fastrig_allow(rig, span_of(loopback4, 4), true);
	fastrig_allow(rig, span_of(loopback6, 16), true);
}

static void tweak_loopback_allowed(struct fastrig *rig)
{
	fastrig_allow(rig, span_of(loopback4, 4), true);
	fastrig_allow(rig, span_of(loopback6, 16), true);
}

/* Its own address asks the server: a forger's packet, though the address be allowed. */
static void tweak_server_allowed(struct fastrig *rig)
{
	fastrig_allow(rig, span_of(pktgen_server.ip4, 4), true);
	fastrig_allow(rig, span_of(pktgen_server.ip6, 16), true);
}

static void tweak_server_on_lo(struct fastrig *rig)
{
	set_local_flags(rig, XC_LOCAL_ANY_MAC);
	tweak_server_allowed(rig);
}

static void tweak_client_refused(struct fastrig *rig)
{
	fastrig_allow(rig, span_of(pktgen_client.ip4, 4), false);
}

static void tweak_stranger_no_lease(struct fastrig *rig)
{
	rig->conf->serve_until_ns = 0;
}

static void tweak_rate_used_up(struct fastrig *rig)
{
	rig->conf->rate_cost_ns = 2;
	rig->conf->rate_burst_ns = 1;
}

static void tweak_over_rate_no_lease(struct fastrig *rig)
{
	tweak_rate_used_up(rig);
	rig->conf->serve_until_ns = 0;
}

static void tweak_tc_option(struct fastrig *rig)
{
	rig->conf->options = XC_OPT_TC;
}

static void tweak_no_text(struct fastrig *rig)
{
	rig->conf->options = XC_OPT_NO_TEXT;
}

static void tweak_no_binary(struct fastrig *rig)
{
	rig->conf->options = XC_OPT_NO_BINARY;
}

static const uint8_t mac_broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
static const uint8_t mac_group[6] = { 0x01, 0x00, 0x5e, 0x00, 0x00, 0x01 };
static const uint8_t mac_near[6] = { 0x02, 0x5e, 0x43, 0xe4, 0x90, 0x03 };
static const uint8_t ip4_near[4] = { 192, 0, 2, 201 };
static const uint8_t ip4_multicast[4] = { 239, 1, 2, 3 };
static const uint8_t ip4_broadcast[4] = { 255, 255, 255, 255 };
static const uint8_t ip4_none[4] = { 0, 0, 0, 0 };
static const uint8_t ip6_none[16] = { 0 };
static const uint8_t ip6_multicast[16] = { 0xff, 0x02, [15] = 1 };
static const uint8_t ip6_mapped_server[16] = { [10] = 0xff, 0xff, 192, 0, 2, 200 };
static const uint8_t ip6_like_client[16] = { 0, 0, 0xff, 0xff, 192, 0, 2, 17, [15] = 1 };
static const uint8_t ip6_mapped_client[16] = { [10] = 0xff, 0xff, 192, 0, 2, 17 };

#define KEY_50 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeee"
#define KEY_250 KEY_50 KEY_50 KEY_50 KEY_50 KEY_50

#define PASS(what, which) .name = which, .outcome = XC_pass_##what
#define HIT(which) .name = which, .outcome = XC_hit_head /* small: grown at the front */

static const struct row rows[] = {
	/* replies */
	{ HIT("get ip4"), .request = { .text = GET, .id = 0xabcd } },
	{ HIT("get ip6"), .request = { .text = GET, .id = 0xffff, .ip6 = true } },
	{ HIT("gets ip4"), .request = { .text = GETS }, .gets = true },
	{ HIT("gets ip6"), .request = { .text = GETS, .ip6 = true }, .gets = true },
	{ HIT("one tag"), .request = { .text = GET, .tags = { 0x8100 } } },
	{ HIT("service tag"), .request = { .text = GET, .tags = { 0x88a8 } } },
	{ HIT("two tags"), .request = { .text = GET, .tags = { 0x88a8, 0x8100 } } },
	{ HIT("two tags ip6 gets"), .gets = true,
	  .request = { .text = GETS, .tags = { 0x8100, 0x8100 }, .ip6 = true } },
	{ HIT("padding of a short frame"), .request = { .text = GET, .trailer = 18 } },
	{ .name = "padding longer than the reply",
	  .outcome = XC_hit_tail,
	  .request = { .text = GET, .trailer = 700 } },
	{ .name = "as long as the reply",
	  .outcome = XC_hit_tail,
	  .request = { .text = GET, .trailer = HOT_GROWTH } },
	{ HIT("one byte shorter than the reply"),
	  .request = { .text = GET, .trailer = HOT_GROWTH - 1 } },
	{ HIT("don't fragment"), .request = { .text = GET, .ip4_fragment = 0x4000 } },
	{ HIT("any source port"), .request = { .text = GET, .from_port = 1 } },
	{ HIT("even sequence"), .request = { .text = GET }, .tweak = tweak_even_seq },
	{ HIT("last nanosecond"), .request = { .text = GET }, .tweak = tweak_expires_next },
	{ HIT("before the flush"), .request = { .text = GET }, .tweak = tweak_flush_at_next },
	{ HIT("mtu filled"), .request = { .text = GET }, .tweak = tweak_mtu_exact },
	{ HIT("far extent"), .request = { .text = GET }, .tweak = tweak_far_extent },
	{ HIT("block's last place"), .request = { .text = GET },
	  .tweak = tweak_last_place_in_block },
	{ HIT("any MAC"), .request = { .text = GET, .mac_to = mac_near }, .tweak = tweak_any_mac },
	{ HIT("needs a tag, has one"), .request = { .text = GET, .tags = { 0x8100 } },
	  .tweak = tweak_needs_tag },
	{ HIT("to itself on lo"), .request = { .text = GET, .ip_from = pktgen_server.ip4 },
	  .tweak = tweak_server_on_lo },
	{ HIT("to itself on lo ip6"),
	  .request = { .text = GET, .ip_from = pktgen_server.ip6, .ip6 = true },
	  .tweak = tweak_server_on_lo },
	{ HIT("loopback on lo"), .request = { .text = GET, .ip_from = loopback4 },
	  .tweak = tweak_loopback_on_lo },
	{ HIT("loopback on lo ip6"), .request = { .text = GET, .ip_from = loopback6, .ip6 = true },
	  .tweak = tweak_loopback_on_lo },
	{ .name = "front refuses, grown at the end",
	  .outcome = XC_hit_tail,
	  .request = { .text = GET },
	  .hook = HOOK_MOCK,
	  .refuse = REFUSE_HEAD },
	{ .name = "front refuses, gets, tags, ip6",
	  .outcome = XC_hit_tail,
	  .gets = true,
	  .request = { .text = GETS, .ip6 = true, .tags = { 0x8100, 0x8100 } },
	  .hook = HOOK_MOCK,
	  .refuse = REFUSE_HEAD },
	{ HIT("end refuses"), .request = { .text = GET }, .hook = HOOK_MOCK,
	  .refuse = REFUSE_TAIL },
	{ .name = "long value, grown at the end",
	  .outcome = XC_hit_tail,
	  .request = { .text = GET },
	  .tweak = tweak_long_value,
	  .value = &long_value },
	{ .name = "end refuses a long value, front takes it",
	  .outcome = XC_hit_head,
	  .request = { .text = GET },
	  .tweak = tweak_long_value,
	  .value = &long_value,
	  .hook = HOOK_MOCK,
	  .refuse = REFUSE_TAIL },
	{ .name = "get at tc", .outcome = XC_hit_tc, .request = { .text = GET }, .hook = HOOK_TC },
	{ .name = "gets at tc, ip6, tag",
	  .outcome = XC_hit_tc,
	  .hook = HOOK_TC,
	  .gets = true,
	  .request = { .text = GETS, .ip6 = true, .tags = { 0x8100 }, .trailer = 4 } },

	/* drops */
	{ .name = "stranger ip4",
	  .outcome = XC_drop_not_allowed,
	  .request = { .text = GET, .from = &pktgen_stranger } },
	{ .name = "stranger ip6",
	  .outcome = XC_drop_not_allowed,
	  .request = { .text = GET, .from = &pktgen_stranger, .ip6 = true } },
	{ .name = "listed as refused",
	  .outcome = XC_drop_not_allowed,
	  .request = { .text = GET },
	  .tweak = tweak_client_refused },
	{ .name = "stranger, nonsense text",
	  .outcome = XC_drop_not_allowed,
	  .request = { .text = TEXT("stats\r\n"), .from = &pktgen_stranger } },
	{ .name = "over its rate",
	  .outcome = XC_drop_rate,
	  .request = { .text = GET },
	  .tweak = tweak_rate_used_up },
	{ .name = "over its rate, ip6, nonsense text",
	  .outcome = XC_drop_rate,
	  .request = { .text = TEXT("stats\r\n"), .ip6 = true },
	  .tweak = tweak_rate_used_up },
	{ .name = "stranger over its rate is a stranger",
	  .outcome = XC_drop_not_allowed,
	  .request = { .text = GET, .from = &pktgen_stranger },
	  .tweak = tweak_rate_used_up },
	{ PASS(not_port, "over its rate, to another port"),
	  .request = { .text = GET, .to_port = 11212 }, .tweak = tweak_rate_used_up },
	{ .name = "tc: the request has paid",
	  .outcome = XC_hit_tc,
	  .request = { .text = GET },
	  .hook = HOOK_TC,
	  .tweak = tweak_rate_used_up },
	{ .name = "value refused by the driver",
	  .outcome = XC_drop_broken,
	  .request = { .text = GET },
	  .hook = HOOK_MOCK,
	  .refuse = REFUSE_STORE,
	  .tweak = tweak_long_value },

	{ .name = "headers refused at tc",
	  .outcome = XC_drop_broken,
	  .request = { .text = GET },
	  .hook = HOOK_TC,
	  .refuse = REFUSE_STORE },

	/* not ours */
	{ PASS(not_local, "other MAC"), .request = { .text = GET, .mac_to = mac_near } },
	{ PASS(not_local, "broadcast MAC"), .request = { .text = GET, .mac_to = mac_broadcast } },
	{ PASS(not_local, "other address"), .request = { .text = GET, .ip_to = ip4_near } },
	{ PASS(not_local, "multicast"), .request = { .text = GET, .ip_to = ip4_multicast } },
	{ PASS(not_local, "broadcast"), .request = { .text = GET, .ip_to = ip4_broadcast } },
	{ PASS(not_local, "address of a VLAN device, no tag"), .request = { .text = GET },
	  .tweak = tweak_needs_tag },
	{ PASS(not_local, "ip4 address in an ip6 header"),
	  .request = { .text = GET, .ip6 = true, .ip_to = ip6_mapped_server } },
	{ PASS(not_local, "stranger to another address"),
	  .request = { .text = GET, .from = &pktgen_stranger, .ip_to = ip4_near } },
	{ PASS(not_local, "other address before other port"),
	  .request = { .text = GET, .ip_to = ip4_near, .to_port = 53 } },
	{ PASS(not_port, "other port"), .request = { .text = GET, .to_port = 11212 } },
	{ PASS(not_port, "stranger to another port"),
	  .request = { .text = GET, .to_port = 11212, .from = &pktgen_stranger } },

	/* headers */
	{ PASS(not_ip, "ARP"), .request = { .text = GET, .ether_type = 0x0806 } },
	{ PASS(not_ip, "tagged ARP"),
	  .request = { .text = GET, .ether_type = 0x0806, .tags = { 0x8100 } } },
	{ PASS(vlan, "three tags"),
	  .request = { .text = GET, .tags = { 0x88a8, 0x8100, 0x8100 } } },
	{ PASS(short, "Ethernet alone"), .request = { .text = GET }, .cut = 14 },
	{ PASS(short, "UDP header cut"), .request = { .text = GET }, .cut = 41 },
	{ PASS(short, "tagged, UDP header cut"), .request = { .text = GET, .tags = { 0x8100 } },
	  .cut = 45 },
	{ PASS(short, "ip6, UDP header cut"), .request = { .text = GET, .ip6 = true }, .cut = 61 },
	{ PASS(short, "no frame header"),
	  .request = { .text = TEXT(""), .udp_len_add = -8, .ip_len_add = -8 } },
	{ PASS(short, "7 bytes of frame header"),
	  .request = { .text = TEXT(""), .udp_len_add = -1, .ip_len_add = -1 } },
	{ PASS(ip_options, "one option word"), .request = { .text = GET, .ip4_options = 4 } },
	{ PASS(ip_options, "ten option words"), .request = { .text = GET, .ip4_options = 40 } },
	{ PASS(ip_fragment, "first fragment"), .request = { .text = GET, .ip4_fragment = 0x2000 } },
	{ PASS(ip_fragment, "last fragment"), .request = { .text = GET, .ip4_fragment = 0x0001 } },
	{ PASS(ip_fragment, "high offset bit"),
	  .request = { .text = GET, .ip4_fragment = 0x1000 } },
	{ PASS(ip_header, "version 6 in ip4"), .request = { .text = GET, .ip_first = 0x65 } },
	{ PASS(ip_header, "header of 4 words"), .request = { .text = GET, .ip_first = 0x44 } },
	{ PASS(ip_header, "version 4 in ip6"),
	  .request = { .text = GET, .ip6 = true, .ip_first = 0x45 } },
	{ PASS(ip6_extension, "hop by hop"), .request = { .text = GET, .ip6 = true, .next = -1 } },
	{ PASS(ip6_extension, "fragment"), .request = { .text = GET, .ip6 = true, .next = 44 } },
	{ PASS(ip6_extension, "routing"), .request = { .text = GET, .ip6 = true, .next = 43 } },
	{ PASS(ip6_extension, "destination options"),
	  .request = { .text = GET, .ip6 = true, .next = 60 } },
	{ PASS(ip6_extension, "authentication"),
	  .request = { .text = GET, .ip6 = true, .next = 51 } },
	{ PASS(not_udp, "TCP"), .request = { .text = GET, .next = 6 } },
	{ PASS(not_udp, "UDP-Lite in ip6"), .request = { .text = GET, .next = 136, .ip6 = true } },
	{ PASS(length, "IP shorter than UDP"), .request = { .text = GET, .ip_len_add = -1 } },
	{ PASS(length, "IP longer than UDP"),
	  .request = { .text = GET, .ip_len_add = 1, .trailer = 1 } },
	{ PASS(length, "both longer than the frame"),
	  .request = { .text = GET, .ip_len_add = 1, .udp_len_add = 1 } },
	{ PASS(length, "ip6 both longer than the frame"),
	  .request = { .text = GET, .ip_len_add = 1, .udp_len_add = 1, .ip6 = true } },
	{ PASS(length, "UDP shorter than its header"),
	  .request = { .text = TEXT(""), .ip_len_add = -9, .udp_len_add = -9 } },
	{ PASS(length, "IP shorter than its header"),
	  .request = { .text = GET, .ip_len_add = -60 } },

	/* senders and leases */
	{ PASS(source, "loopback from a wire"), .request = { .text = GET, .ip_from = loopback4 },
	  .tweak = tweak_loopback_allowed },
	{ PASS(source, "loopback from a wire ip6"),
	  .request = { .text = GET, .ip_from = loopback6, .ip6 = true },
	  .tweak = tweak_loopback_allowed },
	{ PASS(source, "multicast"), .request = { .text = GET, .ip_from = ip4_multicast } },
	{ PASS(source, "broadcast"), .request = { .text = GET, .ip_from = ip4_broadcast } },
	{ PASS(source, "nobody"), .request = { .text = GET, .ip_from = ip4_none } },
	{ PASS(source, "multicast ip6"),
	  .request = { .text = GET, .ip_from = ip6_multicast, .ip6 = true } },
	{ PASS(source, "nobody ip6"),
	  .request = { .text = GET, .ip_from = ip6_none, .ip6 = true } },
	{ PASS(source, "allowed ip4 in an ip6 header"),
	  .request = { .text = GET, .ip_from = ip6_mapped_client, .ip6 = true } },
	{ PASS(source, "port 0"), .request = { .text = GET, .from_port = -1 } },
	{ PASS(source, "the service's own port"),
	  .request = { .text = GET, .from_port = PKTGEN_SERVER_PORT } },
	{ PASS(source, "the service's own port ip6 gets"),
	  .request = { .text = GETS, .from_port = PKTGEN_SERVER_PORT, .ip6 = true } },
	{ PASS(source, "from its own address"),
	  .request = { .text = GET, .ip_from = pktgen_server.ip4 }, .tweak = tweak_server_allowed },
	{ PASS(source, "IPv6 that looks like IPv4's word"),
	  .request = { .text = GET, .ip_from = ip6_like_client, .ip6 = true } },
	{ PASS(source, "from its own address ip6"),
	  .request = { .text = GET, .ip_from = pktgen_server.ip6, .ip6 = true },
	  .tweak = tweak_server_allowed },
	{ PASS(source, "broadcast MAC as the sender's"),
	  .request = { .text = GET, .mac_from = mac_broadcast } },
	{ PASS(source, "group MAC as the sender's"),
	  .request = { .text = GET, .mac_from = mac_group } },
	{ PASS(source, "group MAC on lo"), .request = { .text = GET, .mac_from = mac_group },
	  .tweak = tweak_any_mac },
	{ PASS(unconfigured, "no daemon yet"), .request = { .text = GET },
	  .tweak = tweak_unconfigured },
	{ PASS(unconfigured, "another version"), .request = { .text = GET },
	  .tweak = tweak_version },
	{ PASS(unconfigured, "no port"), .request = { .text = GET }, .tweak = tweak_no_port },
	{ PASS(unconfigured, "no digest key"), .request = { .text = GET },
	  .tweak = tweak_no_digest_key },
	{ PASS(no_lease, "lease ends now"), .request = { .text = GET },
	  .tweak = tweak_lease_ends_now },
	{ PASS(no_lease, "stranger without a lease is not dropped"),
	  .request = { .text = GET, .from = &pktgen_stranger }, .tweak = tweak_stranger_no_lease },

	{ PASS(no_lease, "over its rate without a lease"), .request = { .text = GET },
	  .tweak = tweak_over_rate_no_lease },

	/* requests */
	{ PASS(frame, "second datagram"), .request = { .text = GET, .seq = 1 } },
	{ PASS(frame, "two datagrams"), .request = { .text = GET, .total = 2 } },
	{ PASS(frame, "no datagrams"), .request = { .text = GET, .total = -1 } },
	{ PASS(frame, "reserved bits"), .request = { .text = GET, .reserved = 1 } },
	{ PASS(verb, "nothing"), .request = { .text = TEXT("") } },
	{ PASS(verb, "three letters"), .request = { .text = TEXT("get") } },
	{ PASS(verb, "set"), .request = { .text = TEXT("set k 0 0 1\r\nx\r\n") } },
	{ PASS(verb, "upper case"), .request = { .text = TEXT("GET " HOT "\r\n") } },
	{ PASS(verb, "gat"), .request = { .text = TEXT("gat 0 " HOT "\r\n") } },
	{ PASS(verb, "getq"), .request = { .text = TEXT("getq " HOT "\r\n") } },
	{ PASS(meta, "mg with a flag that writes"),
	  .request = { .text = TEXT("mg " HOT " v T30\r\n") } },
	{ PASS(absent, "quiet mg of a key known absent"),
	  .request = { .text = TEXT("mg " HOT " v q\r\n") }, .tweak = tweak_absent },
	{ PASS(binary, "a set"), .request = { .text = TEXT("\x80\x01\0\x01\x08\0\0\0\0\0\0\x0a"
							   "0123456789abk") } },
	{ PASS(verb, "text is not spoken"), .request = { .text = GET }, .tweak = tweak_no_text },
	{ PASS(verb, "text is not spoken, two keys"),
	  .request = { .text = TEXT("get " HOT " " HOT "\r\n") }, .tweak = tweak_no_text },
	{ PASS(verb, "text is not spoken, mg"), .request = { .text = TEXT("mg " HOT " v\r\n") },
	  .tweak = tweak_no_text },
	{ PASS(verb, "binary is not spoken"),
	  .request = { .text = TEXT("\x80\0\0\x20\0\0\0\0\0\0\0\x20\0\0\0\0\0\0\0\0\0\0\0\0" HOT) },
	  .tweak = tweak_no_binary },
	{ HIT("text is spoken, binary not"), .request = { .text = GET }, .tweak = tweak_no_binary },
	{ PASS(verb, "ms"), .request = { .text = TEXT("ms " HOT " 1\r\nx\r\n") } },
	{ PASS(verb, "gets without a key"), .request = { .text = TEXT("gets\r\n") } },
	{ PASS(verb, "tab behind get"), .request = { .text = TEXT("get\t" HOT "\r\n") } },
	{ PASS(line, "no line end"), .request = { .text = TEXT("get " HOT) } },
	{ PASS(line, "get alone"), .request = { .text = TEXT("get ") } },
	{ PASS(line, "bare LF"), .request = { .text = TEXT("get " HOT "\n") } },
	{ PASS(line, "LF CR"), .request = { .text = TEXT("get " HOT "\n\r") } },
	{ PASS(line, "a byte behind"), .request = { .text = TEXT("get " HOT "\r\nx") } },
	{ PASS(key_len, "no key"), .request = { .text = TEXT("get \r\n") } },
	{ PASS(key_len, "no key, gets"), .request = { .text = TEXT("gets \r\n") } },
	{ PASS(key_len, "251 bytes"), .request = { .text = TEXT("get x" KEY_250 "\r\n") } },
	{ PASS(key_len, "space before"), .request = { .text = TEXT("get  " HOT "\r\n") } },
	{ PASS(key_len, "space behind"), .request = { .text = TEXT("get " HOT " \r\n") } },
	{ PASS(key_bytes, "two commands"),
	  .request = { .text = TEXT("get " HOT "\r\nget " HOT "\r\n") } },
	{ PASS(key_bytes, "NUL"), .request = { .text = TEXT("get hot\0key\r\n") } },
	{ PASS(key_bytes, "DEL last"), .request = { .text = TEXT("get hot-key\x7f\r\n") } },
	{ PASS(miss, "not resident"), .request = { .text = TEXT("get cold\r\n") } },
	{ PASS(miss, "not in the filter"), .request = { .text = TEXT("get filtered\r\n") },
	  .tweak = tweak_filter_off },
	{ PASS(miss, "second key not resident"),
	  .request = { .text = TEXT("get " HOT " k2\r\n") } },
	{ PASS(keys, "seventeen"),
	  .request = { .text = TEXT("get " HOTS " " HOTS " " HOTS " " HOTS " " HOT "\r\n") } },
	{ PASS(miss, "prefix of a resident key"),
	  .request = { .text = TEXT("get hot-key:0123456789abcdef-012345\r\n") } },
	{ PASS(miss, "250 bytes, high bytes"),
	  .request = { .text = TEXT("get \x80\xff" KEY_50 "\r\n") } },

	/* entries */
	{ PASS(vacant, "emptied"), .request = { .text = GET }, .tweak = tweak_vacant },
	{ PASS(vacant, "kind of a later version"), .request = { .text = GET },
	  .tweak = tweak_kind_unknown },
	{ PASS(vacant, "beyond the array"), .request = { .text = GET },
	  .tweak = tweak_entry_beyond },
	{ PASS(busy, "odd sequence"), .request = { .text = GET }, .tweak = tweak_busy },
	{ PASS(other_key, "first byte"), .request = { .text = GET },
	  .tweak = tweak_collision_first_byte },
	{ PASS(other_key, "middle byte"), .request = { .text = GET },
	  .tweak = tweak_collision_middle },
	{ PASS(other_key, "last byte"), .request = { .text = GET },
	  .tweak = tweak_collision_last_byte },
	{ PASS(other_key, "longer key"), .request = { .text = GET },
	  .tweak = tweak_collision_prefix },
	{ PASS(expired, "now"), .request = { .text = GET }, .tweak = tweak_expires_now },
	{ PASS(expired, "long ago"), .request = { .text = GET }, .tweak = tweak_expired_long_ago },
	{ PASS(flushed, "another generation"), .request = { .text = GET },
	  .tweak = tweak_flush_gen },
	{ PASS(flushed, "delayed flush, now"), .request = { .text = GET },
	  .tweak = tweak_flush_at_now },
	{ PASS(log, "missing extent"), .request = { .text = GET }, .tweak = tweak_extent_missing },
	{ PASS(log, "extent beyond the map"), .request = { .text = GET },
	  .tweak = tweak_extent_beyond },
	{ PASS(log, "extent number of 33 bits"), .request = { .text = GET },
	  .tweak = tweak_extent_wraps },
	{ PASS(log, "in a block's tail"), .request = { .text = GET },
	  .tweak = tweak_in_block_tail },
	{ PASS(log, "no room before the key"), .request = { .text = GET }, .tweak = tweak_no_lead },
	{ PASS(log, "value too long"), .request = { .text = GET }, .tweak = tweak_value_too_long },
	{ PASS(log, "suffix too long"), .request = { .text = GET },
	  .tweak = tweak_suffix_too_long },
	{ PASS(log, "suffix too short"), .request = { .text = GET },
	  .tweak = tweak_suffix_too_short },

	/* room */
	{ PASS(mtu, "one byte over"), .request = { .text = GET }, .tweak = tweak_mtu_too_small },
	{ PASS(no_room, "neither end, tc not there"), .request = { .text = GET }, .hook = HOOK_MOCK,
	  .refuse = REFUSE_TAIL | REFUSE_HEAD },
	{ PASS(no_room, "shrinking refused"), .request = { .text = GETS, .trailer = 300 },
	  .hook = HOOK_MOCK, .refuse = REFUSE_TAIL },
	{ PASS(no_room, "driver without metadata"), .request = { .text = GET }, .hook = HOOK_MOCK,
	  .refuse = REFUSE_TAIL | REFUSE_HEAD | REFUSE_META, .tweak = tweak_tc_option },
	{ PASS(no_room, "skb cannot grow"), .request = { .text = GET }, .hook = HOOK_TC,
	  .refuse = REFUSE_CHANGE },
	{ PASS(no_room, "handed over, then emptied"), .request = { .text = GET }, .hook = HOOK_TC,
	  .tweak = tweak_vacant },
	{ PASS(no_room, "handed over, then refused"), .request = { .text = GET }, .hook = HOOK_TC,
	  .tweak = tweak_client_refused },
};

/* --- running them --- */

static struct fastrig *rig_of(enum hook hook)
{
	return hook == HOOK_XDP ? &product_rig : &mock_rig;
}

static void run(const struct row *row, const struct pktgen_packet *in, struct rig_run *ret)
{
	int err = 0;

	mock->bss->mock_refuse = row->refuse;
	switch (row->hook) {
	case HOOK_XDP:
		err = fastrig_xdp(product->progs.xc_fastpath, in, ret);
		break;
	case HOOK_MOCK:
		err = fastrig_xdp(mock->progs.xc_fastpath, in, ret);
		break;
	case HOOK_TC:
		err = fastrig_tc(mock->progs.xc_tc_marked, in, 0, ret);
		break;
	}
	if (err)
		fail_msg("%s: test run: %s", row->name, strerror(-err));
}

static int action_of(const struct row *row)
{
	bool tc = row->hook == HOOK_TC;

	switch (row->outcome) {
	case XC_hit_tail:
	case XC_hit_head:
		return XDP_TX;
	case XC_hit_tc:
		return TC_ACT_REDIRECT;
	case XC_drop_not_allowed:
	case XC_drop_rate:
	case XC_drop_broken:
		return tc ? TC_ACT_SHOT : XDP_DROP;
	default:
		return tc ? TC_ACT_UNSPEC : XDP_PASS;
	}
}

/* One counter moved, by one, and it is the row's; replies add their bytes. */
static void check_counters(const struct row *row, const struct xc_stats *before,
			   const struct xc_stats *after, size_t reply_bytes)
{
	const uint64_t *was = (const uint64_t *)before, *is = (const uint64_t *)after;

	for (int i = 0; i < XC_OUTCOME_CNT; i++) {
		if (is[i] - was[i] == (i == (int)row->outcome))
			continue;
		fail_msg("%s: counter %s moved by %llu, wanted %s", row->name,
			 fastrig_outcome_names[i], (unsigned long long)(is[i] - was[i]),
			 fastrig_outcome_names[row->outcome]);
	}
	assert_int_equal(after->reply_bytes - before->reply_bytes, reply_bytes);
}

static void check_bytes(const struct row *row, const struct pktgen_packet *want,
			const struct pktgen_packet *got)
{
	for (uint32_t i = 0; i < want->len && i < got->len; i++)
		if (want->bytes[i] != got->bytes[i])
			fail_msg("%s: byte %u is %02x, wanted %02x", row->name, i, got->bytes[i],
				 want->bytes[i]);
	if (want->len != got->len)
		fail_msg("%s: %u bytes, wanted %u", row->name, got->len, want->len);
}

static void check_row(const struct row *row)
{
	struct pktgen_value value = {
		.key = hot_item.key,
		.value = row->value ? *row->value : hot_item.value,
		.flags = hot_item.flags,
		.gets = row->gets,
		.cas = hot_item.cas,
	};
	struct fastrig *rig = rig_of(row->hook);
	struct pktgen_packet in, want;
	struct xc_stats before, after;
	uint8_t text[PKTGEN_MAX];
	size_t reply_bytes = 0;
	struct rig_run got;

	fastrig_configure(rig);
	fastrig_clear(rig);
	fastrig_insert(rig, &hot_item);
	if (row->tweak)
		row->tweak(rig);
	pktgen_request(&row->request, &in);
	if (row->cut)
		in.len = row->cut;
	want = in;
	if (row->outcome <= XC_hit_tc) {
		pktgen_reply(&row->request, &value, &want);
		reply_bytes = 8 + pktgen_reply_text(&value, text, sizeof(text));
	}
	fastrig_stats(rig, &before);
	run(row, &in, &got);
	fastrig_stats(rig, &after);
	check_counters(row, &before, &after, reply_bytes);
	assert_int_equal(got.action, action_of(row));
	if (row->outcome != XC_drop_broken)
		check_bytes(row, &want, &got.out);
	produced[row->outcome]++;
}

static void fastpath_each_row_has_its_outcome(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_row(&rows[i]);
}

/*
 * Neither end grows, the tc hook is there: a mark in front, not a byte changed behind it, no
 * counter.
 */
static void fastpath_without_room_marks_for_tc(void **state)
{
	const struct row row = {
		.name = "hand-over",
		.request = { .text = GET },
		.hook = HOOK_MOCK,
		.refuse = REFUSE_TAIL | REFUSE_HEAD,
	};
	struct xc_handover mark;
	struct xc_stats before, after;
	struct pktgen_packet in;
	struct rig_run got;

	(void)state;
	fastrig_configure(&mock_rig);
	fastrig_clear(&mock_rig);
	mock_rig.entry_next = 9;
	fastrig_insert(&mock_rig, &hot_item);
	tweak_tc_option(&mock_rig);
	pktgen_request(&row.request, &in);
	fastrig_stats(&mock_rig, &before);
	run(&row, &in, &got);
	fastrig_stats(&mock_rig, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_int_equal(got.action, XDP_PASS);
	assert_int_equal(got.out.len, sizeof(mark) + in.len);
	memcpy(&mark, got.out.bytes, sizeof(mark));
	assert_int_equal(mark.magic, XC_HANDOVER_MAGIC);
	assert_int_equal(mark.entry_idx, 9);
	assert_int_equal(mark.ifindex, RIG_IFINDEX);
	assert_memory_equal(got.out.bytes + sizeof(mark), in.bytes, in.len);
}

/* A packet without the mark costs xc_tc nothing and counts nothing, request or not. */
static void tc_without_mark_is_silent(void **state)
{
	const struct pktgen_request request = { .text = GET };
	struct xc_stats before, after;
	struct pktgen_packet in;
	struct rig_run got;

	(void)state;
	fastrig_configure(&product_rig);
	fastrig_clear(&product_rig);
	fastrig_insert(&product_rig, &hot_item);
	pktgen_request(&request, &in);
	fastrig_stats(&product_rig, &before);
	assert_int_equal(fastrig_tc(product->progs.xc_tc, &in, 0, &got), 0);
	fastrig_stats(&product_rig, &after);
	assert_int_equal(got.action, TC_ACT_UNSPEC);
	assert_int_equal(got.out.len, in.len);
	assert_memory_equal(got.out.bytes, in.bytes, in.len);
	assert_memory_equal(&before, &after, sizeof(before));
}

/* On lo a reply comes back, with what is left of its request's mark: it is no request. */
static void tc_marked_for_another_port_or_host_is_silent(void **state)
{
	const struct pktgen_request requests[] = {
		{ .text = GET, .to_port = PKTGEN_CLIENT_PORT },
		{ .text = GET, .to = &pktgen_client },
	};
	struct xc_stats before, after;
	struct pktgen_packet in;
	struct rig_run got;

	(void)state;
	fastrig_configure(&mock_rig);
	fastrig_clear(&mock_rig);
	fastrig_insert(&mock_rig, &hot_item);
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		pktgen_request(&requests[i], &in);
		fastrig_stats(&mock_rig, &before);
		assert_int_equal(fastrig_tc(mock->progs.xc_tc_marked, &in, 0, &got), 0);
		fastrig_stats(&mock_rig, &after);
		assert_int_equal(got.action, TC_ACT_UNSPEC);
		assert_memory_equal(got.out.bytes, in.bytes, in.len);
		assert_memory_equal(&before, &after, sizeof(before));
	}
}

static void every_outcome_was_produced(void **state)
{
	(void)state;
	for (int i = 0; i < XC_OUTCOME_CNT; i++)
		if (!produced[i])
			fail_msg("no row produces %s", fastrig_outcome_names[i]);
}

static int open_objects(void **state)
{
	(void)state;
	product = fastpath_bpf__open_and_load();
	mock = stage_mock_bpf__open_and_load();
	if (!product || !mock)
		return -1;
	return fastrig_open(&product_rig, product->obj) || fastrig_open(&mock_rig, mock->obj);
}

static int close_objects(void **state)
{
	(void)state;
	fastrig_close(&product_rig);
	fastrig_close(&mock_rig);
	fastpath_bpf__destroy(product);
	stage_mock_bpf__destroy(mock);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fastpath_each_row_has_its_outcome),
		cmocka_unit_test(fastpath_without_room_marks_for_tc),
		cmocka_unit_test(tc_without_mark_is_silent),
		cmocka_unit_test(tc_marked_for_another_port_or_host_is_silent),
		cmocka_unit_test(every_outcome_was_produced),
	};

	return cmocka_run_group_tests(tests, open_objects, close_objects);
}
