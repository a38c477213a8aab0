#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Stock clients write, over UDP and TCP, to a daemon whose kernel half answers: all agree.

Method: libmemcached with MEMCACHED_BEHAVIOR_USE_UDP (it has no UDP get), pymemcache and memccat
over TCP; after every write the kernel must answer a UDP GET with the new value.
"""

import ctypes
import shutil
import sys

import lib_e2e as e2e

KEY = b"client-key"
USE_UDP = 27  # MEMCACHED_BEHAVIOR_USE_UDP in libmemcached-1.0/types/behavior.h
BUFFERED = 32  # MEMCACHED_BUFFERED, types/return.h
ROUNDS = 50


def libmemcached():
    try:
        lib = ctypes.CDLL("libmemcached.so.11")
    except OSError:
        raise e2e.tap.Skip("libmemcached is not installed") from None
    void, size, text = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p
    lib.memcached_create.restype = void
    lib.memcached_create.argtypes = [void]
    lib.memcached_free.argtypes = [void]
    lib.memcached_behavior_set.argtypes = [void, ctypes.c_int, ctypes.c_uint64]
    lib.memcached_server_add.argtypes = [void, text, ctypes.c_uint16]
    lib.memcached_set.argtypes = [void, text, size, text, size, ctypes.c_long, ctypes.c_uint32]
    lib.memcached_delete.argtypes = [void, text, size, ctypes.c_long]
    lib.memcached_strerror.restype = text
    lib.memcached_strerror.argtypes = [void, ctypes.c_int]
    return lib


def kernel_get(rig, want, count=1):
    """A UDP GET each; the wanted value, or END."""
    reply = b"END\r\n" if want is None else e2e.value_reply(KEY, want)
    with rig.udp() as s:
        for number in range(count):
            s.send(e2e.frame(number, b"get %s\r\n" % KEY))
            got = s.recv(4096)
            assert got == e2e.frame(number, reply), (got, reply)


def resident(daemon):
    daemon.set(KEY, b"first")
    daemon.pin(KEY)


def libmemcached_writes_over_udp_reach_the_kernel():
    """Its writes over UDP ask for no reply: each is waited for, then the kernel has it."""
    lib = libmemcached()
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig)
        resident(daemon)
        start = daemon.stats()
        with e2e.in_netns(rig.client_ns):
            client = lib.memcached_create(None)
            try:
                assert lib.memcached_behavior_set(client, USE_UDP, 1) == 0
                assert lib.memcached_server_add(client, b"127.0.0.1", e2e.PORT) == 0
                for number in range(ROUNDS):
                    value = b"over udp %d" % number
                    status = lib.memcached_set(client, KEY, len(KEY), value, len(value), 0, 0)
                    assert status in (0, BUFFERED), lib.memcached_strerror(client, status)
                    e2e.wait_until(lambda want=value: daemon.ask(b"get %s\r\n" % KEY) ==
                                   e2e.value_reply(KEY, want), what="the write arrived")
                    kernel_get(rig, value)
                counts = e2e.difference(daemon.stats(), start)
                assert counts["daemon.cmd_set"] == counts["daemon.udp_requests"] == ROUNDS, counts
                assert counts["fastpath.hits"] == ROUNDS, counts
                status = lib.memcached_delete(client, KEY, len(KEY), 0)
                assert status in (0, BUFFERED), lib.memcached_strerror(client, status)
                e2e.wait_until(lambda: daemon.ask(b"get %s\r\n" % KEY) == b"END\r\n",
                               what="the delete arrived")
                kernel_get(rig, None)
            finally:
                lib.memcached_free(client)
        daemon.stop()


def pymemcache_writes_over_tcp_are_what_the_kernel_answers():
    try:
        from pymemcache.client.base import Client
    except ImportError:
        raise e2e.tap.Skip("python3-pymemcache is not installed") from None
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig)
        resident(daemon)
        with e2e.in_netns(rig.client_ns):
            client = Client(("127.0.0.1", e2e.PORT), timeout=5)
            key = KEY.decode()
            before = daemon.stats()
            for number in range(ROUNDS):
                assert client.set(key, b"over tcp %d" % number, noreply=False)
                kernel_get(rig, b"over tcp %d" % number)  # acknowledged: at once, no waiting
            counts = e2e.difference(daemon.stats(), before)
            assert counts["fastpath.hits"] == ROUNDS, counts
            assert client.append(key, b"+", noreply=False)
            kernel_get(rig, b"over tcp %d+" % (ROUNDS - 1))
            assert client.set(key, b"41", noreply=False) and client.incr(key, 1) == 42
            kernel_get(rig, b"42")
            assert client.delete(key, noreply=False)
            kernel_get(rig, None)
            client.close()
        daemon.stop()


def memccat_reads_what_the_kernel_answers():
    if not shutil.which("memccat"):
        raise e2e.tap.Skip("libmemcached-tools is not installed")
    with e2e.Rig("lo") as rig:
        daemon = e2e.Daemon(rig)
        resident(daemon)
        for number in range(5):
            daemon.set(KEY, b"value %d" % number)
            read = rig.on_client("memccat", f"--servers=127.0.0.1:{e2e.PORT}", KEY.decode())
            assert read.strip() == f"value {number}", read
            kernel_get(rig, b"value %d" % number)
        daemon.stop()


sys.exit(e2e.main([
    libmemcached_writes_over_udp_reach_the_kernel,
    pymemcache_writes_over_tcp_are_what_the_kernel_answers,
    memccat_reads_what_the_kernel_answers,
]))
