#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# demo.sh - shows a running cache, and checks it: `make run`.
#
#     +------- namespace -c -------+              +-------- namespace -s --------+
#     |  load (clients, loader,    |    veth      |  xdpcached                   |
#     |  checks every reply)       | c <------> s |  xc_fastpath in s's driver   |
#     |  10.77.0.2  fd77::2        |              |  10.77.0.1  fd77::1          |
#     +----------------------------+              +------------------------------+
#
# Clients read over UDP and write over TCP; what a read misses, they load and set. Whatever happens
# in between, namespaces, pins and processes are gone afterwards. Exit status 0 only if every reply
# was right and nothing was left behind. From the environment:
#
#   TRACE=FILE...   replay these files (lines KEY, or TIME,KEY,SIZE[,TTL]; .xz is unpacked),
#                   parted by blanks unless one file is called so;
#                   TRACE=etc: the generated workload (Atikoglu et al., SIGMETRICS'12), which is
#                   also what runs when there are no traces in ../shared/traces
#   DURATION=SEC    of each replay (10)
#   MODE=native     or generic: how the program is attached
#   MEMORY=MIB      for the daemon (256)
#   LOAD=OPTIONS    more of build/bench/load's, for each replay (its --help lists them)

set -u
cd "$(dirname "$0")/.." || exit 1

DURATION=${DURATION:-10}
MODE=${MODE:-native}
MEMORY=${MEMORY:-256}
TRACES_DIR=../shared/traces
# Of a folder of traces these, when they are there; else its first two.
TRACES_WANTED="arc-OLTP.txt.xz web12.txt.xz"
READY_SEC=60
STOP_SEC=15
PORT=11211
# Reads a second that make a key hot; the default is meant for more traffic than one client makes.
HOT_THRESHOLD=4
# Requests on their way. More would raise the rate a little, and the durations with it: they would
# show the clients' own queue.
OUTSTANDING=16
# Replies of the daemon's sockets carry this IP TTL; the fast path's always 64. That is how the
# clients tell who answered.
DAEMON_TTL=63

say() {
	printf '%s\n' "$*"
}

die() {
	echo "demo: $*" >&2
	exit 1
}

case $MODE in native | generic) ;; *) die "MODE is native or generic, not $MODE" ;; esac
case $DURATION in '' | *[!0-9.]*) die "DURATION is a number of seconds, not $DURATION" ;; esac
[ "$(id -u)" -eq 0 ] || die "needs root, for namespaces and BPF: sudo make run"
if [ -z "${NO_DEPS:-}" ]; then
	tools/deps.sh run || exit 1
fi
for program in build/xdpcached build/xdpcache build/bench/load build/xdpcache.bpf.o; do
	[ -e "$program" ] || die "$program is missing; run make"
done

# --- what this run makes; all of it carries the run's number ---

tag=xcdemo$$
server_ns=$tag-s
client_ns=$tag-c
server_if=xcs$$
client_if=xcc$$
pin_root=/sys/fs/bpf/$tag
lock=/run/xdpcache/_sys_fs_bpf_$tag.demo.lock
run_dir_new=
[ -e /run/xdpcache ] || run_dir_new=1
dir=
daemon=
failed=

on_server() {
	nsenter --net="/run/netns/$server_ns" "$@"
}

on_client() {
	nsenter --net="/run/netns/$client_ns" "$@"
}

xdpcache() {
	on_server build/xdpcache --pin-root "$pin_root" --instance demo \
		--control "$dir/control.sock" "$@"
}

# Graceful first: what it says at its end is part of the demonstration.
stop_daemon() {
	local status
	[ -n "$daemon" ] || return 0
	kill -TERM "$daemon" 2>/dev/null
	for ((i = 0; i < STOP_SEC * 10; i++)); do
		kill -0 "$daemon" 2>/dev/null || break
		sleep 0.1
	done
	if kill -KILL "$daemon" 2>/dev/null; then
		echo "demo: the daemon did not stop in $STOP_SEC s" >&2
		failed=1
	fi
	wait "$daemon"
	status=$?
	daemon=
	if [ "$status" -ne 0 ]; then
		echo "demo: the daemon ended with status $status:" >&2
		tail -n 20 "$dir/daemon.log" >&2
		failed=1
	fi
}

