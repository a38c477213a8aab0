/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xdpcache unload: leaves nothing of the instance behind. Repeating it is harmless.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "fastpath/inspect.h"
#include "fastpath/loader.h"

int cmd_unload(const struct cli *cli, int argc, char **argv)
{
	bool force = argc == 2 && strcmp(argv[1], "--force") == 0;
	struct inspect state = { 0 };
	int err;

	if (argc > 1 && !force) {
		fprintf(stderr, "xdpcache unload: takes only --force; see: xdpcache unload "
				"--help\n");
		return CLI_USAGE;
	}
	err = inspect_pins(cli->pin_root, cli->instance, &state);
	if (err && err != -ENOENT) {
		fprintf(stderr, "xdpcache unload: %s: %s; run it as root\n", cli->pin_root,
			strerror(-err));
		return CLI_FAILED;
	}
	err = fastpath_unload(cli->pin_root, cli->instance, force);
	if (err)
		return CLI_FAILED; /* the loader has said why */
	if (cli->json)
		printf("{\"unloaded\": %s}\n", state.dir[0] && state.entry_max ? "true" : "false");
	else
		printf(state.entry_max ? "unloaded\n" : "nothing was loaded\n");
	return CLI_DONE;
}
