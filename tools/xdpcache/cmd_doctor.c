/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xdpcache doctor: tries what the fast path needs, and says what to do about what is missing. Each
 * check is one function that fills one finding; exit status 1 if one failed.
 */
#include <errno.h>
#include <jansson.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "abi/wire.h"
#include "base/sock.h"
#include "cli.h"
#include "client.h"
#include "fastpath/inspect.h"
#include "fastpath/probe.h"

#define FINDINGS_MAX 64

enum verdict {
	OK,
	WARN,
	FAIL,
};

/* linux/capability.h's numbers */
#define CAP_BITS_NEEDED (1ULL << CAP_BPF | 1ULL << CAP_NET_ADMIN | 1ULL << CAP_PERFMON)
#define CAP_BITS_WANTED (CAP_BITS_NEEDED | 1ULL << CAP_SYS_ADMIN)

struct finding {
	enum verdict verdict;
	char check[40];
	char text[320];
};

struct doctor {
	const struct cli *cli;
	uint16_t port;
	bool daemon_answers;
	struct finding findings[FINDINGS_MAX];
	uint32_t cnt;
};

__attribute__((format(printf, 4, 5))) static void say(struct doctor *d, enum verdict verdict,
						      const char *check, const char *fmt, ...)
{
	struct finding *finding = &d->findings[d->cnt];
	va_list args;

	if (d->cnt == FINDINGS_MAX)
		return;
	d->cnt++;
	finding->verdict = verdict;
	snprintf(finding->check, sizeof(finding->check), "%s", check);
	va_start(args, fmt);
	vsnprintf(finding->text, sizeof(finding->text), fmt, args);
	va_end(args);
}

/* The file's first number; -1 when it cannot be read. */
static long read_number(const char *path)
{
	FILE *file = fopen(path, "re");
	long n = -1;

	if (file) {
		if (fscanf(file, "%ld", &n) != 1)
			n = -1;
		fclose(file);
	}
	return n;
}

static uint64_t own_capabilities(void)
{
	unsigned long long bits = 0;
	char line[128];
	FILE *file = fopen("/proc/self/status", "re");

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "CapEff: %llx", &bits) == 1)
			break;
	}
	if (file)
		fclose(file);
	return bits;
}

static void check_privilege(struct doctor *d)
{
	uint64_t have = own_capabilities();

	if ((have & CAP_BITS_NEEDED) != CAP_BITS_NEEDED)
		say(d, FAIL, "privilege",
		    "of CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON one is missing: run it with sudo; the "
		    "daemon needs them to start the fast path, and gives them up afterwards");
	else if ((have & CAP_BITS_WANTED) != CAP_BITS_WANTED)
		say(d, WARN, "privilege",
		    "without CAP_SYS_ADMIN programs cannot be opened by number: what bpftool "
		    "attached is taken for somebody else's");
	else
		say(d, OK, "privilege", "enough to load and attach");
}

/* Since 5.11 the kernel charges BPF memory to the control group, not to RLIMIT_MEMLOCK. */
static void check_memory(struct doctor *d)
{
	char why[PROBE_WHY_MAX];

	if (probe_extent(why) == 0)
		say(d, OK, "memory", "the log's memory can be made and mapped");
	else
		say(d, FAIL, "memory",
		    "16 MiB of the log cannot be made: %s; look at memory.max of the service's "
		    "control group, and LimitMEMLOCK on kernels with an old patch level",
		    why);
}

static void check_tc(struct doctor *d)
{
	char why[PROBE_WHY_MAX];

	if (probe_tc(why) == 0)
		say(d, OK, "tc", "clsact takes a program");
	else
		say(d, WARN, "tc",
		    "no clsact with a BPF program (%s): large replies that do not fit the "
		    "driver's frame are the daemon's; load sch_ingress and cls_bpf",
		    why);
}

static void check_sysctl(struct doctor *d)
{
	if (read_number("/proc/sys/kernel/bpf_stats_enabled") == 1)
		say(d, WARN, "bpf_stats",
		    "the kernel times every BPF program, which costs each packet; run: sysctl -w "
		    "kernel.bpf_stats_enabled=0");
	if (read_number("/proc/sys/kernel/unprivileged_bpf_disabled") == 0)
		say(d, WARN, "bpf users",
		    "any user may load BPF programs; run: sysctl -w "
		    "kernel.unprivileged_bpf_disabled=2");
}

static void check_kernel(struct doctor *d)
{
	unsigned int major = 0, minor = 0;
	struct utsname name;

	uname(&name);
	if (sscanf(name.release, "%u.%u", &major, &minor) != 2)
		say(d, WARN, "kernel", "cannot read its version from \"%s\"", name.release);
	else if (major < 6 || (major == 6 && minor < 1))
		say(d, FAIL, "kernel",
		    "%s is older than 6.1, the oldest the fast path loads on: "
		    "use a newer kernel, or --no-fastpath",
		    name.release);
	else
		say(d, OK, "kernel", "%s", name.release);
}

