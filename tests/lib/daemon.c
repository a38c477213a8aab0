/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/daemon.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "abi/wire.h"
#include "base/clock.h"
#include "lib/client.h"
#include "lib/pktgen.h"

#define READY_SEC 30
#define STOP_SEC 20
#define PIN_SEC 10

static const struct pktgen_host here = { .ip4 = { 127, 0, 0, 1 }, .ip6 = { [15] = 1 } };

/* For the end that nobody planned. */
static const struct daemon *running;

__attribute__((noreturn)) static void die(const char *what)
{
	fprintf(stderr, "daemon: %s\n", what);
	abort();
}

static const char *build_dir(void)
{
	const char *dir = getenv("XC_BUILD");

	return dir && *dir ? dir : "build";
}

static bool wait_until(uint64_t sec, bool (*check)(void *ctx), void *ctx)
{
	uint64_t end_ns = clock_now_ns(clock_system()) + sec * NSEC_PER_SEC;

	while (!check(ctx)) {
		if (clock_now_ns(clock_system()) > end_ns)
			return false;
		usleep(10000);
	}
	return true;
}

static bool unload(const struct daemon *daemon)
{
	char command[512];

	snprintf(command, sizeof(command),
		 "%s/xdpcache unload --pin-root %s --instance test >/dev/null", build_dir(),
		 daemon->pin_root);
	if (system(command)) {
		fprintf(stderr, "daemon: unload failed\n");
		return false;
	}
	/* the root is the test's */
	if (rmdir(daemon->pin_root) && errno != ENOENT) {
		fprintf(stderr, "daemon: pins are left below %s\n", daemon->pin_root);
		return false;
	}
	return true;
}

static bool remove_dir(const struct daemon *daemon)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -r %s", daemon->dir);
	return system(command) == 0;
}

/* Pins outlive everybody: a test that aborts must not leave them. */
static void on_abort(int number)
{
	const struct daemon *daemon = running;

	running = NULL;
	if (daemon) {
		kill(daemon->pid, SIGKILL);
		waitpid(daemon->pid, NULL, 0);
		unload(daemon);
		remove_dir(daemon);
	}
	signal(number, SIG_DFL);
	raise(number);
}

/* --- start --- */

/* A lo that no other test knows, with nothing on it. */
static void own_network(void)
{
	static bool done;
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd;

	if (done)
		return;
	if (unshare(CLONE_NEWNET))
		die("cannot make a network namespace");
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request))
		die("cannot bring lo up");
	close(fd);
	done = true;
}

static void show_log(const struct daemon *daemon)
{
	char path[128], line[512];
	FILE *log;

	snprintf(path, sizeof(path), "%s/log", daemon->dir);
	log = fopen(path, "r");
	while (log && fgets(line, sizeof(line), log))
		fprintf(stderr, "  | %s", line);
	if (log)
		fclose(log);
}

static void run(const struct daemon *daemon, const char *const *more)
{
	char binary[256], control[128], log[128];
	const char *args[DAEMON_ARGS_MAX + 32] = {
		binary,	      "-p",	     "11211",
		"-l",	      "127.0.0.1",   "-l",
		"::1",	      "-m",	     "64",
		"-t",	      "2",	     "-u",
		"root",	      "--interface", "lo",
		"--xdp-mode", "generic",     "--instance",
		"test",	      "--pin-root",  daemon->pin_root,
		"--control",  control,
	};
	size_t cnt = 0;

	while (args[cnt])
		cnt++;
	for (; more && *more && cnt < DAEMON_ARGS_MAX + 31; more++)
		args[cnt++] = *more;
	snprintf(binary, sizeof(binary), "%s/xdpcached", build_dir());
	snprintf(control, sizeof(control), "%s/control.sock", daemon->dir);
	snprintf(log, sizeof(log), "%s/log", daemon->dir);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!freopen(log, "w", stderr))
		_exit(126);
	execv(binary, (char *const *)args);
	_exit(127);
}

