/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Entries have one size and are compared whole, all of them, so that the time of an answer tells
 * neither how much of a guess was right nor which user exists.
 */
#include "command/users.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/log.h"

/* "user:password" and its line end. */
#define LINE_MAX_LEN (2 * USERS_WORD_MAX + 3)

struct credentials {
	uint8_t user[USERS_WORD_MAX + 1]; /* its length, then its bytes, the rest 0 */
	uint8_t password[USERS_WORD_MAX + 1];
};

struct users {
	struct swap_item item;
	uint32_t cnt;
	struct credentials all[];
};

static size_t size_of(uint32_t cnt)
{
	return sizeof(struct users) + cnt * sizeof(struct credentials);
}

void users_free(struct users *users)
{
	if (!users)
		return;
	explicit_bzero(users, size_of(users->cnt));
	alloc_free(users);
}

static void free_item(struct swap_item *item)
{
	users_free((struct users *)item);
}

struct swap_item *users_item(struct users *users)
{
	return &users->item;
}

/* False: empty or too long. */
static bool put_word(uint8_t to[USERS_WORD_MAX + 1], struct span word)
{
	memset(to, 0, USERS_WORD_MAX + 1);
	if (word.len == 0 || word.len > USERS_WORD_MAX)
		return false;
	to[0] = (uint8_t)word.len;
	memcpy(to + 1, word.ptr, word.len);
	return true;
}

static bool put_line(struct credentials *to, const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len);
	size_t user_len = colon ? (size_t)(colon - line) : 0;

	return colon && put_word(to->user, span_of(line, user_len)) &&
	       put_word(to->password, span_of(colon + 1, len - user_len - 1));
}

/* The file's lines into a table that has room for all of them. */
static int read_lines(FILE *file, const char *path, struct users *users, char *why, size_t why_size)
{
	char line[LINE_MAX_LEN + 1];
	uint32_t number = 0;
	int err = 0;

	while (!err && fgets(line, sizeof(line), file)) {
		size_t len = strcspn(line, "\r\n");

		number++;
		if (len == 0 && line[0] != '\0')
			continue;
		if (users->cnt == USERS_MAX) {
			snprintf(why, why_size, "%s has more than %d users", path, USERS_MAX);
			err = -E2BIG;
		} else if (!put_line(&users->all[users->cnt], line, len)) {
			snprintf(why, why_size,
				 "%s, line %u: user:password is expected, each of 1 to %d bytes",
				 path, number, USERS_WORD_MAX);
			err = -EINVAL;
		} else {
			users->cnt++;
		}
	}
	explicit_bzero(line, sizeof(line));
	if (!err && ferror(file)) {
		snprintf(why, why_size, "cannot read %s", path);
		err = -EIO;
	}
	if (!err && users->cnt == 0) {
		snprintf(why, why_size, "%s has no user in it", path);
		err = -EINVAL;
	}
	return err;
}

static FILE *open_file(const char *path, char *why, size_t why_size)
{
	FILE *file = fopen(path, "re");
	struct stat st;

	if (!file) {
		snprintf(why, why_size, "cannot open %s: %s", path, strerror(errno));
		return NULL;
	}
	if (fstat(fileno(file), &st) == 0 && (st.st_mode & S_IROTH))
		log_line(LOG_WARN, "config",
			 "%s holds passwords and everybody can read it: chmod o= it", path);
	return file;
}

int users_load(const char *path, struct users **ret, char *why, size_t why_size)
{
	FILE *file = open_file(path, why, why_size);
	struct users *whole, *users = NULL;
	/* What stdio has read ahead is wiped, too. */
	char ahead[4096];
	int err;

	if (!file)
		return -ENOENT;
	setvbuf(file, ahead, _IOFBF, sizeof(ahead));
	whole = alloc_zero(1, size_of(USERS_MAX));
	if (!whole) {
		snprintf(why, why_size, "out of memory for %s", path);
		err = -ENOMEM;
	} else {
		err = read_lines(file, path, whole, why, why_size);
	}
	fclose(file);
	explicit_bzero(ahead, sizeof(ahead));
	if (!err) {
		users = alloc_zero(1, size_of(whole->cnt));
		err = users ? 0 : -ENOMEM;
		if (err)
			snprintf(why, why_size, "out of memory for %s", path);
	}
	if (users) {
		memcpy(users, whole, size_of(whole->cnt));
		users->item.free = free_item;
		*ret = users;
	}
	if (whole)
		explicit_bzero(whole, size_of(USERS_MAX));
	alloc_free(whole);
	return err;
}

/* 0 if they are equal. */
static uint8_t differ(const uint8_t *a, const uint8_t *b)
{
	uint8_t bits = 0;

	for (size_t i = 0; i < USERS_WORD_MAX + 1; i++)
		bits |= a[i] ^ b[i];
	return bits;
}

bool users_check(struct swap *current, struct span user, struct span password)
{
	struct credentials offered;
	struct swap_item *held = NULL;
	const struct users *users;
	bool found = false;
	bool fits = put_word(offered.user, user);

	fits &= put_word(offered.password, password);
	swap_exchange(current, &held);
	users = (const struct users *)held;
	for (uint32_t i = 0; users && i < users->cnt; i++) {
		const struct credentials *each = &users->all[i];

		found |= (differ(each->user, offered.user) |
			  differ(each->password, offered.password)) == 0;
	}
	swap_drop(current, &held);
	explicit_bzero(&offered, sizeof(offered));
	return found && fits;
}
