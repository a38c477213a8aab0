/* SPDX-License-Identifier: BSD-2-Clause */
#include "fastpath/pins.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/log.h"

#define BPFFS_MOUNT "/sys/fs/bpf"
/* Each lost try means that another process came and went in between. */
#define LOCK_TRIES 16

/* Without doubled or closing slashes: one directory must have one lock however it is written. */
static bool plain_path(const char *path, char *ret, size_t max)
{
	size_t len = 0;

	for (const char *pos = path; *pos; pos++) {
		if (*pos == '/' && (pos[1] == '/' || pos[1] == '\0'))
			continue;
		if (len + 1 >= max)
			return false;
		ret[len++] = *pos;
	}
	ret[len] = '\0';
	return len > 0 && ret[0] == '/';
}

int pins_init(struct pins *pins, const char *pin_root, const char *instance)
{
	const char *name = instance ? instance : "default";
	char root[PATH_MAX / 4], flat[PATH_MAX / 4];
	int dir_len, lock_len;

	if (strchr(name, '/') || name[0] == '.' || name[0] == '\0') {
		log_line(LOG_ERROR, "pins", "instance \"%s\": use a plain name", name);
		return -EINVAL;
	}
	if (!plain_path(pin_root ? pin_root : PINS_ROOT_DEFAULT, root, sizeof(root))) {
		log_line(LOG_ERROR, "pins", "--pin-root \"%s\": use an absolute path", pin_root);
		return -EINVAL;
	}
	snprintf(flat, sizeof(flat), "%s", root);
	for (char *pos = flat; *pos; pos++) {
		if (*pos == '/')
			*pos = '_';
	}
	dir_len = snprintf(pins->dir, sizeof(pins->dir), "%s/%s/v1", root, name);
	lock_len = snprintf(pins->lock, sizeof(pins->lock), PINS_RUN_DIR "/%s.%s.lock", flat, name);
	snprintf(pins->state, sizeof(pins->state), "%.*s.state", lock_len - (int)strlen(".lock"),
		 pins->lock);
	snprintf(pins->hot, sizeof(pins->hot), "%.*s.hot", lock_len - (int)strlen(".lock"),
		 pins->lock);
	if (dir_len >= (int)sizeof(pins->dir) || lock_len >= (int)sizeof(pins->lock))
		return -ENAMETOOLONG;
	return 0;
}

void pins_path(const struct pins *pins, char ret_path[PATH_MAX], const char *a, const char *b,
	       const char *c)
{
	snprintf(ret_path, PATH_MAX, "%s/%s%s%s%s%s", pins->dir, a, b ? "/" : "", b ? b : "",
		 c ? "/" : "", c ? c : "");
}

int pins_make_dir(const char *path)
{
	if (mkdir(path, 0750) && errno != EEXIST)
		return -errno;
	return 0;
}

void pins_interface_path(const struct pins *pins, char ret_path[PATH_MAX], const char *ifname,
			 const char *leaf)
{
	char name[32];

	snprintf(name, sizeof(name), "%s", ifname);
	for (char *pos = name; *pos; pos++) {
		if (*pos == '.')
			*pos = ':';
	}
	pins_path(pins, ret_path, "if", name, leaf);
}

int pins_make_interface(const struct pins *pins, const char *ifname)
{
	char path[PATH_MAX];
	int err;

	pins_path(pins, path, "if", NULL, NULL);
	err = pins_make_dir(path);
	if (err)
		return err;
	pins_interface_path(pins, path, ifname, NULL);
	return pins_make_dir(path);
}

static int make_parents(const char *path)
{
	char part[PATH_MAX];
	int err = 0;

	snprintf(part, sizeof(part), "%s", path);
	for (char *pos = part + 1; *pos && !err; pos++) {
		if (*pos != '/')
			continue;
		*pos = '\0';
		err = pins_make_dir(part);
		*pos = '/';
	}
	return err ? err : pins_make_dir(path);
}

static bool is_bpffs(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && (unsigned long)fs.f_type == BPF_FS_MAGIC;
}

