/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Opening an instance. Every map of the object gets its pin path before the load; libbpf then
 * reuses the pinned one if its shape is the same, else makes and pins it. So a first start, an
 * adoption, a start after plain bpftool and a start after a crash half way through another start
 * are one path.
 */
#include "fastpath/loader.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/rand.h"
#include "fastpath/impl.h"

#define FILTER_BYTES (XC_FILTER_WORDS * sizeof(uint64_t))
#define PAGE 4096UL
#define ENTRIES_SHARE 20 /* of -m, for places */
#define ENTRIES_MIN 1024U

int loader_log_libbpf(enum libbpf_print_level level, const char *fmt, va_list args)
{
	enum log_level ours = level == LIBBPF_WARN ? LOG_INFO : LOG_DEBUG;

	log_vline(ours, "libbpf", fmt, args);
	return 0;
}

static uint64_t page_round(uint64_t bytes)
{
	return (bytes + PAGE - 1) & ~(PAGE - 1);
}

/* The pinned map's shape; false when there is none. */
static bool pinned_info(const struct pins *pins, const char *map, struct bpf_map_info *ret)
{
	uint32_t len = sizeof(*ret);
	char path[PATH_MAX];
	int fd, err;

	memset(ret, 0, sizeof(*ret));
	pins_path(pins, path, map, NULL, NULL);
	fd = bpf_obj_get(path);
	if (fd < 0)
		return false;
	err = bpf_obj_get_info_by_fd(fd, ret, &len);
	close(fd);
	return err == 0;
}

static int refuse_abi(const struct fastpath *fp, const char *what, uint32_t there, uint32_t here)
{
	log_line(LOG_ERROR, "fastpath",
		 "the maps in %s are of another version (%s: %u there, %u in this build); "
		 "stop their daemon and run: xdpcache unload",
		 fp->pins.dir, what, there, here);
	return -EPROTO;
}

/* Every pinned map must look like the one in our object; sizes of sized ones may differ. */
static int check_shapes(const struct fastpath *fp)
{
	const struct bpf_map *map;
	struct bpf_map_info info;

	bpf_object__for_each_map(map, fp->skel->obj)
	{
		const char *name = bpf_map__name(map);

		if (!pinned_info(&fp->pins, name, &info))
			continue;
		if (info.type != bpf_map__type(map))
			return refuse_abi(fp, name, info.type, bpf_map__type(map));
		if (info.key_size != bpf_map__key_size(map))
			return refuse_abi(fp, name, info.key_size, bpf_map__key_size(map));
		if (info.value_size != bpf_map__value_size(map))
			return refuse_abi(fp, name, info.value_size, bpf_map__value_size(map));
		if (info.map_flags != bpf_map__map_flags(map))
			return refuse_abi(fp, name, info.map_flags, bpf_map__map_flags(map));
		if (info.max_entries != bpf_map__max_entries(map))
			return refuse_abi(fp, name, info.max_entries, bpf_map__max_entries(map));
	}
	return 0;
}

/* xc_hot, xc_entry and xc_hits keep the size they were made with, and all three have the same. */
static int set_sizes(struct fastpath *fp)
{
	struct bpf_map *sized[] = { fp->skel->maps.xc_hot, fp->skel->maps.xc_entry,
				    fp->skel->maps.xc_hits };
	uint32_t cnt = fp->options.entry_cnt ? fp->options.entry_cnt : XC_ENTRY_DEFAULT;
	struct bpf_map_info info;
	int err = 0;

	if (pinned_info(&fp->pins, XC_MAP_ENTRY, &info))
		cnt = info.max_entries;
	for (size_t i = 0; i < sizeof(sized) / sizeof(sized[0]) && !err; i++)
		err = bpf_map__set_max_entries(sized[i], cnt);
	return err;
}

static int set_pin_paths(struct fastpath *fp)
{
	struct bpf_map *map;
	char path[PATH_MAX];
	int err = 0;

	bpf_object__for_each_map(map, fp->skel->obj)
	{
		pins_path(&fp->pins, path, bpf_map__name(map), NULL, NULL);
		err = bpf_map__set_pin_path(map, path);
		if (err)
			break;
	}
	return err;
}

/* False: there is no map that somebody configured. */
static bool pinned_conf(const struct fastpath *fp, struct xc_conf *ret)
{
	char path[PATH_MAX];
	uint32_t zero = 0;
	bool found;
	int fd;

	pins_path(&fp->pins, path, XC_MAP_CONF, NULL, NULL);
	fd = bpf_obj_get(path);
	if (fd < 0)
		return false;
	found = bpf_map_lookup_elem(fd, &zero, ret) == 0;
	close(fd);
	return found;
}

