"""Ports for servers whose address has to be known before they are started.

None that the kernel gives away by itself, to a connection or a server of some other test, before ours takes it; and none
that was given to another test of this run.
"""

from __future__ import annotations

import itertools
import os
import socket
from typing import Final

# Below what Linux and macOS give away, above what services have of old; a share for each process of a run.
FIRST: Final = 20_000
SHARE: Final = 500
SHARES: Final = 20
NUMBERS: Final = itertools.count(os.getpid() % SHARE)


def free_port() -> int:
    """One on loopback that nobody listens at."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    while True:
        port = FIRST + worker % SHARES * SHARE + next(NUMBERS) % SHARE
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
