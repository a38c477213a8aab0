/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/guard_page.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static void die(const char *what)
{
	perror(what);
	abort();
}

void guard_page_init(struct guard_page *guard, size_t len_max)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	guard->room = (len_max + page - 1) / page * page;
	guard->map = mmap(NULL, guard->room + page, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (guard->map == MAP_FAILED)
		die("mmap");
	if (mprotect(guard->map + guard->room, page, PROT_NONE))
		die("mprotect");
}

void guard_page_fini(struct guard_page *guard)
{
	munmap(guard->map, guard->room + (size_t)sysconf(_SC_PAGESIZE));
}

struct span guard_page_put(struct guard_page *guard, const void *bytes, size_t len)
{
	uint8_t *to = guard->map + guard->room - len;

	if (len > guard->room)
		abort();
	memcpy(to, bytes, len);
	return span_of(to, len);
}
