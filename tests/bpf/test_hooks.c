/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The programs on a real link, native and generic: the reply that comes out of the wire is the one
 * that pktgen builds, byte for byte, also when the driver's frame has no room and xc_tc answers,
 * and each request counts once.
 *
 *   namespace of this process, gone with it
 *   raw socket ── xcbclient ═══ veth ═══ xcbserver ── xc_fastpath, xc_tc
 *                 passes all in XDP, as native veth delivers XDP_TX only to a peer that has a
 *                 program
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <cmocka.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>

#include "lib/fastrig.h"
#include "tests/bpf/stage_mock.skel.h"

/* mock_refuse bits of stage_mock.bpf.c */
#define REFUSE_TAIL 1
#define REFUSE_HEAD 2
#define REFUSE_CHANGE 16

static struct stage_mock_bpf *product; /* as built, but that growing can be made to fail */
static struct fastrig rig;
static int client; /* raw socket */
static uint32_t client_idx, server_idx;

static const size_t value_lens[] = { 0, 1, 32, 100, 200, 500, 1000, 1300, 1400 };
#define VALUE_CNT (sizeof(value_lens) / sizeof(value_lens[0]))
#define FORM_CNT 4
#define ASKED ((VALUE_CNT + 1) * FORM_CNT * 2) /* by ask_all */
static uint8_t value_bytes[XC_VALUE_MAX];

static struct span key_of(size_t i)
{
	static const char *const keys[VALUE_CNT] = { "none", "one", "thirty-two", "c",	"cc",
						     "d",    "m",   "mccc",	  "mcd" };

	return span_str(keys[i]);
}

static void run(const char *command)
{
	if (system(command))
		fail_msg("%s", command);
}

static void server_mode(uint32_t flags)
{
	bpf_xdp_detach(server_idx, XDP_FLAGS_DRV_MODE, NULL);
	bpf_xdp_detach(server_idx, XDP_FLAGS_SKB_MODE, NULL);
	assert_int_equal(bpf_xdp_attach(server_idx, bpf_program__fd(product->progs.xc_fastpath),
					flags, NULL),
			 0);
}

static void attach_tc(uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = 1,
		    .prog_fd = bpf_program__fd(product->progs.xc_tc));

	assert_int_equal(bpf_tc_hook_create(&hook), 0);
	assert_int_equal(bpf_tc_attach(&hook, &opts), 0);
}

static void open_client(void)
{
	struct sockaddr_ll addr = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = client_idx,
	};
	int one = 1;

	client = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
	assert_true(client >= 0);
	assert_int_equal(bind(client, (struct sockaddr *)&addr, sizeof(addr)), 0);
	/* The kernel takes the outer tag out of what it delivers and tells it beside. */
	assert_int_equal(setsockopt(client, SOL_PACKET, PACKET_AUXDATA, &one, sizeof(one)), 0);
}

/* Puts the outer tag back where it was on the wire. */
static void put_tag_back(struct pktgen_packet *p, const struct tpacket_auxdata *aux)
{
	uint16_t tag[2] = { htons(aux->tp_vlan_tpid), htons(aux->tp_vlan_tci) };

	memmove(p->bytes + 16, p->bytes + 12, p->len - 12);
	memcpy(p->bytes + 12, tag, 4);
	p->len += 4;
}

/* One frame to the client, ours sent out left aside; false after a second without. */
static bool receive(struct pktgen_packet *ret)
{
	struct pollfd wait = { .fd = client, .events = POLLIN };
	char control[256];
	struct sockaddr_ll from;
	struct iovec iov = { ret->bytes, sizeof(ret->bytes) - 4 };

	while (poll(&wait, 1, 1000) == 1) {
		struct msghdr msg = { &from, sizeof(from), &iov, 1, control, sizeof(control), 0 };
		ssize_t len = recvmsg(client, &msg, 0);

		if (len < 14 || from.sll_pkttype == PACKET_OUTGOING ||
		    memcmp(ret->bytes, pktgen_client.mac, 6))
			continue;
		ret->len = len;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
			const struct tpacket_auxdata *aux = (void *)CMSG_DATA(c);

			if (c->cmsg_type == PACKET_AUXDATA &&
			    (aux->tp_status & TP_STATUS_VLAN_VALID))
				put_tag_back(ret, aux);
		}
		return true;
	}
	return false;
}

