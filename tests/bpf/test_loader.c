/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Property: the program's clock is the host's, at most a tick ahead and never behind; a wrong one
 * is found and measured anew; the allowlist in the map is the one asked for; the warden does what
 * it may and refuses the rest; a process without any capability, inside the sandbox, reads and
 * writes the maps it holds and cannot make or open others. Method: the real loader on lo, generic
 * XDP, with pins of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "abi/hash.h"
#include "base/cidr.h"
#include "base/clock.h"
#include "fastpath/allow.h"
#include "fastpath/impl.h"
#include "fastpath/lease.h"
#include "fastpath/warden.h"
#include "process.h"
#include "sandbox.h"

#define LOG_EXTENTS 2
#define LOG_EXTENTS_MAX 4

static struct fastpath *fp;
static char pin_root[64];

static int open_instance(void **state)
{
	struct fastpath_options options = { .pin_root = pin_root,
					    .instance = "test",
					    .interfaces = { "lo" },
					    .interface_cnt = 1,
					    .xdp_mode = XDP_MODE_GENERIC,
					    .entry_cnt = 1024,
					    .log_bytes = LOG_EXTENTS * XC_EXTENT_SIZE,
					    .log_bytes_max = LOG_EXTENTS_MAX * XC_EXTENT_SIZE };

	(void)state;
	if (geteuid() != 0)
		return 0;
	snprintf(pin_root, sizeof(pin_root), "/sys/fs/bpf/xctest%d", getpid());
	return fastpath_open(&options, &fp);
}

static int close_instance(void **state)
{
	(void)state;
	if (!fp)
		return 0;
	fastpath_close(fp);
	return fastpath_unload(pin_root, "test", false);
}

static void need_root(void)
{
	if (fp)
		return;
	print_message("SKIP: needs root\n");
	skip();
}

/* --- clock --- */

struct watched {
	int64_t ahead_max; /* how far the program's clock is ahead at most, ns */
	uint32_t late_cnt; /* samples by which it is behind for more than a quarter of a tick */
	uint32_t cnt;
};

static struct watched watch_clock(void)
{
	const struct xc_conf *conf = fastpath_maps(fp)->conf;
	uint64_t end_ns = clock_now_ns(clock_system()) + 100 * NSEC_PER_MSEC;
	struct watched ret = { .ahead_max = INT64_MIN };
	struct xc_clock_sample sample = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = &sample, .ctx_size_in = sizeof(sample));

	while (sample.boot_ns < end_ns) {
		int64_t ahead;

		assert_int_equal(bpf_prog_test_run_opts(fp->clock_fd, &opts), 0);
		ahead = (int64_t)(conf->clock_base_ns + sample.jiffies * conf->tick_ns -
				  sample.boot_ns);
		ret.ahead_max = ahead > ret.ahead_max ? ahead : ret.ahead_max;
		ret.late_cnt += ahead < -(int64_t)conf->tick_ns / 4;
		ret.cnt++;
	}
	return ret;
}

/*
 * A sample that was held up between its two reads looks late, and an emulated machine's jiffies may
 * stand still for a while: not most of them may. A base that is wrong makes all of them so.
 */
static void assert_clock_right(void)
{
	int64_t tick_ns = fastpath_maps(fp)->conf->tick_ns;
	struct watched seen = watch_clock();

	print_message("tick %lld ns, ahead by at most %lld ns, %u of %u late\n", (long long)tick_ns,
		      (long long)seen.ahead_max, seen.late_cnt, seen.cnt);
	assert_true(seen.late_cnt * 2 <= seen.cnt);
	/* one tick but for what was held up while it was measured */
	assert_true(seen.ahead_max > tick_ns / 2);
	assert_true(seen.ahead_max < tick_ns * 3 / 2);
}

static void lease_init_clock_is_at_most_a_tick_ahead(void **state)
{
	struct lease lease;

	(void)state;
	need_root();
	assert_int_equal(lease_init(&lease, fp, 1000), 0);
	assert_in_range(fastpath_maps(fp)->conf->tick_ns, 1000000, 10000000);
	assert_clock_right();
}

