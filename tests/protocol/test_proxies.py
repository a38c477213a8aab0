#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Proxies that speak to memcached speak to us: nginx's memcached_pass, twemproxy (nutcracker).

Method: each is started in front of our server with a configuration as its users write it, and asked
through its own front."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import servers
import tap

SERVER = None
START_SEC = 10


class Proxy:
    """A proxy's process and the folder with its configuration; `with` ends it."""

    def __init__(self, program, config, arguments):
        path = shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")
        if not path:
            raise tap.Skip(f"{program} is not installed")
        self.port = servers.free_port()
        self.folder = tempfile.TemporaryDirectory(prefix="xcproxy")
        config = config.format(port=self.port, folder=self.folder.name,
                               server="%s:%d" % SERVER.address, host=SERVER.address[0],
                               server_port=SERVER.address[1])
        with open(f"{self.folder.name}/config", "w", encoding="utf-8") as file:
            file.write(config)
        self.process = subprocess.Popen(
            [path] + [word.format(folder=self.folder.name) for word in arguments],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        deadline = time.monotonic() + START_SEC
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__()
                    raise
                time.sleep(0.05)

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()


NGINX = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    upstream cache {{ server {server}; keepalive 4; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            set $memcached_key "page:$uri";
            memcached_pass cache;
            error_page 404 502 504 = @origin;
        }}
        location @origin {{ return 200 "from the origin"; }}
    }}
}}
"""

TWEMPROXY = """
pool:
  listen: 127.0.0.1:{port}
  hash: fnv1a_64
  distribution: ketama
  timeout: 5000
  auto_eject_hosts: false
  servers:
   - {server}:1
"""


def text(port, request, until):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(request)
        reply = b""
        while not reply.endswith(until):
            part = sock.recv(1 << 20)
            assert part, reply
            reply += part
        return reply


def nginx_serves_pages_from_the_cache():
    page = os.urandom(200000)
    put = b"set page:/hot 0 0 %d\r\n%s\r\n" % (len(page), page)
    assert text(SERVER.address[1], put, b"\r\n") == b"STORED\r\n"
    with Proxy("nginx", NGINX, ["-e", "{folder}/error.log", "-c", "{folder}/config", "-p",
                                "{folder}"]) as nginx:
        client = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=10)
        for _ in range(100):
            client.request("GET", "/hot")
            answer = client.getresponse()
            assert answer.status == 200 and answer.read() == page
            client.request("GET", "/cold")
            answer = client.getresponse()
            assert answer.status == 200 and answer.read() == b"from the origin"
        client.close()
        assert text(SERVER.address[1], b"delete page:/hot\r\n", b"\r\n") == b"DELETED\r\n"
        client.request("GET", "/hot")
        assert client.getresponse().read() == b"from the origin"
        client.close()


def twemproxy_passes_requests_on():
    with Proxy("nutcracker", TWEMPROXY, ["-c", "{folder}/config", "-s",
                                         str(servers.free_port()), "-a", "127.0.0.1"]) as proxy:
        port = proxy.port
        assert text(port, b"set a 5 0 3\r\nabc\r\n", b"\r\n") == b"STORED\r\n"
        assert text(port, b"get a\r\n", b"END\r\n") == b"VALUE a 5 3\r\nabc\r\nEND\r\n"
        assert text(port, b"add a 0 0 1\r\nx\r\n", b"\r\n") == b"NOT_STORED\r\n"
        assert text(port, b"append a 0 0 1\r\nd\r\n", b"\r\n") == b"STORED\r\n"
        assert text(port, b"set n 0 0 2 noreply\r\n10\r\nincr n 5\r\n", b"\r\n") == b"15\r\n"
        unique = text(port, b"gets a\r\n", b"END\r\n").split(b"\r\n")[0].split()[4]
        assert text(port, b"cas a 0 0 1 %s\r\nx\r\n" % unique, b"\r\n") == b"STORED\r\n"
        assert text(port, b"cas a 0 0 1 %s\r\ny\r\n" % unique, b"\r\n") == b"EXISTS\r\n"
        assert text(port, b"touch a 100\r\n", b"\r\n") == b"TOUCHED\r\n"
        keys = [b"many%d" % i for i in range(200)]
        for key in keys:
            assert text(port, b"set %s 0 0 1000\r\n%s\r\n" % (key, key[-1:] * 1000),
                        b"\r\n") == b"STORED\r\n"
        reply = text(port, b"get " + b" ".join(keys) + b"\r\n", b"END\r\n")
        assert reply.count(b"VALUE ") == 200
        for key in keys:
            assert b"VALUE %s 0 1000\r\n%s\r\n" % (key, key[-1:] * 1000) in reply
        big = os.urandom(500000).replace(b"\r", b"x")
        assert text(port, b"set big 0 0 %d\r\n%s\r\n" % (len(big), big), b"\r\n") == b"STORED\r\n"
        assert text(port, b"get big\r\n", b"END\r\n") == (
            b"VALUE big 0 %d\r\n%s\r\nEND\r\n" % (len(big), big))
        assert text(port, b"delete a\r\n", b"\r\n") == b"DELETED\r\n"
        assert text(port, b"get a\r\n", b"END\r\n") == b"END\r\n"


TESTS = [
    nginx_serves_pages_from_the_cache,
    twemproxy_passes_requests_on,
]

if __name__ == "__main__":
    with servers.start_ours() as SERVER:
        STATUS = tap.run(TESTS)
    sys.exit(STATUS)
