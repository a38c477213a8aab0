#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# check_layers.sh [DIR] - refuses includes and calls that go against tools/layers.txt in DIR
# (default: the project). Prints each as FILE:LINE: reason. Exit status 1 if there are any.

set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "${1:-$here/..}" || exit 2
rules=tools/layers.txt
[ -f "$rules" ] || rules=$here/layers.txt

sources=$(find include user bpf tools tests bench vmtest -name '*.[ch]' 2>/dev/null | sort)
if [ -z "$sources" ]; then
	echo "check_layers: no sources here" >&2
	exit 2
fi

# The word before the bracket is the call; a dot, an arrow or more of a name before it is not.
calls=$(sed -n 's/^call[[:space:]]*\([a-z_0-9]*\).*/\1/p' "$rules" | paste -sd'|')

# shellcheck disable=SC2086 # our file names have no spaces
{
	grep -nHE '^[[:space:]]*#[[:space:]]*include' $sources
	[ -n "$calls" ] && grep -nHE "(^|[^A-Za-z0-9_.>])($calls)\(" $sources
} | awk -v rules="$rules" '
function complain(text)
{
	print where ": " text
	bad = 1
}

function room_of(file,    part)
{
	split(file, part, "/")
	if (file ~ /^include\/abi\//)
		return "abi"
	if (part[1] == "user")
		return file ~ /^user\/[^\/]*$/ ? "main" : part[2]
	return part[1] # bpf, tests, tools, bench
}

function inside(file, places,    n, i, ok)
{
	n = split(places, ok)
	for (i = 1; i <= n; i++)
		if (file == ok[i] || index(file, ok[i] "/") == 1 || index(file, ok[i] ".") == 1)
			return 1
	return 0
}

BEGIN {
	while ((getline line < rules) > 0) {
		n = split(line, word)
		if (line ~ /^#/ || n == 0)
			continue
		if (word[1] == "room") {
			rank[word[2]] = word[3]
			for (i = 4; i <= n; i++)
				allowed[word[2], word[i]] = 1
		} else if (word[1] == "face") {
			has_face[word[2]] = 1
			for (i = 3; i <= n; i++)
				face[word[2], word[i]] = 1
		} else if (word[1] == "only") {
			for (i = 3; i <= n; i++)
				place[word[2]] = place[word[2]] " " word[i]
		} else if (word[1] == "call") {
			for (i = 3; i <= n; i++)
				caller[word[2]] = caller[word[2]] " " word[i]
		} else {
			where = rules
			complain("unknown line: " line)
		}
	}
	for (pair in allowed) {
		split(pair, p, SUBSEP)
		other = p[2]
		sub(/\/.*/, "", other)
		where = rules
		if (!(other in rank))
			complain(p[1] " allows " other ", which is no room")
		else if (rank[other] >= rank[p[1]])
			complain(p[1] " (rank " rank[p[1]] ") allows " other \
				 " (rank " rank[other] ")")
	}
}

{
	# FILE:LINE:#include <x> or "x"
	match($0, /^[^:]*:[0-9]*/)
	where = substr($0, 1, RLENGTH)
	file = where
	sub(/:.*/, "", file)
	text = substr($0, RLENGTH + 2)
	if (text !~ /^[ \t]*#[ \t]*include/) {
		for (name in caller)
			if (text ~ "(^|[^A-Za-z0-9_.>])" name "\\(" && text !~ /^[ \t]*\/?\*/ &&
			    file ~ /^user\// && !inside(file, caller[name]))
				complain(name "() belongs to" caller[name])
		next
	}
	target = text
	sub(/^[^"<]*["<]/, "", target)
	sub(/[">].*/, "", target)
	quoted = $0 ~ /include[ \t]*"/
	room = room_of(file)

	for (header in place) {
		matches = header ~ /\/$/ ? index(target, header) == 1 : target == header
		if (!matches)
			continue
		# what runs in the kernel has its own libbpf headers
		if (!inside(file, place[header]) && file !~ /\.bpf\.[ch]$/)
			complain("<" target "> belongs to" place[header])
	}

	if (!quoted)
		next
	other = target
	if (!sub(/\/[^\/]*$/, "", other))
		other = room == "bpf" ? "bpf" : "main"
	if (other ~ /^(tests|tools|bench|lib)$/ || target ~ /^\.\./) {
		if (file ~ /^(user|include|bpf)\//)
			complain("includes " target ", which only tests and tools may")
		next
	}
	if (room == "bpf") {
		if (other != "abi" && other != "bpf")
			complain("bpf includes " target "; it may see abi alone")
		next
	}
	if (room == "abi") {
		if (other != "abi")
			complain("abi includes " target "; it may see itself alone")
		next
	}
	if (file !~ /^user\// || target == "fastpath.skel.h")
		next
	if (!(room in rank)) {
		complain("room " room " is not in " rules)
		next
	}
	if (other == room)
		next
	if (!((room, other) in allowed) && !((room, target) in allowed)) {
		complain(room " may not include " target)
		next
	}
	name = target
	sub(/.*\//, "", name)
	if ((other in has_face) && !((other, name) in face))
		complain(target " is inside " other "; its face is what others include")
}

END { exit bad }'
status=("${PIPESTATUS[@]}")
[ "${status[1]}" -eq 0 ]
