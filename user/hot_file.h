/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hot_file - what operators chose with `xdpcache hot ... --save`.
 *
 * Does      writes pins, bans and limits to a file and reads them back.
 * Shape     one JSON object: {"version":1, "threshold", "entries", "bytes" (0: as configured),
 *           "pins":[{"key":…}|{"key_hex":…}], "bans":[…]}. A new file replaces the old one at
 *           once: whoever reads finds either, whole.
 * Errors    negative errno. hot_file_load: -ENOENT there is none; -EBADMSG it is not such a file,
 *           after one warning: nothing of it is taken.
 * Owner     hot_choices_fini frees what hot_file_load has filled in.
 * Threads   load: main. save: the control server's.
 */
#ifndef XC_HOT_FILE_H
#define XC_HOT_FILE_H

#include "promote/promoter.h"

struct hot_choices {
	struct promoter_limits limits;
	struct promoter_wish *wishes; /* room for PROMOTER_WISH_MAX */
	uint32_t wish_cnt;
};

int hot_file_load(const char *path, struct hot_choices *ret);
int hot_file_save(const char *path, const struct hot_choices *choices);
void hot_choices_fini(struct hot_choices *choices); /* safe on a zeroed one, and twice */

#endif
