#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# fetch.sh [NAME...] - brings the kernels of kernels.txt (all, or those named) to
# build/vmtest/kernels/NAME/: vmlinuz, lib/modules/VERSION (with depmod's tables) and a file
# `version`. One that is there is kept. One that cannot be had leaves its reason in NAME.why, so
# that the tests can say why they skip it; then the exit status is 1.

set -u
cd "$(dirname "$0")/.." || exit 1
export LC_ALL=C
store=${XC_BUILD:-build}/vmtest/kernels
mkdir -p "$store"
updated=

fail() { # NAME REASON
	echo "$2" >"$store/$1.why"
	echo "vmtest: kernel $1: $2" >&2
	return 1
}

# The image that a package stands for: itself, or the first image it depends on.
image_of() {
	local image
	image=$(apt-cache depends "$1" 2>/dev/null |
		sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
	if [ -z "$image" ] && [ -z "$updated" ] && [ "$(id -u)" -eq 0 ]; then
		updated=1
		apt-get update -q >/dev/null 2>&1
		image_of "$1"
		return
	fi
	echo "$image"
}

fetch() { # NAME PACKAGE
	local name=$1 package=$2 image version part=$store/$1.part
	[ -f "$store/$name/version" ] && return 0
	rm -f "$store/$name.why"
	if [ "$(dpkg --print-architecture 2>/dev/null)" != amd64 ]; then
		fail "$name" "kernels are listed for Debian on amd64 only"
		return
	fi
	image=$(image_of "$package")
	if [ -z "$image" ]; then
		fail "$name" "the apt sources of this machine do not offer $package"
		return
	fi
	case $image in
	linux-image-"$name".*) ;;
	*)
		fail "$name" "$package of this machine's apt sources is $image, not $name"
		return
		;;
	esac
	echo "vmtest: fetching $image"
	rm -rf "$part" && mkdir -p "$part"
	if ! (cd "$part" && apt-get -q -o APT::Sandbox::User=root -o Acquire::Retries=3 \
		download "$image") >"$part/log" 2>&1; then
		fail "$name" "apt-get download $image failed: $(tail -n 1 "$part/log")"
		return
	fi
	dpkg -x "$part"/*.deb "$part/root" || return 1
	version=$(ls "$part/root/lib/modules")
	# the guest's own small modprobe does not unpack
	find "$part/root/lib/modules" -name '*.ko.xz' -exec xz -d -T0 {} +
	depmod -b "$part/root" "$version" || return 1
	mkdir "$part/kernel"
	mv "$part/root/boot/vmlinuz-$version" "$part/kernel/vmlinuz"
	mv "$part/root/lib" "$part/kernel/lib"
	echo "$version" >"$part/kernel/version"
	rm -rf "${store:?}/$name"
	mv "$part/kernel" "$store/$name"
	rm -rf "$part"
}

status=0
while read -r name package; do
	case $name in '' | '#'*) continue ;; esac
	if [ $# -gt 0 ]; then
		case " $* " in *" $name "*) ;; *) continue ;; esac
	fi
	fetch "$name" "$package" || status=1
done <vmtest/kernels.txt
exit $status
