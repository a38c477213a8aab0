#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# A daemon takes over what it finds, follows the host while it runs, and can do little else.
# Property: maps and programs that plain bpftool, `xdpcache load` or a killed daemon left serve on;
# one instance has one owner; addresses, interfaces and the allowlist are followed; no thread keeps
# a privilege; without a lease nothing is answered. Method: the real daemon on one end of a veth
# pair (tests/lib/netns.sh has the picture), asked over UDP from the other.

# shellcheck disable=SC2317 # functions are called through check
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/lib/netns.sh
. tests/lib/netns.sh

need bpftool ip nsenter python3
make_hosts
make_receiver || skip_all "cannot attach a program to the client's end"
pins=$pin_root/default/v1
value="VALUE k 0 5 hello END"

status() {
	xdpcache status --json | field "$1"
}

status_is() { # PATH VALUE
	local value
	value=$(status "$1")
	[ "$value" = "$2" ] || { echo "$1 is $value, not $2"; xdpcache status; return 1; }
}

serve() { # ARGS: a daemon that allows the client
	start_daemon --interface "$server_if" --allow 10.78.0.0/24 --allow fd78::/64 "$@"
}

make_hot() {
	[ "$(tcp 10.78.0.1 'set k 0 0 5\r\nhello\r\n')" = STORED ] && xdpcache hot pin k
}

kernel_answers() { # [ADDRESS]: one GET, one hit
	local before reply
	before=$(status hits)
	reply=$(udp_get "${1:-10.78.0.1}" k)
	[ "$reply" = "$value" ] || { echo "answer: $reply"; return 1; }
	[ "$(status hits)" -eq $((before + 1)) ] || { echo "the daemon answered"; return 1; }
}

says() { # FILE TEXT
	grep -qF -- "$2" "$1" || { echo "not said: $2"; cat "$1"; return 1; }
}

# --- what others left ---

# README's commands, word for word but for the names.
bpftool_pins() {
	local DIR=$pins id
	mkdir -p "$DIR"
	on_server bpftool prog loadall "$build/xdpcache.bpf.o" "$DIR/prog" pinmaps "$DIR" &&
		on_server bpftool net attach xdp pinned "$DIR/prog/xc_fastpath" dev "$server_if" ||
		return 1
	id=$(status interfaces.0.prog_id)
	status_is configured false && serve && make_hot && kernel_answers &&
		kernel_answers fd78::1 && status_is interfaces.0.by_link false &&
		status_is interfaces.0.tc true && status_is interfaces.0.prog_id "$id"
}
check adopt_bpftool_pins_serves bpftool_pins

unload_bpftool() {
	stop_daemon TERM && xdpcache unload && [ ! -e "$pin_root/default" ] &&
		! on_server ip -d link show dev "$server_if" | grep prog/xdp
}
check unload_what_bpftool_attached_is_detached unload_bpftool

loaded() {
	local id
	xdpcache load --interface "$server_if" -m 64 || return 1
	id=$(status interfaces.0.prog_id)
	# a twentieth of 64 MiB at 136 bytes each, as a daemon with -m 64 makes them
	status_is entries_max 24672 || return 1
	serve && make_hot && kernel_answers && status_is interfaces.0.prog_id "$id" &&
		status_is owner_epoch 1 && says "$dir/daemon.log" "took over loaded maps"
}
check adopt_loaded_maps_serves loaded

killed() {
	local digest
	digest=$(bpftool -j map dump pinned "$pins/xc_conf" | grep -o '"digest_key":[^]]*')
	stop_daemon KILL
	serve && kernel_answers && status_is owner_epoch 2 &&
		says "$dir/daemon.log" "adopted the maps of an earlier daemon" || return 1
	[ "$digest" = "$(bpftool -j map dump pinned "$pins/xc_conf" |
		grep -o '"digest_key":[^]]*')" ]
}
check adopt_after_kill_serves_the_same_keys_under_the_same_secret killed

# --- one owner ---

second() {
	on_server timeout 10 "$build/xdpcached" --pin-root "$pin_root" -p 11311 \
		--control "$dir/second.sock" --interface "$server_if" >"$dir/second" 2>&1 &&
		return 1
	says "$dir/second" "pid $daemon owns" && kernel_answers
}
check open_owned_instance_is_refused_and_names_the_owner second

same_root_otherwise_written() {
	"$build/xdpcache" --pin-root "/sys/fs/bpf//$tag/" load --interface lo -m 16 \
		>"$dir/second" 2>&1 && return 1
	says "$dir/second" "pid $daemon owns"
}
check open_owned_instance_by_another_spelling_is_refused same_root_otherwise_written

unload_owned() {
	xdpcache unload >"$dir/second" 2>&1 && return 1
	says "$dir/second" "$daemon" && kernel_answers
}
check unload_owned_instance_is_refused unload_owned

forced() {
	xdpcache unload --force && [ ! -e "$pin_root/default" ] || return 1
	eventually sh -c "! kill -0 $daemon 2>/dev/null" && wait "$daemon"
	local status=$?
	daemon=
	says "$dir/daemon.log" "the fast path was unloaded by force" && [ "$status" -eq 0 ]
}
check unload_forced_takes_it_from_the_daemon forced

# --- following the host ---

