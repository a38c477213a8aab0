#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# run_tests.sh - runs test programs, counts what they say, ends with one line of totals.
#
# A suite is a folder below tests/ (and `lint` and `vm`): its programs are build/tests/SUITE/test_*
# (cmocka) and tests/SUITE/test_*.sh, test_*.py. Each runs by itself, from the project's folder, in
# a clean environment, with a time limit, and, when we are root, in a box of its own
# (test_box.sh), so that what it leaves behind is found. docs/testing.md has the rest.
#
# The last line of the output is "N passed, N failed[, N skipped]". Exit status 0 only if nothing
# failed and something passed.

set -u
cd "$(dirname "$0")/.." || exit 1

usage() {
	cat <<-EOF
	usage: tools/run_tests.sh [--suite NAME]... [--only PATTERN] [--list]
	                          [--long [--budget TIME]]
	  --suite NAME    run this suite only (may be given again)
	  --only PATTERN  run the programs whose suite/name holds this shell pattern
	  --list          print what would run
	  --long          run only programs that have a long form, in that form
	  --budget TIME   with --long: time for all of them together (90s, 30m, 2h); default 30m
	EOF
}

# Static checks first, then from small to large.
SUITE_ORDER="lint tools unit fuzz bpf parity coherence protocol replica net vm"
# What a suite's programs may take, in seconds; TIMEOUT_SCALE multiplies it (slow machines).
declare -A TIMEOUT_SEC=([lint]=300 [unit]=180 [fuzz]=900 [vm]=900)
TIMEOUT_DEFAULT_SEC=300
# Suites that work without root.
UNPRIVILEGED="lint unit fuzz replica"
# The log of a failed program is shown whole up to this many lines, else its two ends.
LOG_LINES_MAX=600

build=${XC_BUILD:-build}
tests=${XC_TESTS:-tests}
results=$build/test-results
suites=()
pattern='*'
list_only=
long=
budget=30m

while [ $# -gt 0 ]; do
	case $1 in
	--suite) suites+=("${2:?--suite needs a name}"); shift ;;
	--only) pattern="*${2:?--only needs a pattern}*"; shift ;;
	--list) list_only=1 ;;
	--long) long=1 ;;
	--budget) budget=${2:?--budget needs a time}; shift ;;
	-h | --help) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
	shift
done

seconds_of() {
	case $1 in
	*h) echo $((${1%h} * 3600)) ;;
	*m) echo $((${1%m} * 60)) ;;
	*s) echo "${1%s}" ;;
	*) echo "$1" ;;
	esac
}

# --- what there is to run: lines "suite kind path" ---

source_of() {
	case $1 in
	"$build"/*) echo "$tests/${1#"$build"/tests/}.c" ;;
	*) echo "$1" ;;
	esac
}

find_programs() {
	local path suite
	[ -z "${XC_TESTS:-}" ] && echo "lint script tools/lint.sh"
	for path in "$build"/tests/*/test_*; do
		if [ ! -f "$path" ] || [ ! -x "$path" ]; then
			continue
		fi
		# a program whose source is gone is left over from another commit
		[ -f "$(source_of "$path")" ] || continue
		suite=${path#"$build"/tests/}
		echo "${suite%%/*} cmocka $path"
	done
	for path in "$tests"/*/test_*.sh "$tests"/*/test_*.py; do
		[ -f "$path" ] || continue
		suite=${path#"$tests"/}
		echo "${suite%%/*} script $path"
	done
	[ -z "${XC_TESTS:-}" ] && [ -x vmtest/run ] && echo "vm script vmtest/run"
}

in_order() {
	awk -v order="$SUITE_ORDER" '
	BEGIN { n = split(order, name); for (i = 1; i <= n; i++) rank[name[i]] = i }
	{ printf "%d %s\n", ($1 in rank) ? rank[$1] : n + 1, $0 }' | sort -s -k1,1n | cut -d' ' -f2-
}

wanted() {
	local suite kind path
	while read -r suite kind path; do
		if [ ${#suites[@]} -gt 0 ]; then
			case " ${suites[*]} " in *" $suite "*) ;; *) continue ;; esac
		fi
		# shellcheck disable=SC2254 # the pattern is meant as one
		case "$suite/${path##*/}" in $pattern) ;; *) continue ;; esac
		if [ -n "$long" ]; then
			grep -qs XC_TEST_LONG "$(source_of "$path")" || continue
		fi
		echo "$suite $kind $path"
	done
}

