#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# build_image.sh KERNEL_DIR TESTS_FILE IMAGE - writes the initramfs of a test guest: busybox, init,
# the programs that TESTS_FILE (guest_tests.txt has its form) asks for with the libraries they are
# linked to, the kernel modules. Runs in the project's folder; the project is /project in there.

set -u
kernel=$1
tests=$2
image=$3
build=${XC_BUILD:-build}
version=$(cat "$kernel/version") || exit 1
root=$image.root

die() {
	echo "build_image: $*" >&2
	exit 1
}

rm -rf "$root"
mkdir -p "$root"/{bin,vmtest,project,lib/modules/"$version"} || die "cannot make $root"

# A program with everything that its dynamic linker will want, each at its place.
add_libraries() {
	local library
	ldd "$1" 2>/dev/null | grep -o '/[^ ]*' | while read -r library; do
		[ -f "$root$library" ] && continue
		mkdir -p "$root${library%/*}"
		cp -L "$library" "$root$library" || exit 1
	done
}

# A file of the project; one outside of it (XC_BUILD elsewhere) keeps its path.
add_to_project() {
	local target=$root/project/$1
	[ "${1#/}" = "$1" ] || target=$root$1
	mkdir -p "$(dirname "$target")"
	cp -L "$1" "$target" || die "cannot copy $1"
	add_libraries "$1"
}

add_from_host() {
	local path
	path=$(command -v "$1") || die "guest tests need $1, which is not installed here"
	mkdir -p "$root/usr/bin"
	cp -L "$path" "$root/usr/bin/$1" || die "cannot copy $path"
	add_libraries "$path"
}

busybox=$(command -v busybox) || die "busybox is missing (apt install busybox-static)"
ldd "$busybox" >/dev/null 2>&1 && die "busybox is not static (apt install busybox-static)"
cp -L "$busybox" "$root/bin/busybox"
cp vmtest/init "$root/init"
# What the box needs and busybox lacks. The shell is bash, for busybox's own would run its own ip.
for name in bash timeout comm ip tc; do
	add_from_host $name
done
ln -s /usr/bin/bash "$root/bin/bash"
ln -s /usr/bin/bash "$root/bin/sh"
add_to_project tools/test_box.sh
add_to_project vmtest/guest.sh

# What the list's patterns name, built programs before scripts, in the order of the list.
programs_of() {
	local path
	# shellcheck disable=SC2231 # the pattern is to be expanded
	for path in "$build"/tests/$1 tests/$1; do
		if [ -f "$path" ] && [ -x "$path" ] && [[ $path =~ /test_[^/.]*(\.sh)?$ ]]; then
			echo "$path"
		fi
	done
}

: >"$root/vmtest/list"
: >"$root/vmtest/modules"
while read -r word arguments; do
	case $word in
	run)
		read -r pattern timeout_sec <<<"$arguments"
		for path in $(programs_of "$pattern"); do
			label=${path#"$build"/}
			label=${label#tests/}
			add_to_project "$path"
			[ "${path#/}" = "$path" ] && path=./$path
			echo "$label ${timeout_sec:-120} $path" >>"$root/vmtest/list"
		done
		;;
	copy)
		for path in $arguments; do
			[ -f "$path" ] && add_to_project "$path"
		done
		;;
	host) for name in $arguments; do add_from_host "$name"; done ;;
	module) for name in $arguments; do echo "$name" >>"$root/vmtest/modules"; done ;;
	skip | '' | '#'*) ;;
	*) die "$tests: unknown line: $word $arguments" ;;
	esac
done <"$tests"

# The modules named and all that they depend on; with the tables, so that the kernel can ask too.
modules=$kernel/lib/modules/$version
add_module() {
	local line file
	line=$(grep -E "(^|/)${1//[-_]/[-_]}\.ko:" "$modules/modules.dep") || return 0
	for file in ${line/:/}; do
		mkdir -p "$root/lib/modules/$version/${file%/*}"
		cp -n "$modules/$file" "$root/lib/modules/$version/$file"
	done
}
while read -r name; do
	add_module "$name"
done <"$root/vmtest/modules"
cp "$modules"/modules.{dep,alias,symbols,builtin} "$root/lib/modules/$version/"

# for whoever reads the results, and for guests that do not run from this image
cp "$root"/vmtest/{list,modules} "${image%/*}/"
(cd "$root" && find . | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0) >"$image" ||
	die "cannot write $image"
rm -rf "$root"
