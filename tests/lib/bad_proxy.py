#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
#
# bad_proxy.py FAULT PORT SERVER_PORT - stands between memcached clients and a memcached on
# 127.0.0.1, and does one thing wrong now and then. So a checker of replies can be checked itself.
#
# Prints "ready" once it listens. Clients must not pipeline on a TCP connection.

import selectors
import socket
import sys
import time

EVERY = 40      # one in so many goes wrong
FAULTS = {
    "none": "passes everything",
    "flip": "flips a bit of a value",
    "flags": "changes the flags of a value",
    "stale": "answers with the first value it ever saw of that key",
    "swap": "answers with another key's value under the key asked for",
    "foreign": "answers with another key's whole reply",
    "cut": "leaves out the last byte of a value and says so in its length",
    "garble": "answers with what is no reply",
    "miss": "says END of a key that is there",
    "forget": "acknowledges a set that it keeps to itself",
    "drop": "loses a datagram",
    "late": "delays a datagram by 300 ms",
    "twice": "sends a datagram twice",
    "hangup": "closes a TCP connection instead of answering",
}


class Proxy:
    def __init__(self, fault, port, server_port):
        self.fault = fault
        self.server = ("127.0.0.1", server_port)
        self.selector = selectors.DefaultSelector()
        self.count = 0
        self.first = {}         # key -> reply text
        self.delayed = []       # (when, client address, datagram)
        self.upstream = {}      # UDP client address -> socket
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.udp.bind(("127.0.0.1", port))
        self.tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.tcp.bind(("127.0.0.1", port))
        self.tcp.listen(256)
        self.watch(self.udp, self.udp_request)
        self.watch(self.tcp, self.accept)

    def watch(self, sock, ready):
        self.selector.register(sock, selectors.EVENT_READ, ready)

    def turn_comes(self):
        self.count += 1
        return self.count % EVERY == 0

    # --- UDP: reads ---

    def udp_request(self, sock):
        datagram, client = sock.recvfrom(65536)
        if client not in self.upstream:
            up = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            up.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            up.connect(self.server)
            self.upstream[client] = up
            self.watch(up, lambda up, client=client: self.udp_reply(up, client))
        self.upstream[client].send(datagram)

    def udp_reply(self, up, client):
        datagram = up.recv(65536)
        frame, text = datagram[:8], datagram[8:]
        if text.startswith(b"VALUE "):
            text = self.spoil(text)
        if self.fault in ("drop", "late", "twice") and self.turn_comes():
            if self.fault == "late":
                self.delayed.append((time.monotonic() + 0.3, client, frame + text))
            elif self.fault == "twice":
                self.udp.sendto(frame + text, client)
                self.udp.sendto(frame + text, client)
            return
        self.udp.sendto(frame + text, client)

    def spoil(self, text):
        line, rest = text.split(b"\r\n", 1)
        _, key, flags, length = line.split(b" ")
        value = rest[:int(length)]
        first = self.first.setdefault(key, text)
        if self.fault not in ("flip", "flags", "stale", "swap", "foreign", "cut", "garble",
                              "miss"):
            return text
        if self.fault == "stale":
            return first
        if len(value) < 32 or not self.turn_comes():
            return text
        if self.fault == "flip":
            value = value[:-1] + bytes([value[-1] ^ 4])
        elif self.fault == "flags":
            flags = b"%d" % (int(flags) ^ 16)
        elif self.fault == "cut":
            value = value[:-1]
        elif self.fault == "garble":
            return b"VALUE " + key + b"\r\nEND\r\n"
        elif self.fault == "miss":
            return b"END\r\n"
        else:
            # one that is long enough to say whose it is
            other = next((reply for other, reply in self.first.items()
                          if other != key and len(reply) > 64 + len(other)), text)
            if self.fault == "foreign":
                return other
            line, rest = other.split(b"\r\n", 1)
            flags, length = line.split(b" ")[2:]
            value = rest[:int(length)]
        return b"VALUE %s %s %d\r\n%s\r\nEND\r\n" % (key, flags, len(value), value)

    # --- TCP: writes ---

    def accept(self, sock):
        client, _ = sock.accept()
        up = socket.create_connection(self.server)
        state = {"in": b""}
        self.watch(client, lambda _: self.tcp_request(client, up, state))
        self.watch(up, lambda _: self.tcp_reply(client, up))

    def hang_up(self, client, up):
        for sock in (client, up):
            self.selector.unregister(sock)
            sock.close()

    def tcp_request(self, client, up, state):
        try:
            data = client.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self.hang_up(client, up)
            return
        state["in"] += data
        while b"\r\n" in state["in"]:
            line, rest = state["in"].split(b"\r\n", 1)
            whole = len(line) + 2
            if line.startswith(b"set "):
                whole += int(line.split(b" ")[4]) + 2
            if len(state["in"]) < whole:
                return
            request, state["in"] = state["in"][:whole], state["in"][whole:]
            if line.startswith(b"set ") and self.fault in ("forget", "hangup") and \
                    self.turn_comes():
                if self.fault == "hangup":
                    self.hang_up(client, up)
                    return
                client.sendall(b"STORED\r\n")
            else:
                up.sendall(request)

    def tcp_reply(self, client, up):
        data = up.recv(65536)
        if data:
            client.sendall(data)
        else:
            self.hang_up(client, up)

    def run(self):
        print("ready", flush=True)
        while True:
            for key, _ in self.selector.select(0.02):
                # closed by an earlier event of this turn
                if key.fileobj.fileno() >= 0:
                    key.data(key.fileobj)
            while self.delayed and self.delayed[0][0] <= time.monotonic():
                _, client, datagram = self.delayed.pop(0)
                self.udp.sendto(datagram, client)


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in FAULTS:
        sys.exit("usage: bad_proxy.py FAULT PORT SERVER_PORT, FAULT one of\n" +
                 "\n".join("  %-8s %s" % row for row in FAULTS.items()))
    Proxy(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])).run()
