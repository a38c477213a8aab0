# SPDX-License-Identifier: BSD-2-Clause
#
# check_style.awk - the rules of one file, by its kind; see check_style.sh. Variable: file (path).
#
# every text    no space at a line's end, no path of somebody's machine, a newline at the end
# code          SPDX in the first line (second after #!), at most 100 columns with tabs of 8
# C             block comments only, a function's braces in column one and at most FUNCTION_MAX
#               lines apart, TODO only with the decision it waits for: TODO(0012)
# headers       opens with the house document (a line "Does"), include guard XC_<ROOM>_<FILE>_H

function complain(line, text)
{
	printf "%s:%d: %s\n", file, line, text
	bad = 1
}

function columns(text,    i, at, width)
{
	width = 0
	while ((at = index(text, "\t")) > 0) {
		width += length_utf8(substr(text, 1, at - 1))
		width += 8 - width % 8
		text = substr(text, at + 1)
	}
	return width + length_utf8(text)
}

# mawk counts bytes: continuation bytes have no column
function length_utf8(text)
{
	gsub(/[\200-\277]/, "", text)
	return length(text)
}

# The line without strings, character constants and comments; notes // comments on the way.
function code_of(text,    out, at, c, two)
{
	out = ""
	while (text != "") {
		if (in_comment) {
			at = index(text, "*/")
			if (!at)
				return out
			text = substr(text, at + 2)
			in_comment = 0
			continue
		}
		if (!match(text, /["'\/]/))
			return out text
		out = out substr(text, 1, RSTART - 1)
		c = substr(text, RSTART, 1)
		two = substr(text, RSTART, 2)
		text = substr(text, RSTART + 1)
		if (two == "/*") {
			in_comment = 1
			text = substr(text, 2)
		} else if (two == "//") {
			complain(FNR, "a // comment; write /* */")
			return out
		} else if (c == "/") {
			out = out c
		} else {
			out = out c c
			text = after_quote(text, c)
		}
	}
	return out
}

function after_quote(text, quote,    i, c)
{
	for (i = 1; i <= length(text); i++) {
		c = substr(text, i, 1)
		if (c == "\\")
			i++
		else if (c == quote)
			return substr(text, i + 1)
	}
	return ""
}

function guard_of(path,    stem, dir, n, part, upper)
{
	n = split(path, part, "/")
	stem = part[n]
	sub(/(\.bpf)?\.h$/, "", stem)
	dir = n > 1 ? part[n - 1] : ""
	upper = toupper(stem)
	gsub(/[^A-Z0-9]/, "_", upper)
	dir = toupper(dir)
	gsub(/[^A-Z0-9]/, "_", dir)
	# tests are one room; files right in user/ belong to none
	if (path ~ /(^|\/)tests\//)
		dir = "TESTS"
	return dir == "USER" || dir == "" ? "XC_" upper "_H" : "XC_" dir "_" upper "_H"
}

function check_c(    code)
{
	code = code_of($0)
	if (code ~ /^\{[ \t]*$/) {
		body_line = FNR
	} else if (code ~ /^\}/ && body_line) {
		if (FNR - body_line + 1 > FUNCTION_MAX)
			complain(body_line, "a function of " (FNR - body_line + 1) \
				 " lines; at most " FUNCTION_MAX)
		body_line = 0
	} else if (code ~ /^[a-z_][A-Za-z0-9_ \t*]*\(.*\)[ \t]*\{[ \t]*$/) {
		complain(FNR, "a function's opening brace goes on a line of its own")
	}
	if (code ~ /^ +[^ *]/ && code !~ /^ \*/)
		complain(FNR, "indented with spaces; tabs indent")
}

BEGIN {
	FUNCTION_MAX = 70
	COLUMN_MAX = 100
	base = file
	sub(/.*\//, "", base)
	is_c = base ~ /\.[ch]$/
	is_header = base ~ /\.h$/
	is_prose = base ~ /\.(md|txt|html|svg|json|case)$/ || base ~ /^(LICENSE|\.gitignore)$/
	# inputs of tests are what they are
	is_data = file ~ /(^|\/)(corpus|cases|workloads|page)\//
	is_code = !is_prose && !is_data
}

# a shell script may have no ending; a known first line tells
FNR == 1 && /^#!/ { is_script = 1 }

FNR <= 2 && /SPDX-License-Identifier: (BSD-2-Clause|GPL-2\.0-only OR BSD-2-Clause)( \*\/)?$/ {
	has_spdx = FNR == 1 || is_script
}

is_data { next }

{
	if ($0 ~ /[ \t]$/)
		complain(FNR, "space at the end of the line")
	if ($0 ~ /\r/)
		complain(FNR, "carriage return")
	if ($0 ~ /(^|[^A-Za-z0-9_.*~}-])\/(work|root)\//)
		complain(FNR, "a path of one machine")
	if (is_code && columns($0) > COLUMN_MAX)
		complain(FNR, columns($0) " columns; at most " COLUMN_MAX)
	if (is_code && $0 ~ /(^|[^A-Za-z_])TODO([^A-Za-z_]|$)/ &&
	    $0 !~ /TODO\([0-9][0-9][0-9][0-9]\)/ && file !~ /check_style/)
		complain(FNR, "TODO without the number of a decision: TODO(0012)")
	if (is_c)
		check_c()
}

is_header && FNR <= 40 && /^ \* Does  +[^ ]/ { has_document = 1 }

is_header && /^#ifndef / && !guard { guard = $2 }

is_header && /^#define / && guard && $2 == guard { guard_defined = 1 }

END {
	if (is_data)
		exit 0
	if (is_code && !has_spdx)
		complain(1, "no SPDX-License-Identifier where it belongs")
	if (is_header && !has_document)
		complain(1, "no header document (a comment with a line \"Does\")")
	if (is_header && (guard != guard_of(file) || !guard_defined))
		complain(1, "include guard is not " guard_of(file))
	exit bad
}
