/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest has what the packet tests need: a kernel of the version asked for, its type information,
 * a verifier that takes a program, test runs of it, a veth pair, traffic on lo. Method: the
 * smallest XDP program, as instructions; test_vmtest.sh builds this and runs it in each guest.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

static int load_pass(void)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return bpf_prog_load(BPF_PROG_TYPE_XDP, "xc_probe", "BSD", insns, 2, NULL);
}

static void guest_kernel_has_types(void **state)
{
	struct btf *btf = btf__load_vmlinux_btf();
	struct utsname name;

	(void)state;
	assert_int_equal(uname(&name), 0);
	printf("kernel %s\n", name.release);
	assert_non_null(btf);
	assert_true(btf__find_by_name_kind(btf, "xdp_buff", BTF_KIND_STRUCT) > 0);
	btf__free(btf);
}

static void guest_program_test_run_returns_its_action(void **state)
{
	uint8_t frame[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame),
		    .repeat = 1);
	int fd = load_pass();

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(bpf_prog_test_run_opts(fd, &opts), 0);
	assert_int_equal(opts.retval, XDP_PASS);
	close(fd);
}

static void guest_program_is_pinned_and_found(void **state)
{
	int fd = load_pass();
	int again;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(bpf_obj_pin(fd, "/sys/fs/bpf/probe"), 0);
	again = bpf_obj_get("/sys/fs/bpf/probe");
	assert_true(again >= 0);
	assert_int_equal(unlink("/sys/fs/bpf/probe"), 0);
	close(again);
	close(fd);
}

static void guest_veth_carries_native_xdp(void **state)
{
	int fd = load_pass();
	int ifindex;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(system("ip link add probe0 type veth peer name probe1"), 0);
	ifindex = (int)if_nametoindex("probe0");
	assert_true(ifindex > 0);
	assert_int_equal(bpf_xdp_attach(ifindex, fd, XDP_FLAGS_DRV_MODE, NULL), 0);
	assert_int_equal(system("ip -d link show dev probe0 | grep -q 'prog/xdp'"), 0);
	assert_int_equal(system("ip link add link probe0 name probe0.7 type vlan id 7"), 0);
	assert_int_equal(system("tc qdisc add dev probe0 clsact"), 0);
	assert_int_equal(system("ip link del probe0"), 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guest_kernel_has_types),
		cmocka_unit_test(guest_program_test_run_returns_its_action),
		cmocka_unit_test(guest_program_is_pinned_and_found),
		cmocka_unit_test(guest_veth_carries_native_xdp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
