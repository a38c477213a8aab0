/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Property: a grace period returns only after every program run that began before it has ended, by
 * either method. Method: another thread runs a program that spins for a good while; it says through
 * its variables that it has begun and ended. A child that may not call membarrier(2) uses the
 * map-in-map.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <bpf/bpf.h>
#include <errno.h>
#include <pthread.h>
#include <seccomp.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "fastpath/grace.h"
#include "tests/bpf/stage_spin.skel.h"

#define SPIN_MS 100
#define ROUNDS 3

static struct stage_spin_bpf *skel;

static void *run_program(void *arg)
{
	uint8_t packet[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));
	int *ret_err = arg;

	*ret_err = bpf_prog_test_run_opts(bpf_program__fd(skel->progs.spin), &opts);
	return NULL;
}

static uint32_t load(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

/* How many runs had not ended when a grace period that began within them returned; <0: trouble. */
static int runs_cut_short(void)
{
	pthread_t thread;
	int cut = 0, run_err = 0;

	for (int i = 0; i < ROUNDS; i++) {
		skel->bss->spin_ns = SPIN_MS * NSEC_PER_MSEC;
		skel->bss->spin_started = skel->bss->spin_ended = 0;
		if (pthread_create(&thread, NULL, run_program, &run_err))
			return -1;
		while (!load(&skel->bss->spin_started) && !run_err)
			usleep(100);
		grace_wait();
		cut += !load(&skel->bss->spin_ended);
		pthread_join(thread, NULL);
		if (run_err || !load(&skel->bss->spin_ended))
			return -1;
	}
	return cut;
}

/* xc_seg's shape, with its first extent. */
static int array_of_maps(void)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts);
	uint32_t zero = 0;
	int inner = bpf_map_create(BPF_MAP_TYPE_ARRAY, "inner", 4, 4, 1, NULL), outer;

	opts.inner_map_fd = (uint32_t)inner;
	outer = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "outer", 4, 4, 1, &opts);
	assert_int_equal(bpf_map_update_elem(outer, &zero, &inner, BPF_ANY), 0);
	close(inner);
	return outer;
}

static void grace_waits_for_runs_that_began_before(void **state)
{
	(void)state;
	assert_int_equal(grace_open(-1), 0);
	assert_int_equal(runs_cut_short(), 0);
}

static int forbid_membarrier(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int err = ctx ? seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(membarrier), 0)
		      : -ENOMEM;

	if (!err)
		err = seccomp_load(ctx);
	seccomp_release(ctx);
	return err;
}

static void grace_without_membarrier_waits_the_same(void **state)
{
	int outer = array_of_maps(), status;
	pid_t child = fork();

	(void)state;
	if (child == 0) {
		/* nothing that works: said, not guessed */
		if (forbid_membarrier() || grace_open(-1) != -ENOTSUP || grace_open(outer))
			_exit(100);
		_exit(runs_cut_short());
	}
	close(outer);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int open_program(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		print_message("SKIP: needs root\n");
		_exit(4);
	}
	skel = stage_spin_bpf__open_and_load();
	return skel ? 0 : -1;
}

static int close_program(void **state)
{
	(void)state;
	stage_spin_bpf__destroy(skel);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grace_waits_for_runs_that_began_before),
		cmocka_unit_test(grace_without_membarrier_waits_the_same),
	};

	return cmocka_run_group_tests(tests, open_program, close_program);
}
