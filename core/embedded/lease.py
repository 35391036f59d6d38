"""Leases on the embedded servers, and the reaper that stops them when the last one ends.

A lease is a shared lock on a file, held by an open descriptor: the kernel gives it back when its process ends, however
it ends, and child processes may inherit it. Starting and stopping exclude each other by a lock of their own.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

USERS: Final = "users.lock"
STARTING: Final = "start.lock"
REAPER: Final = "reaper.lock"
HOUSE: Final = Path(__file__).resolve().parents[2]


def lock(path: Path, how: int, *, makes: bool = True) -> int:
    """A descriptor that holds the lock until it is closed everywhere. Raises BlockingIOError with LOCK_NB.

    With `makes` false the file must be there, or it raises FileNotFoundError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | (os.O_CREAT if makes else 0), 0o600)
    try:
        fcntl.flock(descriptor, how)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def see_to_reaper(home: Path) -> None:
    """Start a reaper unless one stands by. Called by every process that takes a lease, so a killed one is replaced."""
    try:
        os.close(lock(home / REAPER, fcntl.LOCK_EX | fcntl.LOCK_NB))
    except BlockingIOError:
        return
    environment = {k: v for k, v in os.environ.items() if k in ("PATH", "TMPDIR", "LANG", "LD_LIBRARY_PATH")}
    with open(os.open(home / "reaper.log", os.O_WRONLY | os.O_TRUNC | os.O_CREAT, 0o600), "wb") as log:
        subprocess.Popen(  # noqa: S603  # our own interpreter and module
            [sys.executable, "-m", "core.embedded.reaper", str(home)], cwd=HOUSE, env=environment,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
