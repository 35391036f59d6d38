"""`python -m core.embedded.reaper HOME`: stops the embedded servers when nobody holds a lease any more.

It waits for the exclusive lock on the lease file, which the kernel grants when the last holder is gone, also after a
kill -9. A killed reaper is noticed and replaced by the next process that takes a lease.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from pathlib import Path

from core.embedded.ground import stand
from core.embedded.postgres import Postgres
from core.embedded.servers import lock
from core.embedded.valkey import Valkey

LINGER_S = 0.5


def reap(home: Path, *, fast: bool) -> None:
    """Wait for the last lease to end, then stop the servers. Returns at once when another reaper stands by."""
    try:
        mine = lock(home / "reaper.lock", fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    try:
        while True:
            os.close(lock(home / "users.lock", fcntl.LOCK_EX))
            time.sleep(LINGER_S)  # one command after another should not restart them each time
            starting = lock(home / "start.lock", fcntl.LOCK_EX)
            try:
                users = lock(home / "users.lock", fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(starting)
                continue
            try:
                ground = stand(home)
                Valkey(ground).stop()
                Postgres(ground, fast=fast).stop()
                os.close(mine)
                mine = -1
                return
            finally:
                os.close(users)
                os.close(starting)
    finally:
        if mine >= 0:
            os.close(mine)


if __name__ == "__main__":
    reap(Path(sys.argv[1]), fast="--fast" in sys.argv[2:])
