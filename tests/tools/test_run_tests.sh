#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# The runner counts what programs say and believes none that dies, hangs, leaks or says nothing.
# Method: a made-up tree of test programs, each with one fault, run by run_tests.sh; its last line,
# exit status and TAP files are compared. Needs root for the boxes.

set -u
cd "$(dirname "$0")/../.." || exit 1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
n=0
bad=0

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

# program SUITE/NAME: a script from standard input
program() {
	mkdir -p "$dir/tests/${1%/*}"
	case $1 in
	*.sh) { echo '#!/bin/bash'; cat; } >"$dir/tests/$1" ;;
	*) cat >"$dir/tests/$1" ;;
	esac
	chmod +x "$dir/tests/$1"
}

# compiled SUITE/NAME: a cmocka program from the body of its main's file
compiled() {
	mkdir -p "$dir/tests/${1%/*}" "$dir/build/tests/${1%/*}"
	{
		printf '#include <%s>\n' stdarg.h stddef.h setjmp.h stdint.h stdio.h stdlib.h \
			signal.h cmocka.h
		cat
	} >"$dir/tests/$1.c"
	gcc -o "$dir/build/tests/$1" "$dir/tests/$1.c" -lcmocka || exit 1
}

run() { # ARGS...: output in $dir/out, status in $status
	XC_TESTS=$dir/tests XC_BUILD=$dir/build tools/run_tests.sh "$@" >"$dir/out" 2>&1
	status=$?
	last=$(tail -n 1 "$dir/out")
}

# shellcheck disable=SC2317 # called through check
fails_with() { # TEXT: the run failed and says so
	[ "$status" -ne 0 ] && grep -qF -- "$1" "$dir/out"
}

compiled unit/test_good <<'C'
static void good_one(void **s) { (void)s; printf("no newline"); fflush(stdout); }
static void good_two(void **s) { (void)s; }
static void no_such_thing(void **s) { (void)s; puts("SKIP: the moon is not full"); skip(); }
int main(void)
{
	const struct CMUnitTest a[] = { cmocka_unit_test(good_one),
					cmocka_unit_test(no_such_thing) };
	const struct CMUnitTest b[] = { cmocka_unit_test(good_two) };
	return cmocka_run_group_tests(a, NULL, NULL) + cmocka_run_group_tests(b, NULL, NULL);
}
C
run --only test_good
check "cmocka_groups_are_counted_by_test" test "$last" = "2 passed, 0 failed, 1 skipped"
check "pass_ends_with_status_0" test "$status" -eq 0
check "skip_reason_is_listed" grep -q 'no_such_thing: the moon is not full' "$dir/out"

compiled unit/test_bad <<'C'
static void fine(void **s) { (void)s; }
static void wrong(void **s) { (void)s; puts("telltale"); assert_int_equal(1, 2); }
int main(void)
{
	const struct CMUnitTest a[] = { cmocka_unit_test(fine), cmocka_unit_test(wrong) };
	return cmocka_run_group_tests(a, NULL, NULL);
}
C
run --only test_bad
check "failed_cmocka_test_is_counted_once" test "$last" = "1 passed, 1 failed"
check "failure_shows_the_log" fails_with telltale

compiled unit/test_crash <<'C'
static void fine(void **s) { (void)s; }
static void dies(void **s) { (void)s; _Exit(0); }
static void never(void **s) { (void)s; }
int main(void)
{
	const struct CMUnitTest a[] = { cmocka_unit_test(fine), cmocka_unit_test(dies),
					cmocka_unit_test(never) };
	return cmocka_run_group_tests(a, NULL, NULL) && 0;
}
C
run --only test_crash
check "program_that_dies_in_a_test_with_status_0_fails" test "$last" = "1 passed, 1 failed"
check "death_names_the_test" fails_with "dies # the program died in this test: exit status 0"

compiled unit/test_late <<'C'
static void fine(void **s) { (void)s; }
int main(void)
{
	const struct CMUnitTest a[] = { cmocka_unit_test(fine) };
	cmocka_run_group_tests(a, NULL, NULL);
	raise(SIGSEGV);
}
C
run --only test_late
check "crash_after_the_last_test_fails" fails_with "killed by signal 11 though every test passed"

compiled unit/test_empty <<'C'
int main(void) { return 0; }
C
run --only test_empty
check "program_without_tests_fails" fails_with "ran no test"
rm -f "$dir"/tests/unit/test_empty.c
run --only test_empty
check "program_without_source_is_ignored" test "$last" = "0 passed, 0 failed"
check "nothing_passed_is_no_success" test "$status" -ne 0

program net/test_pass.sh <<<'exit 0'
program net/test_fail.sh <<<'echo telltale; exit 3'
program net/test_skip.sh <<<'echo "SKIP: no wings"; exit 4'
run --suite net
check "scripts_count_one_each" test "$last" = "1 passed, 1 failed, 1 skipped"
check "script_failure_shows_status" fails_with "exit status 3"
check "script_skip_reason_is_listed" grep -q 'test_skip.sh: no wings' "$dir/out"
rm -f "$dir"/tests/net/*

program net/test_tap.sh <<'S'
printf 'ok 1 - a\nok 2 - b # SKIP not here\nok 3 - c\n1..3\n'
S
run --suite net
check "tap_points_are_counted" test "$last" = "2 passed, 0 failed, 1 skipped"
program net/test_tap.sh <<'S'
printf 'ok 1 - a\n1..3\n'
S
run --suite net
check "broken_tap_plan_fails" fails_with "planned 3 tests, ran 1"
rm -f "$dir"/tests/net/*

program net/test_env.py <<'P'
import os, sys
sys.exit(1 if "XC_NOISE" in os.environ else 0)
P
XC_NOISE=1 run --suite net
check "environment_is_clean" test "$last" = "1 passed, 0 failed"
rm -f "$dir"/tests/net/*

if [ "$(id -u)" -eq 0 ] && unshare --mount --net --pid --fork true 2>/dev/null; then
	program slow/test_hang.sh <<<'sleep 1000'
	sed -e 's/^TIMEOUT_DEFAULT_SEC=.*/TIMEOUT_DEFAULT_SEC=1/' \
		-e "s|^cd .*|cd $PWD|" tools/run_tests.sh >"$dir/short_tests.sh"
	XC_TESTS=$dir/tests XC_BUILD=$dir/build bash "$dir/short_tests.sh" --suite slow \
		>"$dir/out" 2>&1
	status=$?
	check "program_out_of_time_fails" fails_with "ran out of time (1 s)"

	program net/test_leak.sh <<<'ip netns add xctleak'
	run --suite net
	check "left_namespace_fails" fails_with "network namespace xctleak"
	check "left_namespace_is_gone" test ! -e /run/netns/xctleak
	program net/test_leak.sh <<<'ip link add xctleak type veth peer name xctpeer'
	run --suite net
	check "left_interface_fails" fails_with "interface xctleak"
	program net/test_leak.sh <<<'mkdir /sys/fs/bpf/xdpcache'
	run --suite net
	check "left_pin_fails" fails_with "pin /sys/fs/bpf/xdpcache"
	program net/test_leak.sh <<<'setsid sleep 1000 & '
	run --suite net
	check "left_process_fails" fails_with "sleep 1000"
else
	for name in program_out_of_time left_namespace left_pin left_process; do
		n=$((n + 1))
		echo "ok $n - ${name}_fails # SKIP needs root and namespaces"
	done
fi

echo "1..$n"
exit $bad
