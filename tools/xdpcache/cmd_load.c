/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xdpcache load: makes and pins the maps and attaches the program, for a daemon that shall start
 * later without the privilege to do so. Until a daemon has configured the maps every packet passes.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "abi/limits.h"
#include "cli.h"
#include "control/stats.h"
#include "fastpath/loader.h"

static bool parse_mode(const char *text, enum xdp_mode *ret)
{
	if (strcmp(text, "auto") == 0)
		*ret = XDP_MODE_AUTO;
	else if (strcmp(text, "native") == 0)
		*ret = XDP_MODE_NATIVE;
	else if (strcmp(text, "generic") == 0)
		*ret = XDP_MODE_GENERIC;
	else
		return false;
	return true;
}

static bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	char *end;
	unsigned long long n = strtoull(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || n < min || n > max)
		return false;
	*ret = n;
	return true;
}

static bool take(struct fastpath_options *options, uint64_t *memory_bytes, const char *name,
		 const char *value)
{
	uint64_t n;

	if (strcmp(name, "--interface") == 0) {
		if (options->interface_cnt == FASTPATH_INTERFACE_MAX)
			return false;
		options->interfaces[options->interface_cnt++] = value;
		return true;
	}
	if (strcmp(name, "--xdp-mode") == 0)
		return parse_mode(value, &options->xdp_mode);
	if (strcmp(name, "--hot-max") == 0 && parse_number(value, 1, FASTPATH_ENTRIES_MAX, &n)) {
		options->entry_cnt = (uint32_t)n;
		return true;
	}
	if (strcmp(name, "-m") == 0 && parse_number(value, 16, 1 << 18, &n)) {
		*memory_bytes = n << 20;
		return true;
	}
	return false;
}

int cmd_load(const struct cli *cli, int argc, char **argv)
{
	struct fastpath_options options = { .pin_root = cli->pin_root,
					    .instance = cli->instance,
					    .load_only = true };
	uint64_t memory_bytes = 64ULL << 20;
	struct fastpath *fp;
	int err;

	for (int i = 1; i < argc; i += 2) {
		if (i + 1 == argc || !take(&options, &memory_bytes, argv[i], argv[i + 1])) {
			fprintf(stderr,
				"xdpcache load: \"%s%s%s\" is not an option and its value; see: "
				"xdpcache load --help\n",
				argv[i], i + 1 < argc ? " " : "", i + 1 < argc ? argv[i + 1] : "");
			return CLI_USAGE;
		}
	}
	if (options.interface_cnt == 0) {
		fprintf(stderr, "xdpcache load: name an interface: xdpcache load --interface IF\n");
		return CLI_USAGE;
	}
	options.log_bytes = fastpath_log_bytes(memory_bytes);
	if (!options.entry_cnt)
		options.entry_cnt = fastpath_entry_cnt(memory_bytes);
	err = fastpath_open(&options, &fp);
	if (err) { /* the loader has said why */
		if (geteuid() != 0)
			fprintf(stderr, "xdpcache load: run it as root\n");
		return CLI_FAILED;
	}
	err = fastpath_attach(fp);
	if (!err && !cli->json)
		printf("loaded; start the daemon with the same --interface to serve\n");
	if (!err && cli->json) {
		struct fastpath_interface interfaces[FASTPATH_INTERFACE_MAX];
		int cnt = fastpath_interfaces(fp, interfaces, FASTPATH_INTERFACE_MAX);
		json_t *all = stats_interfaces_json(interfaces, (uint32_t)cnt);

		json_dumpf(all, stdout, JSON_INDENT(2));
		printf("\n");
		json_decref(all);
	}
	fastpath_close(fp);
	return err ? CLI_FAILED : CLI_DONE;
}
