/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Property: a lease is renewed and given up only by the owner whose epoch stands in the maps; time
 * that the host slept is added to the program's clock once. Method: an xc_conf in ordinary memory;
 * another owner and a suspend are written into it by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <time.h>

#include "base/clock.h"
#include "fastpath/lease.h"

#define LENGTH_NS (1000 * NSEC_PER_MSEC)

static int64_t suspended_ns(void)
{
	struct timespec boot, mono;

	clock_gettime(CLOCK_MONOTONIC, &mono);
	clock_gettime(CLOCK_BOOTTIME, &boot);
	return (boot.tv_sec - mono.tv_sec) * (int64_t)NSEC_PER_SEC + boot.tv_nsec - mono.tv_nsec;
}

static struct lease lease_of(struct xc_conf *conf)
{
	return (struct lease){ .conf = conf,
			       .length_ns = LENGTH_NS,
			       .epoch = conf->owner_epoch,
			       .suspended_ns = suspended_ns() };
}

static void lease_renew_owner_extends(void **state)
{
	struct xc_conf conf = { .owner_epoch = 7, .clock_base_ns = 99 };
	struct lease lease = lease_of(&conf);

	(void)state;
	assert_int_equal(lease_renew(&lease, 5000), 0);
	assert_int_equal(conf.serve_until_ns, 5000 + LENGTH_NS);
	assert_int_equal(lease_renew(&lease, 6000), 0);
	assert_int_equal(conf.serve_until_ns, 6000 + LENGTH_NS);
	assert_int_equal(conf.clock_base_ns, 99); /* nobody slept */
}

static void lease_renew_other_owner_is_stale_and_leaves_all(void **state)
{
	struct xc_conf conf = { .magic = XC_ABI_MAGIC, .owner_epoch = 7, .clock_base_ns = 99 };
	struct lease lease = lease_of(&conf);

	(void)state;
	conf.owner_epoch = 8;
	conf.serve_until_ns = 12345;
	lease.suspended_ns -= NSEC_PER_SEC;
	assert_int_equal(lease_renew(&lease, 5000), -ESTALE);
	assert_int_equal(conf.serve_until_ns, 12345);
	assert_int_equal(conf.clock_base_ns, 99);
}

static void lease_renew_unloaded_maps_are_nobodys(void **state)
{
	struct xc_conf conf = { .magic = XC_ABI_MAGIC, .owner_epoch = 7 };
	struct lease lease = lease_of(&conf);

	(void)state;
	conf.magic = 0;
	conf.owner_epoch = 8;
	assert_int_equal(lease_renew(&lease, 5000), -ENODEV);
	assert_int_equal(conf.serve_until_ns, 0);
}

static void lease_revoke_only_by_the_owner(void **state)
{
	struct xc_conf conf = { .owner_epoch = 7 };
	struct lease lease = lease_of(&conf), none = { 0 };

	(void)state;
	assert_int_equal(lease_renew(&lease, 5000), 0);
	lease_revoke(&lease);
	assert_int_equal(conf.serve_until_ns, 0);
	conf.owner_epoch = 8;
	conf.serve_until_ns = 12345;
	lease_revoke(&lease);
	assert_int_equal(conf.serve_until_ns, 12345);
	lease_revoke(&none); /* a start that failed before lease_init */
}

static void lease_renew_after_suspend_moves_the_clock_once(void **state)
{
	struct xc_conf conf = { .owner_epoch = 7, .clock_base_ns = 1000 };
	struct lease lease = lease_of(&conf);

	(void)state;
	lease.suspended_ns -= 3 * (int64_t)NSEC_PER_SEC; /* slept three seconds since */
	assert_int_equal(lease_renew(&lease, 5000), 0);
	assert_in_range(conf.clock_base_ns, 1000 + 3 * NSEC_PER_SEC - NSEC_PER_MSEC,
			1000 + 3 * NSEC_PER_SEC + NSEC_PER_MSEC);
	conf.clock_base_ns = 1000;
	assert_int_equal(lease_renew(&lease, 6000), 0);
	assert_int_equal(conf.clock_base_ns, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lease_renew_owner_extends),
		cmocka_unit_test(lease_renew_other_owner_is_stale_and_leaves_all),
		cmocka_unit_test(lease_renew_unloaded_maps_are_nobodys),
		cmocka_unit_test(lease_revoke_only_by_the_owner),
		cmocka_unit_test(lease_renew_after_suspend_moves_the_clock_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
