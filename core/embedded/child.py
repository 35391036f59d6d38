"""The life of one server process: started in its folder under its account, recognised by its command line, ended.

A pid alone is never believed: after a crash another process may bear it. What is signalled has the path of our own
sockets in its command line.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from core.embedded.ground import ELSEWHERE, EmbeddedError, Ground

START_S: Final = 60.0
STOP_S: Final = 20.0
POLL_S: Final = 0.02
LOG_BYTES: Final = 1_000_000
LOG_TAIL_BYTES: Final = 1_000


def plain_environment() -> dict[str, str]:
    """No secret of ours reaches the servers."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def start(ground: Ground, command: Sequence[str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a server in `folder`, in a session of its own; what it says goes to the end of `log`."""
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    with open(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as out:
        return subprocess.Popen(  # noqa: S603  # our own binaries and arguments
            list(command), cwd=folder, env=plain_environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            start_new_session=True, **ground.popen_as(),
        )  # fmt: skip


def is_ours(pid: int, ground: Ground) -> bool:
    """Whether a process lives and has our sockets' path in its command line."""
    if sys.platform == "linux":
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()  # empty for a zombie
        except OSError:
            return False
    else:
        shown = subprocess.run(["/bin/ps", "-o", "command=", "-p", str(pid)], capture_output=True, check=False)  # noqa: S603
        line = shown.stdout
    return os.fsencode(ground.sockets) in line


def read_pid(file: Path, ground: Ground) -> int | None:
    """The pid on the first line of a file, if it is that of a server of ours that lives."""
    try:
        pid = int(file.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return pid if is_ours(pid, ground) else None


def end(pid: int, sign: signal.Signals, ground: Ground, what: str) -> None:
    """Signal a server and wait until it is gone; kill it when it does not go. Raises `EmbeddedError` if even that fails."""
    for each, most_s in ((sign, STOP_S), (signal.SIGKILL, STOP_S)):
        try:
            os.kill(pid, each)
        except ProcessLookupError:
            return
        if wait_for(lambda: _is_gone(pid, ground), most_s):
            return
    raise EmbeddedError(f"{what} (process {pid}) does not end")


def wait_for(ready: Callable[[], bool], most_s: float) -> bool:
    deadline = time.monotonic() + most_s
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def failed(what: str, log: Path) -> EmbeddedError:
    """The error for a server that does not come up, with its last words."""
    return EmbeddedError(f"the embedded {what} does not start: {last_words(log) or 'it says nothing'}; {ELSEWHERE}")


def last_words(log: Path) -> str:
    return log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip() if log.exists() else ""


def _is_gone(pid: int, ground: Ground) -> bool:
    try:
        os.waitpid(pid, os.WNOHANG)  # collects it, if it is a child of this very process
    except ChildProcessError:
        pass
    return not is_ours(pid, ground)
