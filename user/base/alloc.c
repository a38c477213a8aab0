/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

bool (*alloc_refuse)(size_t bytes);

static bool refused(size_t bytes)
{
	return alloc_refuse && alloc_refuse(bytes);
}

void *alloc_zero(size_t count, size_t bytes)
{
	return refused(count * bytes) ? NULL : calloc(count, bytes);
}

void *alloc_resize(void *old, size_t bytes)
{
	return refused(bytes) ? NULL : realloc(old, bytes);
}

void *alloc_aligned(size_t align, size_t bytes)
{
	size_t rounded = (bytes + align - 1) / align * align;
	void *ptr = refused(rounded) ? NULL : aligned_alloc(align, rounded);

	if (ptr)
		memset(ptr, 0, rounded);
	return ptr;
}

void alloc_free(void *ptr)
{
	free(ptr);
}
