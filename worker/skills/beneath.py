"""Opens files below one folder and nowhere else, whatever the path says and whoever renames things meanwhile.

On Linux the kernel does it (`openat2` with RESOLVE_BENEATH, NO_SYMLINKS, NO_MAGICLINKS); elsewhere each component
is opened by hand with O_NOFOLLOW. Only regular files with a single link are handed out, so neither a symlink, a
hardlink to an outside file, a FIFO nor a device is ever read. Nothing here changes a file; see `changes`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import Final

from worker.skills.errors import BadPath, NotDone

PATH_CHARS: Final = 1024
NAME_BYTES: Final = 255
PATH_PARTS: Final = 32
OPEN_TRIES: Final = 8

# openat2(2): the number is the same on every architecture that has it, except alpha.
OPENAT2_CALL: Final = 437
RESOLVE: Final = 0x02 | 0x04 | 0x08  # NO_MAGICLINKS | NO_SYMLINKS | BENEATH

FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO for reading would otherwise wait for its writer for ever.
FILE_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class OpenHow(ctypes.Structure):
    """`struct open_how` of openat2(2)."""

    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def clean_path(path: str) -> str:
    """The one spelling of a path below the workspace: `./a//b` becomes `a/b`; what leaves or hides is refused."""
    if "\0" in path:
        raise BadPath(f"{path!r} holds a NUL character")
    if path.startswith("/"):
        raise BadPath(f"{path!r} is absolute; paths are relative to the workspace")
    if path.endswith("/"):
        raise BadPath(f"{path!r} names a folder; name a file")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts:
        raise BadPath(f"{path!r} names no file")
    if ".." in parts:
        raise BadPath(f"{path!r} contains '..'; paths stay below the workspace")
    if len(path) > PATH_CHARS or len(parts) > PATH_PARTS:
        raise BadPath(f"{path[:60]!r}… is too long: at most {PATH_CHARS} characters in {PATH_PARTS} folders")
    for part in parts:
        try:
            size = len(part.encode())
        except UnicodeEncodeError as error:
            raise BadPath(f"{path!r} is not valid Unicode") from error
        if size > NAME_BYTES:
            raise BadPath(f"the name {part[:60]!r}… has {size} bytes; at most {NAME_BYTES} fit")
    return "/".join(parts)


def readable_path(path: str) -> str:
    """`clean_path`, for names that are to be made: nothing invisible, no direction marks, no edge blanks."""
    clean = clean_path(path)
    for char in clean:
        if unicodedata.category(char) in {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}:
            raise BadPath(f"the new name {clean!r} holds the unreadable character U+{ord(char):04X}")
    if any(part != part.strip() for part in clean.split("/")):
        raise BadPath(f"the new name {clean!r} begins or ends with a blank")
    return clean


def open_beneath(root: int, path: str, flags: int) -> int:
    """A descriptor for `path` below the folder `root`; OSError when it is absent, outside or a link."""
    clean = clean_path(path)
    return _open_by_kernel(root, clean, flags) if kernel_can() else open_by_walking(root, clean, flags)


@contextlib.contextmanager
def regular_file(root: int, path: str) -> Iterator[int]:
    """A readable descriptor of a regular file with one link, closed afterwards; else NotDone says why not."""
    try:
        fd = open_beneath(root, path, FILE_FLAGS)
    except OSError as error:
        raise NotDone(why_not(path, error)) from error
    try:
        refuse_odd(path, os.fstat(fd))
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def parent_folder(root: int, path: str, make: bool = False) -> Iterator[tuple[int, str]]:
    """The descriptor of the folder that holds `path`, and the last name. With `make`, missing folders are made."""
    *folders, name = clean_path(path).split("/")
    try:
        fd = open_folder(root, folders, make)
    except OSError as error:
        raise NotDone(why_not(path, error)) from error
    try:
        yield fd, name
    finally:
        os.close(fd)


def refuse_odd(path: str, facts: os.stat_result) -> None:
    if stat.S_ISDIR(facts.st_mode):
        raise NotDone(f"{path!r} is a folder, not a file")
    if not stat.S_ISREG(facts.st_mode):
        raise NotDone(f"{path!r} is not a regular file")
    if facts.st_nlink != 1:
        raise NotDone(f"{path!r} has {facts.st_nlink} hard links, so it may also be a file outside the workspace")


def why_not(path: str, error: OSError) -> str:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"there is no file {path!r}"
    if error.errno in (errno.ELOOP, errno.EXDEV, errno.EAGAIN, errno.EMLINK):
        return f"{path!r} goes through a link or leaves the workspace"
    return f"{path!r} cannot be opened: {os.strerror(error.errno or 0)}"


@cache
def kernel_can() -> bool:
    """Whether openat2 works here; old kernels say ENOSYS, some container filters EPERM."""
    if not sys.platform.startswith("linux"):
        return False
    here = os.open(".", FOLDER_FLAGS)
    try:
        os.close(_open_by_kernel(here, ".", FOLDER_FLAGS))
        return True
    except OSError:
        return False
    finally:
        os.close(here)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _open_by_kernel(root: int, path: str, flags: int) -> int:
    how = OpenHow(flags=flags, mode=0, resolve=RESOLVE)
    code = 0
    for _ in range(OPEN_TRIES):
        fd = _libc().syscall(
            ctypes.c_long(OPENAT2_CALL),
            ctypes.c_int(root),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if fd >= 0:
            return int(fd)
        code = ctypes.get_errno()
        # EAGAIN: something was renamed while the kernel looked; it asks to be asked again.
        if code not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(code, os.strerror(code), path)


def open_by_walking(root: int, path: str, flags: int) -> int:
    """The same promise without openat2: each folder is opened from the one before it, links are never followed."""
    *folders, name = clean_path(path).split("/")
    fd = open_folder(root, folders)
    try:
        return os.open(name, flags | os.O_NOFOLLOW, dir_fd=fd)
    finally:
        os.close(fd)


def open_folder(root: int, folders: list[str], make: bool = False) -> int:
    fd = os.dup(root)
    try:
        for folder in folders:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(folder, 0o755, dir_fd=fd)
            deeper = os.open(folder, FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = deeper
    except OSError:
        os.close(fd)
        raise
    return fd