/* Serving: the program is attached and the lease runs. */
static bool is_ready(void *ctx)
{
	struct daemon *daemon = ctx;
	struct xc_conf conf = { 0 };
	char path[PATH_MAX];
	uint32_t zero = 0;
	int fd;

	if (waitpid(daemon->pid, NULL, WNOHANG) == daemon->pid) {
		show_log(daemon);
		die("xdpcached ended while it started");
	}
	snprintf(path, sizeof(path), "%s/control.sock", daemon->dir);
	if (access(path, F_OK))
		return false;
	snprintf(path, sizeof(path), "%s/test/v1/%s", daemon->pin_root, XC_MAP_CONF);
	fd = bpf_obj_get(path);
	if (fd < 0)
		return false;
	bpf_map_lookup_elem(fd, &zero, &conf);
	close(fd);
	return conf.magic == XC_ABI_MAGIC && conf.port_be &&
	       conf.serve_until_ns > clock_now_ns(clock_system());
}

/* The program on lo, by id: what is tested is what is attached. */
static int attached_program(void)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, opts);

	if (bpf_xdp_query(1, 0, &opts) || !opts.skb_prog_id)
		return -1;
	return bpf_prog_get_fd_by_id(opts.skb_prog_id);
}

void daemon_start(struct daemon *daemon, const char *const *more)
{
	const char *tmp = getenv("TMPDIR");
	char path[128];

	own_network();
	*daemon = (struct daemon){ 0 };
	snprintf(daemon->pin_root, sizeof(daemon->pin_root), "/sys/fs/bpf/xdpcache-test-%d",
		 getpid());
	snprintf(daemon->dir, sizeof(daemon->dir), "%s/xct-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	if (!mkdtemp(daemon->dir))
		die("cannot make a scratch folder");
	fflush(NULL);
	daemon->pid = fork();
	if (daemon->pid == 0)
		run(daemon, more);
	running = daemon;
	signal(SIGABRT, on_abort);
	if (daemon->pid < 0 || !wait_until(READY_SEC, is_ready, daemon)) {
		show_log(daemon);
		die("xdpcached did not become ready");
	}
	daemon->prog_fd = attached_program();
	snprintf(path, sizeof(path), "%s/test/v1/%s", daemon->pin_root, XC_MAP_STATS);
	daemon->stats_fd = bpf_obj_get(path);
	if (daemon->prog_fd < 0 || daemon->stats_fd < 0)
		die("no program on lo, or no pinned counters");
}

/* --- stop --- */

static bool has_ended(void *ctx)
{
	int *status = ctx;

	return waitpid(status[1], &status[0], WNOHANG) == status[1];
}

bool daemon_stop(struct daemon *daemon)
{
	int status[2] = { 0, daemon->pid };
	bool good;
	int fd;

	close(daemon->prog_fd);
	close(daemon->stats_fd);
	kill(daemon->pid, SIGTERM);
	good = wait_until(STOP_SEC, has_ended, status);
	if (!good) {
		fprintf(stderr, "daemon: does not stop\n");
		kill(daemon->pid, SIGKILL);
		waitpid(daemon->pid, &status[0], 0);
	} else if (status[0]) {
		fprintf(stderr, "daemon: ended with status %#x\n", status[0]);
		good = false;
	}
	if (!good)
		show_log(daemon);
	good &= unload(daemon);
	fd = attached_program();
	if (fd >= 0) {
		fprintf(stderr, "daemon: a program is left on lo\n");
		close(fd);
		good = false;
	}
	good &= remove_dir(daemon);
	daemon->pid = 0;
	running = NULL;
	return good;
}

/* --- control --- */

static json_t *ask(const struct daemon *daemon, json_t *request)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	char *line = json_dumps(request, JSON_COMPACT);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	json_t *reply;
	FILE *stream;

	json_decref(request);
	snprintf(name.sun_path, sizeof(name.sun_path), "%s/control.sock", daemon->dir);
	if (!line || fd < 0 || connect(fd, (struct sockaddr *)&name, sizeof(name)))
		die("no control socket");
	stream = fdopen(fd, "r+");
	if (!stream || fprintf(stream, "%s\n", line) < 0 || fflush(stream))
		die("control socket refused a request");
	free(line);
	reply = json_loadf(stream, JSON_DISABLE_EOF_CHECK, NULL);
	fclose(stream);
	if (!reply)
		die("control socket gave no answer");
	return reply;
}

