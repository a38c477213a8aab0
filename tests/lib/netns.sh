# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2317
#
# netns.sh - two hosts and a wire, for tests in tests/net; to be sourced.
#
#     +------ $client_ns ------+               +------- $server_ns -------+
#     |  clients               |     veth      |  xdpcached, xdpcache     |
#     |  10.78.0.2  fd78::2    | $client_if <-> $server_if  10.78.0.1     |
#     +------------------------+               |            fd78::1       |
#                                              +--------------------------+
#
# Names carry the test's process number, so that two runs never meet. Whatever happens, daemon, pins
# and namespaces are gone at the end. Prints TAP; `finish_tests` gives the exit status.
#
#   need PROGRAM...         skips the whole test when one is missing, or when not root
#   make_hosts              what the picture shows
#   make_receiver           a program that passes everything at the client's end: native veth hands
#                           on what XDP_TX sends only then
#   on_server, on_client    run a command there
#   xdpcache ARGS           the command, in the server's namespace, with the test's own pins
#   start_daemon ARGS       xdpcached there; waits until it answers; its log is $dir/daemon.log
#   stop_daemon SIGNAL
#   check NAME COMMAND...   one test point; the command's output is shown when it fails
#   udp_get ADDRESS KEY     what a client gets for it, or "nothing" within half a second
#   tcp ADDRESS TEXT        one line of answer to one request; \r\n stands for itself
#   field PATH              a value out of JSON on standard input: interfaces.0.mode

set -u
build=${XC_BUILD:-build}
tag=xt$$
server_ns=$tag-s
client_ns=$tag-c
server_if=xs$$
client_if=xc$$
pin_root=/sys/fs/bpf/$tag
dir=$(mktemp -d) || exit 1
daemon=
points=0
bad=0

skip_all() {
	echo "SKIP: $*"
	exit 4
}

need() {
	local program
	[ "$(id -u)" -eq 0 ] || skip_all "needs root"
	for program; do
		command -v "$program" >/dev/null || skip_all "$program is not installed"
	done
}

on_server() {
	nsenter --net="/run/netns/$server_ns" "$@"
}

on_client() {
	nsenter --net="/run/netns/$client_ns" "$@"
}

xdpcache() {
	on_server "$build/xdpcache" --pin-root "$pin_root" --control "$dir/control.sock" "$@"
}

# SIGNAL (TERM, KILL): the daemon's exit status.
stop_daemon() {
	local status i
	[ -n "$daemon" ] || return 0
	kill "-$1" "$daemon" 2>/dev/null
	for ((i = 0; i < 200; i++)); do
		kill -0 "$daemon" 2>/dev/null || break
		sleep 0.1
	done
	kill -KILL "$daemon" 2>/dev/null
	wait "$daemon" 2>/dev/null
	status=$?
	daemon=
	return $status
}

clean_up() {
	local status=$?
	trap '' INT TERM
	stop_daemon TERM
	if [ -e "/run/netns/$server_ns" ]; then
		xdpcache unload --force >/dev/null 2>&1
	fi
	rm -rf "$pin_root"
	ip netns del "$server_ns" 2>/dev/null
	ip netns del "$client_ns" 2>/dev/null
	rm -f /run/xdpcache/*"$tag"*.lock
	rmdir --ignore-fail-on-non-empty /run/xdpcache 2>/dev/null
	rm -rf "$dir"
	exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

make_wire() {
	ip link add "$server_if" netns "$server_ns" type veth \
		peer name "$client_if" netns "$client_ns" &&
		on_server ip addr add 10.78.0.1/24 dev "$server_if" &&
		on_server ip addr add fd78::1/64 dev "$server_if" nodad &&
		on_server ip link set "$server_if" up &&
		on_client ip addr add 10.78.0.2/24 dev "$client_if" &&
		on_client ip addr add fd78::2/64 dev "$client_if" nodad &&
		on_client ip link set "$client_if" up
}

make_hosts() {
	mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf ||
		skip_all "cannot mount a bpf file system"
	{ ip netns add "$server_ns" && ip netns add "$client_ns"; } ||
		skip_all "cannot make network namespaces"
	{
		on_server ip link set lo up && on_client ip link set lo up && make_wire
	} || skip_all "cannot make a veth pair"
}

# Our own object, with maps that nobody configured, passes every packet. The same makes a program
# that is foreign to the instance under test: load_foreign NAME, then $pin_root/NAME/prog.
load_foreign() {
	mkdir -p "$pin_root/$1" || return 1
	bpftool prog loadall "$build/xdpcache.bpf.o" "$pin_root/$1/prog" \
		pinmaps "$pin_root/$1/maps" 2>"$dir/bpftool.log" && return 0
	cat "$dir/bpftool.log"
	return 1
}

make_receiver() {
	[ -e "$pin_root/receiver" ] || load_foreign receiver || return 1
	on_client bpftool net attach xdpdrv pinned "$pin_root/receiver/prog/xc_fastpath" \
		dev "$client_if"
}

answers() {
	xdpcache --json stats 2>/dev/null | grep -q '"daemon"'
}

start_daemon() {
	local i
	# not through on_server: $! must be the daemon, not a shell that waits for it
	nsenter --net="/run/netns/$server_ns" "$build/xdpcached" --pin-root "$pin_root" \
		--control "$dir/control.sock" -m 64 -t 2 "$@" >"$dir/daemon.log" 2>&1 &
	daemon=$!
	for ((i = 0; i < 300; i++)); do
		answers && return 0
		kill -0 "$daemon" 2>/dev/null || break
		sleep 0.1
	done
	cat "$dir/daemon.log"
	stop_daemon TERM
	return 1
}

check() {
	local name=$1
	shift
	points=$((points + 1))
	if "$@" >"$dir/check.out" 2>&1; then
		echo "ok $points - $name"
	else
		echo "not ok $points - $name"
		sed 's/^/# /' "$dir/check.out"
		[ -s "$dir/daemon.log" ] && tail -n 20 "$dir/daemon.log" | sed 's/^/# daemon: /'
		bad=1
	fi
}

# eventually COMMAND...: true if it is within 5 seconds
eventually() {
	local i
	for ((i = 0; i < 50; i++)); do
		"$@" && return 0
		sleep 0.1
	done
	return 1
}

field() {
	python3 -c '
import json, sys
value = json.load(sys.stdin)
for word in sys.argv[1].split("."):
    value = value[int(word)] if word.isdigit() else value[word]
print(json.dumps(value) if isinstance(value, (bool, dict, list)) else value)' "$1"
}

udp_get() {
	on_client python3 -c '
import socket, sys
where = socket.getaddrinfo(sys.argv[1], 11211, type=socket.SOCK_DGRAM)[0]
with socket.socket(where[0], socket.SOCK_DGRAM) as client:
    client.settimeout(0.5)
    client.connect(where[4])
    client.send(bytes([0, 7, 0, 0, 0, 1, 0, 0]) + b"get %s\r\n" % sys.argv[2].encode())
    try:
        reply = client.recv(2000)
    except OSError:
        sys.exit(print("nothing"))
    assert reply[:2] == bytes([0, 7])
    print(reply[8:].decode().replace("\r\n", " ").strip())' "$1" "$2"
}

tcp() {
	on_client python3 -c '
import socket, sys
with socket.create_connection((sys.argv[1], 11211), 5) as client:
    client.sendall(sys.argv[2].encode().decode("unicode_escape").encode())
    print(client.makefile("rb").readline().decode().strip())' "$1" "$2"
}

finish_tests() {
	echo "1..$points"
	exit $bad
}