static int mount_bpffs(const struct pins *pins)
{
	if (strncmp(pins->dir, BPFFS_MOUNT "/", strlen(BPFFS_MOUNT "/")) != 0 ||
	    is_bpffs(BPFFS_MOUNT))
		return 0;
	if (mount("bpf", BPFFS_MOUNT, "bpf", 0, NULL)) {
		log_line(LOG_ERROR, "pins",
			 "cannot mount bpffs on %s: %s; run: mount -t bpf bpf %s", BPFFS_MOUNT,
			 strerror(errno), BPFFS_MOUNT);
		return -errno;
	}
	log_line(LOG_INFO, "pins", "mounted bpffs on %s", BPFFS_MOUNT);
	return 0;
}

int pins_make(const struct pins *pins)
{
	int err = mount_bpffs(pins);

	if (err)
		return err;
	err = make_parents(pins->dir);
	if (!err && !is_bpffs(pins->dir)) {
		rmdir(pins->dir);
		err = -EMEDIUMTYPE;
	}
	if (err)
		log_line(LOG_ERROR, "pins",
			 "%s: %s; --pin-root must name a directory of a bpffs, without dots in it",
			 pins->dir, strerror(-err));
	return err;
}

bool pins_gone(const struct pins *pins)
{
	return access(pins->dir, F_OK) && errno == ENOENT;
}

static pid_t read_pid(int fd)
{
	char text[32] = { 0 };
	ssize_t len = pread(fd, text, sizeof(text) - 1, 0);

	return len > 0 ? (pid_t)strtol(text, NULL, 10) : 0;
}

/* True while the open file is the one that the path names: nobody removed it meanwhile. */
static bool is_current(int fd, const char *path)
{
	struct stat open_file, named;

	return fstat(fd, &open_file) == 0 && stat(path, &named) == 0 &&
	       open_file.st_ino == named.st_ino && open_file.st_dev == named.st_dev;
}

static int lock_once(const struct pins *pins, pid_t *ret_owner)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd;

	if (mkdir(PINS_RUN_DIR, 0755) && errno != EEXIST)
		return -errno;
	fd = open(pins->lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0) /* the folder went away in between */
		return errno == ENOENT ? -EAGAIN : -errno;
	if (fcntl(fd, F_OFD_SETLK, &whole)) {
		if (ret_owner)
			*ret_owner = read_pid(fd);
		close(fd);
		return -EBUSY;
	}
	if (is_current(fd, pins->lock))
		return fd;
	close(fd);
	return -EAGAIN;
}

int pins_lock(const struct pins *pins, pid_t *ret_owner)
{
	char text[32];
	int fd = -EAGAIN, len;

	for (int i = 0; i < LOCK_TRIES; i++) {
		fd = lock_once(pins, ret_owner);
		if (fd != -EAGAIN)
			break;
	}
	if (fd < 0)
		return fd;
	len = snprintf(text, sizeof(text), "%d\n", getpid());
	if (ftruncate(fd, 0) || pwrite(fd, text, (size_t)len, 0) != len) {
		close(fd);
		return -EIO;
	}
	return fd;
}

void pins_unlock(const struct pins *pins, int fd, bool forget)
{
	if (fd < 0)
		return;
	if (forget) {
		unlink(pins->state);
		unlink(pins->lock);
		rmdir(PINS_RUN_DIR); /* stays if anything else is in it */
	}
	close(fd);
}

pid_t pins_owner(const struct pins *pins)
{
	struct flock whole = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
	int fd = open(pins->lock, O_RDONLY | O_CLOEXEC);
	pid_t owner = 0;

	if (fd < 0)
		return 0;
	if (fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK)
		owner = read_pid(fd);
	close(fd);
	return owner;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
	(void)st;
	(void)walk;
	return type == FTW_DP ? rmdir(path) : unlink(path);
}

int pins_remove(const struct pins *pins)
{
	char parent[PATH_MAX];

	if (nftw(pins->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) && errno != ENOENT)
		return -errno;
	/* The instance's and the root's directories go too if nothing else is in them. */
	snprintf(parent, sizeof(parent), "%s", pins->dir);
	for (int i = 0; i < 2; i++) {
		char *slash = strrchr(parent, '/');

		*slash = '\0';
		if (rmdir(parent))
			break;
	}
	return 0;
}
