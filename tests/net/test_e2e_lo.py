#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""End to end on one host: generic XDP on lo. The tests are e2e.py's.

    client's socket ──► lo ── xc_fastpath ── reply ──► lo ──► client's socket
                                  │ pass
                                  ▼
                              xdpcached
"""

import sys

import e2e

sys.exit(e2e.play("lo"))