static void check_btf(struct doctor *d)
{
	if (access("/sys/kernel/btf/vmlinux", R_OK) == 0)
		say(d, OK, "btf", "the kernel carries type information");
	else
		say(d, WARN, "btf",
		    "no /sys/kernel/btf/vmlinux: the program loads, but bpftool "
		    "shows less; use a kernel with CONFIG_DEBUG_INFO_BTF");
}

static void check_bpffs(struct doctor *d)
{
	struct statfs fs;

	if (statfs("/sys/fs/bpf", &fs) == 0 && (unsigned long)fs.f_type == BPF_FS_MAGIC)
		say(d, OK, "bpffs", "mounted on /sys/fs/bpf");
	else
		say(d, WARN, "bpffs",
		    "not mounted here; the daemon mounts it, or run: "
		    "mount -t bpf bpf /sys/fs/bpf");
}

static void check_jit(struct doctor *d)
{
	long on = read_number("/proc/sys/net/core/bpf_jit_enable");

	if (on == 0)
		say(d, FAIL, "jit",
		    "the BPF JIT is off, the fast path would be slow: run: "
		    "sysctl -w net.core.bpf_jit_enable=1");
	else
		say(d, OK, "jit", on > 0 ? "on" : "built in");
}

static void check_load(struct doctor *d)
{
	char why[PROBE_WHY_MAX];

	if (probe_load(why) == 0)
		say(d, OK, "load", "the verifier takes the kernel program");
	else
		say(d, FAIL, "load", "the kernel program does not load: %s", why);
}

static void check_grace(struct doctor *d)
{
	if (probe_membarrier())
		say(d, OK, "grace", "membarrier(2) gives grace periods");
	else
		say(d, WARN, "grace",
		    "membarrier(2) is not available; a slower way is used. In a "
		    "container, allow it in the seccomp profile");
}

static void check_daemon(struct doctor *d)
{
	char error[CLIENT_ERROR_MAX];
	json_t *reply = NULL;

	d->daemon_answers =
		client_ask(d->cli->control, json_pack("{s:s}", "cmd", "stats"), &reply, error) == 0;
	if (d->daemon_answers)
		say(d, OK, "daemon", "answers on %s", d->cli->control);
	else
		say(d, WARN, "daemon", "%s", error);
	json_decref(reply);
}

static void check_allowlist(struct doctor *d, const struct inspect *state)
{
	if (!state->configured)
		say(d, OK, "allowlist", "empty until a daemon starts; then loopback, or --allow");
	else if (state->allow_cnt == 0)
		say(d, WARN, "allowlist", "empty: no source is served; give --allow");
	else if (probe_allows_all(d->cli->pin_root, d->cli->instance))
		say(d, WARN, "allowlist",
		    "every source is allowed: whoever forges an address makes this host send to "
		    "it; name your clients' networks with --allow");
	else
		say(d, OK, "allowlist", "%u source prefix%s", state->allow_cnt,
		    state->allow_cnt == 1 ? "" : "es");
}

static void check_port(struct doctor *d, pid_t owner)
{
	struct sock_addr any;
	int err;

	if (owner) {
		say(d, OK, "port", "the daemon (pid %d) has its own", owner);
		return;
	}
	if (sock_resolve("0.0.0.0", d->port, &any, 1, NULL) != 1)
		return;
	err = sock_probe(&any, SOCK_DGRAM);
	if (err == -EADDRINUSE && d->daemon_answers)
		say(d, OK, "port", "UDP port %u is taken, by the daemon if it serves UDP there",
		    d->port);
	else if (err == -EADDRINUSE && geteuid() != 0)
		say(d, WARN, "port", "UDP port %u is taken; whether by the daemon only root sees",
		    d->port);
	else if (err == -EADDRINUSE)
		say(d, WARN, "port",
		    "UDP port %u is another program's (memcached?): stop it, or give the daemon "
		    "another -p; see: ss -lunp",
		    d->port);
	else if (err)
		say(d, WARN, "port", "UDP port %u cannot be bound: %s", d->port, strerror(-err));
	else
		say(d, OK, "port", "UDP port %u is free", d->port);
}

static void check_pins(struct doctor *d)
{
	struct inspect *state = calloc(1, sizeof(*state));
	int err = state ? inspect_pins(d->cli->pin_root, d->cli->instance, state) : -ENOMEM;

	if (err == -ENOENT)
		say(d, OK, "pins", "none: nothing is loaded");
	else if (err)
		say(d, FAIL, "pins", "cannot read %s: %s", d->cli->pin_root, strerror(-err));
	else if (state->configured && state->conf.version != XC_ABI_VERSION)
		say(d, FAIL, "pins",
		    "%s has ABI version %u, this build speaks %u: run: "
		    "xdpcache unload",
		    state->dir, state->conf.version, XC_ABI_VERSION);
	else if (state->interface_cnt && !state->owner)
		say(d, WARN, "pins",
		    "the program is attached but no daemon runs: every packet "
		    "passes; start xdpcached, or run: xdpcache unload");
	else
		say(d, OK, "pins", "%u interface%s, %u key%s", state->interface_cnt,
		    state->interface_cnt == 1 ? "" : "s", state->entry_cnt,
		    state->entry_cnt == 1 ? "" : "s");
	if (!err)
		check_allowlist(d, state);
	check_port(d, state ? state->owner : 0);
	free(state);
}

