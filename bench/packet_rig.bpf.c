/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The rig of bench/packet: puts a fresh request into the packet, then jumps to what is measured.
 *
 * A test run with repeat hands each run the packet that the last one left. So every run first
 * undoes the last: front and end back to where they were, then the next key's request over the old
 * bytes. All programs measured, the empty one too, are entered through the same rig, which calls
 * the same helpers for each; its cost falls out when the empty program's time is taken away.
 *
 * Beside the product's program there are stages of it: what each guard costs is the difference of
 * two.
 */
#include "fastpath.bpf.c"

/* Ethernet, IPv4, UDP, frame, "get", eight keys of 32 bytes with a blank each, CR LF. */
#define RIG_REQUEST_LEN_MAX (14 + 20 + 8 + 8 + 3 + 8 * 33 + 2)
#define RIG_REQUEST_MAX 65536

struct rig_request {
	__u64 words[40];
};

_Static_assert(RIG_REQUEST_LEN_MAX <= sizeof(struct rig_request), "a request fits");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, RIG_REQUEST_MAX);
	__type(key, __u32);
	__type(value, struct rig_request);
} rig_requests SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 32);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} rig_jump SEC(".maps");

/* Set by user space before a run. */
__u32 rig_target;      /* slot of rig_jump */
__u32 rig_request_end; /* requests from rig_request_first to here, in turn */
__u32 rig_request_first;
__u32 rig_at;
__u64 rig_drained;
__u64 rig_received;
__u32 rig_front; /* replies grow at the front */
__u32 rig_len;	 /* of a request */

static __always_inline int rig_frame_len(const struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	long len = end - data;

	opaque(len);
	return len;
}

SEC("xdp")
int rig_enter(struct xdp_md *xdp)
{
	const __u8 *byte = (void *)(long)xdp->data;
	const struct rig_request *request;
	__u32 at = rig_at;
	int len = rig_len, moved;
	void *to;

	if ((void *)(byte + 12) > (void *)(long)xdp->data_end)
		return XDP_ABORTED;
	/*
	 * A reply that grew at the front begins further in front; only it has the client's MAC
	 * here.
	 */
	moved = 0;
	if (rig_front && byte[5] == 0x01)
		moved = rig_frame_len(xdp) - len;
	if (bpf_xdp_adjust_head(xdp, moved))
		return XDP_ABORTED;
	if (bpf_xdp_adjust_tail(xdp, len - rig_frame_len(xdp)))
		return XDP_ABORTED;
	request = bpf_map_lookup_elem(&rig_requests, &at);
	to = (void *)(long)xdp->data;
	if (!request)
		return XDP_ABORTED;
	for (__u32 i = 0; i < sizeof(*request) / 8; i++) {
		if (to + 8 > (void *)(long)xdp->data_end)
			break;
		*(__u64 *)to = request->words[i];
		to += 8;
	}
	rig_at = at + 1 < rig_request_end ? at + 1 : rig_request_first;
	/* Lets the request leave the store buffer, as a NIC's would have long ago. */
	rig_drained = bpf_ktime_get_ns();
	bpf_tail_call(xdp, &rig_jump, rig_target);
	return XDP_ABORTED;
}

SEC("xdp")
int rig_empty(struct xdp_md *xdp)
{
	(void)xdp;
	return XDP_PASS;
}

/* Floor of the live runs: MACs swapped, sent back. */
SEC("xdp")
int rig_echo(struct xdp_md *xdp)
{
	__u16 *mac = (void *)(long)xdp->data;

	if ((void *)(mac + 6) > (void *)(long)xdp->data_end)
		return XDP_ABORTED;
#pragma unroll
	for (int i = 0; i < 3; i++) {
		__u16 word = mac[i];

		mac[i] = mac[i + 3];
		mac[i + 3] = word;
	}
	return XDP_TX;
}

/* The far end of the live runs: what was sent back arrived. */
SEC("xdp")
int rig_count(struct xdp_md *xdp)
{
	(void)xdp;
	__sync_fetch_and_add(&rig_received, 1);
	return XDP_DROP;
}

