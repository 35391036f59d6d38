"""Starts or joins the embedded servers, takes a lease on them, and sees to it that a reaper stands by."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from core.embedded.ground import settle, stand
from core.embedded.lease import STARTING, USERS, lock, see_to_reaper
from core.embedded.postgres import Postgres
from core.embedded.valkey import Valkey


@dataclass
class RunningServers:
    """`lease` is the descriptor that keeps them running; pass it to child processes that need them."""

    database_url: str | None
    redis_url: str | None
    postgres: Postgres
    valkey: Valkey
    home: Path
    lease: int

    def keep(self) -> None:
        """For whoever runs for long: start again what was killed, the reaper too. Raises `EmbeddedError`."""
        see_to_reaper(self.home)
        has_died = [
            server
            for server, url in ((self.postgres, self.database_url), (self.valkey, self.redis_url))
            if url is not None and server.pid() is None
        ]
        if has_died:
            starting = lock(self.home / STARTING, fcntl.LOCK_EX)
            try:
                for server in has_died:
                    server.start()
            finally:
                os.close(starting)

    def close(self) -> None:
        """Give the lease back; the servers end when it was the last."""
        if self.lease >= 0:
            os.close(self.lease)
            self.lease = -1

    def __enter__(self) -> RunningServers:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()


def start_servers(home: Path, *, postgres: bool = True, redis: bool = True, fast: bool = False) -> RunningServers:
    """Raises `EmbeddedError`. `fast` is for tests: no fsync."""
    home = settle(home)
    starting = lock(home / STARTING, fcntl.LOCK_EX)
    try:
        ground = stand(home)
        database, cache = Postgres(ground, fast=fast), Valkey(ground)
        lease = lock(home / USERS, fcntl.LOCK_SH)
        try:
            see_to_reaper(home)
            if postgres:
                database.start()
            if redis:
                cache.start()
        except BaseException:
            os.close(lease)
            raise
    finally:
        os.close(starting)
    return RunningServers(
        database.url() if postgres else None, cache.url() if redis else None, database, cache, home, lease
    )
