#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# vmtest/run boots a kernel, brings programs into it and believes only what the guest says to the
# end. Method: a good program (guest_probe.c) beside one of each fault in one guest; then a guest
# whose kernel panics half way.

set -u
cd "$(dirname "$0")/../.." || exit 1
kernels=$PWD/${XC_BUILD:-build}/vmtest/kernels
kernel=6.1
if [ ! -f "$kernels/$kernel/version" ]; then
	echo "SKIP: kernel $kernel is not here: $(cat "$kernels/$kernel.why" 2>/dev/null ||
		echo 'vmtest/fetch.sh has not run')"
	exit 4
fi
if ! command -v qemu-system-x86_64 >/dev/null; then
	echo "SKIP: qemu-system-x86_64 is not installed (apt install qemu-system-x86)"
	exit 4
fi

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/build/tests/guest" "$dir/build/vmtest"
ln -s "$kernels" "$dir/build/vmtest/kernels"
n=0
bad=0

script() { # NAME TEXT
	printf '#!/bin/bash\n%s\n' "$2" >"$dir/build/tests/guest/$1"
	chmod +x "$dir/build/tests/guest/$1"
}

says() { # NAME REGEX: a line of the run's output matches
	n=$((n + 1))
	if grep -qE "$2" "$dir/out"; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1"
		bad=1
	fi
}

run() {
	XC_BUILD=$dir/build vmtest/run --kernel "$kernel" --tests "$dir/list" >"$dir/out" 2>&1
	echo "status $?" >>"$dir/out"
}

gcc -o "$dir/build/tests/guest/test_probe" tests/tools/guest_probe.c -lcmocka -lbpf || exit 1
script test_fail.sh 'echo telltale; exit 1'
script test_hang.sh 'sleep 1000'
script test_leak.sh 'ip netns add left'
script test_skip.sh 'echo "SKIP: no wings"; exit 4'
script test_skip_allowed.sh 'echo "SKIP: no fins either"; exit 4'
cat >"$dir/list" <<-EOF
	run guest/test_probe
	run guest/test_fail.sh
	run guest/test_hang.sh 1
	run guest/test_leak.sh
	run guest/test_skip*
	skip guest/test_skip_allowed.sh no fins
	module veth 8021q sch_ingress
EOF
run
says guest_comes_up '^ok .*6\.1: the guest comes up'
for name in guest_kernel_has_types guest_program_test_run_returns_its_action \
	guest_program_is_pinned_and_found guest_veth_carries_native_xdp; do
	says $name "^ok .*guest/test_probe: $name"
done
says failed_program_fails '^not ok .*guest/test_fail.sh: .*exit status 1'
says failed_program_shows_its_output '^# telltale'
says program_out_of_time_fails '^not ok .*guest/test_hang.sh: .*ran out of time .1 s'
says left_namespace_fails '^not ok .*guest/test_leak.sh: .*network namespace left'
says skip_in_a_guest_fails '^not ok .*guest/test_skip.sh: .*no wings'
says allowed_skip_is_a_skip '^ok .*guest/test_skip_allowed.sh: .*# SKIP no fins either'
says guest_comes_to_its_end '^ok .*6\.1: the guest comes to its end'
says failures_make_the_run_fail '^status 1'
[ "$bad" -eq 0 ] || sed 's/^/# /' "$dir/out"

script test_panic.sh 'echo c >/proc/sysrq-trigger'
cat >"$dir/list" <<-EOF
	run guest/test_panic.sh
	run guest/test_probe
EOF
run
says guest_that_dies_names_the_program '^not ok .*guest/test_panic.sh: .*died with its guest'
says guest_that_dies_fails '^not ok .*the guest comes to its end'
says guest_that_dies_shows_its_console '^# .*Kernel panic'
[ "$bad" -eq 0 ] || sed 's/^/# /' "$dir/out"

echo "1..$n"
exit $bad
