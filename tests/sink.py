"""The world that actions reach, as a process of its own: an HTTP server with a ledger of every call it carried out.

`python -m tests.sink LEDGER` writes its port to standard output and serves until it is killed. The path says how it
behaves; the ledger is a SQLite file that outlives everything, so that "no effect twice" is counted where effects happen.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOLD_MOST_S = 60.0
LOOK_EVERY_S = 0.02
TABLES = """
create table if not exists calls (id integer primary key, method text, path text, key text, body text, at real);
create table if not exists releases (path text primary key);
"""


@contextmanager
def ledger(path: Path) -> Iterator[sqlite3.Connection]:
    """The file, opened for one look or one entry."""
    with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as book:
        yield book


def calls(path: Path, *, method: str = "POST") -> list[tuple[str, str]]:
    """(idempotency key, body) of every call that was carried out, in order."""
    with ledger(path) as book:
        return book.execute("select key, body from calls where method = ? order by id", (method,)).fetchall()


def release(path: Path, where: str) -> None:
    """Let the calls held at this path, and all later ones, have their answer."""
    with ledger(path) as book:
        book.execute("insert or ignore into releases values (?)", (where,))


class Sink(BaseHTTPRequestHandler):
    """`/answer…` at once, `/hold…` carried out and answered when released, `/close…` carried out and never answered,
    `/refuse…` refused with 409 and not carried out."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        if self.path.startswith("/refuse"):
            self._answer(409, b"no")
            return
        with ledger(self.server.path) as book:
            book.execute(
                "insert into calls (method, path, key, body, at) values (?, ?, ?, ?, ?)",
                (self.command, self.path, self.headers.get("idempotency-key", ""), body, time.time()),
            )
        if self.path.startswith("/close"):
            self.close_connection = True
            return
        if self.path.startswith("/hold"):
            self._hold()
        self._answer(200, b"done")

    do_GET = do_POST

    def _hold(self) -> None:
        deadline = time.monotonic() + HOLD_MOST_S
        while time.monotonic() < deadline:
            with ledger(self.server.path) as book:
                if book.execute("select 1 from releases where path = ?", (self.path,)).fetchone():
                    return
            time.sleep(LOOK_EVERY_S)

    def _answer(self, status: int, body: bytes) -> None:
        try:
            self.send_response(status)
            self.send_header("content-type", "text/plain")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # whoever asked is gone

    def log_message(self, *_: object) -> None:
        """Silent: the ledger is the record."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.path = path
        with ledger(path) as book:
            book.executescript("pragma journal_mode = wal;" + TABLES)
        super().__init__(("127.0.0.1", 0), Sink)


if __name__ == "__main__":
    server = Server(Path(sys.argv[1]))
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()
