/* SPDX-License-Identifier: BSD-2-Clause */
#include "control/stats.h"

#include <string.h>

#include "fastpath/counters.h"

const char *stats_mode_name(enum xdp_mode mode)
{
	static const char *const names[] = { "auto", "native", "generic", "off" };

	return names[mode];
}

const char *stats_fastpath_state(const struct control_fastpath *fp, uint64_t now_ns)
{
	uint32_t native_cnt = 0, generic_cnt = 0;

	for (uint32_t i = 0; i < fp->interface_cnt; i++) {
		native_cnt += fp->interfaces[i].mode == XDP_MODE_NATIVE;
		generic_cnt += fp->interfaces[i].mode == XDP_MODE_GENERIC;
	}
	if (native_cnt + generic_cnt == 0)
		return "off";
	if (fp->serve_until_ns <= now_ns)
		return "orphaned";
	if (native_cnt == fp->interface_cnt)
		return "native";
	return generic_cnt == fp->interface_cnt ? "generic" : "mixed";
}

uint64_t stats_misses(const struct xc_stats *s)
{
	return s->pass_miss + s->pass_vacant + s->pass_busy + s->pass_other_key + s->pass_expired +
	       s->pass_flushed + s->pass_log + s->pass_mtu + s->pass_no_room;
}

/* The counters whose names begin so; zeros too, so that a reader need not ask what is there. */
static json_t *counters_json(const struct xc_stats *stats, const char *prefix)
{
	const __u64 *counter = (const __u64 *)stats;
	json_t *object = json_object();

	for (int i = 0; i < XC_OUTCOME_CNT; i++) {
		const char *name = counters_name((enum xc_outcome)i);

		if (!strncmp(name, prefix, strlen(prefix)))
			json_object_set_new(object, name, json_integer((json_int_t)counter[i]));
	}
	return object;
}

json_t *stats_interfaces_json(const struct fastpath_interface *interfaces, uint32_t cnt)
{
	json_t *array = json_array();

	for (uint32_t i = 0; i < cnt; i++) {
		const struct fastpath_interface *f = &interfaces[i];

		json_array_append_new(array,
				      json_pack("{s:s, s:I, s:s, s:b, s:b, s:I, s:s}", "name",
						f->name, "ifindex", (json_int_t)f->ifindex, "mode",
						stats_mode_name(f->mode), "tc", f->tc, "by_link",
						f->by_link, "prog_id", (json_int_t)f->prog_id,
						"reason", f->reason));
	}
	return array;
}

static json_t *times_json(const __u64 times[XC_TIME_BUCKETS])
{
	return json_pack("{s:I, s:I, s:I}", "samples", (json_int_t)counters_timed(times), "p50_ns",
			 (json_int_t)counters_time_ns(times, 0.5), "p99_ns",
			 (json_int_t)counters_time_ns(times, 0.99));
}

json_t *stats_fastpath_json(const struct control_fastpath *fp, uint64_t now_ns)
{
	uint64_t left_ns = fp->serve_until_ns > now_ns ? fp->serve_until_ns - now_ns : 0;
	json_t *object = json_object();

	json_object_set_new(object, "state", json_string(stats_fastpath_state(fp, now_ns)));
	json_object_set_new(object, "interfaces",
			    stats_interfaces_json(fp->interfaces, fp->interface_cnt));
	json_object_set_new(object, "hits", json_integer((json_int_t)counters_hits(&fp->stats)));
	json_object_set_new(object, "absent",
			    json_integer((json_int_t)counters_absent(&fp->stats)));
	json_object_set_new(object, "misses", json_integer((json_int_t)stats_misses(&fp->stats)));
	json_object_set_new(object, "hits_by", counters_json(&fp->stats, "hit_"));
	json_object_set_new(object, "passes", counters_json(&fp->stats, "pass_"));
	json_object_set_new(object, "drops", counters_json(&fp->stats, "drop_"));
	json_object_set_new(object, "reply_bytes", json_integer((json_int_t)fp->stats.reply_bytes));
	json_object_set_new(object, "times",
			    json_pack("{s:o, s:o}", "hits", times_json(fp->stats.hit_times),
				      "others", times_json(fp->stats.other_times)));
	json_object_set_new(object, "entries", json_integer(fp->entry_cnt));
	json_object_set_new(object, "entries_max", json_integer(fp->entry_max));
	json_object_set_new(object, "owner_epoch", json_integer((json_int_t)fp->owner_epoch));
	json_object_set_new(object, "lease_ms", json_integer(fp->lease_ms));
	json_object_set_new(object, "lease_left_ms",
			    json_integer((json_int_t)(left_ns / NSEC_PER_MSEC)));
	return object;
}
