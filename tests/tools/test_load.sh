#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# The load generator calls a right server right, and each kind of wrong reply by its name. Method:
# stock memcached, alone and behind a proxy that does one thing wrong now and then; load's JSON and
# exit status are compared.

set -u
cd "$(dirname "$0")/../.." || exit 1
load=build/bench/load
server_port=21411
port=21412
dir=$(mktemp -d)
server=
proxy=
n=0
bad=0

# shellcheck disable=SC2317 # called by the trap
finish() {
	[ -n "$proxy" ] && kill "$proxy" 2>/dev/null
	[ -n "$server" ] && kill "$server" 2>/dev/null
	wait
	rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

for program in memcached "$load"; do
	if ! command -v "$program" >/dev/null; then
		echo "1..0 # SKIP $program is missing"
		exit 0
	fi
done

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

# Against the given port; few keys, so that reads meet writes. One operation a connection.
run() { # PORT OPTION...
	"$load" --server-tcp "127.0.0.1:$1" --flush --quiet --json --seed 7 --keys 300 \
		--requests 4000 --duration 60 --outstanding 8 --conns 8 --value-max 1000 \
		--writes 10 "${@:2}" >"$dir/out" 2>&1
	status=$?
}

field() { # PATH...: of the JSON
	/usr/bin/python3 -c '
import json, sys
at = json.load(open(sys.argv[1]))
for name in sys.argv[2:]:
    at = at[name]
print(json.dumps(at))' "$dir/out" "$@"
}

# shellcheck disable=SC2317 # called through check
right() {
	[ "$status" -eq 0 ] && [ "$(field ok)" = true ] && [ "$(field wrong)" -eq 0 ] &&
		[ "$(field lost)" -eq 0 ] && [ "$(field requests)" -eq "$1" ]
}

# shellcheck disable=SC2317 # called through check
wrong_by() { # KIND: wrong, and for no other reason
	[ "$status" -eq 1 ] && [ "$(field ok)" = false ] &&
		[ "$(field wrong_by_kind "$1")" -gt 0 ] &&
		[ "$(field wrong_by_kind "$1")" -eq "$(field wrong)" ]
}

# shellcheck disable=SC2317 # called through check
fails_for() { # REASON
	[ "$status" -eq 1 ] && field failed | grep -qF "\"$1\""
}

# shellcheck disable=SC2317 # called through check
counts() { # FIELD
	[ "$(field "$1")" -gt 0 ]
}

memcached -u nobody -l 127.0.0.1 -p "$server_port" -U "$server_port" -m 64 &
server=$!
for _ in {1..100}; do
	(: <"/dev/tcp/127.0.0.1/$server_port") 2>/dev/null && break
	sleep 0.05
done

connections() {
	printf 'stats\r\nquit\r\n' | timeout 5 bash -c "
		exec 3<>/dev/tcp/127.0.0.1/$server_port; cat >&3; cat <&3" |
		sed -n 's/^STAT curr_connections \([0-9]*\).*/\1/p'
}
idle=$(connections)

# What a proxy that is gone had sent on may still lie in the server's sockets: a set that is carried
# out after the next run's flush would be another run's value there.
settle() {
	for _ in {1..200}; do
		[ "$(connections)" -le "$idle" ] && return
		sleep 0.05
	done
}

with_fault() { # FAULT OPTION...
	# the last one's ports are free only once it is gone
	: >"$dir/proxy"
	tests/lib/bad_proxy.py "$1" "$port" "$server_port" >"$dir/proxy" 2>&1 &
	proxy=$!
	for _ in {1..100}; do
		grep -q ready "$dir/proxy" && break
		sleep 0.05
	done
	run "$port" --server-udp "127.0.0.1:$port" "${@:2}"
	kill "$proxy"
	wait "$proxy" 2>/dev/null
	proxy=
	settle
}

run "$server_port" --server-udp "127.0.0.1:$server_port"
check load_right_server_over_udp_is_right right 4000
run "$server_port" --outstanding 16 --conns 3
check load_right_server_over_pipelined_tcp_is_right right 4000
run "$server_port" --server-udp "127.0.0.1:$server_port" --value-size 9000 --value-max 9000
check load_replies_of_many_datagrams_are_right right 4000
run "$server_port" --server-udp "127.0.0.1:$server_port" --ttl-share 50 --ttl-max 2 \
	--requests 0 --duration 5
check load_expiring_items_are_right right "$(field requests)"
run "$server_port" --server-udp "127.0.0.1:$server_port" --prefill --writes 0
check load_prefilled_keys_all_hit [ "$(field miss count)" -eq 0 ]

printf 'time,key,size,ttl\n1,a,10\n2,b c,20\n' >"$dir/bad.csv"
run "$server_port" --trace "$dir/bad.csv"
check load_trace_with_a_bad_line_is_refused grep -q 'bad.csv:3' "$dir/out"
# For what is wrong with a trace no server is needed.
# shellcheck disable=SC2317 # called through check
refused() { # FILE WORDS
	"$load" --check --trace "$1" >"$dir/out" 2>&1
	[ $? -eq 3 ] && grep -qF -- "$2" "$dir/out" && [ "$(wc -l <"$dir/out")" -le 2 ]
}
printf '1,key,abc\n2,key,10\n' >"$dir/first.csv"
check load_trace_with_a_bad_first_line_is_refused refused "$dir/first.csv" 'first.csv:1: none of'
: >"$dir/empty.txt"
check load_empty_trace_is_refused refused "$dir/empty.txt" 'holds no request'
echo key >"$dir/plain.xz"
check load_trace_that_is_not_xz_is_refused refused "$dir/plain.xz" 'xz cannot unpack it'
check load_missing_trace_is_refused refused "$dir/none.txt" 'No such file'
printf '# a trace\n1.5 a 10\n2;b\t2000;9\n\n3,a,10\n4,c,0\n' >"$dir/good.txt"
xz -k "$dir/good.txt"
run "$server_port" --trace "$dir/good.txt.xz"
check load_good_trace_passes_the_check "$load" --check --trace "$dir/good.txt.xz"
check load_trace_of_four_requests_is_replayed right 4
run "$server_port" --trace "$dir/good.txt.xz" --repeat --requests 100
check load_trace_is_repeated_when_asked right 100

# The live line on a narrow terminal: fields are left out, never cut.
# shellcheck disable=SC2317 # called through check
narrow() { # COLUMNS
	/usr/bin/python3 - "$1" "$load" "127.0.0.1:$server_port" >"$dir/out" 2>&1 <<'END'
import fcntl, os, pty, re, struct, sys, termios
columns, load, server = int(sys.argv[1]), *sys.argv[2:]
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    os.execv(load, [load, "--server-tcp", server, "--flush", "--duration", "0.8"])
text = b""
try:
    while got := os.read(fd, 4096):
        text += got
except OSError:
    pass
os.waitpid(pid, 0)
lines = [part for part in re.findall(r"\r\x1b\[K([^\r\n\x1b]*)", text.decode())
         if part and not part.startswith("workload")]
field = r"[\d.]+ s|[\d,]+/s|(hit|miss) [\d.]+%|p\d+ \d+ us"
whole = re.compile(rf"({field})(  ({field}))*")
print(lines)
sys.exit(not (lines and all(whole.fullmatch(l) and len(l) < columns for l in lines)))
END
}
for columns in 20 33 37 47 80; do
	check "load_line_of_${columns}_columns_has_whole_fields" narrow "$columns"
done

with_fault none
check load_right_server_behind_the_proxy_is_right right 4000
with_fault flip
check load_flipped_bit_is_corrupt wrong_by corrupt
with_fault cut
check load_value_cut_short_is_corrupt wrong_by corrupt
with_fault flags
check load_changed_flags_are_found wrong_by "wrong flags"
with_fault stale
check load_old_value_is_stale wrong_by stale
with_fault swap
check load_value_of_another_key_is_foreign wrong_by foreign
with_fault foreign
check load_reply_of_another_key_is_foreign wrong_by foreign
with_fault garble
check load_reply_that_is_none_is_counted fails_for "wrong replies"
with_fault miss
check load_false_miss_without_eviction_fails \
	fails_for "misses of keys that were set, though nothing was evicted"
with_fault forget --value-size 100
check load_forgotten_write_fails [ "$status" -eq 1 ]
with_fault drop --retries 0 --timeout 200
check load_lost_replies_fail fails_for "lost requests"
with_fault drop --retries 0 --timeout 200 --lost-max 100000
check load_lost_replies_within_the_bound_are_right [ "$status" -eq 0 ]
with_fault drop --retries 5 --timeout 50
check load_lost_datagrams_are_sent_again right 4000
check load_sending_again_is_counted counts retried
with_fault late --timeout 100
check load_late_replies_are_no_fault right 4000
check load_late_replies_are_counted counts late
with_fault late --timeout 100 --value-size 5000 --value-max 5000
check load_late_replies_of_many_datagrams_are_no_fault right 4000
with_fault twice
check load_replies_that_come_twice_fail fails_for "replies to nothing that was asked"
with_fault hangup
check load_broken_connection_fails [ "$status" -eq 1 ]
with_fault hangup --reconnects 1000
check load_broken_connection_is_opened_again right 4000

"$load" --server-tcp 127.0.0.1:1 --duration 1 >"$dir/out" 2>&1
check load_without_a_server_says_so [ $? -eq 3 ]
"$load" --conns 0 --server-tcp 127.0.0.1:1 >"$dir/out" 2>&1
check load_bad_option_is_refused [ $? -eq 2 ]

echo "1..$n"
exit $bad
