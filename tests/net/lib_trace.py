# SPDX-License-Identifier: BSD-2-Clause
"""Stops a child at the calls by which it changes files, through ptrace(2)."""

import ctypes
import os
import platform
import signal

SEIZE, INTERRUPT, SYSCALL, SYSCALL_INFO = 0x4206, 0x4207, 24, 0x420e
TRACE_SYSGOOD, WAIT_ALL = 1, 0x40000000
SYSCALL_STOP = signal.SIGTRAP | 0x80
EVENT_STOP = 128
# Calls that write to a file, cut it, or take or change a name.
CALLS = {
    "x86_64": {18: "pwrite64", 296: "pwritev", 76: "truncate", 77: "ftruncate", 82: "rename",
               264: "renameat", 316: "renameat2", 87: "unlink", 263: "unlinkat"},
    "aarch64": {68: "pwrite64", 70: "pwritev", 45: "truncate", 46: "ftruncate", 38: "renameat",
                276: "renameat2", 35: "unlinkat"},
}


class Info(ctypes.Structure):
    _fields_ = [("op", ctypes.c_uint8), ("pad", ctypes.c_uint8 * 3), ("arch", ctypes.c_uint32),
                ("ip", ctypes.c_uint64), ("sp", ctypes.c_uint64), ("number", ctypes.c_uint64),
                ("args", ctypes.c_uint64 * 6), ("more", ctypes.c_uint64 * 2)]


class Tracer:
    """Of a child's main thread, from now on; it stands still until it is told to go on."""

    def __init__(self, pid):
        self.pid = pid
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p,
                                     ctypes.c_void_p]
        self.call = None
        self.ask(SEIZE, None, TRACE_SYSGOOD)
        self.ask(INTERRUPT)
        os.waitpid(pid, WAIT_ALL)

    def ask(self, request, address=None, data=None):
        if self.libc.ptrace(request, self.pid, address, data) < 0:
            raise OSError(ctypes.get_errno(), f"ptrace({request:#x})")

    def to_next(self):
        """Goes on until before or behind the next such call, and names it; None: it has ended."""
        pass_on = None
        while True:
            self.ask(SYSCALL, None, pass_on)
            status = os.waitpid(self.pid, WAIT_ALL)[1]
            if not os.WIFSTOPPED(status):
                self.status = status
                return None
            stopped_by = os.WSTOPSIG(status)
            pass_on = None
            if stopped_by != SYSCALL_STOP:
                pass_on = None if status >> 16 == EVENT_STOP else stopped_by
                continue
            if self.call:
                name, self.call = self.call, None
                return f"behind {name}"
            if self.entered():
                return f"before {self.call}"

    def entered(self):
        info = Info()
        self.ask(SYSCALL_INFO, ctypes.sizeof(info), ctypes.addressof(info))
        if info.op == 1:
            self.call = CALLS[platform.machine()].get(info.number)
        return self.call
