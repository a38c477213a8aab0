#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# deps.sh SET... - installs the Debian packages that a set needs and that are missing.
#
# Sets: build, run, test (holds run), vm, lint; --list prints a set's packages instead.
# Says nothing, asks no network and needs no root when nothing is missing: Makefile, demo.sh and
# tests call it every time. Not root, or no apt: names what to install and fails.

set -u
# comm and sort have to agree
export LC_ALL=C

BUILD=(gcc libc6-dev make clang llvm bpftool pkg-config linux-libc-dev libbpf-dev
	libcurl4-openssl-dev libelf-dev zlib1g-dev libconfig-dev libjansson-dev libcap-ng-dev
	libmicrohttpd-dev libmnl-dev libncurses-dev libpq-dev libseccomp-dev libsqlite3-dev
	libssl-dev libsystemd-dev libxxhash-dev)
RUN=(iproute2 util-linux mount procps xz-utils bpftool)
# Other people's clients and proxies.
CLIENTS=(python3-pylibmc python3-binary-memcached libcache-memcached-perl
	libcache-memcached-fast-perl php-cli php-memcached golang-go
	golang-github-bradfitz-gomemcache-dev nginx-light nutcracker)
# Debian's npm and other builds of Node.js exclude each other: what is there will do.
command -v npm >/dev/null || CLIENTS+=(nodejs npm)
TEST=("${RUN[@]}" libcmocka-dev libmemcached-dev memcached libmemcached-tools python3
	python3-pymemcache chromium openssl postgresql-15 prometheus python3-scapy strace
	tcpdump tmux etcd-server ethtool nftables
	"${CLIENTS[@]}")
VM=(qemu-system-x86 cpio busybox-static kmod xz-utils zstd)
LINT=(clang-format cppcheck shellcheck)
FUZZ=(libclang-rt-14-dev)
# Wanted for their programs alone; Debian would start them as services (PACKAGE:SERVICE).
SERVICES=(etcd-server:etcd memcached:memcached nginx-light:nginx nutcracker:nutcracker
	postgresql-15:postgresql
	prometheus:prometheus)

usage() {
	echo "usage: tools/deps.sh [--list] build|run|test|vm|lint|fuzz..."
}

list_only=
wanted=()
for arg; do
	case $arg in
	--list) list_only=1 ;;
	build) wanted+=("${BUILD[@]}") ;;
	run) wanted+=("${RUN[@]}") ;;
	test) wanted+=("${TEST[@]}") ;;
	vm) wanted+=("${VM[@]}") ;;
	lint) wanted+=("${LINT[@]}") ;;
	fuzz) wanted+=("${FUZZ[@]}") ;;
	-h | --help) usage; exit 0 ;;
	*) echo "deps.sh: no such set: $arg" >&2; usage >&2; exit 2 ;;
	esac
done
if [ ${#wanted[@]} -eq 0 ]; then
	usage >&2
	exit 2
fi
mapfile -t wanted < <(printf '%s\n' "${wanted[@]}" | sort -u)
if [ -n "$list_only" ]; then
	printf '%s\n' "${wanted[@]}"
	exit 0
fi

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
	# Elsewhere the names differ; whoever has installed them says so with NO_DEPS=1.
	echo "deps.sh: this system has no apt, so install what these Debian packages hold" \
		"(then NO_DEPS=1 skips this check):" >&2
	echo "    ${wanted[*]}" >&2
	exit 1
fi

missing_of() {
	local installed
	# Packages that dpkg has never heard of make it fail; the list is right all the same.
	installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null |
		sed -n 's/ installed$//p' | sort -u)
	comm -23 <(printf '%s\n' "$@") <(printf '%s\n' "$installed")
}

mapfile -t missing < <(missing_of "${wanted[@]}")
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ]; then
	echo "deps.sh: missing packages; as root:" >&2
	echo "    apt-get install --no-install-recommends ${missing[*]}" >&2
	exit 1
fi

export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
policy=
# shellcheck disable=SC2317 # called by the trap
finish() {
	rm -f "$log"
	[ -n "$policy" ] && rm -f "$policy"
}
trap finish EXIT
trap 'exit 130' INT TERM

# The maintainer scripts' own question, asked before a service starts: no.
if [ ! -e /usr/sbin/policy-rc.d ]; then
	policy=/usr/sbin/policy-rc.d
	printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 0755 "$policy"
fi

apt() {
	apt-get -q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 \
		-o Dpkg::Options::=--force-confold "$@" >>"$log" 2>&1 </dev/null
}

# Old package lists name files that the mirror has dropped, hence the update first; mirrors hiccup,
# hence the second try.
install() {
	apt update && apt install --no-install-recommends "${missing[@]}"
}

echo "deps.sh: installing ${missing[*]}" >&2
if ! install; then
	echo "deps.sh: apt failed, trying once more" >&2
	sleep 3
	if ! install; then
		tail -n 20 "$log" >&2
		echo "deps.sh: could not install: $(missing_of "${missing[@]}" | tr '\n' ' ')" >&2
		exit 1
	fi
fi

if [ -d /run/systemd/system ]; then
	for service in "${SERVICES[@]}"; do
		if printf '%s\n' "${missing[@]}" | grep -qx "${service%:*}"; then
			systemctl -q disable "${service#*:}" 2>/dev/null
		fi
	done
fi
exit 0
