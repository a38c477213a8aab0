/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cache_control - what an HTTP answer says about its own age.
 *
 * Does      reads Cache-Control and Age as a shared cache has to; tells how long the answer is
 *           fresh, and how long after that it may be given while it is fetched or while that fails.
 * Shape     fed header by header, in any order, each any number of times; then asked.
 * Units     ms; seconds in the headers, at most CACHE_CONTROL_SEC_MAX of them.
 * Errors    none: what it does not know is left out; a number that is none is 0, which is safe.
 * Owner     the caller's struct; nothing is kept of what was fed.
 * Threads   pure.
 * Source    RFC 9111 section 5.2 (5.2.2.10: s-maxage goes before max-age, 5.2.2.7: private is not
 *           for us), section 1.2.2; RFC 5861 for the stale windows.
 */
#ifndef XC_ORIGIN_CACHE_CONTROL_H
#define XC_ORIGIN_CACHE_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "origin/answer.h"

#define CACHE_CONTROL_SEC_MAX 0x7fffffffU

struct cache_control {
	bool no_store, no_cache, must_revalidate;
	bool has_max_age, has_s_maxage, has_stale, has_stale_if_error;
	uint32_t max_age_sec, s_maxage_sec, stale_sec, stale_if_error_sec;
	uint32_t age_sec; /* how old it was when it was sent */
};

/* A field's value, without name and line end. */
void cache_control_parse(struct cache_control *control, struct span value);
void cache_control_parse_age(struct cache_control *control, struct span value);
struct answer_age cache_control_age(const struct cache_control *control);

#endif
