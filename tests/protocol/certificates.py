# SPDX-License-Identifier: BSD-2-Clause
"""certificates.py - authorities, certificates and keys for a test, by the openssl command."""

import os
import shutil
import ssl
import subprocess

import tap

# OpenSSL's number: Python sets it and, before 3.12, has no name for it.
IGNORE_UNEXPECTED_EOF = 0x80


def run(*words):
    subprocess.run(["openssl", *words], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.PIPE, timeout=60)


class Folder:
    """An authority `ca`, one named `stranger`, and what they sign: NAME.pem with NAME.key."""

    def __init__(self, path):
        if not shutil.which("openssl"):
            raise tap.Skip("openssl is not installed")
        self.path = path
        for name in ("ca", "stranger"):
            run("req", "-x509", *self.new_key(name), "-out", self.file(f"{name}.pem"), "-days", "2",
                "-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE")
        self.make("server")
        self.make("client")
        self.make("intruder", authority="stranger")

    def new_key(self, name):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
                self.file(f"{name}.key")]

    def file(self, name):
        return os.path.join(self.path, name)

    def make(self, name, authority="ca"):
        """A certificate for localhost; an earlier one of this name is replaced."""
        run("req", *self.new_key(name), "-out", self.file(f"{name}.req"), "-subj", f"/CN={name}")
        with open(self.file("names"), "w", encoding="ascii") as file:
            file.write("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        run("x509", "-req", "-in", self.file(f"{name}.req"), "-out", self.file(f"{name}.pem"),
            "-CA", self.file(f"{authority}.pem"), "-CAkey", self.file(f"{authority}.key"),
            "-CAcreateserial", "-days", "2", "-extfile", self.file("names"))

    def options(self, *more):
        """What the server is started with."""
        words = [f"ssl_chain_cert={self.file('server.pem')}", f"ssl_key={self.file('server.key')}"]
        return ["-Z", "-o", ",".join([*words, *more])]

    def context(self, client=None, authority="ca"):
        """A client's: it trusts the authority, and shows the certificate of `client`."""
        context = ssl.create_default_context(cafile=self.file(f"{authority}.pem"))
        # an end that TLS does not tell is an error then
        context.options &= ~IGNORE_UNEXPECTED_EOF
        if client:
            context.load_cert_chain(self.file(f"{client}.pem"), self.file(f"{client}.key"))
        return context
