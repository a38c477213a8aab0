#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Every fuzz target runs for a while without a finding, from its corpus on: XC_FUZZ_SEC seconds each
# (60), as many at once as there are CPUs. The long form (XC_TEST_LONG) takes its whole budget;
# `make fuzz` keeps what it finds for the next time.

set -u
cd "$(dirname "$0")/../.." || exit 1
build=${XC_BUILD:-build}
seconds=${XC_FUZZ_SEC:-60}
dir=$(mktemp -d) || exit 1
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "${dir:?}"' EXIT

targets=()
for source in tests/fuzz/fuzz_*.c; do
	name=${source##*/}
	targets+=("${name%.c}")
done
echo "1..${#targets[@]}"
if [ -n "${XC_TEST_LONG:-}" ]; then
	seconds=$((XC_TEST_BUDGET_SEC * $(nproc) / ${#targets[@]}))
fi

fuzz() {
	local name=$1
	mkdir -p "$dir/$name/new"
	"$build/fuzz/$name" -max_total_time="$seconds" -timeout=30 -rss_limit_mb=2048 \
		-max_len=8192 -artifact_prefix="$dir/$name/" "$dir/$name/new" \
		"tests/fuzz/corpus/${name#fuzz_}" >"$dir/$name/log" 2>&1
	echo $? >"$dir/$name/status"
}

running=0
for name in "${targets[@]}"; do
	fuzz "$name" &
	running=$((running + 1))
	if [ "$running" -ge "$(nproc)" ]; then
		wait -n
		running=$((running - 1))
	fi
done
wait

failed=0
for i in "${!targets[@]}"; do
	name=${targets[$i]}
	log=$dir/$name/log
	# It ran and said how often; a target that cannot start is no success.
	if [ "$(cat "$dir/$name/status")" -eq 0 ] && grep -q '^Done [1-9][0-9]* runs' "$log"; then
		echo "# $name: $(grep '^Done' "$log")"
		echo "ok $((i + 1)) - $name"
		continue
	fi
	failed=1
	echo "not ok $((i + 1)) - $name"
	tail -n 60 "$log" | sed 's/^/# /'
	for found in "$dir/$name"/*-*; do
		[ -f "$found" ] && echo "# the input, in base64: $(base64 -w0 "$found")"
	done
done
exit "$failed"
