#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""End to end between two hosts with generic XDP on veth, where the driver has none of its own (the
drawing is in lab.py). The tests are e2e.py's.
"""

import sys

import e2e

sys.exit(e2e.play("generic"))