# Anything that has the run's number and is still there: one line each.
left_behind() {
	ip netns list | grep "^$tag" | sed 's/^/namespace /'
	ip -o link show | grep -oE "xc[sc]$$@" | sed 's/^/interface /'
	[ -e "$pin_root" ] && echo "pins $pin_root"
	pgrep -fa -- "--pin-root $pin_root" | sed 's/^/process /'
	[ -e "$dir" ] && echo "folder $dir"
	[ -e "$lock" ] && echo "lock $lock"
}

clean_up() {
	local left
	stop_daemon
	if [ -e "$pin_root" ]; then
		if ! xdpcache unload >/dev/null; then
			echo "demo: xdpcache unload failed" >&2
			failed=1
		fi
	fi
	# the clients' end, and what a failed start may have left
	rm -rf "$pin_root"
	ip netns del "$server_ns" 2>/dev/null
	ip netns del "$client_ns" 2>/dev/null
	[ -n "$dir" ] && rm -rf "$dir"
	rm -f "$lock"
	[ -n "$run_dir_new" ] && rmdir --ignore-fail-on-non-empty /run/xdpcache 2>/dev/null
	# A namespace that goes away takes its interfaces along a moment later.
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		left=$(left_behind)
		[ -z "$left" ] && return
		sleep 0.2
	done
	printf 'demo: left behind: %s\n' "$left" >&2
	failed=1
}

