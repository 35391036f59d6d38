"""`python -m core.embedded.reaper HOME`: stops the embedded servers when nobody holds a lease any more.

It sleeps in the kernel until it is granted the exclusive lock on the lease file, which is when the last holder is gone,
also after a kill -9. A killed reaper is replaced by the next process that takes a lease. A home that is removed beneath
it, at whatever moment, is never made again: the servers are found by the folder of their sockets where there is a /proc.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from core.embedded import child
from core.embedded.ground import Ground, remembered
from core.embedded.lease import REAPER, STARTING, USERS, lock
from core.embedded.postgres import Postgres
from core.embedded.valkey import Valkey

LINGER_S: Final = 0.5


def reap(home: Path) -> None:
    """Wait for the last lease to end, then stop the servers. Returns at once when another reaper stands by."""
    ground = remembered(home)
    try:
        mine = lock(home / REAPER, fcntl.LOCK_EX | fcntl.LOCK_NB, makes=False)
    except BlockingIOError:
        return
    except FileNotFoundError:
        stop(ground)
        return
    try:
        held = [mine, *wait_for_the_last(home)]
    except FileNotFoundError:  # the home was removed, and with it all that says who they are
        held = [mine]
    stop(ground)
    for one in held:  # the reaper's own first: whoever may start next finds none and brings their own
        os.close(one)


def wait_for_the_last(home: Path) -> tuple[int, int]:
    """The exclusive locks on the leases and on starting, once nobody holds a lease. Raises FileNotFoundError."""
    while True:
        os.close(lock(home / USERS, fcntl.LOCK_EX, makes=False))
        time.sleep(LINGER_S)  # one command after another should not restart them each time
        starting = lock(home / STARTING, fcntl.LOCK_EX, makes=False)
        try:
            return lock(home / USERS, fcntl.LOCK_EX | fcntl.LOCK_NB, makes=False), starting
        except BlockingIOError:
            os.close(starting)


def stop(ground: Ground) -> None:
    """Stop both and leave no sockets behind. The caller holds the lock on starting, unless the home is gone."""
    Valkey(ground).stop()
    Postgres(ground).stop()
    end_strays(ground)
    with suppress(FileNotFoundError):
        for left in ground.sockets.iterdir():
            left.unlink(missing_ok=True)
    with suppress(OSError):
        ground.sockets.rmdir()


def end_strays(ground: Ground) -> None:
    """End the servers whose pid file is not there, or not yet: their command lines name the folder of their sockets."""
    for entry in Path("/proc").glob("[0-9]*"):
        if child.is_ours(int(entry.name), ground):
            child.end(int(entry.name), signal.SIGINT, ground, "a server without a pid file")


if __name__ == "__main__":
    reap(Path(sys.argv[1]))