addresses() {
	# the maps are this daemon's own now, of the size that load gives them
	serve --xdp-mode native && make_hot && status_is entries_max 24672 || return 1
	on_server ip addr add 10.78.0.9/24 dev "$server_if" &&
		eventually kernel_answers 10.78.0.9 || return 1
	on_server ip addr del 10.78.0.9/24 dev "$server_if"
	eventually sh -c "bpftool map dump pinned $pins/xc_local | grep -c '\"addr\"' | grep -qx 3"
}
check locals_address_added_and_removed_is_followed addresses

# native: in auto mode it would depend on whose program comes first
anew() {
	on_server ip link del "$server_if" && make_wire && make_receiver || return 1
	eventually kernel_answers && status_is interfaces.0.mode native &&
		status_is interfaces.0.by_link true || return 1
	[ "$(xdpcache stats --json | field fastpath.interfaces.0.ifindex)" -eq \
		"$(on_server ip -o link show dev "$server_if" | cut -d: -f1)" ]
}
check warden_interface_made_anew_is_attached_again anew

hung() {
	local warden
	warden=$(pgrep -P "$daemon" -x xdpcache-warden) || { echo "no warden"; return 1; }
	kill -STOP "$warden"
	on_server ip link del "$server_if" && make_wire && make_receiver || return 1
	sleep 4 # it is given five seconds
	eventually grep -q "it hangs" "$dir/daemon.log" && kill -CONT "$warden" || return 1
	eventually kernel_answers
}
check warden_that_hung_attaches_when_it_goes_on hung

listened() {
	stop_daemon TERM && serve -l 10.78.0.1 && make_hot && kernel_answers || return 1
	bpftool map dump pinned "$pins/xc_local" | grep -c '"addr"' | grep -qx 1
}
check locals_listen_address_is_the_only_one_served listened

drops() {
	xdpcache stats --json | field fastpath.drops.drop_not_allowed
}

allowlist() {
	local before
	stop_daemon TERM && start_daemon --interface "$server_if" --allow 192.0.2.0/24 || return 1
	bpftool map dump pinned "$pins/xc_allow" | grep -c prefix_len | grep -qx 1 || return 1
	before=$(drops)
	[ "$(udp_get 10.78.0.1 k)" = nothing ] && [ "$(drops)" -eq $((before + 1)) ]
}
check allow_list_of_the_daemon_before_is_replaced allowlist

# --- the lease ---

lease() {
	stop_daemon TERM && serve --lease-ms 2000 && make_hot && kernel_answers || return 1
	kill -STOP "$daemon"
	# answered by the kernel alone: the daemon cannot
	[ "$(udp_get 10.78.0.1 k)" = "$value" ] || { echo "not within the lease"; return 1; }
	sleep 2.1
	[ "$(udp_get 10.78.0.1 k)" = nothing ] || { echo "past the lease"; return 1; }
	status_is lease_left_ms 0 || return 1
	kill -CONT "$daemon"
	eventually kernel_answers
}
check lease_stopped_daemon_is_answered_for_until_it_ends_only lease

revoked() {
	stop_daemon TERM && status_is lease_left_ms 0 && [ "$(udp_get 10.78.0.1 k)" = nothing ]
}
check lease_is_given_up_by_a_graceful_stop revoked

# --- privileges ---

thread_rights() { # PID: distinct lines over all its threads
	cat /proc/"$1"/task/*/status |
		grep -E '^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' | sort -u |
		tr -d '\t'
}

powerless() {
	local none=0000000000000000
	serve "$@" && make_hot && kernel_answers || return 1
	thread_rights "$daemon" >"$dir/rights"
	diff "$dir/rights" - <<-END
		CapAmb:$none
		CapBnd:$none
		CapEff:$none
		CapInh:$none
		CapPrm:$none
		NoNewPrivs:1
		Seccomp:2
	END
}
check privileges_of_every_thread_are_gone powerless

as_nobody() {
	stop_daemon TERM && powerless -u nobody && [ "$(stat -c %U "/proc/$daemon")" = nobody ] &&
		# writes switch the kernel's entry without any privilege
		[ "$(tcp 10.78.0.1 'set k 0 0 5\r\nother\r\n')" = STORED ] &&
		[ "$(udp_get 10.78.0.1 k)" = "VALUE k 0 5 other END" ] &&
		! grep sandbox "$dir/daemon.log"
}
check privileges_as_nobody_kernel_entries_are_written as_nobody

warden_rights() {
	local warden
	warden=$(pgrep -P "$daemon" -x xdpcache-warden) || { echo "no warden"; return 1; }
	thread_rights "$warden" >"$dir/rights"
	# BPF, PERFMON, SYS_ADMIN, NET_ADMIN
	says "$dir/rights" CapEff:000000c000201000 && says "$dir/rights" CapBnd:000000c000201000 &&
		says "$dir/rights" NoNewPrivs:1 || return 1
	stop_daemon KILL
	eventually sh -c "! kill -0 $warden 2>/dev/null"
}
check warden_keeps_four_capabilities_and_ends_with_the_daemon warden_rights

forced_on_nobody() {
	local lock
	serve -u nobody || return 1
	lock=/run/xdpcache/$(echo "$pin_root" | tr / _).default.lock
	[ -e "$lock" ] || { echo "no $lock"; return 1; }
	xdpcache unload --force || return 1
	# nobody may not remove it
	[ ! -e "$lock" ] || { echo "$lock stays"; return 1; }
	wait "$daemon"
	daemon=
}
check unload_forced_leaves_no_lock_of_a_daemon_without_rights forced_on_nobody

xdpcache unload >/dev/null
finish_tests
