/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cppcheck - macros of libraries, as cppcheck is to see them.
 *
 * Does      stands in for the headers that cppcheck does not read (lint.sh includes it before every
 *           file); nothing else does.
 */
#ifndef XC_TOOLS_CPPCHECK_H
#define XC_TOOLS_CPPCHECK_H

#define LIBBPF_OPTS(type, name, ...) struct type name = { .sz = sizeof(struct type), __VA_ARGS__ }
#define json_array_foreach(array, i, value)                                                        \
	for (i = 0; i < json_array_size(array) && (value = json_array_get(array, i)); i++)
#define json_object_foreach(object, key, value)                                                    \
	for (key = json_object_iter_key(json_object_iter(object));                                 \
	     key && (value = json_object_get(object, key)); key = json_object_next_key(object))
#define bpf_object__for_each_map(map, object)                                                      \
	for (map = bpf_object__next_map(object, NULL); map; map = bpf_object__next_map(object, map))
#define bpf_object__for_each_program(prog, object)                                                 \
	for (prog = bpf_object__next_program(object, NULL); prog;                                  \
	     prog = bpf_object__next_program(object, prog))

#endif