/* A tick taken for one in 250 longer is 8 ms off after these two seconds. */
static void lease_clock_after_a_while_is_as_far_ahead(void **state)
{
	struct lease lease;
	int64_t before, after;

	(void)state;
	need_root();
	assert_int_equal(lease_init(&lease, fp, 1000), 0);
	before = watch_clock().ahead_max;
	sleep(2);
	after = watch_clock().ahead_max;
	print_message("ahead by at most %lld ns, then %lld ns\n", (long long)before,
		      (long long)after);
	assert_true(llabs(after - before) < fastpath_maps(fp)->conf->tick_ns / 2);
}

static void lease_init_right_clock_is_kept(void **state)
{
	const struct xc_conf *conf = fastpath_maps(fp)->conf;
	struct lease lease;
	uint64_t base;

	(void)state;
	need_root();
	assert_int_equal(lease_init(&lease, fp, 1000), 0);
	base = conf->clock_base_ns;
	assert_int_equal(lease_init(&lease, fp, 1000), 0);
	assert_int_equal(conf->clock_base_ns, base);
}

static void lease_init_wrong_clock_is_measured_anew(void **state)
{
	struct xc_conf *conf = fastpath_maps(fp)->conf;
	const int64_t wrong_ns[] = { -3600000000000, -20000000, 20000000, 3600000000000 };
	struct lease lease;

	(void)state;
	need_root();
	for (size_t i = 0; i < sizeof(wrong_ns) / sizeof(wrong_ns[0]); i++) {
		conf->clock_base_ns += (uint64_t)wrong_ns[i];
		assert_int_equal(lease_init(&lease, fp, 1000), 0);
		assert_clock_right();
	}
	conf->tick_ns /= 2;
	assert_int_equal(lease_init(&lease, fp, 1000), 0);
	assert_clock_right();
}

/* --- allowlist --- */

static bool is_allowed(const char *text)
{
	struct xc_allow_key key = { .prefix_len = 128 };
	struct cidr cidr;
	uint32_t flags = 0;

	assert_int_equal(cidr_parse(text, &cidr), 0);
	memcpy(key.addr, cidr.addr, sizeof(key.addr));
	return bpf_map_lookup_elem(fastpath_maps(fp)->allow_fd, &key, &flags) == 0 && (flags & 1);
}

static void allow_apply_lists_replace_each_other(void **state)
{
	static const char *const first[] = { "10.0.0.0/8", "192.0.2.7", "2001:db8::/32" };
	static const char *const second[] = { "10.1.0.0/16", "192.0.2.7" };
	static const char *const bad[] = { "198.51.100.0/24", "10.0.0.1/8" };
	const struct fastpath_maps *maps = fastpath_maps(fp);
	uint32_t gen;

	(void)state;
	need_root();
	assert_int_equal(allow_apply(maps, first, 3), 0);
	assert_true(is_allowed("10.2.3.4") && is_allowed("192.0.2.7") && is_allowed("2001:db8::1"));
	assert_false(is_allowed("192.0.2.8") || is_allowed("127.0.0.1") || is_allowed("::1"));
	gen = maps->conf->guard_gen;
	assert_int_equal(allow_apply(maps, second, 2), 0);
	assert_int_not_equal(maps->conf->guard_gen, gen);
	assert_true(is_allowed("10.1.3.4") && is_allowed("192.0.2.7"));
	assert_false(is_allowed("10.2.3.4") || is_allowed("2001:db8::1"));
	assert_int_equal(allow_apply(maps, bad, 2), -EINVAL);
	assert_true(is_allowed("10.1.3.4")); /* as before */
	assert_false(is_allowed("198.51.100.1"));
	assert_int_equal(allow_apply(maps, NULL, 0), 0);
	assert_true(is_allowed("127.9.9.9") && is_allowed("::1"));
	assert_false(is_allowed("10.1.3.4") || is_allowed("192.0.2.7"));
}