/* The object that made the pinned programs; 0: unknown. */
static uint64_t pinned_object_id(const struct fastpath *fp)
{
	struct xc_conf conf;

	if (!pinned_conf(fp, &conf) ||
	    (conf.magic != 0 && (conf.magic != XC_ABI_MAGIC || conf.version != XC_ABI_VERSION)))
		return 0;
	return conf.object_id;
}

static bool pins_any_program(const struct pins *pins)
{
	char progs[PATH_MAX], links[PATH_MAX];

	pins_path(pins, progs, "prog", NULL, NULL);
	pins_path(pins, links, "if", NULL, NULL);
	return access(progs, F_OK) == 0 || access(links, F_OK) == 0;
}

/*
 * A pin that an older build did not make, or that somebody removed. Programs that were loaded
 * before go on with the map that the pin named, or without any: they must not be used again. Which
 * ones are ours is known by xc_conf alone.
 */
static int find_missing(struct fastpath *fp)
{
	const struct bpf_map *map;
	struct bpf_map_info info;

	if (fp->fresh || !pins_any_program(&fp->pins))
		return 0;
	if (!pinned_info(&fp->pins, XC_MAP_CONF, &info)) {
		log_line(LOG_ERROR, "fastpath",
			 "%s is missing from %s, and what is attached cannot be told from others' "
			 "without it; run: xdpcache unload",
			 XC_MAP_CONF, fp->pins.dir);
		return -EPROTO;
	}
	bpf_object__for_each_map(map, fp->skel->obj)
	{
		if (pinned_info(&fp->pins, bpf_map__name(map), &info))
			continue;
		fp->incomplete = true;
		log_line(
			LOG_WARN, "fastpath",
			"%s is missing from %s: it is made anew, and the programs are loaded again",
			bpf_map__name(map), fp->pins.dir);
	}
	return 0;
}

static int open_pinned_prog(const struct fastpath *fp, const char *name)
{
	char path[PATH_MAX];

	pins_path(&fp->pins, path, "prog", name, NULL);
	return bpf_obj_get(path);
}

/*
 * Programs of the same build that an earlier process left: they use the very maps we adopt, and the
 * verifier needs most of a lease to look at them again.
 */
static bool reuse_programs(struct fastpath *fp)
{
	size_t bytes;
	const void *elf = fastpath_bpf__elf_bytes(&bytes);

	fp->object_id = XXH3_64bits(elf, bytes) | 1; /* 0 says unknown */
	if (fp->incomplete || pinned_object_id(fp) != fp->object_id)
		return false;
	fp->xdp_fd = open_pinned_prog(fp, XC_PROG_XDP);
	fp->tc_fd = open_pinned_prog(fp, XC_PROG_TC);
	fp->clock_fd = open_pinned_prog(fp, XC_PROG_CLOCK);
	if (fp->xdp_fd < 0 || fp->tc_fd < 0 || fp->clock_fd < 0)
		return false;
	return true;
}

/*
 * Instead of a load, which would want every program for its arrays of programs. All are there:
 * find_missing has looked.
 */
static int take_pinned_maps(struct fastpath *fp)
{
	struct bpf_map *map;
	char path[PATH_MAX];
	int err = 0;

	bpf_object__for_each_map(map, fp->skel->obj)
	{
		int fd;

		pins_path(&fp->pins, path, bpf_map__name(map), NULL, NULL);
		fd = bpf_obj_get(path);
		if (fd < 0)
			return -errno;
		err = bpf_map__reuse_fd(map, fd);
		close(fd);
		if (err)
			break;
	}
	return err;
}

