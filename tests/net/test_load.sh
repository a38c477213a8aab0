#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Loading, adopting and unloading do what they say, twice as well as once, and touch nothing that is
# not ours. Method: the real command and daemon on one end of a veth pair (tests/lib/netns.sh has
# the picture); what the kernel holds is read with bpftool, ip and tc.

# shellcheck disable=SC2317 # functions are called through check
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/lib/netns.sh
. tests/lib/netns.sh

need bpftool ip nft tc nsenter python3
make_hosts
make_receiver || skip_all "cannot attach a program to the client's end"
rm -r "$pin_root" # what is attached stays
pins=$pin_root/default/v1

status_is() { # PATH VALUE
	local value
	value=$(xdpcache status --json | field "$1")
	[ "$value" = "$2" ] || { echo "$1 is $value, not $2"; xdpcache status; return 1; }
}

interface_cnt() {
	xdpcache status --json | python3 -c 'import json, sys
print(len(json.load(sys.stdin)["interfaces"]))'
}

xdp_id() { # NAMESPACE INTERFACE: id of the program there
	nsenter --net="/run/netns/$1" ip -d link show dev "$2" |
		sed -n 's,.*prog/xdp id \([0-9]*\).*,\1,p' | head -n 1
}

says() { # FILE TEXT...
	local file=$1 text
	shift
	for text; do
		grep -qF -- "$text" "$file" || { echo "not said: $text"; cat "$file"; return 1; }
	done
}

load() { # ARGS: output to $dir/load
	xdpcache load --interface "$server_if" -m 16 "$@" >"$dir/load" 2>&1
}

nothing_left() {
	[ ! -e "$pin_root" ] || { find "$pin_root"; return 1; }
	[ -z "$(ls /run/xdpcache/*"$tag"* 2>/dev/null)" ] || { ls /run/xdpcache; return 1; }
	[ -z "$(xdp_id "$server_ns" "$server_if")" ] || { echo "a program is attached"; return 1; }
	on_server tc qdisc show dev "$server_if" | grep clsact && return 1
	return 0
}

