/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The programs stay within the verifier's means: what this kernel's verifier walked through for
 * each, against the limits in tools/verifier_budget.txt. The oldest kernel gives up at a million.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cmocka.h>

#include "fastpath.skel.h"

#define BUDGET_FILE "tools/verifier_budget.txt"

static struct fastpath_bpf *product;

/* Limits of one program; false if the file does not name it. */
static bool limits_of(const char *name, unsigned *ret_insns, unsigned *ret_jited)
{
	FILE *file = fopen(BUDGET_FILE, "r");
	char line[200], found[64];
	bool ok = false;

	if (!file) {
		print_message(BUDGET_FILE " is not here: run from the repository's root\n");
		skip();
		return false;
	}
	while (!ok && fgets(line, sizeof(line), file))
		ok = sscanf(line, "%63s %u %u", found, ret_insns, ret_jited) == 3 &&
		     strcmp(found, name) == 0;
	fclose(file);
	return ok;
}

static void verifier_work_of_each_program_is_within_its_budget(void **state)
{
	struct bpf_program *program;
	struct utsname machine;

	(void)state;
	uname(&machine);
	bpf_object__for_each_program(program, product->obj)
	{
		const char *name = bpf_program__name(program);
		struct bpf_prog_info info = { 0 };
		uint32_t len = sizeof(info);
		unsigned insns, jited;

		assert_int_equal(bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &len), 0);
		print_message("%s on %s: %u instructions verified, %u bytes of machine code\n",
			      name, machine.release, info.verified_insns, info.jited_prog_len);
		if (!limits_of(name, &insns, &jited))
			fail_msg("%s has no line in " BUDGET_FILE, name);
		assert_in_range(info.verified_insns, 1, insns);
		/* 0: no JIT, as in an emulated guest; other processors need other lengths. */
		if (info.jited_prog_len && strcmp(machine.machine, "x86_64") == 0)
			assert_in_range(info.jited_prog_len, 1, jited);
	}
}

/* Plain bpftool pins what the object has: our maps alone, no hidden .rodata or .bss. */
static void object_has_only_the_maps_it_names(void **state)
{
	struct bpf_map *map;

	(void)state;
	bpf_object__for_each_map(map, product->obj)
	{
		if (strncmp(bpf_map__name(map), "xc_", 3))
			fail_msg("map %s", bpf_map__name(map));
		assert_in_range(strlen(bpf_map__name(map)), 4, 15);
	}
}

static int open_object(void **state)
{
	(void)state;
	product = fastpath_bpf__open_and_load();
	return product ? 0 : -1;
}

static int close_object(void **state)
{
	(void)state;
	fastpath_bpf__destroy(product);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(verifier_work_of_each_program_is_within_its_budget),
		cmocka_unit_test(object_has_only_the_maps_it_names),
	};

	return cmocka_run_group_tests(tests, open_object, close_object);
}