static __always_inline int rig_from(struct xc_ctx *c, enum xc_outcome outcome)
{
	if (outcome == XC_NEXT)
		outcome = parse_request(c);
	if (outcome == XC_NEXT)
		outcome = lookup(c);
	if (outcome == XC_NEXT)
		outcome = room(c);
	if (outcome == XC_NEXT)
		outcome = reply(c);
	return finish(c, outcome);
}

/* How many guards a program has: none, then one more each, both maps looked up every time. */
enum rig_guards {
	RIG_NONE,
	RIG_LOCAL,
	RIG_LEASE,
	RIG_ALLOW,
};

/* What rate could have been: the kernel's own map that forgets whom it has not seen for long. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, XC_RATE_WAYS << XC_RATE_SET_SHIFT);
	__type(key, __u64);
	__type(value, __u64);
} rig_lru SEC(".maps");

static __always_inline enum xc_outcome rig_rate_lru(const struct xc_ctx *c)
{
	__u64 source = rate_source(c), full_ns = c->now_ns + c->conf->rate_cost_ns;
	__u64 *found = bpf_map_lookup_elem(&rig_lru, &source);

	if (!found) {
		bpf_map_update_elem(&rig_lru, &source, &full_ns, BPF_ANY);
		return XC_NEXT;
	}
	if (*found - c->now_ns + c->conf->rate_cost_ns > c->conf->rate_burst_ns)
		return XC_drop_rate;
	__sync_fetch_and_add(found, c->conf->rate_cost_ns);
	return XC_NEXT;
}

static __always_inline int rig_rated(struct xdp_md *xdp, bool lru)
{
	struct xc_ctx c = { .xdp = xdp, .mtu = 1500 };
	enum xc_outcome outcome = guard_configured(&c);

	ctx_reload(&c);
	if (outcome == XC_NEXT)
		outcome = parse_packet(&c);
	if (outcome == XC_NEXT)
		outcome = guard_port(&c);
	if (outcome == XC_NEXT)
		c.now_ns = clock_now_ns(c.conf);
	if (outcome == XC_NEXT)
		outcome = lru ? rig_rate_lru(&c) : rate(&c);
	return rig_from(&c, outcome);
}

static __always_inline int rig_guarded(struct xdp_md *xdp, enum rig_guards guards)
{
	struct xc_ctx c = { .xdp = xdp, .mtu = 1500 };
	enum xc_outcome outcome = guard_configured(&c);
	const struct xc_local *local = NULL;

	ctx_reload(&c);
	if (outcome == XC_NEXT)
		outcome = parse_packet(&c);
	if (outcome == XC_NEXT && guards >= RIG_LOCAL) {
		local = guard_find_local(&c, ctx_ifindex(&c));
		outcome = guard_local(&c, local);
	}
	if (outcome == XC_NEXT)
		outcome = guard_port(&c);
	if (outcome == XC_NEXT)
		c.now_ns = clock_now_ns(c.conf);
	if (outcome == XC_NEXT && guards >= RIG_LEASE) {
		outcome = guard_source(&c, local->flags);
		if (outcome == XC_NEXT)
			outcome = guard_lease(&c);
	}
	if (outcome == XC_NEXT && guards >= RIG_ALLOW)
		outcome = guard_allowed(&c);
	return rig_from(&c, outcome);
}

SEC("xdp")
int rig_guard_none(struct xdp_md *xdp)
{
	return rig_guarded(xdp, RIG_NONE);
}

SEC("xdp")
int rig_guard_local(struct xdp_md *xdp)
{
	return rig_guarded(xdp, RIG_LOCAL);
}

SEC("xdp")
int rig_guard_lease(struct xdp_md *xdp)
{
	return rig_guarded(xdp, RIG_LEASE);
}

SEC("xdp")
int rig_guard_allow(struct xdp_md *xdp)
{
	return rig_guarded(xdp, RIG_ALLOW);
}

SEC("xdp")
int rig_guard_rate(struct xdp_md *xdp)
{
	return rig_rated(xdp, false);
}

SEC("xdp")
int rig_guard_lru(struct xdp_md *xdp)
{
	return rig_rated(xdp, true);
}