static void allow_apply_all_of_ipv6_is_not_ipv4(void **state)
{
	static const char *const any6[] = { "::/0" }, *const some4[] = { "::/0", "10.0.0.0/8" };
	static const char *const any[] = { "::/0", "0.0.0.0/0" };
	const struct fastpath_maps *maps = fastpath_maps(fp);

	(void)state;
	need_root();
	assert_int_equal(allow_apply(maps, any6, 1), 0);
	assert_true(is_allowed("2001:db8::1") && is_allowed("::1"));
	assert_false(is_allowed("192.0.2.7"));
	assert_int_equal(allow_apply(maps, some4, 2), 0);
	assert_true(is_allowed("10.0.0.1"));
	assert_false(is_allowed("192.0.2.7"));
	assert_int_equal(allow_apply(maps, any, 2), 0);
	assert_true(is_allowed("192.0.2.7") && is_allowed("2001:db8::1"));
	assert_int_equal(allow_apply(maps, some4 + 1, 1), 0);
	assert_false(is_allowed("192.0.2.7") || is_allowed("::1"));
}

/* --- warden --- */

static void warden_attach_and_detach_optioned_interface(void **state)
{
	struct fastpath_interface iface;
	struct warden *warden;
	enum xdp_mode mode;

	(void)state;
	need_root();
	assert_int_equal(warden_start(fp, &warden), 0);
	assert_int_equal(warden_attach(warden, "lo", &iface), 0);
	assert_string_equal(iface.name, "lo");
	assert_int_equal(iface.mode, XDP_MODE_GENERIC);
	assert_true(iface.by_link);
	assert_int_equal(attach_query(iface.ifindex, &mode), iface.prog_id);
	assert_int_equal(warden_detach(warden, "lo"), 0);
	assert_int_equal(attach_query(iface.ifindex, &mode), 0);
	assert_int_equal(warden_detach(warden, "lo"), 0);
	warden_stop(warden);
}

static void warden_other_interface_is_refused(void **state)
{
	struct fastpath_interface iface;
	struct warden *warden;

	(void)state;
	need_root();
	assert_int_equal(warden_start(fp, &warden), 0);
	assert_int_equal(warden_attach(warden, "eth0", &iface), -EPERM);
	assert_int_equal(warden_detach(warden, ""), -EPERM);
	warden_stop(warden);
}