static void close_progs(struct fastpath *fp)
{
	int *const fds[] = { &fp->xdp_fd, &fp->tc_fd, &fp->clock_fd };

	for (int i = 0; i < 3; i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

/* Keeps what was loaded for the next process; in the way of plain bpftool's pins it steps back. */
static int pin_programs(struct fastpath *fp)
{
	const struct {
		const char *name;
		int *fd;
		struct bpf_program *prog;
	} all[] = { { XC_PROG_XDP, &fp->xdp_fd, fp->skel->progs.xc_fastpath },
		    { XC_PROG_TC, &fp->tc_fd, fp->skel->progs.xc_tc },
		    { XC_PROG_CLOCK, &fp->clock_fd, fp->skel->progs.xc_clock } };
	bool ours = pinned_object_id(fp) != 0;
	char path[PATH_MAX];

	fp->progs_pinned = true;
	pins_path(&fp->pins, path, "prog", NULL, NULL);
	if (pins_make_dir(path))
		fp->progs_pinned = false;
	for (int i = 0; i < 3; i++) {
		*all[i].fd = dup(bpf_program__fd(all[i].prog));
		if (*all[i].fd < 0)
			return -errno;
		pins_path(&fp->pins, path, "prog", all[i].name, NULL);
		if (ours)
			unlink(path); /* of another build: its attachments keep it */
		if (fp->progs_pinned && bpf_obj_pin(*all[i].fd, path))
			fp->progs_pinned = false;
	}
	return 0;
}

static int load_programs(struct fastpath *fp)
{
	int err = set_pin_paths(fp);

	if (!err)
		err = fastpath_bpf__load(fp->skel);
	if (!err)
		err = pin_programs(fp);
	return err;
}

static int load_object(struct fastpath *fp)
{
	int err;

	fp->skel = fastpath_bpf__open();
	if (!fp->skel)
		return -errno;
	err = set_sizes(fp);
	if (!err)
		err = check_shapes(fp);
	if (!err)
		err = find_missing(fp);
	if (err == -EPROTO)
		return err;
	fp->progs_pinned = reuse_programs(fp);
	if (!fp->progs_pinned)
		close_progs(fp);
	if (!err && fp->progs_pinned)
		err = take_pinned_maps(fp);
	else if (!err)
		err = load_programs(fp);
	if (err)
		log_line(LOG_ERROR, "fastpath",
			 "cannot load the kernel program or open the maps in %s: %s; see: xdpcache "
			 "doctor",
			 fp->pins.dir, strerror(-err));
	return err;
}

void *loader_map(int fd, uint64_t bytes)
{
	void *ptr = mmap(NULL, page_round(bytes), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return ptr == MAP_FAILED ? NULL : ptr;
}

void loader_unmap(void *ptr, uint64_t bytes)
{
	if (ptr)
		munmap(ptr, page_round(bytes));
}

static int open_maps(struct fastpath *fp)
{
	struct fastpath_maps *maps = &fp->maps;

	maps->hot_fd = bpf_map__fd(fp->skel->maps.xc_hot);
	maps->entry_fd = bpf_map__fd(fp->skel->maps.xc_entry);
	maps->hits_fd = bpf_map__fd(fp->skel->maps.xc_hits);
	maps->seg_fd = bpf_map__fd(fp->skel->maps.xc_seg);
	maps->conf_fd = bpf_map__fd(fp->skel->maps.xc_conf);
	maps->stats_fd = bpf_map__fd(fp->skel->maps.xc_stats);
	maps->routes_fd = bpf_map__fd(fp->skel->maps.xc_routes);
	maps->local_fd = bpf_map__fd(fp->skel->maps.xc_local);
	maps->allow_fd = bpf_map__fd(fp->skel->maps.xc_allow);
	maps->rate_fd = bpf_map__fd(fp->skel->maps.xc_rate);
	maps->entry_cnt = bpf_map__max_entries(fp->skel->maps.xc_entry);
	fp->entries_bytes = (uint64_t)maps->entry_cnt * sizeof(struct xc_entry);
	fp->hits_bytes = (uint64_t)maps->entry_cnt * sizeof(struct xc_use);
	maps->conf = loader_map(maps->conf_fd, sizeof(struct xc_conf));
	maps->entries = loader_map(maps->entry_fd, fp->entries_bytes);
	maps->uses = loader_map(maps->hits_fd, fp->hits_bytes);
	maps->filter = loader_map(bpf_map__fd(fp->skel->maps.xc_filter), FILTER_BYTES);
	if (!maps->conf || !maps->entries || !maps->uses || !maps->filter) {
		log_line(LOG_ERROR, "fastpath", "cannot map the shared arrays: %s",
			 strerror(errno));
		return -ENOMEM;
	}
	return 0;
}

static int check_abi(struct fastpath *fp)
{
	const struct xc_conf *conf = fp->maps.conf;

	if (conf->magic == 0)
		return 0;
	if (conf->magic != XC_ABI_MAGIC)
		return refuse_abi(fp, "xc_conf.magic", conf->magic, XC_ABI_MAGIC);
	if (conf->version != XC_ABI_VERSION)
		return refuse_abi(fp, "xc_conf.version", conf->version, XC_ABI_VERSION);
	fp->maps.adopted = true;
	/* Until a program that has this daemon's maps is attached. */
	if (fp->incomplete)
		__atomic_store_n(&fp->maps.conf->serve_until_ns, 0, __ATOMIC_SEQ_CST);
	return 0;
}

/* --- the log --- */

uint64_t fastpath_log_bytes(uint64_t memory_bytes)
{
	uint64_t extents = memory_bytes / XC_EXTENT_SIZE;

	return (extents > 0 ? extents : 1) * XC_EXTENT_SIZE;
}

uint32_t fastpath_entry_cnt(uint64_t memory_bytes)
{
	uint64_t cnt = memory_bytes / ENTRIES_SHARE / FASTPATH_ENTRY_BYTES;

	return cnt < ENTRIES_MIN	    ? ENTRIES_MIN
	       : cnt > FASTPATH_ENTRIES_MAX ? FASTPATH_ENTRIES_MAX
					    : (uint32_t)cnt;
}

int extent_open(int seg_fd, uint32_t number)
{
	uint32_t id;
	int fd;

	if (bpf_map_lookup_elem(seg_fd, &number, &id))
		return -errno;
	fd = bpf_map_get_fd_by_id(id);
	return fd < 0 ? -errno : fd;
}

int extent_make(int seg_fd, uint32_t number)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "xc_extent", sizeof(uint32_t), XC_BLOCK_SIZE,
				XC_EXTENT_BLOCKS, &opts);
	int err;

	if (fd < 0)
		return -errno;
	if (bpf_map_update_elem(seg_fd, &number, &fd, BPF_ANY)) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

/* How many there are from the first on. */
static uint32_t extent_cnt(int seg_fd)
{
	uint32_t number = 0, id;

	while (number < XC_EXTENT_MAX && bpf_map_lookup_elem(seg_fd, &number, &id) == 0)
		number++;
	return number;
}

/* The kernel zeroes every page: seconds for each few GiB. */
static void show_progress(uint32_t done, uint32_t total)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\rmaking the log: %llu / %llu MiB%s",
			(unsigned long long)(done * XC_EXTENT_SIZE >> 20),
			(unsigned long long)(total * XC_EXTENT_SIZE >> 20),
			done == total ? "\n" : "");
}