mapfile -t programs < <(find_programs | in_order | wanted)

if [ -n "$list_only" ]; then
	printf '%s\n' "${programs[@]}" | while read -r suite kind path; do
		echo "$suite/${path##*/} ($kind)"
	done
	exit 0
fi

# --- running one ---

is_root=
[ "$(id -u)" -eq 0 ] && is_root=1
box_works=
if [ -n "$is_root" ] && unshare --mount --net --pid --fork true 2>/dev/null; then
	box_works=1
fi

# short: unix socket paths below it must fit
work_dir=$(mktemp -d /tmp/xct.XXXXXX) || exit 1
running_pid=
# shellcheck disable=SC2317 # called by trap
cleanup() {
	[ -n "$running_pid" ] && kill "$running_pid" 2>/dev/null && wait "$running_pid"
	rm -rf "$work_dir"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# A run of everything starts afresh; a part of it replaces its own results only, so that two people
# in one tree can each run theirs.
if [ ${#suites[@]} -eq 0 ] && [ "$pattern" = '*' ]; then
	rm -rf "$results"
fi
mkdir -p "$results"
skips=$work_dir/skips
passed=0
failed=0
skipped=0
failed_logs=()
: >"$skips"

# Progress is for people: one line that the next one replaces.
progress() {
	[ -t 1 ] && printf '\r\033[K%s' "$*"
}

# run_one LOG LEAKS TIMEOUT PROGRAM...: output to LOG, leaks to LEAKS; the program's exit status.
run_one() {
	local log=$1 leaks=$2 timeout_sec=$3 label=$4 started=$SECONDS
	shift 4
	local home=$work_dir/home
	rm -rf "$home" && mkdir -p "$home"
	local environment=(
		env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
		HOME="$home" TMPDIR="$home" LC_ALL=C.UTF-8 TERM=dumb
		PYTHONDONTWRITEBYTECODE=1 CMOCKA_MESSAGE_OUTPUT=STDOUT
		ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1
		UBSAN_OPTIONS=print_stacktrace=1
		XC_BUILD="$build"
	)
	local name
	for name in CI TIMEOUT_SCALE XC_TEST_SEED XC_FUZZ_SEC XC_TEST_LONG XC_TEST_BUDGET_SEC \
		XC_VM_KERNEL XC_VM_ACCEL XC_VM_MEMORY_MIB XC_VM_VNG; do
		[ -n "${!name:-}" ] && environment+=("$name=${!name}")
	done
	local box=(timeout -k 5 "$timeout_sec")
	if [ -n "$box_works" ]; then
		box=(unshare --mount --net --pid --fork --kill-child --mount-proc
			--propagation private -- tools/test_box.sh "$leaks" "$timeout_sec")
	fi
	"${environment[@]}" "${box[@]}" "$@" >"$log" 2>&1 </dev/null &
	running_pid=$!
	if [ -t 1 ]; then
		while kill -0 "$running_pid" 2>/dev/null; do
			progress "  ....  $label $((SECONDS - started)) s" \
				"[$passed passed, $failed failed]"
			sleep 0.2
		done
		progress
	fi
	wait "$running_pid"
	local status=$?
	running_pid=
	return "$status"
}

# Adds a program's tests to the totals; sets last_result to a few words about them.
count_results() {
	local table=$1 label=$2 tap=$3 what name reason
	local pass_cnt=0 fail_cnt=0 skip_cnt=0 n=0
	: >"$tap"
	while IFS=$'\t' read -r what name reason; do
		n=$((n + 1))
		case $what in
		pass) pass_cnt=$((pass_cnt + 1)); echo "ok $n - $name" ;;
		skip)
			skip_cnt=$((skip_cnt + 1))
			echo "ok $n - $name # SKIP ${reason:-no reason given}"
			echo "$label: $name: ${reason:-no reason given}" >>"$skips"
			;;
		*) fail_cnt=$((fail_cnt + 1)); echo "not ok $n - $name${reason:+ # $reason}" ;;
		esac >>"$tap"
	done <"$table"
	echo "1..$n" >>"$tap"
	passed=$((passed + pass_cnt))
	failed=$((failed + fail_cnt))
	skipped=$((skipped + skip_cnt))
	last_result="$pass_cnt passed"
	[ "$fail_cnt" -gt 0 ] && last_result+=", $fail_cnt failed"
	[ "$skip_cnt" -gt 0 ] && last_result+=", $skip_cnt skipped"
	last_word=ok
	[ "$pass_cnt" -eq 0 ] && last_word=skip
	[ "$fail_cnt" -gt 0 ] && last_word=FAIL
}

