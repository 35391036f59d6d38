"""`python -m core.embedded.reaper HOME`: stops the embedded servers when nobody holds a lease any more.

It sleeps in the kernel until it is granted the exclusive lock on the lease file, which is when the last holder is gone,
also after a kill -9. A killed reaper is replaced by the next process that takes a lease. A home that was removed with its
servers running is noticed where there is a /proc to find them by.
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
from core.embedded.ground import Ground, stand
from core.embedded.lease import REAPER, STARTING, USERS, lock
from core.embedded.postgres import Postgres
from core.embedded.valkey import Valkey

LINGER_S: Final = 0.5


def reap(home: Path) -> None:
    """Wait for the last lease to end, then stop the servers. Returns at once when another reaper stands by."""
    try:
        mine = lock(home / REAPER, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    ground = stand(home)
    while True:
        os.close(lock(home / USERS, fcntl.LOCK_EX))
        time.sleep(LINGER_S)  # one command after another should not restart them each time
        if not (home / USERS).exists():  # the home was removed, and with it all that says who they are
            stop_homeless(ground)
            return
        starting = lock(home / STARTING, fcntl.LOCK_EX)
        try:
            users = lock(home / USERS, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(starting)
            continue
        stop(home)
        for held in (users, mine, starting):  # whoever starts next finds no reaper and brings their own
            os.close(held)
        return


def stop_homeless(ground: Ground) -> None:
    """End the servers whose home is gone: they are told by the folder of their sockets, which their command lines name."""
    for entry in Path("/proc").glob("[0-9]*"):
        if child.is_ours(int(entry.name), ground):
            child.end(int(entry.name), signal.SIGTERM, ground, "a server without a home")


def stop(home: Path) -> None:
    """Stop both and leave no sockets behind. The caller holds the lock on starting."""
    ground = stand(home)
    Valkey(ground).stop()
    Postgres(ground).stop()
    for left in ground.sockets.iterdir():
        left.unlink(missing_ok=True)
    with suppress(OSError):
        ground.sockets.rmdir()


if __name__ == "__main__":
    reap(Path(sys.argv[1]))
