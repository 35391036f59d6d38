"""The embedded servers through the ends that processes really meet: joined, killed, half-made, stale, as root."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import asyncpg
import pytest
from redis.asyncio import Redis

from bench.children import die_with_parent
from core.embedded import EmbeddedError, child, reaper, start_servers
from core.embedded.binaries import can_enter, package_folder, postgres_binaries, reachable
from core.embedded.ground import Ground, private_folder, remembered, stand
from core.embedded.lease import REAPER, STARTING, USERS
from core.embedded.postgres import Postgres
from core.embedded.reaper import reap
from core.embedded.valkey import Valkey
from tests.patience import PATIENCE_S

HOUSE = Path(__file__).resolve().parents[1]
NOBODY = 65534
BY_PROC = pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc to find them by")
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another account")
HOLDER = (
    "import sys; from pathlib import Path; from core.embedded import start_servers\n"
    "with start_servers(Path(sys.argv[1]), fast=True) as s: print('up', s.postgres.pid(), flush=True); sys.stdin.read()"
)


def eventually(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"{what} has not come true in {PATIENCE_S:g} s"
        time.sleep(0.02)


class User:
    """A process that holds a lease until it is ended."""

    def __init__(self, home: Path, **popen: object) -> None:
        self.process = subprocess.Popen(  # type: ignore[call-overload]
            [sys.executable, "-c", HOLDER, str(home)], cwd=HOUSE, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=die_with_parent, **popen,
        )  # fmt: skip

    def postgres_pid(self) -> int:
        """Waits until it is up."""
        word, _, pid = self.process.stdout.readline().partition(" ")
        assert word == "up"
        return int(pid)

    def end(self) -> None:
        self.process.communicate("")

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home for servers, of which nothing is left after the test."""
    path = tmp_path / "home"
    yield path
    leave_nothing(path)


Users = Callable[[Path], User]


@pytest.fixture
def users(home: Path) -> Iterator[Users]:
    """Starts users, and ends those that a test leaves."""
    started: list[User] = []

    def start(home: Path) -> User:
        started.append(User(home))
        return started[-1]

    yield start
    for user in started:
        if user.process.poll() is None:
            user.kill()


def leave_nothing(home: Path) -> None:
    eventually(lambda: all_gone(home), "the servers' end")
    eventually(lambda: reaper_of(home) is None, "the reaper's end")
    sockets = remembered(home).sockets
    if sockets.is_dir():
        sockets.rmdir()


def parts(home: Path) -> tuple[Postgres, Valkey]:
    """Looked at only: `stand` would make the folders anew."""
    return Postgres(remembered(home)), Valkey(remembered(home))


def all_gone(home: Path) -> bool:
    postgres, valkey = parts(home)
    return postgres.pid() is None and valkey.pid() is None


def reaper_of(home: Path) -> int | None:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"core.embedded.reaper" in line and os.fsencode(home) in line:
            return int(folder.name)
    return None


def ask(url: str | None, statement: str) -> object:
    async def asked() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(asked())


def test_what_was_written_is_there_after_the_servers_ended_and_came_back(home: Path) -> None:
    with start_servers(home, fast=True) as running:
        ask(running.database_url, "create table kept as select 'ä' as word")
    eventually(lambda: all_gone(home), "the servers' end")
    with start_servers(home, fast=True) as running:
        assert ask(running.database_url, "select upper(word) from kept") == "Ä"


