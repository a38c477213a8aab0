/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/rand.h"

#define BOOT_ID_PATH "/proc/sys/kernel/random/boot_id"

static int map(struct memory *memory)
{
	void *base = mmap(NULL, memory->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
			  memory->fd, 0);

	if (base == MAP_FAILED)
		return -errno;
	/* Half the time of a random read goes into page tables; a host that does not allow this
	 * (transparent_hugepage/shmem_enabled) says no, and nothing else changes. */
	madvise(base, memory->bytes, MADV_HUGEPAGE);
	memory->base = base;
	return 0;
}

/* Of another size nothing can be used: it begins as zeroes. */
static int fit(struct memory *memory, bool *ret_fresh)
{
	struct stat st;

	if (fstat(memory->fd, &st))
		return -errno;
	memory->kept = st.st_size > 0;
	*ret_fresh = (uint64_t)st.st_size < memory->bytes;
	if (!*ret_fresh)
		return 0;
	if (ftruncate(memory->fd, 0) || ftruncate(memory->fd, (off_t)memory->bytes))
		return -errno;
	return 0;
}

int memory_adopt(int fd, uint64_t bytes, struct memory *ret)
{
	struct memory memory = { .bytes = bytes, .fd = fd };
	bool fresh;
	int err = fit(&memory, &fresh);

	if (!err)
		err = map(&memory);
	if (!err)
		*ret = memory;
	return err;
}

int memory_new(const char *name, uint64_t bytes, struct memory *ret)
{
	int fd = memfd_create(name, MFD_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	err = memory_adopt(fd, bytes, ret);
	if (err)
		close(fd);
	return err;
}

static int open_file(const char *path)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct stat st;
	int err = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st))
		err = -errno;
	else if (!S_ISREG(st.st_mode))
		err = -ENOTSUP;
	else if (fcntl(fd, F_OFD_SETLK, &whole))
		err = -EBUSY;
	if (!err)
		return fd;
	close(fd);
	return err;
}

int memory_reserve(const struct memory *memory, uint64_t from, uint64_t end)
{
	if (!fallocate(memory->fd, 0, (off_t)from, (off_t)(end - from)) || errno == EOPNOTSUPP)
		return 0;
	return -errno;
}

/* The next start must not take the holes for memory. */
static int reserve_or_empty(const struct memory *memory, uint64_t bytes)
{
	int err = memory_reserve(memory, 0, bytes);

	if (err && ftruncate(memory->fd, 0))
		return -errno;
	return err;
}

int memory_file(const char *path, uint64_t bytes, uint64_t reserved_bytes, struct memory *ret)
{
	struct memory memory = { .bytes = bytes, .fd = open_file(path) };
	bool fresh = false;
	int err;

	if (memory.fd < 0)
		return memory.fd;
	err = fit(&memory, &fresh);
	if (!err && fresh)
		err = reserve_or_empty(&memory, reserved_bytes);
	if (!err)
		err = map(&memory);
	if (err)
		close(memory.fd);
	else
		*ret = memory;
	return err;
}

void memory_trim(const struct memory *memory)
{
	/* Fails only for a file that somebody else is changing; it is of no use to anyone then. */
	if (memory->base && ftruncate(memory->fd, (off_t)memory->bytes))
		return;
}

void memory_drop(uint8_t *base, uint64_t bytes)
{
	madvise(base, bytes, MADV_REMOVE);
}

void memory_free(struct memory *memory)
{
	if (!memory->base)
		return;
	munmap(memory->base, memory->bytes);
	close(memory->fd);
	*memory = (struct memory){ .fd = -1 };
}

uint32_t memory_identity(uint64_t bytes)
{
	char text[64] = { 0 };
	int fd = open(BOOT_ID_PATH, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	uint32_t identity = 0;

	if (fd >= 0)
		close(fd);
	if (len > 0)
		return (uint32_t)XXH3_64bits_withSeed(text, (size_t)len, bytes);
	/* No way to tell: nothing is taken over. */
	rand_secret(&identity, sizeof(identity));
	return identity;
}