static uint8_t *map_whole(int fd)
{
	uint8_t *bytes = mmap(NULL, XC_EXTENT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	assert_ptr_not_equal(bytes, MAP_FAILED);
	close(fd);
	return bytes;
}

/* A daemon that somebody else has taken over may ask for anything. */
static void warden_extent_above_the_logs_addresses_is_refused(void **state)
{
	struct fastpath_maps *maps = &fp->maps;
	uint64_t bytes = maps->log_bytes;
	struct warden *warden;
	int fd;

	(void)state;
	need_root();
	maps->log_bytes = maps->ready_bytes;
	assert_int_equal(warden_start(fp, &warden), 0);
	maps->log_bytes = bytes;
	assert_int_equal(warden_extent(warden, LOG_EXTENTS, &fd), -EINVAL);
	warden_stop(warden);
}

/* A listener that came from an earlier process would go on taking connections in the warden. */
static void warden_holds_no_socket_of_the_daemons(void **state)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(addr);
	struct warden *warden;

	(void)state;
	need_root();
	assert_int_equal(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
	assert_int_equal(warden_start(fp, &warden), 0);
	/* It has answered, so it has let go of what it does not need. */
	assert_int_equal(warden_detach(warden, "eth0"), -EPERM);
	close(listener);
	assert_int_equal(connect(client, (struct sockaddr *)&addr, sizeof(addr)), -1);
	assert_int_equal(errno, ECONNREFUSED);
	close(client);
	warden_stop(warden);
}

static void warden_extent_is_the_next_one_only(void **state)
{
	const struct fastpath_maps *maps = fastpath_maps(fp);
	struct warden *warden;
	uint32_t id, last = LOG_EXTENTS;
	uint8_t *bytes;
	int fd;

	(void)state;
	need_root();
	assert_int_equal(warden_start(fp, &warden), 0);
	assert_int_equal(warden_extent(warden, 0, &fd), -EINVAL);
	assert_int_equal(warden_extent(warden, LOG_EXTENTS + 1, &fd), -EINVAL);
	assert_int_equal(warden_extent(warden, XC_EXTENT_MAX, &fd), -EINVAL);
	assert_int_not_equal(bpf_map_lookup_elem(maps->seg_fd, &last, &id), 0);
	assert_int_equal(warden_extent(warden, LOG_EXTENTS, &fd), 0);
	bytes = map_whole(fd);
	bytes[XC_EXTENT_SIZE - 1] = 17;
	munmap(bytes, XC_EXTENT_SIZE);
	assert_int_equal(bpf_map_lookup_elem(maps->seg_fd, &last, &id), 0);
	/* Made, and nobody waited: asked for again it is the same one. */
	assert_int_equal(warden_extent(warden, LOG_EXTENTS, &fd), 0);
	bytes = map_whole(fd);
	assert_int_equal(bytes[XC_EXTENT_SIZE - 1], 17);
	munmap(bytes, XC_EXTENT_SIZE);
	bpf_map_delete_elem(maps->seg_fd, &last);
	warden_stop(warden);
}

/* The kernel's log and the mapped one are the same at every length, and neither has a hole. */
static void log_grows_and_is_trimmed_in_step_with_the_kernels(void **state)
{
	const struct fastpath_maps *maps = fastpath_maps(fp);
	struct warden *warden;

	(void)state;
	need_root();
	assert_int_equal(warden_start(fp, &warden), 0);
	for (int turn = 0; turn < 3; turn++) {
		for (uint32_t n = LOG_EXTENTS; n < LOG_EXTENTS_MAX; n++) {
			uint8_t *last = maps->log_base + (n + 1) * XC_EXTENT_SIZE - 1;

			assert_int_equal(warden_grow_log(warden, fp), 0);
			assert_int_equal(maps->ready_bytes, (n + 1) * XC_EXTENT_SIZE);
			assert_int_equal(*last, 0); /* not what the one before it held */
			*last = 1;
		}
		assert_int_equal(warden_grow_log(warden, fp), -ENOMEM);
		fastpath_trim_log(fp, (LOG_EXTENTS - 1) * XC_EXTENT_SIZE + 1);
		assert_int_equal(maps->ready_bytes, LOG_EXTENTS * XC_EXTENT_SIZE);
		for (uint32_t n = 0; n < LOG_EXTENTS_MAX; n++) {
			uint32_t id;

			assert_int_equal(bpf_map_lookup_elem(maps->seg_fd, &n, &id) == 0,
					 n < LOG_EXTENTS);
		}
	}
	warden_stop(warden);
}

static pid_t only_child(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	pid_t found = 0;

	while (proc && (entry = readdir(proc))) {
		char path[300];
		int pid, parent;
		FILE *file;

		snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
		file = fopen(path, "re");
		if (!file)
			continue;
		if (fscanf(file, "%d (%*[^)]) %*c %d", &pid, &parent) == 2 && parent == getpid()) {
			assert_int_equal(found, 0);
			found = pid;
		}
		fclose(file);
	}
	closedir(proc);
	assert_int_not_equal(found, 0);
	return found;
}

/*
 * A child that hangs costs one wait. Once it goes on each answer is that of its own request, and
 * one that hangs at the end is not waited for.
 */
static void warden_that_hangs_is_waited_for_once(void **state)
{
	struct fastpath_interface iface = { .name = "kept" };
	uint64_t begin_ns;
	struct warden *warden;
	pid_t child;
	int fd;

	(void)state;
	need_root();
	assert_int_equal(warden_start(fp, &warden), 0);
	child = only_child();
	assert_int_equal(kill(child, SIGSTOP), 0);
	assert_false(warden_is_behind(warden));
	alarm(60);
	assert_int_equal(warden_attach(warden, "lo", &iface), -ETIMEDOUT);
	assert_string_equal(iface.name, "kept");
	assert_true(warden_is_behind(warden));
	begin_ns = clock_mono_ns();
	for (int i = 0; i < 100; i++)
		assert_int_equal(warden_extent(warden, 0, &fd), -ETIMEDOUT);
	assert_int_equal(warden_refresh(warden, fp), 0);
	assert_true(clock_mono_ns() - begin_ns < NSEC_PER_SEC);
	assert_int_equal(kill(child, SIGCONT), 0);
	while (warden_extent(warden, 0, &fd) == -ETIMEDOUT)
		usleep(1000);
	assert_false(warden_is_behind(warden));
	assert_int_equal(warden_extent(warden, 0, &fd), -EINVAL);
	assert_int_equal(warden_detach(warden, "lo"), 0);
	assert_int_equal(kill(child, SIGSTOP), 0);
	warden_stop(warden);
	alarm(0);
	assert_int_equal(waitpid(child, NULL, 0), -1);
}

static void warden_gone_is_told(void **state)
{
	struct fastpath_interface iface;
	struct warden *warden;

	(void)state;
	need_root();
	assert_int_equal(warden_start(fp, &warden), 0);
	assert_int_equal(kill(only_child(), SIGKILL), 0);
	assert_int_equal(warden_attach(warden, "lo", &iface), -EPIPE);
	warden_stop(warden);
}

/* --- without privileges --- */

/* In a child: 0, or the number of the step that went wrong. */
static int powerless_steps(const struct fastpath_maps *maps)
{
	struct xc_digest digest = { .lo = 1, .hi = 2 }, batch_keys[4];
	uint32_t idx = 3, out, zero = 0, cnt = 4, values[4], cursor;
	struct xc_stats stats[256];

	if (bpf_map_update_elem(maps->hot_fd, &digest, &idx, BPF_NOEXIST))
		return 1;
	if (bpf_map_lookup_elem(maps->hot_fd, &digest, &out) || out != 3)
		return 2;
	if (bpf_map_lookup_batch(maps->hot_fd, NULL, &cursor, batch_keys, values, &cnt, NULL) &&
	    errno != ENOENT)
		return 3;
	if (cnt != 1 || batch_keys[0].hi != 2)
		return 4;
	if (bpf_map_get_next_key(maps->hot_fd, NULL, &digest))
		return 5;
	cnt = 1;
	if (bpf_map_delete_batch(maps->hot_fd, &digest, &cnt, NULL))
		return 6;
	if (bpf_map_lookup_elem(maps->hot_fd, &digest, &out) == 0)
		return 7;
	if (bpf_map_lookup_elem(maps->stats_fd, &zero, stats))
		return 8;
	__atomic_add_fetch(&maps->conf->guard_gen, 1, __ATOMIC_SEQ_CST);
	/* and no more than that */
	if (bpf_map_create(BPF_MAP_TYPE_ARRAY, "xc_no", 4, 4, 1, NULL) >= 0 || errno != EPERM)
		return 9;
	if (bpf_map_get_fd_by_id(1) >= 0 || errno != EPERM)
		return 10;
	if (execl("/bin/true", "true", NULL) != -1 || errno != EPERM)
		return 11;
	if (setuid(12345) == 0)
		return 12;
	return 0;
}

static void powerless_process_reads_and_writes_held_maps_only(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	need_root();
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		/* virtual machines may know nobody */
		const char *user = getpwnam("nobody") ? "nobody" : NULL;

		if (process_drop_privileges(user) || sandbox_enter())
			_exit(99);
		_exit(powerless_steps(fastpath_maps(fp)));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lease_init_clock_is_at_most_a_tick_ahead),
		cmocka_unit_test(lease_clock_after_a_while_is_as_far_ahead),
		cmocka_unit_test(lease_init_right_clock_is_kept),
		cmocka_unit_test(lease_init_wrong_clock_is_measured_anew),
		cmocka_unit_test(allow_apply_lists_replace_each_other),
		cmocka_unit_test(allow_apply_all_of_ipv6_is_not_ipv4),
		cmocka_unit_test(warden_attach_and_detach_optioned_interface),
		cmocka_unit_test(warden_other_interface_is_refused),
		cmocka_unit_test(warden_extent_above_the_logs_addresses_is_refused),
		cmocka_unit_test(warden_holds_no_socket_of_the_daemons),
		cmocka_unit_test(warden_extent_is_the_next_one_only),
		cmocka_unit_test(log_grows_and_is_trimmed_in_step_with_the_kernels),
		cmocka_unit_test(warden_that_hangs_is_waited_for_once),
		cmocka_unit_test(warden_gone_is_told),
		cmocka_unit_test(powerless_process_reads_and_writes_held_maps_only),
	};

	return cmocka_run_group_tests(tests, open_instance, close_instance);
}
