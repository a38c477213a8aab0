#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# The Makefile's face: help names every public target, install puts what is built below DESTDIR and
# nowhere else, uninstall takes it away again. Method: make itself, on what is built already.

set -u
cd "$(dirname "$0")/../.." || exit 1
build=${XC_BUILD:-build}
for file in xdpcached xdpcache xdpcache.bpf.o; do
	if [ ! -f "$build/$file" ]; then
		echo "SKIP: $build/$file is not built (make)"
		exit 4
	fi
done
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
# a make above us must not hand us its flags and pipes
unset MAKEFLAGS MAKELEVEL MFLAGS
n=0
bad=0

verdict() { # NAME STATUS
	n=$((n + 1))
	if [ "$2" -eq 0 ]; then
		echo "ok $n - $1"
	else
		sed 's/^/# /' "$dir/out"
		echo "not ok $n - $1"
		bad=1
	fi
}

make help >"$dir/out" 2>&1
verdict help_works $?
missing=0
for target in all run test bench vmtest lint install clean help test-long check-unit check-bpf \
	check-net check-vm; do
	if ! grep -qE "^  ([a-z, -]*, )?${target}[ ,]" "$dir/out"; then
		echo "# no line for $target"
		missing=1
	fi
done
verdict help_names_every_public_target $missing

make install DESTDIR="$dir/root" PREFIX=/opt/x >"$dir/out" 2>&1
verdict install_works $?
(cd "$dir/root" && find . -type f -printf '%m %p\n' | sort -k2) >"$dir/files"
diff - "$dir/files" >"$dir/out" <<-EOF
	755 ./opt/x/bin/xdpcache
	644 ./opt/x/lib/xdpcache/xdpcache.bpf.o
	755 ./opt/x/sbin/xdpcached
EOF
verdict install_puts_each_file_in_its_place $?
cmp "$build/xdpcached" "$dir/root/opt/x/sbin/xdpcached" >"$dir/out" 2>&1
verdict installed_daemon_is_the_built_one $?
make uninstall DESTDIR="$dir/root" PREFIX=/opt/x >"$dir/out" 2>&1
verdict uninstall_works $?
find "$dir/root" -type f >"$dir/out"
test ! -s "$dir/out"
verdict uninstall_leaves_no_file $?

echo "1..$n"
exit $bad
