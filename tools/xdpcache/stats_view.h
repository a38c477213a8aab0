/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stats_view - what `xdpcache stats` shows.
 *
 * Does      lays the stats object out for people; makes one from the pins where no daemon runs.
 * Shape     the object is what the daemon answers to {"cmd":"stats"}; parts that are missing are
 *           left out.
 * Units     rates are of the time between the two objects.
 * Owner     objects are the caller's.
 */
#ifndef XC_XDPCACHE_STATS_VIEW_H
#define XC_XDPCACHE_STATS_VIEW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli.h"

/* before NULL: no rates. tty: with bars. */
void stats_view_print(const json_t *now, const json_t *before, uint64_t elapsed_ns, bool tty);

/* {"fastpath":…} of the instance's pins; negative errno after one line on standard error. */
int stats_from_pins(const struct cli *cli, json_t **ret);

#endif
