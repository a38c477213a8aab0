#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# `make run` shows what it promises and leaves nothing behind, however it ends. Method:
# tools/demo.sh on short workloads; then interrupted, then with its daemon killed. After each,
# namespaces, pins, processes and folders with its number are looked for.
#
# The topology is the demo's own: two namespaces and a veth pair.

set -u
cd "$(dirname "$0")/../.." || exit 1
export NO_DEPS=1
dir=$(mktemp -d)
demo=
last=
n=0
bad=0

# shellcheck disable=SC2317 # called by the trap
finish() {
	# a group of its own: setsid
	[ -n "$demo" ] && kill -TERM -- "-$demo" 2>/dev/null
	wait
	rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

if [ "$(id -u)" -ne 0 ]; then
	echo "1..0 # SKIP needs root"
	exit 0
fi

check() { # NAME CONDITION...
	local name=$1
	shift
	n=$((n + 1))
	if "$@"; then
		echo "ok $n - $name"
	else
		echo "not ok $n - $name"
		bad=1
		sed 's/^/# /' "$dir/out"
	fi
}

# shellcheck disable=SC2317 # called through check
left() { # of the last one started
	ip netns list | grep "^xcdemo$last"
	ls -d "/sys/fs/bpf/xcdemo$last" "/tmp/xcdemo$last".* \
		/run/xdpcache/*"xcdemo$last"* 2>/dev/null
	pgrep -fa -- "--pin-root /sys/fs/bpf/xcdemo$last"
	ip -o link show | grep -E " xc[sc]$last@"
}

# shellcheck disable=SC2317 # called through check
nothing_left() {
	left >"$dir/left"
	[ ! -s "$dir/left" ] || { sed 's/^/# left: /' "$dir/left"; return 1; }
}

# shellcheck disable=SC2317 # called through check
right() {
	[ "$status" -eq 0 ] && grep -q 'result     every reply was right' "$dir/out" &&
		grep -q 'nothing was left behind' "$dir/out"
}

# shellcheck disable=SC2317 # called through check
kernel_answered() { # at least one, in each replay
	grep -E '^  kernel ' "$dir/out" | awk '{ gsub(",", "", $2) } $2 < 1 { bad = 1 }
		END { exit bad || NR == 0 }'
}

# shellcheck disable=SC2317 # called through check
said_calmly() { # the clients were done before their server was
	grep -q 'interrupted; nothing was left behind' "$dir/out" &&
		! grep -qE 'broke|FAILED' "$dir/out"
}

# shellcheck disable=SC2317 # called through check
out_of_reach() { # ^C goes to a group, and this is another
	local group
	group=$(ps -o pgid= -p "$(pgrep -P "$demo" xdpcached)")
	[ -n "$group" ] && [ "$((group))" -ne "$demo" ]
}

# shellcheck disable=SC2317 # called through check
refused_early() { # before a daemon was started
	[ "$status" -eq 1 ] && ! grep -q ready "$dir/out"
}

start() { # VARIABLE=VALUE...
	: >"$dir/out" # not the last one's words: what runs behind & opens it a moment later
	# what runs behind a script's & starts with SIGINT ignored, for good
	setsid env --default-signal=INT "$@" tools/demo.sh >"$dir/out" 2>&1 &
	demo=$!
	last=$demo
}

end() {
	wait "$demo"
	status=$?
	demo=
}

until_replay() {
	for _ in {1..600}; do
		grep -q -- '--- .* reads over UDP' "$dir/out" && sleep 1 && return
		sleep 0.1
	done
}

awk 'BEGIN { for (i = 0; i < 20000; i++) print i % 7 ? "k" i % 50 : "rare " i }' >"$dir/trace.txt"

start TRACE="etc $dir/trace.txt" DURATION=3
end
check demo_replays_are_right right
check demo_kernel_answers_in_each kernel_answered
check demo_tells_of_real_interfaces grep -q -- '--interface eth0' "$dir/out"
check demo_leaves_nothing nothing_left

start TRACE=etc DURATION=2 MODE=generic
end
check demo_generic_is_right right

start TRACE=etc DURATION=60
until_replay
check demo_daemon_is_out_of_reach_of_the_terminal out_of_reach
kill -INT -- "-$demo"
end
check demo_interrupted_fails [ "$status" -eq 130 ]
check demo_interrupted_says_so_calmly said_calmly
check demo_interrupted_leaves_nothing nothing_left

start TRACE=etc DURATION=60
until_replay
pkill -KILL -P "$demo" xdpcached
end
check demo_with_a_killed_daemon_fails [ "$status" -eq 1 ]
check demo_with_a_killed_daemon_leaves_nothing nothing_left

start TRACE="$dir/none.txt" DURATION=2
end
check demo_without_its_trace_fails refused_early
check demo_without_its_trace_leaves_nothing nothing_left

cp "$dir/trace.txt" "$dir/a trace.txt"
start TRACE="$dir/a trace.txt" DURATION=1
end
check demo_takes_a_path_with_a_blank right

echo "1..$n"
exit $bad
