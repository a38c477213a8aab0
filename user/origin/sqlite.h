/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sqlite - an origin that is an SQLite database on this host.
 *
 * Does      runs prepared statements with the key's parts as parameters.
 * Shape     target: the path of a database that exists. A value is the first column of the first
 *           row, or that row as a JSON object; a row whose first column is NULL is none.
 * Errors    an answer is FAILED where the database is locked, cannot be read, or the query takes
 *           too long; REFUSED where the statement does not fit it any more.
 * Threads   see origin.h: its thread waits for the disk.
 * Source    sqlite.org/c3ref.
 */
#ifndef XC_ORIGIN_SQLITE_H
#define XC_ORIGIN_SQLITE_H

#include "origin/origin.h"

extern const struct origin_ops origin_sqlite;

#endif
