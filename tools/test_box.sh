#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# test_box.sh REPORT TIMEOUT_SEC CMD... - runs one test program in a box of its own and says what
# it left behind.
#
# Started by run_tests.sh as process 1 of fresh mount, network and process namespaces. So a test
# may use lo, port 11211, /run/netns, /sys/fs/bpf and `pgrep xdpcached` as if it had the machine
# to itself, two runs never meet, and what it leaks is exactly what is still there when it ends:
# one line each in REPORT. Everything dies with the box.
#
# Exit status: the command's; 124 when it ran out of time.

set -u

report=$1
timeout_sec=$2
shift 2

die() {
	echo "test_box: $*" | tee -a "$report" >&2
	exit 125
}

for program in comm cut find ip sed tc timeout tr; do
	command -v "$program" >/dev/null || die "$program is not installed"
done

# A new sysfs shows this network namespace; the rest of what lived below the old one comes back.
mount -t sysfs sysfs /sys || die "cannot mount sysfs"
mount -t bpf bpf /sys/fs/bpf || die "cannot mount a bpf file system"
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
mount -t tmpfs -o mode=0755 tmpfs /run || die "cannot mount tmpfs on /run"
mkdir -p /run/netns /run/lock
ip link set lo up || die "cannot bring lo up"

# Tunnel modules put their fallback devices into every new namespace.
interfaces() {
	ip -o link show | sed -n 's/^[0-9]*: \([^:@]*\).*/\1/p' | sort
}
interfaces_before=$(interfaces)

timeout -k 5 "$timeout_sec" "$@"
status=$?
# timeout's own end by -k shows as 137
[ "$status" -eq 137 ] && [ "$SECONDS" -ge "$timeout_sec" ] && status=124

# Everyone but this shell; zombies are nobody's leak once we are gone.
left_processes() {
	local dir state line own_line
	own_line=$(tr '\0' ' ' </proc/1/cmdline | cut -c1-120)
	for dir in /proc/[0-9]*; do
		[ "${dir#/proc/}" -eq $$ ] && continue
		state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "$dir/status" 2>/dev/null)
		# gone meanwhile, or the subshell that asks
		case $state in '' | Z) continue ;; esac
		line=$(tr '\0' ' ' 2>/dev/null <"$dir/cmdline" | cut -c1-120)
		# this shell's own child, which runs the loop
		[ "$line" = "$own_line" ] && continue
		printf 'process %s: %s\n' "${dir#/proc/}" "$line"
	done
}

# A daemon that was told to stop may need a moment.
for _ in 1 2 3 4 5 6 7 8 9 10; do
	left=$(left_processes)
	[ -z "$left" ] && break
	sleep 0.1
done

{
	[ -n "$left" ] && printf '%s\n' "$left"
	for name in /run/netns/*; do
		[ -e "$name" ] && echo "network namespace ${name#/run/netns/}"
	done
	find /sys/fs/bpf -mindepth 1 ! -name maps.debug ! -name progs.debug | sed 's/^/pin /'
	comm -13 <(echo "$interfaces_before") <(interfaces) | sed 's/^/interface /'
	ip -o link show dev lo | grep -q ' xdp' && echo "XDP program on lo"
	tc qdisc show dev lo | grep -q clsact && echo "clsact qdisc on lo"
} >>"$report"

exit "$status"
