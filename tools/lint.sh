#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# lint.sh - every static check of the project as one list of test points (TAP). What a check has
# to say comes before its point. A tool that is not installed is a skip with the package's name.

set -u
cd "$(dirname "$0")/.." || exit 1

n=0
bad=0

point() { # STATUS NAME
	n=$((n + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $n - $2"
	else
		echo "not ok $n - $2"
		bad=1
	fi
}

need() { # PROGRAM PACKAGE NAME: true if PROGRAM is there, else the point is skipped
	command -v "$1" >/dev/null && return 0
	n=$((n + 1))
	echo "ok $n - $3 # SKIP $1 is not installed (apt install $2)"
	return 1
}

# Files of the project by git pattern; what is new counts, what is deleted does not.
ours() {
	if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
		git ls-files --cached --others --exclude-standard -- "$@"
	else
		local pattern
		for pattern; do
			find . -path ./build -prune -o -type f -name "${pattern##*/}" -print |
				sed 's|^\./||' | grep "^${pattern%%\**}"
		done
	fi | sort -u | while read -r file; do [ -f "$file" ] && echo "$file"; done
}

tools/check_layers.sh
point $? layers

tools/check_style.sh
point $? style

if need clang-format clang-format format; then
	status=0
	for file in $(ours '*.c' '*.h'); do
		if ! clang-format "$file" | cmp -s - "$file"; then
			echo "$file: not as clang-format writes it (make fmt)"
			status=1
		fi
	done
	point $status format
fi

if need cppcheck cppcheck cppcheck; then
	# What runs in the kernel is judged by the verifier; cmocka's macros are not C to cppcheck.
	# The suppressed checks stumble over compound literals and over what a callee or the kernel
	# fills in (gcc has its own warning for that). The libraries' headers are not read;
	# cppcheck.h stands in.
	mapfile -t sources < <(ours 'user/*.c' 'tools/*.c' 'bench/*.c' 'vmtest/*.c' |
		grep -v '\.bpf\.c$')
	cppcheck -j "$(nproc)" --quiet --error-exitcode=1 --inline-suppr \
		--std=c11 --platform=unix64 \
		--enable=warning,performance,portability \
		--suppress=unknownEvaluationOrder --suppress=ctuuninitvar \
		--suppress=uninitvar \
		--template='{file}:{line}: {id}: {message}' \
		-D_GNU_SOURCE -D__x86_64__ -DXC_VERSION='"0"' \
		--include=tools/cppcheck.h -Iinclude -Iuser "${sources[@]}" 2>&1
	point $? cppcheck
fi

if need shellcheck shellcheck shellcheck; then
	mapfile -t scripts < <(
		ours '*.sh'
		for file in .ci/run vmtest/run vmtest/init; do
			[ -f "$file" ] && echo "$file"
		done
	)
	shellcheck --external-sources "${scripts[@]}"
	point $? shellcheck
fi

echo "1..$n"
exit $bad
