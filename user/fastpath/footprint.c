/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How much memory the instance's maps take, and giving some of it back.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <sys/mman.h>

#include "fastpath/impl.h"

void fastpath_trim_log(struct fastpath *fp, uint64_t end)
{
	uint32_t first = (uint32_t)((end + XC_EXTENT_SIZE - 1) / XC_EXTENT_SIZE);
	uint32_t number = (uint32_t)(fp->maps.ready_bytes / XC_EXTENT_SIZE);

	/* From the end: whenever the process ends, the log has no holes. */
	while (number > first) {
		uint8_t *at = fp->maps.log_base + (uint64_t)--number * XC_EXTENT_SIZE;

		/* The address range stays ours, so that nothing else is ever found there. */
		mmap(at, XC_EXTENT_SIZE, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
		bpf_map_delete_elem(fp->maps.seg_fd, &number);
		fp->maps.ready_bytes = (uint64_t)number * XC_EXTENT_SIZE;
	}
}

/* As the kernel accounts for it; 0: it does not say. */
static uint64_t map_footprint(int fd)
{
	unsigned long long bytes = 0;
	char path[64], line[128];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "memlock: %llu", &bytes) == 1)
			break;
	}
	if (file)
		fclose(file);
	return bytes;
}

uint64_t fastpath_map_bytes(const struct fastpath *fp)
{
	uint64_t bytes = 0;
	struct bpf_map *map;

	bpf_object__for_each_map(map, fp->skel->obj) bytes += map_footprint(bpf_map__fd(map));
	return bytes;
}