def test_whoever_may_start_next_finds_no_reaper_that_is_about_to_go(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand(home)
    for name in (REAPER, USERS, STARTING):
        (home / name).touch()
    really_close, seen = os.close, []

    def is_free(name: str) -> bool:
        descriptor = os.open(home / name, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            really_close(descriptor)
        return True

    def close(descriptor: int) -> None:
        really_close(descriptor)
        seen.append((is_free(STARTING), is_free(REAPER)))

    monkeypatch.setattr(reaper, "LINGER_S", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(os, "close", close)
        reap(home)
    assert (True, False) not in seen[1:], "somebody might start while the old reaper is still there"
    assert seen[-1] == (True, True)


def test_the_servers_end_with_their_last_user_even_a_killed_one(home: Path, users: Users) -> None:
    first, second = users(home), users(home)
    assert first.postgres_pid() == second.postgres_pid(), "two users at once share one server"
    first.end()
    time.sleep(1)  # longer than the reaper lingers
    assert not all_gone(home), "the second user still needs them"
    second.kill()
    eventually(lambda: all_gone(home), "the servers' end")
    eventually(lambda: not remembered(home).sockets.exists(), "the end of their sockets")


def test_all_killed_at_once_come_back_with_what_was_committed(home: Path, users: Users) -> None:
    user = users(home)
    user.postgres_pid()
    postgres, valkey = parts(home)
    ask(postgres.url(), "create table kept as select 1 as n")
    reaper = reaper_of(home)
    assert reaper is not None
    for pid in (reaper, postgres.pid(), valkey.pid()):
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    user.kill()
    eventually(lambda: all_gone(home) and reaper_of(home) is None, "everybody's death")
    with start_servers(home, fast=True) as running:
        assert ask(running.database_url, "select n from kept") == 1
        assert running.valkey.answers()


def test_a_killed_reaper_is_replaced_by_the_next_user(home: Path) -> None:
    with start_servers(home, fast=True) as running:
        killed = reaper_of(home)
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: reaper_of(home) is None, "the reaper's death")

        def another() -> bool:
            running.keep()  # as `up` does again and again: the dead one's lock may be gone a moment after its name
            return reaper_of(home) is not None

        eventually(another, "another reaper")
    eventually(lambda: all_gone(home), "the servers' end")


def test_a_stale_pid_file_that_names_a_stranger_harms_nobody(home: Path) -> None:
    with start_servers(home, fast=True) as running:
        running.postgres.stop("immediate")
        running.valkey.stop("immediate")
    stranger = subprocess.Popen(["/bin/sleep", "60"])
    try:
        (home / "pg" / "postmaster.pid").write_text(f"{stranger.pid}\n/nowhere\n")
        (home / "valkey.pid").write_text(str(stranger.pid))
        with start_servers(home, fast=True) as running:
            assert ask(running.database_url, "select 1") == 1
            assert running.postgres.pid() != stranger.pid
        eventually(lambda: all_gone(home), "the servers' end")
        assert stranger.poll() is None, "the stranger lives"
    finally:
        stranger.kill()
        stranger.wait()


def test_half_a_cluster_is_never_taken_for_one(home: Path) -> None:
    stand(home)
    (home / "pg-half-xyz" / "base").mkdir(parents=True)
    with start_servers(home, redis=False, fast=True) as running:
        assert ask(running.database_url, "select 1") == 1
        assert running.redis_url is None
    assert not list(home.glob("pg-half-*"))


def test_a_folder_that_is_no_cluster_is_left_alone_and_named(home: Path) -> None:
    stand(home)
    (home / "pg").mkdir()
    (home / "pg" / "mine.txt").write_text("not yours")
    with pytest.raises(EmbeddedError, match="pg is no Postgres cluster; move it away"):
        start_servers(home, fast=True)
    assert (home / "pg" / "mine.txt").read_text() == "not yours"


def test_a_cluster_of_another_version_is_refused_with_the_way_out(home: Path) -> None:
    stand(home)
    (home / "pg").mkdir()
    (home / "pg" / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedError, match="made by Postgres 17, this is 18: dump it"):
        start_servers(home, fast=True)


async def test_power_cuts_can_be_played_inside_a_running_loop(home: Path) -> None:
    with start_servers(home, fast=True) as running:
        for how in ("immediate", "fast"):
            running.postgres.stop(how)
            running.valkey.stop(how)
            assert not running.postgres.answers()
            assert not running.valkey.answers()
            running.postgres.start()
            running.valkey.start()
        connection = await asyncpg.connect(running.database_url)
        assert await connection.fetchval("select 1") == 1
        await connection.close()


async def test_neither_server_listens_on_the_network_and_the_role_may_make_vectors(home: Path) -> None:
    with start_servers(home, fast=True) as running:
        connection = await asyncpg.connect(running.database_url)
        assert await connection.fetchval("show listen_addresses") == ""
        await connection.execute("create extension vector")
        assert await connection.fetchval("select '[1,2]'::vector <-> '[1,0]'::vector") == 2
        await connection.close()
        redis = Redis.from_url(running.valkey.url(255))
        assert (await redis.config_get("port"))["port"] == "0"
        await redis.aclose()


def test_a_home_with_a_long_name_and_spaces_is_fine(tmp_path: Path) -> None:
    home = tmp_path / ("a long name " * 8) / ("b" * 100)
    with start_servers(home, fast=True) as running:
        assert ask(running.database_url, "select 1") == 1
    leave_nothing(home)


def test_a_link_in_the_place_of_our_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    with pytest.raises(EmbeddedError, match="link is no folder; remove it"):
        private_folder(tmp_path / "link", os.geteuid(), os.getegid())


def test_an_open_folder_of_ours_is_closed(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o755)
    private_folder(tmp_path / "home", os.geteuid(), os.getegid())
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


def test_a_missing_wheel_names_the_way_round() -> None:
    with pytest.raises(EmbeddedError, match=r"DATABASE_URL and REDIS_URL.*docker-compose.yml"):
        package_folder("no_such_wheel", "Postgres")


@AS_ROOT
def test_somebody_elses_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    os.chown(tmp_path / "home", NOBODY, NOBODY)
    with pytest.raises(EmbeddedError, match="belongs to nobody, not to root; run as the account that made it"):
        stand(tmp_path / "home")


@AS_ROOT
def test_as_root_the_servers_run_unprivileged_and_no_folder_is_opened_for_it(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    before = {p: p.stat().st_mode for p in (closed, *closed.parents)}
    with start_servers(closed / "home", fast=True) as running:
        for pid in (running.postgres.pid(), running.valkey.pid()):
            assert os.stat(f"/proc/{pid}").st_uid == NOBODY
        assert before == {p: p.stat().st_mode for p in (closed, *closed.parents)}
        assert stat.S_IMODE((closed / "home").stat().st_mode) == 0o700
        psql = postgres_binaries(stand(closed / "home")) / "psql"
        refused = subprocess.run(
            [psql, "-h", stand(closed / "home").sockets, "-U", "sayso", "-c", "select 1"],
            cwd="/", user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert 'Peer authentication failed for user "sayso"' in refused.stderr
    leave_nothing(closed / "home")


@AS_ROOT
@pytest.mark.skipif(
    not can_enter(Path(sys.executable).resolve().parent, NOBODY, NOBODY), reason="only we reach this Python"
)
def test_an_ordinary_user_needs_nothing_of_root(tmp_path_factory: pytest.TempPathFactory) -> None:
    theirs = Path("/tmp") / f"sayso-test-{os.getpid()}"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, NOBODY, NOBODY)
    try:
        user = User(theirs / "home", user=NOBODY, group=NOBODY, extra_groups=[])
        pid = user.postgres_pid()
        assert os.stat(f"/proc/{pid}").st_uid == NOBODY
        user.end()
        eventually(lambda: not Path(f"/proc/{pid}").exists(), "the servers' end")
    finally:
        shutil.rmtree(theirs)


@AS_ROOT
def test_binaries_that_the_account_cannot_reach_are_copied_once(tmp_path: Path) -> None:
    package = tmp_path / "closed" / "wheel"
    (package / "tree").mkdir(parents=True)
    (package / "tree" / "server").write_text("#!/bin/sh\n")
    (package / "tree" / "server").chmod(0o700)
    (package / "tree" / "share.txt").write_text("x")
    (package / "tree" / "share.txt").chmod(0o600)
    ground = Ground(tmp_path, tmp_path, NOBODY, NOBODY)
    copies = tmp_path / "copies"
    first = reachable(ground, package, package / "tree", copies)
    assert first.is_relative_to(copies)
    assert stat.S_IMODE((first / "server").stat().st_mode) == 0o755
    assert stat.S_IMODE((first / "share.txt").stat().st_mode) == 0o644
    assert (first / "server").stat().st_uid == 0, "the account may run it, not change it"
    made_at = (first / "server").stat().st_ctime_ns
    assert reachable(ground, package, package / "tree", copies) == first
    assert (first / "server").stat().st_ctime_ns == made_at


@BY_PROC
@pytest.mark.parametrize("removed", ["all of it", "what says who they are"])
def test_servers_end_with_a_killed_owner_whose_home_is_removed(
    tmp_path: Path, users: Users, removed: Literal["all of it", "what says who they are"]
) -> None:
    """As with a temporary folder that is cleaned up, or half cleaned up, right after its last user."""
    home = tmp_path / "home"
    user = users(home)
    postgres = user.postgres_pid()
    valkey = parts(home)[1].pid()
    ground = remembered(home)
    assert valkey is not None and all(child.is_ours(pid, ground) for pid in (postgres, valkey))
    user.kill()
    if removed == "all of it":
        shutil.rmtree(home, ignore_errors=True)
    else:
        for told in (home / "valkey.pid", home / "pg" / "postmaster.pid"):
            told.unlink()
    eventually(lambda: not any(child.is_ours(pid, ground) for pid in (postgres, valkey)), "both are gone")
    eventually(lambda: reaper_of(home) is None and not ground.sockets.exists(), "nothing is left")
    assert home.exists() == (removed != "all of it"), "a removed home is not made again"


@BY_PROC
def test_a_reaper_that_comes_when_the_home_is_gone_ends_the_servers_all_the_same(home: Path, users: Users) -> None:
    """Its interpreter takes its time to start; the owner's end and the removal may be quicker."""
    user = users(home)
    pids = [user.postgres_pid(), parts(home)[1].pid() or 0]
    ground, reaper = remembered(home), reaper_of(home)
    assert reaper is not None
    os.kill(reaper, signal.SIGKILL)
    user.kill()
    moved = home.rename(home.with_name("moved"))
    reap(home)
    assert not any(child.is_ours(pid, ground) for pid in pids)
    assert not home.exists()
    moved.rename(home)
