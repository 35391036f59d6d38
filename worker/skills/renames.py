"""Two renames that the standard library does not have: one that never overwrites, and one that swaps two names.

Both are single kernel calls (`renameat2` on Linux, `renameatx_np` on macOS), so a crash leaves either the state
before or the state after. Where a file system has no swap, `swap` says so and `changes` takes a longer road.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from functools import cache
from typing import Final

NOREPLACE: Final = 4 if sys.platform == "darwin" else 1
SWAP: Final = 2
# What file systems answer that know renames but not these flags.
NOT_KNOWN: Final = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM)


def rename_new(from_fd: int, name: str, to_fd: int, new_name: str) -> None:
    """Rename; FileExistsError when the new name is taken, and then nothing changed.

    Where both names already are one file, an earlier `rename_by_link` was cut off and is finished.
    """
    code = _rename(from_fd, name, to_fd, new_name, NOREPLACE)
    try:
        if code in NOT_KNOWN:
            rename_by_link(from_fd, name, to_fd, new_name)
        elif code:
            raise OSError(code, os.strerror(code), new_name)
    except FileExistsError:
        if not one_file(from_fd, name, to_fd, new_name):
            raise
        os.unlink(name, dir_fd=from_fd)


def rename_by_link(from_fd: int, name: str, to_fd: int, new_name: str) -> None:
    """`rename_new` where the kernel cannot: a crash in between leaves one file with two names."""
    os.link(name, new_name, src_dir_fd=from_fd, dst_dir_fd=to_fd, follow_symlinks=False)
    os.unlink(name, dir_fd=from_fd)


def one_file(a_fd: int, a: str, b_fd: int, b: str) -> bool:
    one = os.stat(a, dir_fd=a_fd, follow_symlinks=False)
    other = os.stat(b, dir_fd=b_fd, follow_symlinks=False)
    return os.path.samestat(one, other)


def swap(a_fd: int, a: str, b_fd: int, b: str) -> bool:
    """Exchange what two names stand for. False when this file system cannot; then nothing changed."""
    code = _rename(a_fd, a, b_fd, b, SWAP)
    if code in NOT_KNOWN:
        return False
    if code:
        raise OSError(code, os.strerror(code), b)
    return True


def _rename(from_fd: int, name: str, to_fd: int, new_name: str, flags: int) -> int:
    call = _call()
    if call is None:
        return errno.ENOSYS
    result = call(from_fd, os.fsencode(name), to_fd, os.fsencode(new_name), ctypes.c_uint(flags))
    return ctypes.get_errno() if result else 0


@cache
def _call() -> ctypes._NamedFuncPointer | None:
    libc = ctypes.CDLL(None, use_errno=True)
    return getattr(libc, "renameatx_np" if sys.platform == "darwin" else "renameat2", None)
