/* SPDX-License-Identifier: BSD-2-Clause */
#include "hot_file.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "control/key.h"

#define FILE_VERSION 1

/* --- reading --- */

static bool take_number(const json_t *root, const char *name, uint64_t max, uint64_t *ret)
{
	const json_t *number = json_object_get(root, name);

	if (!json_is_integer(number) || json_integer_value(number) < 0 ||
	    (uint64_t)json_integer_value(number) > max)
		return false;
	*ret = (uint64_t)json_integer_value(number);
	return true;
}

static bool take_wishes(const json_t *root, const char *name, bool ban, struct hot_choices *ret)
{
	const json_t *list = json_object_get(root, name);
	char error[CONTROL_ERROR_MAX];

	if (!json_is_array(list) ||
	    json_array_size(list) > PROMOTER_WISH_MAX - (size_t)ret->wish_cnt)
		return false;
	for (size_t i = 0; i < json_array_size(list); i++) {
		struct promoter_wish *wish = &ret->wishes[ret->wish_cnt++];
		struct span key;

		if (!control_key(json_array_get(list, i), wish->key, &key, error))
			return false;
		wish->key_len = (uint8_t)key.len;
		wish->ban = ban;
	}
	return true;
}

static bool take_all(const json_t *root, struct hot_choices *ret)
{
	uint64_t version, threshold, entries;

	if (!take_number(root, "version", FILE_VERSION, &version) || version != FILE_VERSION ||
	    !take_number(root, "threshold", PROMOTER_THRESHOLD_MAX, &threshold) ||
	    !take_number(root, "entries", UINT32_MAX, &entries) ||
	    !take_number(root, "bytes", INT64_MAX, &ret->limits.byte_max))
		return false;
	ret->limits.threshold = (uint32_t)threshold;
	ret->limits.entry_max = (uint32_t)entries;
	return take_wishes(root, "pins", false, ret) && take_wishes(root, "bans", true, ret);
}

int hot_file_load(const char *path, struct hot_choices *ret)
{
	FILE *file = fopen(path, "re");
	struct hot_choices choices = { 0 };
	json_error_t where = { 0 };
	json_t *root;
	int err = 0;

	if (!file)
		return -errno;
	choices.wishes = alloc_zero(PROMOTER_WISH_MAX, sizeof(*choices.wishes));
	root = json_loadf(file, JSON_REJECT_DUPLICATES, &where);
	fclose(file);
	if (!choices.wishes) {
		err = -ENOMEM;
	} else if (!take_all(root, &choices)) {
		log_line(LOG_WARN, "main",
			 "%s is not what was saved: %s; it is ignored: pin and ban again with "
			 "--save, which replaces it, or remove it",
			 path, root ? "an unknown version, or values out of bounds" : where.text);
		err = -EBADMSG;
	}
	json_decref(root);
	if (err)
		hot_choices_fini(&choices);
	else
		*ret = choices;
	return err;
}

void hot_choices_fini(struct hot_choices *choices)
{
	alloc_free(choices->wishes);
	*choices = (struct hot_choices){ 0 };
}

/* --- writing --- */

static json_t *wishes_json(const struct hot_choices *choices, bool ban)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < choices->wish_cnt; i++) {
		const struct promoter_wish *wish = &choices->wishes[i];
		json_t *row;

		if (wish->ban != ban)
			continue;
		row = json_object();
		control_set_key(row, wish->key, wish->key_len);
		json_array_append_new(list, row);
	}
	return list;
}

static int write_new(const char *path, const json_t *root)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (json_dumpfd(root, fd, JSON_INDENT(2)) || write(fd, "\n", 1) != 1 || fsync(fd))
		err = errno ? -errno : -EIO;
	if (close(fd) && !err)
		err = -errno;
	return err;
}

int hot_file_save(const char *path, const struct hot_choices *choices)
{
	const struct promoter_limits *limits = &choices->limits;
	json_t *root =
		json_pack("{s:i, s:I, s:I, s:I, s:o, s:o}", "version", FILE_VERSION, "threshold",
			  (json_int_t)limits->threshold, "entries", (json_int_t)limits->entry_max,
			  "bytes", (json_int_t)limits->byte_max, "pins",
			  wishes_json(choices, false), "bans", wishes_json(choices, true));
	char fresh[PATH_MAX];
	int err = root ? 0 : -ENOMEM;

	if (!err && snprintf(fresh, sizeof(fresh), "%s.new", path) >= (int)sizeof(fresh))
		err = -ENAMETOOLONG;
	if (!err) {
		err = write_new(fresh, root);
		if (!err && rename(fresh, path))
			err = -errno;
		if (err)
			unlink(fresh);
	}
	json_decref(root);
	return err;
}
