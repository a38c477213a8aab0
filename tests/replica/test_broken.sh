#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# The simulation finds bugs: each of broken.txt is put into a copy of the sources, and one of the
# first seeds has to break a promise, or to end the program. Method: the simulation is linked again
# with the broken file's object in the place of the good one.

set -u
cd "$(dirname "$0")/../.." || exit 1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "${dir:?}"' EXIT
# A bug that shows in fewer than 1 of 500 histories would hide from `make test`, too.
seeds=3000
limit_sec=60
flags=(-D_GNU_SOURCE -Iinclude -Iuser -Itests -std=gnu17 -O1 -g)
libs=(-lxxhash -ljansson -lcrypto -lcmocka -lm)
common=(tests/lib/replica_sim.c tests/lib/linear.c tests/lib/runopts.c user/base/alloc.c
	user/base/rand.c user/base/clock.c)

mapfile -t bugs < <(grep -v '^#' tests/replica/broken.txt | grep .)
echo "1..$((${#bugs[@]} + 1))"

objects() { # DIR SOURCE...: compiles each into DIR
	local to=$1 source
	shift
	mkdir -p "$to"
	for source; do
		gcc "${flags[@]}" -c "$source" -o "$to/$(basename "${source%.c}").o" || return 1
	done
}

# Of the rooms what the simulation uses: the rest needs libraries that have no part in it.
program() { # DIR PROGRAM
	ar rcs "$2.a" "$1"/*.o && gcc "$1/test_simulation.o" "$2.a" "${libs[@]}" -o "$2"
}

objects "$dir/good" "${common[@]}" tests/replica/test_simulation.c user/replica/*.c \
	user/cluster/*.c || exit 1
program "$dir/good" "$dir/good/run" || exit 1

n=1
bad=0
if XC_TEST_SEED=1 XC_TEST_SEEDS=200 timeout 60 "$dir/good/run" >"$dir/out" 2>&1; then
	echo "ok 1 - unbroken code is not found broken"
else
	bad=1
	tail -n 5 "$dir/out" | sed 's/^/# /'
	echo "not ok 1 - unbroken code is not found broken"
fi

for bug in "${bugs[@]}"; do
	n=$((n + 1))
	IFS=@ read -r name file edit <<<"$bug"
	tree=$dir/$name
	mkdir -p "$tree/user"
	cp -r user/base user/replica user/cluster "$tree/user"
	sed -i "$edit" "$tree/$file"
	if cmp -s "$file" "$tree/$file"; then
		echo "# the line that $name breaks is not there any more"
		echo "not ok $n - $name"
		bad=1
		continue
	fi
	mkdir "$tree/o"
	cp "$dir"/good/*.o "$tree/o"
	# a header concerns whoever includes it
	sources=("$tree/$file")
	[[ $file == *.h ]] && sources=("$tree/$(dirname "$file")"/*.c)
	for source in "${sources[@]}"; do
		gcc -D_GNU_SOURCE -Iinclude -I"$tree/user" -Iuser -Itests -std=gnu17 -O1 -g -w \
			-c "$source" -o "$tree/o/$(basename "${source%.c}").o" || exit 1
	done
	program "$tree/o" "$tree/run" || exit 1
	XC_TEST_SEED=1 XC_TEST_SEEDS=$seeds timeout "$limit_sec" "$tree/run" >"$tree/out" 2>&1
	status=$?
	found=$(grep -aoE '[a-z0-9 /]*, at [0-9]* ms|Assertion.*' "$tree/out" | head -n 1)
	if [ "$status" -ne 0 ] && [ "$status" -ne 124 ]; then
		echo "# ${found:-ended with $status}"
		echo "ok $n - $name"
	else
		bad=1
		echo "# not found in $seeds seeds"
		echo "not ok $n - $name"
	fi
done
exit "$bad"
