# SPDX-License-Identifier: BSD-2-Clause
"""lib_load.py - a steady load that somebody watches from outside."""

import threading
import time

import lib_e2e as e2e

KEYS = [b"product:1042", b"product:7", b"session:ab12", b"cart:99", b"banner:home"]


class Load(threading.Thread):
    """GETs of the keys over UDP and TCP, absent ones among them, and some sets; each key is asked
    for twice as often as the next."""

    def __init__(self, rig):
        super().__init__()
        self.rig, self.ending, self.failed = rig, False, None

    def run(self):
        try:
            with self.rig.tcp() as s, s.makefile("rb") as file, self.rig.udp() as udp:
                number = 0
                while not self.ending:
                    number += 1
                    for rank, key in enumerate(KEYS):
                        for _ in range(16 >> rank):
                            udp.send(e2e.frame(number, b"get %s\r\n" % key))
                            udp.recv(2000)
                    s.sendall(b"get %s absent:%d\r\nset own:%d 0 0 3\r\nabc\r\n"
                              % (KEYS[-1], number, number % 1000))
                    while file.readline() != b"STORED\r\n":
                        pass
                    time.sleep(0.01)
        except Exception as error:  # told by __exit__
            self.failed = error

    def __enter__(self):
        self.start()
        return self

    def end(self):
        self.ending = True
        self.join()

    def __exit__(self, *error):
        self.end()
        assert self.failed is None or error[0], self.failed
