# SPDX-License-Identifier: BSD-2-Clause
#
# test_count.awk - reads what one test program printed and how it ended; prints one line per test:
# "pass|fail|skip TAB name TAB reason".
#
# Variables: kind (cmocka, script), program (its name), status (exit status; 124: out of time;
# none: nobody saw it end), timeout_sec, leaks (what it left behind, one line, may be empty).
#
# cmocka   a test starts with "[ RUN      ] name" and ends with OK, FAILED or SKIPPED and the same
#          name; the lists at a group's end repeat names and are not counted. A started test that
#          never ends is where the program died.
# script   exit 0 is a pass, 4 a skip whose reason is on the last line "SKIP: reason". A script that
#          prints TAP ("1..N", "ok 1 - name", "not ok 2 - name", "ok 3 - name # SKIP reason") is
#          counted test by test, and its plan must be kept.

function result(what, name, reason)
{
	gsub(/\t/, " ", name)
	gsub(/\t/, " ", reason)
	printf "%s\t%s\t%s\n", what, name, reason
	count[what]++
}

function ending(    text)
{
	if (status == "none")
		text = "died with its guest"
	else if (status == 124)
		text = "ran out of time (" timeout_sec " s)"
	else if (status > 128)
		text = "killed by signal " (status - 128)
	else
		text = "exit status " status
	return text
}

function bracket_name(line, tag,    at)
{
	at = index(line, tag)
	return at ? substr(line, at + length(tag)) : ""
}

{
	sub(/\r$/, "")
	at = index($0, "SKIP: ")
	if (at)
		skip_reason = substr($0, at + 6)
}

kind == "cmocka" {
	if ((name = bracket_name($0, "[ RUN      ] ")) != "") {
		if (current != "")
			result("fail", current, "no result")
		current = name
		skip_reason = ""
	} else if (current != "") {
		if (bracket_name($0, "[       OK ] ") == current) {
			result("pass", current, "")
			current = ""
		} else if (bracket_name($0, "[  FAILED  ] ") == current) {
			result("fail", current, "")
			current = ""
		} else if (bracket_name($0, "[  SKIPPED ] ") == current) {
			result("skip", current, skip_reason)
			current = ""
		}
	}
	next
}

/^1\.\.[0-9]+/ {
	plan += substr($1, 4)
	planned = 1
}

/^(not )?ok [0-9]+/ {
	failed = $1 == "not"
	name = $0
	sub(/^(not )?ok [0-9]+ *(- *)?/, "", name)
	reason = ""
	skipped = 0
	if (match(name, /[ \t]*# *[Ss][Kk][Ii][Pp]/)) {
		skipped = 1
		reason = substr(name, RSTART + RLENGTH)
		sub(/^[ :]+/, "", reason)
		name = substr(name, 1, RSTART - 1)
	}
	points++
	what = failed ? "fail" : skipped ? "skip" : "pass"
	result(what, name == "" ? "test " points : name, reason)
}

END {
	if (current != "")
		result("fail", current, "the program died in this test: " ending())
	if (kind == "cmocka")
		ran = count["pass"] + count["fail"] + count["skip"]
	else
		ran = points

	if (kind != "cmocka" && points > 0) {
		if (!planned || plan != points)
			result("fail", program,
			       planned ? "planned " plan " tests, ran " points : "no plan")
		else if (status != 0 && !count["fail"])
			result("fail", program, ending() " though every test passed")
	} else if (ran == 0 && status == 4) {
		result("skip", program, skip_reason)
	} else if (ran == 0 && status == 0 && kind != "cmocka") {
		result("pass", program, "")
	} else if (ran == 0) {
		result("fail", program, status == 0 ? "ran no test" : ending())
	} else if (status != 0 && !count["fail"]) {
		result("fail", program, ending() " though every test passed")
	}
	if (leaks != "")
		result("fail", program " (left behind)", leaks)
}