static json_t *key_request(const char *command, struct span key)
{
	char hex[2 * XC_KEY_MAX + 1];

	for (size_t i = 0; i < key.len; i++)
		snprintf(hex + 2 * i, 3, "%02x", key.ptr[i]);
	return json_pack("{s:s, s:s}", "cmd", command, "key_hex", hex);
}

static void pin(struct daemon *daemon, const char *command, struct span key)
{
	json_t *reply = ask(daemon, key_request(command, key));

	if (!json_is_true(json_object_get(reply, "ok"))) {
		json_dumpf(reply, stderr, 0);
		die("cannot pin or unpin");
	}
	json_decref(reply);
}

struct pinned {
	const struct daemon *daemon;
	struct span key;
};

static bool kernel_serves(void *ctx)
{
	const struct pinned *pinned = ctx;
	uint8_t text[XC_KEY_MAX + 8], reply[DAEMON_REPLY_MAX];
	size_t len = pinned->key.len;

	memcpy(text, "get ", 4);
	memcpy(text + 4, pinned->key.ptr, len);
	memcpy(text + 4 + len, "\r\n", 2);
	return daemon_kernel_get(pinned->daemon, 1, span_of(text, len + 6), reply, &len);
}

void daemon_pin_unseen(struct daemon *daemon, struct span key)
{
	pin(daemon, "hot_pin", key);
}

void daemon_pin(struct daemon *daemon, struct span key)
{
	struct pinned pinned = { daemon, key };

	daemon_pin_unseen(daemon, key);
	if (!wait_until(PIN_SEC, kernel_serves, &pinned))
		die("the kernel does not serve a pinned key");
}

void daemon_unpin(struct daemon *daemon, struct span key)
{
	pin(daemon, "hot_unpin", key);
}

/* --- kernel --- */

void daemon_stats(const struct daemon *daemon, struct xc_stats *ret)
{
	struct xc_stats per_cpu[256];
	int cpus = libbpf_num_possible_cpus();
	uint32_t zero = 0;

	if (cpus > 256 || bpf_map_lookup_elem(daemon->stats_fd, &zero, per_cpu))
		die("cannot read the counters");
	*ret = (struct xc_stats){ 0 };
	for (int cpu = 0; cpu < cpus; cpu++) {
		for (size_t i = 0; i < sizeof(*ret) / 8; i++)
			((__u64 *)ret)[i] += ((const __u64 *)&per_cpu[cpu])[i];
	}
}

uint64_t daemon_hits(const struct daemon *daemon)
{
	struct xc_stats stats;

	daemon_stats(daemon, &stats);
	return stats.hit_tail + stats.hit_head + stats.hit_tc;
}

bool daemon_kernel_get(const struct daemon *daemon, uint16_t id, struct span text,
		       uint8_t ret_reply[DAEMON_REPLY_MAX], size_t *ret_len)
{
	const size_t head = 14 + 20 + 8;
	struct pktgen_request request = { .from = &here, .to = &here, .id = id, .text = text };
	struct pktgen_packet in;
	uint8_t out[DAEMON_REPLY_MAX];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = in.bytes, .data_out = out,
		    .data_size_out = sizeof(out), .repeat = 1);

	pktgen_request(&request, &in);
	opts.data_size_in = in.len;
	if (bpf_prog_test_run_opts(daemon->prog_fd, &opts))
		die(strerror(errno));
	if (opts.retval != XDP_TX)
		return false;
	if (opts.data_size_out < head + sizeof(struct xc_udp_frame))
		die("the kernel's reply is too short");
	*ret_len = opts.data_size_out - head;
	memcpy(ret_reply, out + head, *ret_len);
	return true;
}
