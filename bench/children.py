"""Processes started by a measurement, and the certainty that none of them outlives it.

Each is in a session of its own, so that Ctrl-C reaches only the measurement, which then ends them by their ids. Where
the kernel can do it, they also die with whoever started them, however that ends.
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final

HOUSE: Final = Path(__file__).resolve().parent.parent
STOP_S: Final = 20.0
PR_SET_PDEATHSIG: Final = 1
LAST_WORDS_CHARS: Final = 2_000
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class ChildFailed(Exception):
    """A process of the measurement ended badly; the message holds its last words."""


def die_with_parent() -> None:
    """Runs in the child between fork and exec."""
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Children:
    """The processes of one measurement; leaving the `with` ends them all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[tuple[subprocess.Popen[bytes], Path]] = []

    def start(self, name: str, *arguments: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """`python -m name arguments`; what it says on standard error goes to a file of the folder."""
        log = self._folder / f"{name.rpartition('.')[2]}-{len(self._running)}.log"
        with open(log, "wb") as out:
            child = subprocess.Popen(
                [sys.executable, "-m", name, *arguments], cwd=HOUSE, env=dict(environment), stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=out, start_new_session=True, preexec_fn=die_with_parent,
            )  # fmt: skip
        self._running.append((child, log))
        return child

    def said(self, child: subprocess.Popen[bytes]) -> str:
        """The last words of a process, for an error message."""
        log = next(log for each, log in self._running if each is child)
        return log.read_text(encoding="utf-8", errors="replace")[-LAST_WORDS_CHARS:].strip()

    def check(self, child: subprocess.Popen[bytes]) -> None:
        """Raises `ChildFailed` when it is no longer there."""
        if child.poll() is not None:
            raise ChildFailed(f"a process ended with {child.returncode}: {self.said(child)}")

    def end(self, child: subprocess.Popen[bytes]) -> None:
        """Ask it to stop; kill it when it does not."""
        child.send_signal(signal.SIGCONT)
        child.terminate()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdout is not None:
            child.stdout.close()

    def __enter__(self) -> Children:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        for child, _log in self._running:
            if child.poll() is None:
                child.terminate()
        for child, _log in self._running:
            self.end(child)
