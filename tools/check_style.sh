#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# check_style.sh [FILE...] - refuses what docs/style.md rules out and a program can see. Without
# files: everything git knows or would add. Prints FILE:LINE: reason; exit status 1 if there is any.

set -u
here=$(cd "$(dirname "$0")" && pwd)
if [ $# -gt 0 ]; then
	files=("$@")
else
	cd "$here/.." || exit 2
	mapfile -t files < <(
		if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
			git ls-files --cached --others --exclude-standard
		else
			find . -path ./build -prune -o -type f -print | sed 's|^\./||'
		fi | sort -u
	)
fi

checked=0
bad=0
for file in "${files[@]}"; do
	# deleted but still known to git; pictures and the like
	if [ ! -f "$file" ] || ! grep -qI '' "$file"; then
		continue
	fi
	checked=$((checked + 1))
	awk -v file="$file" -f "$here/check_style.awk" "$file" || bad=1
done
if [ "$checked" -eq 0 ]; then
	echo "check_style: nothing to check" >&2
	exit 2
fi
exit $bad
