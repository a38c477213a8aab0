/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/memory.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

int memory_map(const char *name, uint64_t bytes, uint8_t **ret_base)
{
	int fd = memfd_create(name, MFD_CLOEXEC);
	void *base;
	int err = 0;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)bytes)) {
		err = -errno;
		goto out;
	}
	base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (base == MAP_FAILED) {
		err = -errno;
		goto out;
	}
	/* Half the time of a random read goes into page tables; a host that does not allow this
	 * (transparent_hugepage/shmem_enabled) says no, and nothing else changes. */
	madvise(base, bytes, MADV_HUGEPAGE);
	*ret_base = base;
out:
	close(fd); /* the mapping keeps it */
	return err;
}

void memory_drop(uint8_t *base, uint64_t bytes)
{
	madvise(base, bytes, MADV_REMOVE);
}

void memory_unmap(uint8_t *base, uint64_t bytes)
{
	if (base)
		munmap(base, bytes);
}
