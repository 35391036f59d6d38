"""Where the embedded servers stand: which account runs them, and the two folders that are theirs.

Data are in the home, sockets in a folder with a short name, since a socket's path is limited to about a hundred bytes.
As root the servers run under an unprivileged account; they enter their data folder before they change to it, so no
folder above has to be opened to anybody.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ACCOUNT: Final = "nobody"
SOCKET_PATH_BYTES: Final = 103  # macOS; Linux allows 107
POSTGRES_SOCKET: Final = ".s.PGSQL.5432"
NOTE: Final = "sockets"
ELSEWHERE: Final = "set DATABASE_URL and REDIS_URL to servers of your own; docker-compose.yml has both"


class EmbeddedError(Exception):
    """The embedded servers cannot run here; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Ground:
    """`home` is ours. `sockets` and the servers' folders in `home` belong to `uid`/`gid`: us, unless we are root."""

    home: Path
    sockets: Path
    uid: int
    gid: int

    @property
    def switches(self) -> bool:
        """Whether the servers run under another account than ours."""
        return self.uid != os.geteuid()

    def popen_as(self) -> dict[str, Any]:
        """What `subprocess.Popen` needs to run something as the servers' account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switches else {}

    def folder(self, name: str) -> Path:
        """A folder of the servers in the home, made when it is not there. Raises `EmbeddedError`."""
        path = self.home / name
        private_folder(path, self.uid, self.gid)
        return path


def settle(home: Path) -> Path:
    """Make the home, 0700, or check that it is ours; answer its real path. Raises `EmbeddedError`."""
    home = Path(os.path.realpath(home))
    private_folder(home, os.geteuid(), os.getegid())
    return home


def stand(home: Path) -> Ground:
    """Make home and sockets' folder, or check that they are ours. Raises `EmbeddedError`.

    The caller holds the lock on starting: as root, a folder is for a moment not yet its account's.
    """
    ground = remembered(settle(home))
    if _noted(ground.home) != ground.sockets:
        (ground.home / NOTE).write_text(f"{ground.sockets}\n", encoding="utf-8")
    private_folder(ground.sockets, ground.uid, ground.gid)
    if len(os.fsencode(ground.sockets / f"{POSTGRES_SOCKET}.lock")) > SOCKET_PATH_BYTES:
        raise EmbeddedError(f"the socket path under {ground.sockets.parent} is too long; set TMPDIR to a short path")
    return ground


def remembered(home: Path) -> Ground:
    """The ground of a settled home, without making or checking anything; the home may be gone."""
    uid, gid = _account()
    return Ground(home, _sockets(home), uid, gid)


def private_folder(path: Path, uid: int, gid: int) -> None:
    """A folder that is the account's alone: made, or found to be so. A link or somebody else's folder is refused."""
    try:
        path.mkdir(mode=0o700, parents=True)
        os.chown(path, uid, gid)
    except FileExistsError:
        pass
    except OSError as error:
        raise EmbeddedError(
            f"{path} cannot be made ({error.strerror}); set SAYSO_HOME to a folder you may write"
        ) from error
    info = path.lstat()
    if not stat.S_ISDIR(info.st_mode):
        raise EmbeddedError(f"{path} is no folder; remove it, or set SAYSO_HOME to another place")
    if info.st_uid != uid:
        raise EmbeddedError(
            f"{path} belongs to {_name_of(info.st_uid)}, not to {_name_of(uid)};"
            " run as the account that made it, remove it, or set SAYSO_HOME to another place"
        )
    if stat.S_IMODE(info.st_mode) & 0o077:
        os.chmod(path, 0o700)


def our_name() -> str:
    """The name by which the kernel and Postgres know us. Raises `EmbeddedError`."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError as error:
        raise EmbeddedError(f"the account {os.geteuid()} has no name in /etc/passwd; {ELSEWHERE}") from error


def _sockets(home: Path) -> Path:
    """One folder per home, wherever it was called from: the first caller's TMPDIR is remembered in the home."""
    name = f"sayso-{hashlib.sha256(os.fsencode(home)).hexdigest()[:12]}"
    noted = _noted(home)
    return noted if noted.name == name and noted.parent.is_dir() else Path(tempfile.gettempdir()) / name


def _noted(home: Path) -> Path:
    try:
        return Path((home / NOTE).read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        return Path()


def _account() -> tuple[int, int]:
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError as error:
        raise EmbeddedError(
            f"as root the servers run under {ACCOUNT!r}, which is missing; add it, or {ELSEWHERE}"
        ) from error
    return entry.pw_uid, entry.pw_gid


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"account {uid}"
