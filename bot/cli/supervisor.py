"""Keeps the processes of one machine running: starts them, prefixes their lines, starts again what dies, ends all.

A small supervisor of our own because children must inherit the lease on the embedded servers, be started again when
they die, and die with their parent; the usual Procfile runners do none of these.
"""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO, Final

from core import config

PR_SET_PDEATHSIG: Final = 1
STEADY_S: Final = 20.0


class Supervisor:
    def __init__(
        self, commands: Mapping[str, Sequence[str]], environment: Mapping[str, str], lease: int | None
    ) -> None:
        self._commands, self._environment, self._lease = commands, environment, lease
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._started_at: dict[str, float] = {}
        self._pause_s: dict[str, float] = dict.fromkeys(commands, 0.5)
        self._asked = threading.Event()

    @property
    def stopping(self) -> bool:
        return self._asked.is_set()

    def start(self) -> None:
        for name in self._commands:
            self._start(name)

    def stop(self) -> None:
        """Have `watch` end everything."""
        self._asked.set()

    def watch(self) -> None:
        """Until asked to stop: start again what died. Then end all, gently first."""
        while not self._asked.wait(0.2):
            for name, child in list(self._children.items()):
                if child.poll() is not None:
                    self._again(name, child.returncode)
        self._end()

    def _start(self, name: str) -> None:
        child = subprocess.Popen(  # noqa: S603  # our own modules
            list(self._commands[name]), env=dict(self._environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, pass_fds=() if self._lease is None else (self._lease,),
            preexec_fn=functools.partial(_die_with_parent, os.getpid()), start_new_session=True,
        )  # fmt: skip
        self._children[name], self._started_at[name] = child, time.monotonic()
        if child.stdout is not None:
            threading.Thread(target=_forward, args=(name, child.stdout), daemon=True).start()

    def _again(self, name: str, code: int) -> None:
        if time.monotonic() - self._started_at[name] > STEADY_S:
            self._pause_s[name] = 0.5
        pause_s = self._pause_s[name]
        self._pause_s[name] = min(pause_s * 2, config.PART_RETRY_MOST_S)
        _say("sayso", f"{name} ended ({_how(code)}); starting it again in {pause_s:g} s")
        if not self._asked.wait(pause_s):
            self._start(name)

    def _end(self) -> None:
        for child in self._children.values():
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + config.GRACE_S + 2
        for name, child in self._children.items():
            try:
                child.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _say("sayso", f"{name} does not end; killing it")
                child.kill()
                child.wait()


def _die_with_parent(parent: int) -> None:
    """So that a killed `up` leaves no processes behind. Linux only; elsewhere they stay until they are stopped."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def _forward(name: str, lines: IO[bytes]) -> None:
    for line in lines:
        _say(name, line.decode(errors="replace").rstrip("\n"))


def _say(name: str, line: str) -> None:
    sys.stderr.write(f"{name:<6} | {line}\n")
    sys.stderr.flush()


def _how(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
