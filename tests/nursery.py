"""Bots and workers as processes of their own, without reading a thousand modules each time: forked from one that has.

`start` asks the nursery of this test process, which is started when it is first needed, for a fork that goes on as
`python -m bot` or `python -m worker` would. Everything else is a real process: its session, environment, signals and death.
When the test process ends, even by kill -9, the nursery ends what it started.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, Final, TypeAlias

from tests.patience import PATIENCE_S

ROOT: Final = Path(__file__).resolve().parent.parent
MODULES: Final = ("bot", "worker")
REQUEST_BYTES: Final = 1_000_000
NUMBER: Final = struct.Struct("!i")


class Forked:
    """What `subprocess.Popen` is for others: `returncode` is None while it runs, negative for a signal."""

    def __init__(self, link: socket.socket, pid: int) -> None:
        self._link, self.pid = link, pid
        self.returncode: int | None = None
        self.stdout: BinaryIO | None = None

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._link], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            (self.returncode,) = NUMBER.unpack(self._link.recv(NUMBER.size))
            self._link.close()
        return self.returncode

    def send_signal(self, sign: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sign)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


Process: TypeAlias = Forked | subprocess.Popen[bytes]


def start(module: str, environment: Mapping[str, str], out: BinaryIO) -> Forked:
    """`python -m module` with this environment, its words to `out`."""
    link = socket.socket(socket.AF_UNIX)
    link.settimeout(PATIENCE_S)
    link.connect(str(_nursery()[0]))
    request = json.dumps({"module": module, "environment": dict(environment)}).encode()
    socket.send_fds(link, [request], [out.fileno()])
    (pid,) = NUMBER.unpack(link.recv(NUMBER.size))
    link.settimeout(None)
    return Forked(link, pid)


@functools.cache
def _nursery() -> tuple[Path, subprocess.Popen[str]]:
    """The address of this test process's nursery, and the nursery: its stdin stays open as long as we live."""
    address = Path(tempfile.mkdtemp(prefix="sayso-nursery-")) / "socket"
    nursery = subprocess.Popen(
        [sys.executable, "-m", "tests.nursery", str(address)], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert nursery.stdout is not None
    assert nursery.stdout.readline() == "ready\n"
    return address, nursery


# ---------------------------------------------------------------- the nursery's side


def serve(address: Path) -> None:
    """Until nobody holds our stdin any more."""
    known = {name: importlib.import_module(f"{name}.__main__") for name in MODULES}
    gc.freeze()
    children: dict[int, socket.socket] = {}
    wakes, wake = socket.socketpair()
    wake.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(address))
        door.listen()
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([sys.stdin, door, wakes], [], [])
            if sys.stdin in ready:
                break
            if wakes in ready:
                wakes.recv(1000)
                _collect(children)
            if door in ready:
                link, _ = door.accept()
                request, descriptors, _, _ = socket.recv_fds(link, REQUEST_BYTES, 1)
                asked = json.loads(request)
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    _go_on_as(known[asked["module"]], asked["environment"], descriptors[0])
                os.close(descriptors[0])
                link.send(NUMBER.pack(pid))
                children[pid] = link
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    address.unlink()
    address.parent.rmdir()


def _collect(children: dict[int, socket.socket]) -> None:
    """Tell those who started them how they ended."""
    for pid, link in list(children.items()):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            with contextlib.suppress(OSError):  # nobody asks any more
                link.send(NUMBER.pack(os.waitstatus_to_exitcode(status)))
            link.close()
            del children[pid]


def _go_on_as(module: ModuleType, environment: dict[str, str], out: int) -> None:
    """In the fork; never returns."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for standard in (1, 2):
            os.dup2(out, standard)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.closerange(3, 1000)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = [module.__file__ or ""]
        module.main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
