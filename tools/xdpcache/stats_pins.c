/* SPDX-License-Identifier: BSD-2-Clause */
#include "stats_pins.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "control/stats.h"
#include "stats_view.h"

struct control_fastpath stats_pins_control(const struct inspect *state)
{
	struct control_fastpath fp = { .stats = state->stats,
				       .interface_cnt = state->interface_cnt,
				       .entry_cnt = state->entry_cnt,
				       .entry_max = state->entry_max,
				       .serve_until_ns = state->conf.serve_until_ns,
				       .owner_epoch = state->conf.owner_epoch };

	memcpy(fp.interfaces, state->interfaces, sizeof(fp.interfaces));
	return fp;
}

int stats_from_pins(const struct cli *cli, json_t **ret)
{
	struct control_fastpath fp;
	struct inspect state;
	int err = inspect_pins(cli->pin_root, cli->instance, &state);

	if (err) {
		fprintf(stderr, "xdpcache stats: %s: %s\n", cli->pin_root,
			err == -ENOENT ? "nothing is pinned either" : strerror(-err));
		return err;
	}
	fp = stats_pins_control(&state);
	*ret = json_pack("{s:o}", "fastpath",
			 stats_fastpath_json(&fp, clock_now_ns(clock_system())));
	return 0;
}