static void ask(struct pktgen_request request, size_t i, bool gets)
{
	struct pktgen_value value = {
		.key = key_of(i),
		.value = span_of(value_bytes, value_lens[i]),
		.flags = i,
		.gets = gets,
		.cas = 1000 + i,
	};
	struct pktgen_packet out, in, want;
	char text[64];

	request.text = span_of(
		text, sprintf(text, "get%s %s\r\n", gets ? "s" : "", (const char *)value.key.ptr));
	pktgen_request(&request, &out);
	pktgen_reply(&request, &value, &want);
	assert_int_equal(send(client, out.bytes, out.len, 0), out.len);
	if (!receive(&in))
		fail_msg("no reply to %s (value of %zu bytes)", text, value_lens[i]);
	assert_int_equal(in.len, want.len);
	assert_memory_equal(in.bytes, want.bytes, want.len);
}

/* The first three, none of them long, in one request. */
static void ask_several(struct pktgen_request request, bool gets)
{
	struct pktgen_packet out, in, want;
	uint8_t reply[1024];
	char text[64];
	size_t len = 0;
	int at = sprintf(text, "get%s", gets ? "s" : "");

	for (size_t i = 0; i < 3; i++) {
		struct pktgen_value value = {
			.key = key_of(i),
			.value = span_of(value_bytes, value_lens[i]),
			.flags = i,
			.gets = gets,
			.cas = 1000 + i,
		};

		at += sprintf(text + at, " %s", (const char *)value.key.ptr);
		len += pktgen_value_text(&value, reply + len, sizeof(reply) - len);
	}
	memcpy(reply + len, "END\r\n", 5);
	request.text = span_of(text, at + sprintf(text + at, "\r\n"));
	pktgen_request(&request, &out);
	pktgen_reply_of(&request, span_of(reply, len + 5), &want);
	assert_int_equal(send(client, out.bytes, out.len, 0), out.len);
	if (!receive(&in))
		fail_msg("no reply to %s", text);
	assert_int_equal(in.len, want.len);
	assert_memory_equal(in.bytes, want.bytes, want.len);
}

/*
 * Every value, both verbs, both IP versions, no, one and two tags; each counted once, by its way.
 */
static void ask_all(uint64_t *ret_tc)
{
	static const struct pktgen_request forms[FORM_CNT] = {
		{ .id = 1 },
		{ .ip6 = true },
		{ .tags = { 0x8100 } },
		{ .tags = { 0x88a8, 0x8100 }, .ip6 = true },
	};
	struct xc_stats before, after;

	fastrig_stats(&rig, &before);
	for (size_t i = 0; i < VALUE_CNT; i++)
		for (size_t n = 0; n < FORM_CNT * 2; n++)
			ask(forms[n / 2], i, n & 1);
	for (size_t n = 0; n < FORM_CNT * 2; n++)
		ask_several(forms[n / 2], n & 1);
	fastrig_stats(&rig, &after);
	assert_int_equal(after.hit_tail + after.hit_head + after.hit_tc - before.hit_tail -
				 before.hit_head - before.hit_tc,
			 ASKED);
	assert_int_equal(after.more_keys - before.more_keys, 2 * FORM_CNT * 2);
	assert_int_equal(after.pass_no_room, before.pass_no_room);
	*ret_tc = after.hit_tc - before.hit_tc;
}

/* By XDP or tc, as this kernel's veth has room: 3 KiB on 6.1, at most 600 bytes later. */
static void native_link_gets_right_replies(void **state)
{
	uint64_t by_tc;

	(void)state;
	server_mode(XDP_FLAGS_DRV_MODE);
	ask_all(&by_tc);
}

/* A driver with no room at all: the mark crosses into the skb, and tc answers everything. */
static void native_link_without_room_gets_right_replies_by_tc(void **state)
{
	uint64_t by_tc;

	(void)state;
	server_mode(XDP_FLAGS_DRV_MODE);
	product->bss->mock_refuse = REFUSE_TAIL | REFUSE_HEAD;
	ask_all(&by_tc);
	product->bss->mock_refuse = 0;
	assert_int_equal(by_tc, ASKED);
}

static void generic_link_without_room_gets_right_replies_by_tc(void **state)
{
	uint64_t by_tc;

	(void)state;
	server_mode(XDP_FLAGS_SKB_MODE);
	product->bss->mock_refuse = REFUSE_TAIL | REFUSE_HEAD;
	ask_all(&by_tc);
	product->bss->mock_refuse = 0;
	assert_int_equal(by_tc, ASKED);
}

static void generic_link_gets_right_replies(void **state)
{
	uint64_t by_tc;

	(void)state;
	server_mode(XDP_FLAGS_SKB_MODE);
	ask_all(&by_tc);
}

