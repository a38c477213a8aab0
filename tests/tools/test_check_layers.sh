#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# check_layers.sh refuses each kind of include that the rules forbid, and only those. Method: a
# small tree with one line changed at a time.

set -u
cd "$(dirname "$0")/../.." || exit 1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
n=0
bad=0

tree() { # a tree that keeps the rules
	rm -rf "$dir/t"
	mkdir -p "$dir"/t/{include/abi,bpf,tests/lib,tools,user/{base,store,net,fastpath}}
	cp tools/layers.txt "$dir/t/tools/"
	echo '#include "abi/limits.h"' >"$dir/t/include/abi/entry.h"
	echo '#include "base/span.h"' >"$dir/t/user/base/span.c"
	printf '#include "store/store.h"\n#include "store/item.h"\n#include "base/span.h"\n' \
		>"$dir/t/user/store/store.c"
	printf '#include <sys/socket.h>\n#include "store/store.h"\n' >"$dir/t/user/net/conn.c"
	printf '#include <bpf/bpf.h>\n#include "abi/conf.h"\n#include "fastpath.skel.h"\n' \
		>"$dir/t/user/fastpath/loader.c"
	printf '#include <bpf/bpf_helpers.h>\n#include "abi/conf.h"\n#include "maps.bpf.h"\n' \
		>"$dir/t/bpf/fastpath.bpf.c"
	printf 'int x = clock_time(&clock);\nint y = s->time(0) + o.rand();\n' \
		>"$dir/t/user/store/expiry.c"
	echo '#include "store/item.h"' >"$dir/t/tests/lib/any.c"
}

accepts() { # NAME
	n=$((n + 1))
	if tools/check_layers.sh "$dir/t" >"$dir/out" 2>&1; then
		echo "ok $n - $1"
	else
		sed 's/^/# /' "$dir/out"
		echo "not ok $n - $1"
		bad=1
	fi
}

refuses() { # NAME FILE LINE TEXT: with LINE added to FILE, TEXT is among the reasons
	tree
	echo "$3" >>"$dir/t/$2"
	n=$((n + 1))
	if ! tools/check_layers.sh "$dir/t" >"$dir/out" 2>&1 && grep -qF "$4" "$dir/out"; then
		echo "ok $n - $1"
	else
		sed 's/^/# /' "$dir/out"
		echo "not ok $n - $1"
		bad=1
	fi
}

tree
accepts tree_by_the_rules_passes
refuses upward_include_is_refused user/base/span.c '#include "store/store.h"' \
	'user/base/span.c:2: base may not include store/store.h'
refuses same_rank_include_is_refused user/store/store.c '#include "protocol/request.h"' \
	'store may not include'
refuses abi_header_not_granted_is_refused user/net/conn.c '#include "abi/conf.h"' \
	'net may not include abi/conf.h'
refuses inside_of_a_room_is_refused user/net/conn.c '#include "store/item.h"' \
	'store/item.h is inside store'
refuses unknown_room_is_refused user/net/conn.c '#include "cellar/wine.h"' 'net may not include'
refuses abi_including_user_is_refused include/abi/entry.h '#include "base/span.h"' 'abi includes'
refuses bpf_including_user_is_refused bpf/fastpath.bpf.c '#include "store/store.h"' \
	'bpf includes store/store.h'
refuses libbpf_outside_fastpath_is_refused user/store/store.c '#include <bpf/bpf.h>' \
	'<bpf/bpf.h> belongs to'
refuses epoll_outside_net_is_refused user/store/store.c '#  include <sys/epoll.h>' \
	'<sys/epoll.h> belongs to'
refuses socket_outside_net_is_refused user/store/store.c 'fd = socket(AF_INET, 0, 0);' \
	'socket() belongs to'
refuses accept_outside_net_is_refused user/store/store.c 'fd = accept4(1, NULL, NULL, 0);' \
	'accept4() belongs to'
refuses test_helper_in_the_daemon_is_refused user/store/store.c '#include "lib/fault.h"' \
	'only tests and tools may'
refuses path_upwards_is_refused user/store/store.c '#include "../net/conn.h"' \
	'only tests and tools may'
refuses clock_outside_base_is_refused user/store/expiry.c 'clock_gettime(CLOCK_MONOTONIC, &t);' \
	'clock_gettime() belongs to'
refuses libc_time_is_refused user/store/expiry.c 'x = time(NULL);' 'time() belongs to'
refuses rule_against_the_ranks_is_refused tools/layers.txt 'room base 1 store' \
	'base (rank 1) allows store (rank 2)'

rm -rf "$dir/t" && mkdir "$dir/t"
n=$((n + 1))
if tools/check_layers.sh "$dir/t" >"$dir/out" 2>&1; then
	echo "not ok $n - empty_tree_is_refused"
	bad=1
else
	echo "ok $n - empty_tree_is_refused"
fi
echo "1..$n"
exit $bad
