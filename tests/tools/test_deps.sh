#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# deps.sh installs what is missing, once, and says what it cannot. Method: made-up dpkg-query,
# apt-get and id come first in PATH; what they were asked is compared.

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
		sed 's/^/# /' "$dir/out" "$dir/asked"
	fi
}

fake() { # NAME: a program from standard input
	{ echo '#!/bin/bash'; cat; } >"$dir/bin/$1"
	chmod +x "$dir/bin/$1"
}

mkdir "$dir/bin"
# Everything but what $dir/missing lists is installed.
fake dpkg-query <<END
for package in "\${@:4}"; do
	grep -qx -- "\$package" "$dir/missing" && status=1 && continue
	echo "\$package installed"
done
exit \${status:-0}
END
# "removed but configured" is not installed either
fake apt-get <<END
echo "\$DEBIAN_FRONTEND apt-get \$*" >>"$dir/asked"
[ -s "$dir/fail" ] && { head -n 1 "$dir/fail"; sed -i 1d "$dir/fail"; exit 100; }
case " \$* " in *" install "*) : >"$dir/missing" ;; esac
exit 0
END
fake id <<END
cat "$dir/uid"
END
fake systemctl <<END
echo "systemctl \$*" >>"$dir/asked"
END

run() { # UID SET...
	echo "$1" >"$dir/uid"
	: >"$dir/asked"
	PATH=$dir/bin:$PATH CI=true tools/deps.sh "${@:2}" >"$dir/out" 2>&1 </dev/null
	status=$?
}

# shellcheck disable=SC2317 # called through check
silent() {
	[ "$status" -eq 0 ] && [ ! -s "$dir/out" ] && [ ! -s "$dir/asked" ]
}

# shellcheck disable=SC2317 # called through check
installed() { # PACKAGE...
	[ "$status" -eq 0 ] &&
		grep -q "^noninteractive .*install --no-install-recommends $*\$" "$dir/asked"
}

# shellcheck disable=SC2317 # called through check
refused_naming() { # TEXT
	[ "$status" -eq 1 ] && grep -qF -- "$1" "$dir/out"
}

: >"$dir/missing"
: >"$dir/fail"
run 0 build run test vm lint
check deps_nothing_missing_is_silent silent
run 1000 build
check deps_nothing_missing_needs_no_root silent

printf 'clang\nlibbpf-dev\ncppcheck\n' >"$dir/missing"
run 0 build
check deps_missing_of_the_set_are_installed installed clang libbpf-dev

before=$(ls -l /usr/sbin/policy-rc.d 2>&1)
echo memcached >"$dir/missing"
run 0 test
check deps_test_holds_memcached installed memcached
check deps_leaves_no_policy [ "$(ls -l /usr/sbin/policy-rc.d 2>&1)" = "$before" ]

echo gcc >"$dir/missing"
echo 'E: could not reach the mirror' >"$dir/fail"
run 0 build
check deps_failure_is_tried_once_more installed gcc

echo gcc >"$dir/missing"
printf 'E: no network\nE: no network\n' >"$dir/fail"
run 0 build
check deps_second_failure_names_the_package refused_naming 'could not install: gcc'
check deps_second_failure_shows_why refused_naming 'E: no network'

: >"$dir/fail"
run 1000 build
check deps_not_root_is_told_what_to_install refused_naming \
	'apt-get install --no-install-recommends gcc'
check deps_not_root_asks_nothing [ ! -s "$dir/asked" ]

run 0 no-such-set
check deps_unknown_set_is_refused [ "$status" -eq 2 ]
run 0
check deps_without_a_set_is_refused [ "$status" -eq 2 ]

# A system without dpkg and apt: only what deps.sh itself needs.
mkdir "$dir/other"
for program in bash id sort comm sed; do
	ln -s "$(command -v $program)" "$dir/other/$program"
done
PATH=$dir/other bash tools/deps.sh build >"$dir/out" 2>&1
status=$?
check deps_elsewhere_names_the_packages refused_naming 'libbpf-dev'

echo "1..$n"
exit $bad
