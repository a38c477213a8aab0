/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * page - the status page's files, as they are in the program.
 *
 * Does      finds a file of page/ by the path it is asked for under.
 * Shape     the files are part of the program: nothing is read at run time, and the page needs
 *           nothing from elsewhere.
 * Threads   any; constant.
 */
#ifndef XC_OBSERVE_PAGE_H
#define XC_OBSERVE_PAGE_H

#include <stddef.h>

#define PAGE_FILE_CNT 4

struct page_file {
	const char *path; /* "/page.css" */
	const char *type;
	const char *body;
	const char *end;
};

extern const struct page_file page_files[PAGE_FILE_CNT];

#endif
