/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The programs. A request's life: parse_packet -> guard -> parse_request -> lookup -> room -> reply
 * -> finish. Anything else leaves by the first stage that doubts it, byte for byte as it came.
 *
 *   NIC ── xc_fastpath ──► reply, XDP_TX         several keys, no item: xc_batch, in its place
 *              │ no room in the driver's frame: marked
 *              ▼
 *          xc_tc ────────► reply, redirected     the same: xc_batch_tc
 *              │ anything else                   out of the interface it came in by
 *              ▼
 *          the host's stack, and the daemon's socket
 */
#include "batch.bpf.h"
#include "ctx.bpf.h"
#include "finish.bpf.h"
#include "guard.bpf.h"
#include "handover.bpf.h"
#include "lookup.bpf.h"
#include "maps.bpf.h"
#include "parse_packet.bpf.h"
#include "parse_request.bpf.h"
#include "reply.bpf.h"
#include "room.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline enum xc_outcome stages(struct xc_ctx *c)
{
	enum xc_outcome outcome = guard_configured(c);

	if (outcome == XC_NEXT)
		outcome = parse_packet(c);
	if (outcome == XC_NEXT)
		outcome = guard(c);
	if (outcome == XC_NEXT && c->batch)
		outcome = batch(c);
	if (outcome == XC_NEXT && !c->batch)
		outcome = parse_request(c);
	if (outcome == XC_NEXT && !c->batch)
		outcome = lookup(c);
	if (outcome == XC_pass_absent && !c->batch)
		parse_request_further(c);
	if (outcome == XC_NEXT)
		outcome = room(c);
	if (outcome == XC_NEXT)
		outcome = reply(c);
	return outcome;
}

SEC("xdp")
int xc_fastpath(struct xdp_md *xdp)
{
	struct xc_ctx c = { .xdp = xdp };

	finish_begin();
	ctx_reload(&c);
	return finish(&c, stages(&c));
}

SEC("xdp")
int xc_batch(struct xdp_md *xdp)
{
	struct xc_ctx c = { .xdp = xdp, .batch = true };

	ctx_reload(&c);
	return finish(&c, stages(&c));
}

SEC("tc")
int xc_tc(struct __sk_buff *skb)
{
	struct xc_ctx c = { .tc = true, .skb = skb };

	if (!handover_take(&c))
		return TC_ACT_UNSPEC;
	return finish(&c, stages(&c));
}

SEC("tc")
int xc_batch_tc(struct __sk_buff *skb)
{
	struct xc_ctx c = { .tc = true, .skb = skb, .batch = true };

	if (!handover_take(&c))
		return TC_ACT_UNSPEC;
	return finish(&c, stages(&c));
}

/* See struct xc_clock_sample. */
SEC("syscall")
int xc_clock(struct xc_clock_sample *sample)
{
	sample->jiffies = bpf_jiffies64();
	sample->boot_ns = bpf_ktime_get_boot_ns();
	return 0;
}