static void check_interface(struct doctor *d, const char *ifname)
{
	uint32_t foreign;
	char label[40], why[PROBE_WHY_MAX], lost[PROBE_WHY_MAX];
	bool loses;

	snprintf(label, sizeof(label), "interface %.16s", ifname);
	if (!if_nametoindex(ifname)) {
		say(d, FAIL, label, "does not exist; see: ip -br link");
		return;
	}
	foreign = inspect_foreign_prog(d->cli->pin_root, d->cli->instance, ifname);
	if (foreign)
		say(d, WARN, label,
		    "another XDP program (id %u) is attached: the fast path stays "
		    "off here until: ip link set dev %s xdp off",
		    foreign, ifname);
	if (probe_vlan_offload(ifname))
		say(d, WARN, label,
		    "rx-vlan-offload takes tags off before XDP sees them, tagged "
		    "requests pass to the daemon; run: ethtool -K %s rxvlan off",
		    ifname);
	if (probe_lro(ifname))
		say(d, WARN, label,
		    "large receive offload merges packets and is switched off, or in the way, when "
		    "XDP attaches; run: ethtool -K %s lro off",
		    ifname);
	if (foreign)
		return;
	loses = probe_loses_replies(ifname, lost);
	switch (probe_native(ifname, why)) {
	case 1:
		if (loses)
			say(d, WARN, label,
			    "%s; auto takes generic mode, slower. For native attach an XDP program "
			    "to the peer",
			    lost);
		else
			say(d, OK, label, "native XDP works");
		break;
	case 0:
		say(d, WARN, label, "no native XDP (%s): generic mode will be used, slower", why);
		break;
	default:
		if (loses && probe_mode(ifname) == XDP_MODE_NATIVE)
			say(d, WARN, label,
			    "runs in native mode, but %s; attach an XDP program to the peer, or "
			    "restart with --xdp-mode auto",
			    lost);
		else
			say(d, OK, label, "carries a program of this instance already");
	}
}

static void check_bypass(struct doctor *d)
{
	int chains = probe_input_chains();

	if (chains > 0)
		say(d, WARN, "bypass",
		    "nftables chains at INPUT (%d) do not see requests that XDP answers, nor do "
		    "conntrack and tcpdump here; the allowlist (--allow) is their firewall",
		    chains);
	else
		say(d, OK, "bypass",
		    "no nftables chain at INPUT; mind that conntrack and tcpdump on this host do "
		    "not see requests that XDP answers");
}

static void print(const struct doctor *d)
{
	static const char *const words[] = { "ok", "warn", "fail" };
	json_t *all = json_array();

	for (uint32_t i = 0; i < d->cnt; i++) {
		const struct finding *f = &d->findings[i];

		if (!d->cli->json)
			printf("%-5s %-22s %s\n", words[f->verdict], f->check, f->text);
		json_array_append_new(all,
				      json_pack("{s:s, s:s, s:s}", "check", f->check, "verdict",
						words[f->verdict], "text", f->text));
	}
	if (d->cli->json) {
		json_dumpf(all, stdout, JSON_INDENT(2));
		printf("\n");
	}
	json_decref(all);
}

static bool take_arguments(struct doctor *d, int argc, char **argv)
{
	for (int i = 1; i < argc; i += 2) {
		char *end;
		unsigned long port;

		if (i + 1 == argc)
			return false;
		if (strcmp(argv[i], "--interface") == 0)
			continue;
		port = strtoul(argv[i + 1], &end, 10);
		if (strcmp(argv[i], "--port") || *end || port == 0 || port > UINT16_MAX)
			return false;
		d->port = (uint16_t)port;
	}
	return true;
}

int cmd_doctor(const struct cli *cli, int argc, char **argv)
{
	struct doctor d = { .cli = cli, .port = XC_PORT_DEFAULT };
	bool failed = false;

	if (!take_arguments(&d, argc, argv)) {
		fprintf(stderr, "xdpcache doctor: takes --interface IF and --port N; see: "
				"xdpcache doctor --help\n");
		return CLI_USAGE;
	}
	check_privilege(&d);
	check_kernel(&d);
	check_btf(&d);
	check_bpffs(&d);
	check_jit(&d);
	check_sysctl(&d);
	check_load(&d);
	check_memory(&d);
	check_tc(&d);
	check_grace(&d);
	check_daemon(&d);
	check_pins(&d);
	for (int i = 1; i < argc; i += 2) {
		if (strcmp(argv[i], "--interface") == 0)
			check_interface(&d, argv[i + 1]);
	}
	check_bypass(&d);
	print(&d);
	for (uint32_t i = 0; i < d.cnt; i++)
		failed |= d.findings[i].verdict == FAIL;
	return failed ? CLI_FAILED : CLI_DONE;
}