# An element's or object's number of maps, programs and links: what a second load must not change.
picture() {
	local pin
	for pin in "$pins"/xc_* "$pins"/prog/xc_*; do
		case $pin in
		*/prog/*) bpftool prog show pinned "$pin" ;;
		*) bpftool map show pinned "$pin" ;;
		esac | head -n 1 | cut -d: -f1
	done
	bpftool link show pinned "$pins/if/$server_if/xdp" | grep -oE '^[0-9]+|prog [0-9]+'
	on_server tc filter show dev "$server_if" ingress
}

# --- load and unload ---

loads_native() {
	load || { cat "$dir/load"; return 1; }
	status_is interfaces.0.mode native && status_is interfaces.0.tc true &&
		status_is interfaces.0.by_link true && status_is configured false &&
		[ "$(stat -c %a "$pins")" = 750 ]
}
check load_veth_attaches_native_link_and_tc loads_native

repeats() {
	picture >"$dir/before"
	load || { cat "$dir/load"; return 1; }
	picture >"$dir/after"
	diff "$dir/before" "$dir/after"
}
check load_repeated_changes_nothing repeats

changes_mode() {
	load --xdp-mode generic && status_is interfaces.0.mode generic &&
		load --xdp-mode native && status_is interfaces.0.mode native
}
check load_other_mode_moves_the_program changes_mode

unloads() {
	local id
	id=$(xdp_id "$server_ns" "$server_if")
	xdpcache unload && nothing_left && eventually sh -c "! bpftool prog show id $id"
}
check unload_leaves_nothing unloads
check unload_repeated_is_done sh -c "$(declare -f xdpcache on_server)
	build=$build pin_root=$pin_root dir=$dir server_ns=$server_ns
	xdpcache unload | grep -q 'nothing was loaded'"

refuses_name() {
	xdpcache load --interface nosuch0 -m 16 >"$dir/load" 2>&1 && return 1
	says "$dir/load" nosuch0 "no such interface" && nothing_left
}
check load_unknown_interface_fails_and_leaves_nothing refuses_name

two_or_none() {
	load --interface lo --xdp-mode native && return 1
	says "$dir/load" "lo: cannot attach in native mode" && nothing_left
}
check load_second_interface_fails_first_is_detached two_or_none

dotted() {
	on_server ip link set "$server_if" down &&
		on_server ip link set "$server_if" name "$server_if.7" || return 1
	xdpcache load --interface "$server_if.7" -m 16 && status_is interfaces.0.by_link true &&
		xdpcache unload
	local status=$?
	on_server ip link set "$server_if.7" name "$server_if" &&
		on_server ip link set "$server_if" up
	return "$status"
}
check load_interface_with_a_dot_is_pinned dotted

# --- native, generic, off ---

jumbo() {
	on_client ip link set "$client_if" mtu 9000
	load || { cat "$dir/load"; return 1; }
	says "$dir/load" "$server_if: native XDP refused" "MTU" "$server_if: generic" &&
		[ "$(grep -c 'native XDP refused' "$dir/load")" -eq 1 ] &&
		status_is interfaces.0.mode generic
}
check load_jumbo_frames_falls_back_to_generic_with_the_reason jumbo

jumbo_native() {
	load --xdp-mode native && return 1
	says "$dir/load" "cannot attach in native mode" "MTU" &&
		status_is interfaces.0.mode generic || return 1
	xdpcache unload && ! load --xdp-mode native && nothing_left
}
check load_native_refused_fails_and_changes_nothing jumbo_native
on_client ip link set "$client_if" mtu 1500

# --- not ours ---

foreign() {
	load_foreign other &&
		on_server bpftool net attach xdpdrv pinned "$pin_root/other/prog/xc_fastpath" \
			dev "$server_if" || return 1
	foreign_id=$(xdp_id "$server_ns" "$server_if")
	load || { cat "$dir/load"; return 1; }
	says "$dir/load" "another XDP program is attached" "id $foreign_id" "$server_if: off" &&
		[ "$(interface_cnt)" -eq 0 ] &&
		[ "$(xdp_id "$server_ns" "$server_if")" = "$foreign_id" ]
}
check load_foreign_program_stays_and_interface_is_off foreign

foreign_hard() {
	load --xdp-mode native && return 1
	says "$dir/load" "id $foreign_id" && load --xdp-mode generic && return 1
	xdpcache unload && [ "$(xdp_id "$server_ns" "$server_if")" = "$foreign_id" ] &&
		on_server bpftool net detach xdpdrv dev "$server_if" && rm -rf "$pin_root/other"
}
check load_foreign_program_native_fails_unload_leaves_it foreign_hard

others_filter() { # DIRECTION PREF: a filter that is not ours
	[ -e "$pin_root/other" ] || load_foreign other || return 1
	on_server tc filter add dev "$server_if" "$1" pref "$2" bpf direct-action \
		object-pinned "$pin_root/other/prog/xc_tc"
}

others_qdisc() {
	on_server tc qdisc add dev "$server_if" clsact && others_filter ingress 7 && load &&
		status_is interfaces.0.tc true && xdpcache unload || return 1
	on_server tc filter show dev "$server_if" ingress >"$dir/filters"
	says "$dir/filters" 'pref 7 ' && ! grep 'pref 11211 ' "$dir/filters"
}
check unload_leaves_the_qdisc_and_filters_of_others others_qdisc

empty_qdisc() {
	on_server tc filter del dev "$server_if" ingress && load && xdpcache unload &&
		on_server tc qdisc show dev "$server_if" | grep -q clsact &&
		on_server tc qdisc del dev "$server_if" clsact
}
check unload_leaves_an_empty_qdisc_that_was_there_before empty_qdisc

joined_qdisc() {
	load && others_filter egress 9 && xdpcache unload || return 1
	on_server tc filter show dev "$server_if" egress | grep -q 'pref 9 ' &&
		on_server tc qdisc del dev "$server_if" clsact && rm -rf "$pin_root/other"
}
check unload_leaves_our_qdisc_when_others_use_it joined_qdisc

# The same name and number in both namespaces.
other_namespace() {
	local twin=xt$$ ns
	for ns in "$server_ns" "$client_ns"; do
		ip link add "$twin" index 4242 netns "$ns" type veth peer name "${twin}p" \
			netns "$ns" || return 1
	done
	xdpcache load --interface "$twin" -m 16 || return 1
	bpftool link show pinned "$pins/if/$twin/xdp" >"$dir/before"
	on_client "$build/xdpcache" --pin-root "$pin_root" load --interface "$twin" -m 16 \
		>"$dir/load" 2>&1 || { cat "$dir/load"; return 1; }
	bpftool link show pinned "$pins/if/$twin/xdp" >"$dir/after"
	says "$dir/load" "another network namespace" && diff "$dir/before" "$dir/after" &&
		[ -z "$(xdp_id "$client_ns" "$twin")" ] || return 1
	xdpcache unload && [ -z "$(xdp_id "$server_ns" "$twin")" ] && nothing_left &&
		on_server ip link del "$twin" && on_client ip link del "$twin"
}
check load_link_of_another_namespace_is_not_touched other_namespace

# --- other versions ---

other_version() {
	local zeros=() i
	for ((i = 0; i < 120; i++)); do zeros+=(00); done
	load || return 1
	bpftool map update pinned "$pins/xc_conf" key 0 0 0 0 \
		value hex 58 44 50 43 63 00 00 00 "${zeros[@]}" || return 1
	load && return 1
	says "$dir/load" "xc_conf" "xdpcache unload" || return 1
	if start_daemon --interface "$server_if"; then
		echo "a daemon took maps of another version"
		return 1
	fi
	says "$dir/daemon.log" "another version" "xdpcache unload" && xdpcache unload &&
		nothing_left
}
check load_other_abi_version_is_refused_and_names_unload other_version

other_shape() {
	mkdir -p "$pins" && bpftool map create "$pins/xc_hot" type hash key 4 value 4 entries 8 \
		name xc_hot || return 1
	load && return 1
	says "$dir/load" "xc_hot" "xdpcache unload" &&
		bpftool map show pinned "$pins/xc_hot" | grep -q 'key 4B' &&
		xdpcache unload && nothing_left
}
check load_other_map_shape_is_refused_and_names_unload other_shape

# --- the file system ---

mounts() {
	on_server unshare --mount sh -c "umount /sys/fs/bpf || exit 1
		$build/xdpcache --pin-root $pin_root load --interface $server_if -m 16 &&
		$build/xdpcache --pin-root $pin_root unload" >"$dir/load" 2>&1 ||
		{ cat "$dir/load"; return 1; }
	says "$dir/load" "mounted bpffs on /sys/fs/bpf"
}
check load_without_bpffs_mounts_it_and_says_so mounts

not_bpffs() {
	"$build/xdpcache" --pin-root "$dir/pins" load --interface lo -m 16 >"$dir/load" 2>&1 &&
		return 1
	says "$dir/load" "--pin-root must name a directory of a bpffs"
}
check load_pin_root_outside_bpffs_says_so not_bpffs
rm -f "/run/xdpcache/"*"$(basename "$dir")"*.lock

# --- doctor ---

finding() { # CHECK: "verdict text" of the first finding of that name
	python3 -c 'import json, sys
for finding in json.load(open(sys.argv[1])):
    if finding["check"] == sys.argv[2]:
        sys.exit(print(finding["verdict"], finding["text"]))
sys.exit("no such finding")' "$dir/doctor" "$1"
}

finds() { # CHECK TEXT...: the finding holds each text
	local found text check=$1
	shift
	found=$(finding "$check") || return 1
	for text; do
		case $found in *"$text"*) ;; *) echo "$check: $found; not: $text"; return 1 ;; esac
	done
}

fit() {
	xdpcache doctor --json --interface "$server_if" >"$dir/doctor" || return 1
	finds load "ok " && finds memory "ok " && finds tc "ok " && finds grace "ok " &&
		finds pins "nothing is loaded" && finds port "11211 is free" && nothing_left
}
check doctor_fit_host_passes_and_is_left_as_it_was fit

unfit() {
	xdpcache doctor --json --interface nosuch0 >"$dir/doctor" && return 1
	finds "interface nosuch0" "fail " "does not exist"
}
check doctor_unknown_interface_fails unfit

names_foreign() {
	local id
	load_foreign other &&
		on_server bpftool net attach xdpdrv pinned "$pin_root/other/prog/xc_fastpath" \
			dev "$server_if" || return 1
	id=$(xdp_id "$server_ns" "$server_if")
	xdpcache doctor --json --interface "$server_if" >"$dir/doctor"
	python3 -c 'import json, sys
texts = [f["text"] for f in json.load(open(sys.argv[1])) if f["verdict"] == "warn"]
sys.exit(not any("(id %s)" % sys.argv[2] in text for text in texts))' "$dir/doctor" "$id" &&
		[ "$(xdp_id "$server_ns" "$server_if")" = "$id" ] &&
		on_server bpftool net detach xdpdrv dev "$server_if" && rm -rf "$pin_root/other"
}
check doctor_foreign_program_is_named_and_stays names_foreign

port_taken() {
	on_server python3 -c 'import socket, subprocess, sys
taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
taken.bind(("0.0.0.0", 11211))
sys.exit(subprocess.call(sys.argv[2:], stdout=open(sys.argv[1], "w")))' "$dir/doctor" \
		"$build/xdpcache" --pin-root "$pin_root" --control "$dir/control.sock" \
		doctor --json && finds port "warn " "another program's"
}
check doctor_taken_port_is_told port_taken

firewall() {
	on_server nft 'add table inet xctest
		add chain inet xctest in { type filter hook input priority 0; }' &&
		xdpcache doctor --json >"$dir/doctor" && finds bypass "warn " "INPUT (1)" &&
		on_server nft delete table inet xctest
}
check doctor_firewall_that_is_bypassed_is_told firewall

finish_tests
