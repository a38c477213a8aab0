/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stats_pins - the fast path's stats from its pins.
 *
 * Does      puts what inspect_pins() found into the form the daemon reports it in.
 * Threads   one.
 */
#ifndef XC_XDPCACHE_STATS_PINS_H
#define XC_XDPCACHE_STATS_PINS_H

#include "control/server.h"
#include "fastpath/inspect.h"

struct control_fastpath stats_pins_control(const struct inspect *state);

#endif
