#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# The Makefile's face: help names every public target, install puts what is built below DESTDIR and
# nowhere else, uninstall takes that away again and nothing of the user's. Method: make itself, on
# what is built already.

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
{
	cat <<-EOF
		755 ./opt/x/bin/xdpcache
		644 ./opt/x/etc/xdpcache/xdpcached.conf
		644 ./opt/x/lib/systemd/system/xdpcached.service
		644 ./opt/x/lib/sysusers.d/xdpcache.conf
		644 ./opt/x/lib/xdpcache/xdpcache.bpf.o
		755 ./opt/x/sbin/xdpcached
		644 ./opt/x/share/doc/xdpcache/LICENSE
		644 ./opt/x/share/doc/xdpcache/README.md
		644 ./opt/x/share/doc/xdpcache/xdpcached.conf
	EOF
	find docs -type f -printf '644 ./opt/x/share/doc/xdpcache/%p\n'
	find tools/observability -type f -printf '644 ./opt/x/share/doc/xdpcache/observability/%P\n'
} | sort -k2 | diff - "$dir/files" >"$dir/out"
verdict install_puts_each_file_in_its_place $?
unit=$dir/root/opt/x/lib/systemd/system/xdpcached.service
: >"$dir/out"
grep -oE '/opt/x/[^ ]*' "$unit" | sort -u >"$dir/named"
while read -r file; do
	[ -f "$dir/root$file" ] || echo "$file is named in the unit and not there" >>"$dir/out"
done <"$dir/named"
[ "$(wc -l <"$dir/named")" -eq 3 ] || cat "$dir/named" >>"$dir/out"
test ! -s "$dir/out"
verdict installed_unit_names_what_is_installed $?
conf=etc/xdpcache/xdpcached.conf
make install DESTDIR="$dir/system" >"$dir/out" 2>&1 && [ -f "$dir/system/$conf" ] &&
	grep -q "=/usr/local/sbin/xdpcached --config /$conf\$" \
		"$dir/system/usr/local/lib/systemd/system/xdpcached.service"
verdict install_of_a_system_prefix_uses_etc $?
echo '# mine' >>"$dir/system/$conf"
{
	make install DESTDIR="$dir/system" && tail -n 1 "$dir/system/$conf" | grep -q '# mine'
} >"$dir/out" 2>&1
verdict install_keeps_a_changed_configuration $?
make uninstall DESTDIR="$dir/system" >"$dir/out" 2>&1
find "$dir/system" -type f | grep -v "/$conf\$" >"$dir/rest"
[ ! -s "$dir/rest" ] && [ -f "$dir/system/$conf" ]
verdict uninstall_keeps_a_changed_configuration_and_nothing_else $?
cmp "$build/xdpcached" "$dir/root/opt/x/sbin/xdpcached" >"$dir/out" 2>&1
verdict installed_daemon_is_the_built_one $?
make uninstall DESTDIR="$dir/root" PREFIX=/opt/x >"$dir/out" 2>&1
verdict uninstall_works $?
find "$dir/root" -type f -o -name 'xdpcache*' >"$dir/out"
test ! -s "$dir/out"
verdict uninstall_leaves_no_file $?

echo "1..$n"
exit $bad
