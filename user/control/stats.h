/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stats - the fast path's part of `stats`, for the daemon and for the command without a daemon.
 *
 * Does      turns counters and attachments into the JSON object `fastpath`, and sums them up.
 * Shape     {state, interfaces[], hits, misses, hits_by{}, passes{}, drops{}, times{}, entries,
 *           entries_max, reply_bytes, lease_ms, lease_left_ms}; counters by their names in
 *           abi/outcome.h.
 * Units     as the names say; all numbers are integers.
 * Owner     the object is the caller's.
 */
#ifndef XC_CONTROL_STATS_H
#define XC_CONTROL_STATS_H

#include <jansson.h>

#include "control/server.h"

/*
 * One word for all interfaces: "off" nothing is attached; "orphaned" attached, but no daemon
 * renews the lease, so that every packet passes; "native" or "generic" all of them; "mixed" some
 * of each, or some not attached.
 */
const char *stats_fastpath_state(const struct control_fastpath *fp, uint64_t now_ns);
/* "auto" never occurs: what an attachment is. */
const char *stats_mode_name(enum xdp_mode mode);

/*
 * Well-formed GETs of one key that the kernel could not answer for lack of a servable entry or of
 * room for the reply: pass_miss, pass_vacant, pass_busy, pass_other_key, pass_expired,
 * pass_flushed, pass_log, pass_mtu, pass_no_room.
 */
uint64_t stats_misses(const struct xc_stats *stats);

json_t *stats_interfaces_json(const struct fastpath_interface *interfaces, uint32_t cnt);
json_t *stats_fastpath_json(const struct control_fastpath *fp, uint64_t now_ns);

#endif
