/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * key - keys in JSON objects.
 *
 * Does      writes a key into an object as "key" and, where it is no UTF-8 text, "key_hex"; takes
 *           one out of either.
 * Errors    control_key: false after writing to error what is wrong.
 * Threads   any; no state.
 */
#ifndef XC_CONTROL_KEY_H
#define XC_CONTROL_KEY_H

#include <jansson.h>
#include <stdbool.h>

#include "abi/limits.h"
#include "base/span.h"
#include "control/command.h"

void control_set_key(json_t *row, const char *key, uint32_t len);
/* The span lies in `key`. */
bool control_key(const json_t *request, char key[XC_KEY_MAX], struct span *ret,
		 char error[CONTROL_ERROR_MAX]);

#endif