int extent_map(const struct fastpath_maps *maps, uint32_t number, int fd)
{
	uint8_t *at = maps->log_base + (uint64_t)number * XC_EXTENT_SIZE;

	if (mmap(at, XC_EXTENT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
	    MAP_FAILED)
		return -errno;
	return 0;
}

static int have_extent(const struct fastpath *fp, uint32_t number)
{
	int fd = extent_open(fp->maps.seg_fd, number), err;

	if (fd == -ENOENT)
		fd = extent_make(fp->maps.seg_fd, number);
	if (fd < 0)
		return fd;
	err = extent_map(&fp->maps, number, fd);
	close(fd); /* the array of maps and the mapping keep it */
	return err;
}

/* An adopted log stays as long as it is, and moves to what is wanted while the daemon runs. */
static uint32_t extents_to_have(struct fastpath *fp)
{
	uint32_t wanted = (uint32_t)(fp->options.log_bytes / XC_EXTENT_SIZE);
	uint32_t there = extent_cnt(fp->maps.seg_fd);

	if (fp->maps.adopted && there == 0) {
		log_line(LOG_WARN, "fastpath", "the pinned log is gone: starting empty");
		fp->maps.adopted = false;
	}
	return fp->maps.adopted || there > wanted ? there : wanted;
}

static int open_log(struct fastpath *fp)
{
	uint64_t room = fp->options.log_bytes_max;
	uint32_t cnt;
	int err = 0;
	void *base;

	if (fp->options.log_bytes < XC_EXTENT_SIZE ||
	    fp->options.log_bytes >= (uint64_t)XC_EXTENT_MAX * XC_EXTENT_SIZE)
		return -EINVAL;
	cnt = extents_to_have(fp);
	if (room < (uint64_t)cnt * XC_EXTENT_SIZE)
		room = (uint64_t)cnt * XC_EXTENT_SIZE;
	base = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return -errno;
	fp->maps.log_base = base;
	fp->maps.log_bytes = room;
	for (uint32_t i = 0; i < cnt && !err; i++) {
		err = have_extent(fp, i);
		if (!err)
			show_progress(i + 1, cnt);
	}
	fp->maps.ready_bytes = (uint64_t)cnt * XC_EXTENT_SIZE;
	if (err)
		log_line(LOG_ERROR, "fastpath",
			 "cannot make a log of %llu MiB: %s; give a smaller -m, or --no-fastpath",
			 (unsigned long long)(fp->maps.ready_bytes >> 20), strerror(-err));
	return err;
}

/* --- life --- */

static int take_ownership(struct fastpath *fp)
{
	struct xc_conf *conf = fp->maps.conf;
	int err;

	conf->object_id = fp->progs_pinned ? fp->object_id : 0;
	if (fp->options.load_only)
		return 0;
	if (conf->digest_key[0] == 0 && conf->digest_key[1] == 0) {
		err = rand_secret(conf->digest_key, sizeof(conf->digest_key));
		if (err)
			return err;
	}
	__atomic_store_n(&conf->owner_epoch, conf->owner_epoch + 1, __ATOMIC_SEQ_CST);
	conf->version = XC_ABI_VERSION;
	__atomic_store_n(&conf->magic, XC_ABI_MAGIC, __ATOMIC_SEQ_CST);
	return 0;
}

static int lock_instance(struct fastpath *fp)
{
	pid_t owner = 0;

	fp->lock_fd = pins_lock(&fp->pins, &owner);
	if (fp->lock_fd == -EBUSY)
		log_line(LOG_ERROR, "fastpath",
			 "pid %d owns %s; stop it, or start with another --instance", owner,
			 fp->pins.dir);
	else if (fp->lock_fd < 0)
		log_line(LOG_ERROR, "fastpath", "cannot lock %s: %s; the fast path needs root",
			 fp->pins.lock, strerror(-fp->lock_fd));
	return fp->lock_fd < 0 ? fp->lock_fd : 0;
}

int fastpath_open(const struct fastpath_options *options, struct fastpath **ret)
{
	struct fastpath *fp = alloc_zero(1, sizeof(*fp));
	int err;

	if (!fp)
		return -ENOMEM;
	libbpf_set_print(loader_log_libbpf);
	pthread_mutex_init(&fp->interfaces_lock, NULL);
	fp->options = *options;
	fp->lock_fd = fp->xdp_fd = fp->tc_fd = fp->clock_fd = -1;
	err = pins_init(&fp->pins, options->pin_root, options->instance);
	if (!err)
		err = lock_instance(fp);
	fp->fresh = !err && pins_gone(&fp->pins);
	if (!err)
		err = pins_make(&fp->pins);
	if (!err)
		err = load_object(fp);
	if (!err)
		err = open_maps(fp);
	if (!err)
		err = check_abi(fp);
	if (!err)
		err = open_log(fp);
	if (!err)
		err = take_ownership(fp);
	if (err) {
		/* Memory that nobody uses must not stay pinned. */
		if (fp->fresh && fp->lock_fd >= 0)
			pins_remove(&fp->pins);
		fastpath_close(fp);
		return err;
	}
	log_line(LOG_INFO, "fastpath", "%s in %s: entries=%u log_mib=%llu epoch=%llu",
		 fp->maps.adopted ? "adopted the maps of an earlier daemon"
		 : fp->fresh	  ? "made maps"
				  : "took over loaded maps",
		 fp->pins.dir, fp->maps.entry_cnt, (unsigned long long)(fp->maps.ready_bytes >> 20),
		 (unsigned long long)fp->maps.conf->owner_epoch);
	*ret = fp;
	return 0;
}

const struct fastpath_maps *fastpath_maps(const struct fastpath *fp)
{
	return &fp->maps;
}

int fastpath_state_open(const struct fastpath *fp)
{
	int fd = open(fp->pins.state, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	return fd < 0 ? -errno : fd;
}

void fastpath_close(struct fastpath *fp)
{
	if (!fp)
		return;
	loader_unmap(fp->maps.log_base, fp->maps.log_bytes);
	loader_unmap(fp->maps.conf, sizeof(struct xc_conf));
	loader_unmap(fp->maps.entries, fp->entries_bytes);
	loader_unmap(fp->maps.uses, fp->hits_bytes);
	loader_unmap(fp->maps.filter, FILTER_BYTES);
	close_progs(fp);
	fastpath_bpf__destroy(fp->skel);
	/* Where nothing is pinned the lock has nothing to protect. */
	pins_unlock(&fp->pins, fp->lock_fd, pins_gone(&fp->pins));
	pthread_mutex_destroy(&fp->interfaces_lock);
	alloc_free(fp);
}
