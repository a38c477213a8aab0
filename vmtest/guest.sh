#!/bin/busybox sh
# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=dash
#
# guest.sh TOKEN LIST MODULES RESULTS - inside a guest, in the project's folder: loads the modules
# that MODULES names and runs every line of LIST ("SUITE/NAME TIMEOUT_SEC PATH") in a box of its own
# (tools/test_box.sh).
#
# RESULTS carries this and nothing else: lines that begin with TOKEN are ours, all other lines are
# the running program's output.
#     TOKEN up VERSION          the guest has started
#     TOKEN begin SUITE/NAME
#     TOKEN leak TEXT           left behind by the program
#     TOKEN end SUITE/NAME STATUS
#     TOKEN over                every program ran; whoever does not read this knows of a crash

token=$1
list=$2
modules=$3
exec 3>>"$4"

say() {
	echo "$token $*" >&3
}

say up "$(uname -r)"
while read -r module; do
	modprobe "$module" || echo "guest: no module $module"
done <"$modules"
leaks=$(mktemp)
home=$(mktemp -d)
while read -r label timeout_sec path; do
	say begin "$label"
	: >"$leaks"
	rm -rf "$home"
	mkdir "$home"
	env -i PATH="$PATH" HOME="$home" TMPDIR="$home" LC_ALL=C TERM=dumb \
		CMOCKA_MESSAGE_OUTPUT=STDOUT XC_BUILD="${XC_BUILD:-build}" XC_GUEST=1 \
		unshare -m -n -p -f --mount-proc --propagation private -- \
		bash tools/test_box.sh "$leaks" "$timeout_sec" "$path" </dev/null >&3 2>&3
	status=$?
	# a program may have ended in the middle of a line
	echo >&3
	while read -r line; do
		say leak "$line"
	done <"$leaks"
	say end "$label" "$status"
done <"$list"
say over
