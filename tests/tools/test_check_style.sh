#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# check_style.sh refuses each thing that the style rules out, names its line, and lets good files
# pass. Method: one good file of each kind, then one fault at a time.

set -u
cd "$(dirname "$0")/../.." || exit 1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/user/store"
n=0
bad=0

verdict() { # NAME STATUS
	n=$((n + 1))
	if [ "$2" -eq 0 ]; then
		echo "ok $n - $1"
	else
		sed 's/^/# /' "$dir/out"
		echo "not ok $n - $1"
		bad=1
	fi
}

accepts() { # NAME FILE < text
	cat >"$dir/$2"
	tools/check_style.sh "$dir/$2" >"$dir/out" 2>&1
	verdict "$1" $?
}

refuses() { # NAME FILE REASON < text
	cat >"$dir/$2"
	if tools/check_style.sh "$dir/$2" >"$dir/out" 2>&1; then
		verdict "$1" 1
	else
		grep -qF "$3" "$dir/out"
		verdict "$1" $?
	fi
}

c_file() { # a good C file, then what comes in
	printf '/* SPDX-License-Identifier: BSD-2-Clause */\n'
	cat
}

repeat() { # COUNT TEXT
	local i
	for ((i = 0; i < $1; i++)); do echo "$2"; done
}

tab=$'\t'
accepts plain_c_passes user/store/a.c < <(c_file <<-'C'
	/* see http://example.org: a // inside a comment, and
	 * on its second line // too
	 */
	static const char *text = "// in a string \" // and */ /* more";
	static const char slash = '/', quote = '"', also = '\'';

	int f(void)
	{
		return 1 / 2;
	}
	C
)
refuses missing_spdx_is_refused user/store/a.c ':1: no SPDX' <<<'int x;'
refuses wrong_licence_is_refused user/store/a.c ':1: no SPDX' \
	<<<'/* SPDX-License-Identifier: GPL-3.0-only */'
refuses late_spdx_is_refused user/store/a.c ':1: no SPDX' \
	<<<$'int x;\n/* SPDX-License-Identifier: BSD-2-Clause */'
refuses slash_comment_is_refused user/store/a.c ':2: a // comment' < <(c_file <<<'int x; // no')
refuses slash_comment_after_a_string_is_refused user/store/a.c ':2: a // comment' \
	< <(c_file <<<'char *s = "\\"; // no')
refuses trailing_space_is_refused user/store/a.c ':2: space at the end' < <(c_file <<<'int x; ')
refuses carriage_return_is_refused user/store/a.c ':2: carriage return' < <(c_file <<<$'int x;\r')
refuses space_indent_is_refused user/store/a.c ':2: indented with spaces' \
	< <(c_file <<<'    int x;')
accepts line_of_100_columns_passes user/store/a.c \
	< <(c_file <<<"$tab/* $(printf '%086d' 0) */")
refuses line_of_101_columns_is_refused user/store/a.c ':2: 101 columns' \
	< <(c_file <<<"$tab/* $(printf '%087d' 0) */")
accepts wide_characters_are_one_column user/store/a.c \
	< <(c_file <<<"/* $(printf '–%.0s' {1..94}) */")
accepts function_of_70_lines_passes user/store/a.c \
	< <({ echo 'int f(void)'; echo '{'; repeat 68 "${tab}x++;"; echo '}'; } | c_file)
refuses function_of_71_lines_is_refused user/store/a.c ':3: a function of 71 lines' \
	< <({ echo 'int f(void)'; echo '{'; repeat 69 "${tab}x++;"; echo '}'; } | c_file)
accepts long_table_passes user/store/a.c \
	< <({ echo 'int t[] = {'; repeat 100 "${tab}1,"; echo '};'; } | c_file)
refuses brace_beside_function_is_refused user/store/a.c ':2: a function' \
	< <(c_file <<<$'int f(void) {\n}')
refuses todo_is_refused user/store/a.c ':2: TODO without' < <(c_file <<<'/* TODO: later */')
accepts todo_of_a_decision_passes user/store/a.c < <(c_file <<<'/* TODO(0012): on arm64 */')
# put together here, so that this file passes itself
work=work root=root
refuses machine_path_is_refused notes.md ':1: a path of one machine' <<<"see /$work/main/x"
refuses home_of_root_is_refused notes.md ':1: a path of one machine' <<<"see /$root/x"
accepts relative_work_path_passes notes.md <<<"see build/$work/x and /workers/"

header() { # GUARD DOCUMENT
	printf '/* SPDX-License-Identifier: BSD-2-Clause */\n'
	printf '/*\n * a - an example.\n *\n%s\n */\n' "$2"
	printf '#ifndef %s\n#define %s\n#endif\n' "$1" "$1"
}
does=' * Does      nothing.'
accepts header_passes user/store/a.h < <(header XC_STORE_A_H "$does")
refuses header_without_document_is_refused user/store/a.h 'no header document' \
	< <(header XC_STORE_A_H ' * Nothing.')
mkdir "$dir/bpf"
accepts bpf_header_needs_no_bpf_in_its_guard bpf/a.bpf.h < <(header XC_BPF_A_H "$does")
refuses wrong_guard_is_refused user/store/a.h 'include guard is not XC_STORE_A_H' \
	< <(header XC_A_H "$does")
refuses guard_never_defined_is_refused user/store/a.h 'include guard' \
	< <(header XC_STORE_A_H "$does" | grep -v '^#define')

accepts script_passes a.sh <<<$'#!/bin/bash\n# SPDX-License-Identifier: BSD-2-Clause\ntrue'
refuses script_without_spdx_is_refused a.sh ':1: no SPDX' <<<$'#!/bin/bash\ntrue'
! tools/check_style.sh "$dir/none" >"$dir/out" 2>&1
verdict no_such_file_is_refused $?

echo "1..$n"
exit $bad
