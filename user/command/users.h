/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * users - who may use the server, and the passwords that prove it.
 *
 * Does      reads a file of users and passwords and compares what a client offers with it.
 * Shape     lines "user:password"; what follows the first colon is the password. In a struct swap
 *           (base/swap.h): a reload replaces the table as a whole, or leaves it.
 * Units     1 to USERS_MAX users; names and passwords of 1 to USERS_WORD_MAX bytes.
 * Errors    users_load: negative errno, and why for people: the file cannot be read, a line is no
 *           "user:password", there are too many or none.
 * Owner     the table is the caller's until swap_replace has it; passwords are wiped when it goes.
 * Threads   users_check: any; it takes as long for every answer.
 * Source    memcached's -Y (authfile.c) and MEMCACHED_SASL_PWDB: the same files.
 */
#ifndef XC_COMMAND_USERS_H
#define XC_COMMAND_USERS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"
#include "base/swap.h"

#define USERS_MAX 1024
#define USERS_WORD_MAX 255

struct users;

int users_load(const char *path, struct users **ret, char *why, size_t why_size);
void users_free(struct users *users); /* NULL-safe; for one that never got into a swap */
struct swap_item *users_item(struct users *users);

/* Against the current table; there is one. */
bool users_check(struct swap *current, struct span user, struct span password);

#endif
