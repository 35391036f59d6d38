"""`./sayso up` as a person meets it: the link, the second one, killed parts, killed whole, and down."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.children import die_with_parent
from core import config
from tests.patience import PATIENCE_S
from tests.ports import free_port

HOUSE = Path(__file__).resolve().parents[1]
LINK = re.compile(r"^\s+(http://\S+/login\?code=\S+)$", re.MULTILINE)


def eventually(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"{what} has not come true in {PATIENCE_S:g} s"
        time.sleep(0.05)


class Place:
    """A folder with a home of its own, from which commands are run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "TMPDIR")}
        self.environment = inherited | {"PYTHONPATH": str(HOUSE), "PORT": str(self.port)}
        self.up: subprocess.Popen[bytes] | None = None

    @property
    def home(self) -> Path:
        return self.folder / ".sayso"

    @property
    def said(self) -> str:
        return (self.folder / "out").read_text() if (self.folder / "out").exists() else ""

    def start(self, *options: str) -> str:
        """`up`; answers the link once it is printed."""
        with open(self.folder / "out", "wb") as out:
            self.up = subprocess.Popen(
                [sys.executable, "-m", "bot.cli", "up", *options],
                cwd=self.folder,
                env=self.environment,
                stdout=out,
                stderr=out,
                preexec_fn=die_with_parent,
            )
        eventually(lambda: LINK.search(self.said) is not None or self.ended, "the printed link")
        found = LINK.search(self.said)
        assert found, self.said
        return found[1]

    @property
    def ended(self) -> bool:
        return self.up is None or self.up.poll() is not None

    def run(self, *args: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "bot.cli", *args], cwd=self.folder, env=self.environment,
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    def pids(self) -> dict[str, int]:
        """Everything that lives on this home, found by environment or command line."""
        found = {}
        sockets = (self.home / "sockets").read_bytes().strip() if (self.home / "sockets").exists() else b"\0none"
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                line, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
            except OSError:
                continue
            name = line.split(b"\0")[2:3]
            if f"PORT={self.port}\0".encode() in environment and name in ([b"bot"], [b"worker"]):
                found[name[0].decode()] = int(folder.name)
            elif sockets in line:
                found["postgres" if b"bin/postgres" in line else "valkey"] = int(folder.name)
            elif b"core.embedded.reaper" in line and os.fsencode(self.home) in line:
                found["reaper"] = int(folder.name)
        return found


def asked(url: str, token: str = "") -> dict[str, Any]:
    """The answer; nothing while nobody answers."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        told: dict[str, Any] = httpx.get(url, headers=headers, trust_env=False, timeout=PATIENCE_S).json()
    except httpx.TransportError:
        return {}
    return told


def gives_way(pids: dict[str, int]) -> bool:
    try:
        bot, worker = (os.getpriority(os.PRIO_PROCESS, pids[name]) for name in ("bot", "worker"))
    except (KeyError, ProcessLookupError):
        return False
    return worker == min(19, bot + config.WORKER_NICE)


ALL = {"bot", "worker", "postgres", "valkey", "reaper"}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    if made.up is not None:
        made.up.kill()
        made.up.wait()
    eventually(lambda: not made.pids(), "the end of everything")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked up in /proc")
def test_up_serves_mends_what_is_killed_refuses_a_second_and_ends_cleanly_keeping_data(place: Place) -> None:
    link, base = place.start(), f"http://127.0.0.1:{place.port}"
    with httpx.Client(follow_redirects=True, trust_env=False, timeout=PATIENCE_S) as browser:
        page = browser.get(link)
        assert page.status_code == 200
        code = link.rpartition("=")[2]
        signed_in = browser.post(f"{base}/login", data={"code": code}, headers={"origin": base})
        assert (signed_in.status_code, signed_in.url) == (200, httpx.URL(f"{base}/"))
    assert stat.S_IMODE((place.home / "api-token").stat().st_mode) == 0o600
    token = (place.home / "api-token").read_text()

    code, out, err = place.run("up")
    assert (code, out) == (1, "")
    assert f"already (process {place.up.pid if place.up else 0}). Stop it with ./sayso down" in err

    code, out, _ = place.run("ask", "do files.write path=kept.txt content=hello", "--json")
    assert code == 0
    task = json.loads(out)
    assert task["status"] == "succeeded"
    assert (place.home / "workspace" / "kept.txt").read_text() == "hello"

    before = place.pids()
    assert set(before) == ALL
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    eventually(
        lambda: set(place.pids()) == ALL and not set(place.pids().values()) & set(before.values()), "all five anew"
    )
    eventually(lambda: gives_way(place.pids()), "a worker that gives way to its bot, also when started again")
    eventually(lambda: asked(f"{base}/readyz").get("workers_alive"), "a bot that is ready and a worker that lives")
    eventually(lambda: place.run("doctor")[0] == 0, "a good report")
    assert asked(f"{base}/api/tasks/{task['id']}", token)["goal"] == task["goal"], "it was committed"
    assert "worker ended (killed by SIGKILL); starting it again" in place.said

    assert place.run("down")[:2] == (0, "Stopped.\n")
    assert place.up is not None
    assert place.up.wait(PATIENCE_S) == 0
    eventually(lambda: not place.pids(), "the end of everything")
    assert place.run("down")[:2] == (0, "Nothing is running here.\n")

    place.start("--workers", "2")
    eventually(lambda: asked(f"{base}/readyz").get("workers_alive") == 2, "two workers")
    assert (place.home / "api-token").read_text() == token, "a token stays good"
    assert asked(f"{base}/api/tasks/{task['id']}", token)["goal"] == task["goal"]
    assert place.up is not None
    place.up.send_signal(signal.SIGINT)
    assert place.up.wait(PATIENCE_S) == 0, "Ctrl-C is a good end"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent died")
def test_a_simulation_has_no_way_to_real_servers_and_mailboxes_and_no_secret_of_theirs(tmp_path: Path) -> None:
    """In a process of its own, since its environment changes."""
    real = {
        "DATABASE_URL": "postgresql://real.example/x",
        "SMTP_URL": "smtp://real.example:25",
        "SAYSO_SECRET_KEY": "real-key-0123456789",
        "TWILIO_SIGNING_KEY": "real-signing-key",
        "SLACK_BOT_TOKEN_FILE": str(tmp_path / "real-token"),
        "SLACK_APP_TOKEN": "xapp-real",
        "ANTHROPIC_API_KEY": "real-model-key",
    }
    (tmp_path / "real-token").write_text("xoxb-real")
    looked = (
        "from bot.cli import simulation; from core.settings import Settings; simulation.prepare(Settings.load(), None);"
        " s = Settings.load(); print(s.database_url, s.smtp(), s.home.name, s.slack_api_url.startswith('http://127.0.0.1'),"
        " *[v for v in s.secret_values() if 'real' in v])"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(HOUSE), "SAYSO_HOME": str(tmp_path)} | real
    ran = subprocess.run(  # ours
        [sys.executable, "-c", looked], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["None", "None", "sim", "True", "real-model-key"]


def test_a_killed_up_leaves_nothing_behind(place: Place) -> None:
    place.start()
    assert place.up is not None
    place.up.kill()
    place.up.wait()
    eventually(lambda: not place.pids(), "the end of everything")


def test_wrong_settings_are_told_all_at_once_before_anything_starts(place: Place) -> None:
    place.environment |= {"PORT": "many", "SLACK_BOT_TOKEN": "x", "SLACK_MODE": "socket"}
    code, _, err = place.run("up")
    assert code == 2
    assert "PORT: " in err
    assert "Traceback" not in err
    assert not place.home.exists(), "nothing was started or made"