run_program() {
	local suite=$1 kind=$2 path=$3 name label status started_ns timeout_sec leak_text=
	name=${path##*/}
	label=$suite/$name
	mkdir -p "$results/$suite"
	local base=$results/$suite/$name log leaks table command
	log=$base.log leaks=$base.leaks table=$base.table
	: >"$leaks"
	timeout_sec=$((${TIMEOUT_SEC[$suite]:-$TIMEOUT_DEFAULT_SEC} * ${TIMEOUT_SCALE:-1}))
	[ -n "$long" ] && timeout_sec=$((timeout_sec + XC_TEST_BUDGET_SEC))
	case $path in
	*.py) command=(/usr/bin/python3 "$path") ;;
	/*) command=("$path") ;;
	*) command=("./$path") ;;
	esac

	started_ns=$(date +%s%N)
	status=0
	case " $UNPRIVILEGED " in
	*" $suite "*) ;;
	*) [ -z "$is_root" ] && status=needs_root ;;
	esac
	if [ "$status" = needs_root ]; then
		printf 'skip\t%s\tneeds root\n' "$name" >"$table"
		: >"$log"
	else
		run_one "$log" "$leaks" "$timeout_sec" "$label" "${command[@]}"
		status=$?
		leak_text=$(paste -sd';' "$leaks")
		awk -v kind="$kind" -v program="$name" -v status="$status" -v leaks="$leak_text" \
			-v timeout_sec="$timeout_sec" -f tools/test_count.awk "$log" >"$table"
	fi
	count_results "$table" "$label" "$base.tap"
	[ "$last_word" = FAIL ] && failed_logs+=("$label")
	printf '  %-4s  %-40s %8.2f s  %s\n' "$last_word" "$label" \
		"$((($(date +%s%N) - started_ns) / 10000000))e-2" "$last_result"
}

# --- all of them ---

started_sec=$SECONDS
if [ -n "$long" ]; then
	XC_TEST_LONG=1
	XC_TEST_BUDGET_SEC=$(($(seconds_of "$budget") / (${#programs[@]} ? ${#programs[@]} : 1)))
	export XC_TEST_LONG XC_TEST_BUDGET_SEC
	echo "long forms of ${#programs[@]} programs, $XC_TEST_BUDGET_SEC s for each"
fi
[ -n "$is_root" ] && [ -z "$box_works" ] &&
	echo "warning: no right to make namespaces here; tests run unboxed, leaks go unnoticed"

for program in "${programs[@]}"; do
	read -r suite kind path <<<"$program"
	run_program "$suite" "$kind" "$path"
done

# --- report ---

show_log() {
	local log=$1 lines
	lines=$(wc -l <"$log")
	if [ "$lines" -le "$LOG_LINES_MAX" ]; then
		cat "$log"
	else
		head -n $((LOG_LINES_MAX / 3)) "$log"
		echo "... $((lines - LOG_LINES_MAX)) lines left out, all in $log ..."
		tail -n $((LOG_LINES_MAX * 2 / 3)) "$log"
	fi
}

for label in "${failed_logs[@]}"; do
	echo
	echo "=== $label: what failed"
	grep '^not ok' "$results/$label.tap"
	echo "=== $label: its output"
	show_log "$results/$label.log"
done

if [ -s "$skips" ]; then
	echo
	echo "skipped:"
	sort "$skips" | sed 's/^/  /'
fi
if [ -z "$is_root" ] && grep -q 'needs root$' "$skips"; then
	echo "Kernel, network and VM tests need root: run again with sudo."
fi
[ "$passed" -eq 0 ] && [ "$failed" -eq 0 ] && echo "nothing ran"

echo
echo "$((SECONDS - started_sec)) s; TAP and logs in $results/"
summary="$passed passed, $failed failed"
[ "$skipped" -gt 0 ] && summary+=", $skipped skipped"
echo "$summary" >"$results/summary"
echo "$summary"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