# shellcheck disable=SC2317 # called by the trap
finish() {
	local status=$?
	trap '' INT TERM
	clean_up
	[ "$status" -eq 130 ] && [ -z "$failed" ] &&
		echo "demo: interrupted; nothing was left behind" >&2
	[ "$status" -eq 0 ] && [ -n "$failed" ] && status=1
	exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# --- two hosts and a wire ---

make_hosts() {
	mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf || die "cannot mount bpffs"
	dir=$(mktemp -d "/tmp/$tag.XXXXXX") || die "cannot make a folder in /tmp"
	{ ip netns add "$server_ns" && ip netns add "$client_ns"; } ||
		die "cannot make namespaces"
	ip link add "$server_if" netns "$server_ns" type veth \
		peer name "$client_if" netns "$client_ns" || die "cannot make a veth pair"
	{
		on_server ip link set lo up &&
			on_server ip addr add 10.77.0.1/24 dev "$server_if" &&
			on_server ip addr add fd77::1/64 dev "$server_if" nodad &&
			on_server ip link set "$server_if" up &&
			on_client ip link set lo up &&
			on_client ip addr add 10.77.0.2/24 dev "$client_if" &&
			on_client ip addr add fd77::2/64 dev "$client_if" nodad &&
			on_client ip link set "$client_if" up
	} || die "cannot configure the veth pair"
	# /proc/sys shows the namespace of whoever opens it
	on_server sh -c "echo $DAEMON_TTL >/proc/sys/net/ipv4/ip_default_ttl &&
		echo $DAEMON_TTL >/proc/sys/net/ipv6/conf/$server_if/hop_limit" ||
		die "cannot set the IP TTL of $server_ns"
}

# Native veth hands on frames that its peer's driver sends (XDP_TX) only while an XDP program sits
# at the receiving end too. Ours, with maps that nobody filled in, passes every packet.
make_receiving_end() {
	[ "$MODE" = native ] || return 0
	mkdir -p "$pin_root/client"
	on_client bpftool prog loadall build/xdpcache.bpf.o "$pin_root/client/prog" \
		pinmaps "$pin_root/client/maps" 2>"$dir/bpftool.log" &&
		on_client bpftool net attach xdpdrv pinned "$pin_root/client/prog/xc_fastpath" \
			dev "$client_if" 2>>"$dir/bpftool.log" && return
	tail -n 5 "$dir/bpftool.log" >&2
	die "cannot attach a program to the clients' end of the pair"
}

start_daemon() {
	# Not through the function: $! must be the daemon, not a shell that waits for it. In a
	# session of its own: ^C is for the clients, who are done before their server is.
	setsid nsenter --net="/run/netns/$server_ns" build/xdpcached --interface "$server_if" \
		--xdp-mode "$MODE" -p "$PORT" -m "$MEMORY" --hot-threshold "$HOT_THRESHOLD" \
		--allow 10.77.0.0/24 --allow fd77::/64 --pin-root "$pin_root" \
		--instance demo --control "$dir/control.sock" >"$dir/daemon.log" 2>&1 &
	daemon=$!
	for ((i = 0; i < READY_SEC * 10; i++)); do
		# before it answers, the pins do, with the fast path's part only
		xdpcache --json stats 2>/dev/null | grep -q '"daemon"' && return
		kill -0 "$daemon" 2>/dev/null || break
		sleep 0.1
	done
	cat "$dir/daemon.log" >&2
	die "the daemon did not start"
}

# --- what to replay ---

pick_traces() {
	local name
	traces=()
	if [ -n "${TRACE:-}" ] && [ -e "$TRACE" ]; then
		traces=("$TRACE")
		return
	fi
	if [ -n "${TRACE:-}" ]; then
		# shellcheck disable=SC2206 # several files, parted by blanks
		traces=($TRACE)
		return
	fi
	for name in $TRACES_WANTED; do
		[ -r "$TRACES_DIR/$name" ] && traces+=("$TRACES_DIR/$name")
	done
	if [ ${#traces[@]} -eq 0 ]; then
		for name in "$TRACES_DIR"/*.xz; do
			[ -r "$name" ] && [ ${#traces[@]} -lt 2 ] && traces+=("$name")
		done
	fi
	[ ${#traces[@]} -eq 0 ] && traces=(etc)
}

# What cannot be replayed is better known before anything is made.
check_traces() {
	local trace
	for trace in "${traces[@]}"; do
		[ "$trace" = etc ] || build/bench/load --check --trace "$trace" ||
			die "TRACE=FILE... names what to replay; TRACE=etc needs no file"
	done
}

# replay TRACE ADDRESS
replay() {
	local options=()
	if [ "$1" = etc ]; then
		options=(--keys 100000)
	else
		options=(--trace "$1" --repeat --writes 3)
	fi
	# shellcheck disable=SC2206 # several options, parted by blanks
	options+=(${LOAD:-})
	say "--- $1, reads over UDP to $2 ---"
	on_client build/bench/load --server-udp "$2" --server-tcp "$2" --duration "$DURATION" \
		--outstanding "$OUTSTANDING" --flush --ttl-share 2 --ttl-max 30 --kernel-ttl 64 \
		--stats-cmd "$stats_command" "${options[@]}" || failed=1
	say
}

pick_traces
check_traces
make_hosts
make_receiving_end
start_daemon
grep -E 'fastpath: .*: (native|generic)|ready' "$dir/daemon.log"
say

stats_command="build/xdpcache --json --control $dir/control.sock stats"
number=0
for trace in "${traces[@]}"; do
	# IPv4 and IPv6 in turn
	if [ $((number++ % 2)) -eq 0 ]; then
		replay "$trace" "10.77.0.1:$PORT"
	else
		replay "$trace" "[fd77::1]:$PORT"
	fi
done

clean_up
[ -z "$failed" ] || die "FAILED"

cat <<'END'
Every reply was right, nothing was left behind.

On a real interface (as root; NETWORK is where your clients are, UDP answers
nobody else):

    build/xdpcached --interface eth0 --allow NETWORK -m 1024
    build/xdpcache status          # and: stats, hot list, doctor
    build/xdpcache unload          # afterwards: removes programs and pins

With plain bpftool, the daemon adopting what it finds:

    DIR=/sys/fs/bpf/xdpcache/default/v1; mkdir -p $DIR
    bpftool prog loadall build/xdpcache.bpf.o $DIR/prog pinmaps $DIR
    bpftool net attach xdp pinned $DIR/prog/xc_fastpath dev eth0
    build/xdpcached --interface eth0 --allow NETWORK
END
