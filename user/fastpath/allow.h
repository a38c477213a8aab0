/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * allow - which sources the fast path answers.
 *
 * Does      writes the allowlist into xc_allow; an empty list means loopback only.
 * Errors    -EINVAL after a log line that names the bad text; nothing was changed then.
 * Owner     sole writer of xc_allow.
 * Threads   main.
 */
#ifndef XC_FASTPATH_ALLOW_H
#define XC_FASTPATH_ALLOW_H

#include <stdint.h>

#include "fastpath/loader.h"

int allow_apply(const struct fastpath_maps *maps, const char *const *texts, uint32_t cnt);

#endif
