"""Keeps the processes of one machine running: starts them, prefixes their lines, starts again what dies, ends all.

A small supervisor of our own because children must inherit the lease on the embedded servers, be started again when
they die, and die with their parent; the usual Procfile runners do none of these.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Final

from core import config

PR_SET_PDEATHSIG: Final = 1
STEADY_S: Final = 20.0
RESTART_FIRST_S: Final = 0.5
WATCH_EVERY_S: Final = 0.1
KEEP_EVERY_S: Final = 2.0


class Supervisor:
    def __init__(
        self, commands: Mapping[str, Sequence[str]], environment: Mapping[str, str], lease: int | None,
        nice: Mapping[str, int],
    ) -> None:  # fmt: skip
        """`nice`: by how much some of them give way to the others where all want the processor."""
        self._commands, self._environment, self._lease, self._nice = commands, environment, lease, nice
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._started_at: dict[str, float] = {}
        self._pause_s: dict[str, float] = dict.fromkeys(commands, RESTART_FIRST_S)
        self._due_at: dict[str, float] = {}
        self._asked = threading.Event()
        # Looked up here: a child between fork and exec should do as little as it can.
        self._prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    @property
    def stopping(self) -> bool:
        return self._asked.is_set()

    def start(self) -> None:
        for name in self._commands:
            self._start(name)

    def stop(self) -> None:
        """Have `watch` end everything."""
        self._asked.set()

    def watch(self, keep: Callable[[], None]) -> None:
        """Until asked to stop: start again what died, and every few seconds `keep` what they stand on. Then end all."""
        kept_at = time.monotonic()
        while not self._asked.wait(WATCH_EVERY_S):
            now = time.monotonic()
            for name, child in list(self._children.items()):
                if name in self._due_at:
                    if now >= self._due_at[name]:
                        del self._due_at[name]
                        self._start(name)
                elif child.poll() is not None:
                    self._again(name, child.returncode)
            if now - kept_at > KEEP_EVERY_S:
                keep()
                kept_at = now
        self._end()

    def _start(self, name: str) -> None:
        child = subprocess.Popen(  # noqa: S603  # our own modules
            list(self._commands[name]), env=dict(self._environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, pass_fds=() if self._lease is None else (self._lease,),
            preexec_fn=functools.partial(_die_with_parent, self._prctl, os.getpid()), start_new_session=True,
        )  # fmt: skip
        if name in self._nice:
            with contextlib.suppress(ProcessLookupError):  # it has ended, which is noticed elsewhere
                os.setpriority(os.PRIO_PROCESS, child.pid, os.getpriority(os.PRIO_PROCESS, 0) + self._nice[name])
        self._children[name], self._started_at[name] = child, time.monotonic()
        if child.stdout is not None:
            threading.Thread(target=_forward, args=(name, child.stdout), daemon=True).start()

    def _again(self, name: str, code: int) -> None:
        now = time.monotonic()
        if now - self._started_at[name] > STEADY_S:
            self._pause_s[name] = RESTART_FIRST_S
        pause_s = self._pause_s[name]
        self._pause_s[name] = min(pause_s * 2, config.PART_RETRY_MOST_S)
        self._due_at[name] = now + pause_s
        say("sayso", f"{name} ended ({_how(code)}); starting it again in {pause_s:g} s")

    def _end(self) -> None:
        for child in self._children.values():
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + config.GRACE_S + 2
        for name, child in self._children.items():
            try:
                child.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                say("sayso", f"{name} does not end; killing it")
                child.kill()
                child.wait()


def _die_with_parent(prctl: Callable[..., int] | None, parent: int) -> None:
    """So that a killed `up` leaves no processes behind. Linux only; elsewhere they stay until they are stopped."""
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def _forward(name: str, lines: IO[bytes]) -> None:
    for line in lines:
        say(name, line.decode(errors="replace").rstrip("\n"))


def say(name: str, line: str) -> None:
    """One line on standard error, with the name of who says it before it."""
    sys.stderr.write(f"{name:<6} | {line}\n")
    sys.stderr.flush()


def _how(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