/* Passes, and is counted once as that. */
static void ask_without_room(struct pktgen_request request, uint32_t refuse)
{
	struct xc_stats before, after;
	struct pktgen_packet out;

	request.text = span_str("get mccc\r\n");
	product->bss->mock_refuse = refuse;
	pktgen_request(&request, &out);
	fastrig_stats(&rig, &before);
	assert_int_equal(send(client, out.bytes, out.len, 0), out.len);
	for (int i = 0; i < 100; i++) {
		fastrig_stats(&rig, &after);
		if (after.pass_no_room != before.pass_no_room)
			break;
		usleep(10000);
	}
	usleep(10000); /* for one that counts twice */
	fastrig_stats(&rig, &after);
	product->bss->mock_refuse = 0;
	assert_int_equal(after.pass_no_room, before.pass_no_room + 1);
	assert_int_equal(after.hit_tc, before.hit_tc);
}

/* Without the tc hook what has no room passes and is counted by that name. */
static void native_link_without_tc_passes_what_has_no_room(void **state)
{
	(void)state;
	server_mode(XDP_FLAGS_DRV_MODE);
	rig.conf->options = 0;
	ask_without_room((struct pktgen_request){ 0 }, REFUSE_TAIL | REFUSE_HEAD);
	rig.conf->options = XC_OPT_TC;
}

/* The hook of a device above meets the same mark, which is the lower one's. */
static void native_link_below_a_bridge_counts_once(void **state)
{
	struct xc_local local = { .mtu = RIG_MTU };

	(void)state;
	server_mode(XDP_FLAGS_DRV_MODE);
	run("ip link add xcbbridge type bridge && ip link set xcbserver master xcbbridge && "
	    "ip link set xcbbridge up");
	rig.ifindex = if_nametoindex("xcbbridge");
	memcpy(local.mac, pktgen_server.mac, 6);
	fastrig_local(&rig, span_of(pktgen_server.ip4, 4), &local);
	attach_tc(rig.ifindex);
	ask_without_room((struct pktgen_request){ 0 }, REFUSE_TAIL | REFUSE_HEAD | REFUSE_CHANGE);
	run("ip link del xcbbridge");
	rig.ifindex = server_idx;
}

static void fill(void)
{
	for (size_t i = 0; i < sizeof(value_bytes); i++)
		value_bytes[i] = i * 7 + i / 256;
	for (size_t i = 0; i < VALUE_CNT; i++) {
		struct rig_item item = {
			.key = key_of(i),
			.value = span_of(value_bytes, value_lens[i]),
			.flags = i,
			.cas = 1000 + i,
		};

		fastrig_insert(&rig, &item);
	}
}

static int open_link(void **state)
{
	char command[160];
	const uint8_t *c = pktgen_client.mac, *s = pktgen_server.mac;

	(void)state;
	if (unshare(CLONE_NEWNET)) {
		fprintf(stderr, "a network namespace of our own: %s\n", strerror(errno));
		return -1;
	}
	product = stage_mock_bpf__open_and_load();
	if (!product || fastrig_open(&rig, product->obj))
		return -1;
	run("ip link add xcbclient type veth peer name xcbserver");
	snprintf(command, sizeof(command),
		 "ip link set xcbclient address %02x:%02x:%02x:%02x:%02x:%02x && "
		 "ip link set xcbserver address %02x:%02x:%02x:%02x:%02x:%02x",
		 c[0], c[1], c[2], c[3], c[4], c[5], s[0], s[1], s[2], s[3], s[4], s[5]);
	run(command);
	run("ip link set xcbclient up && ip link set xcbserver up");
	client_idx = if_nametoindex("xcbclient");
	server_idx = if_nametoindex("xcbserver");
	rig.ifindex = server_idx;
	fastrig_configure(&rig);
	rig.conf->options = XC_OPT_TC;
	fill();
	/* No address of the client is served: on its side the same program passes everything. */
	if (bpf_xdp_attach(client_idx, bpf_program__fd(product->progs.xc_fastpath),
			   XDP_FLAGS_DRV_MODE, NULL))
		return -1;
	attach_tc(server_idx);
	open_client();
	return 0;
}

static int close_link(void **state)
{
	(void)state;
	close(client);
	fastrig_close(&rig);
	stage_mock_bpf__destroy(product);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(native_link_gets_right_replies),
		cmocka_unit_test(generic_link_gets_right_replies),
		cmocka_unit_test(native_link_without_room_gets_right_replies_by_tc),
		cmocka_unit_test(generic_link_without_room_gets_right_replies_by_tc),
		cmocka_unit_test(native_link_without_tc_passes_what_has_no_room),
		cmocka_unit_test(native_link_below_a_bridge_counts_once),
	};

	return cmocka_run_group_tests(tests, open_link, close_link);
}
