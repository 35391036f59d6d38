"""Chains the audit log and writes its head down outside of the table.

The sweeper calls `round` every second; whoever comes first chains, the others find nothing to do. The head goes to a
file beside the data and, where sayso.yaml names one, to a web address. An anchor that could not be written is said and
tried again with the next head: deciding and acting never wait for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path

import httpx

from core import config
from core.audit import ANCHORS, Anchor, Pace
from core.db import Pool
from core.organisation import AuditPart
from core.store import audit

log = logging.getLogger(__name__)


class Chainer:
    """One per worker. `home` is where the anchors' file stands unless `wanted` names another place."""

    def __init__(self, db: Pool, home: Path, wanted: AuditPart) -> None:
        self._db = db
        self._file = wanted.anchor_file or home / ANCHORS
        self._address = wanted.anchor_url
        self._pace = Pace(wanted.anchor_every)
        self._posting: asyncio.Task[None] | None = None

    async def round(self, *, waits: bool | None = None) -> int:
        """Chain what waits and anchor a head that has moved; answers how many rows were chained. `waits`: known already."""
        if waits is None:
            waits = await audit.waits(self._db)
        chained = await audit.chain(self._db) if waits else 0
        if chained or self._pace.at_s == float("-inf"):
            self._pace.moved = True
        now_s = time.monotonic()
        if self._pace.is_due(now_s):
            head = await audit.head(self._db)
            if head is not None:
                await asyncio.to_thread(self._write, head)
                self._post(head)
            self._pace.anchored(now_s)
        return chained

    async def aclose(self) -> None:
        if self._posting is not None:
            await asyncio.wait((self._posting,), timeout=config.AUDIT_ANCHOR_TIMEOUT_S)

    def _write(self, head: Anchor) -> None:
        """One line at the end, on the disk before this returns."""
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, (head.line() + "\n").encode("ascii"))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            log.error("the head of the audit log could not be anchored in %s: %s", self._file, error)

    def _post(self, head: Anchor) -> None:
        if self._address and (self._posting is None or self._posting.done()):
            self._posting = asyncio.create_task(self._send(self._address, head))

    async def _send(self, address: str, head: Anchor) -> None:
        try:
            async with httpx.AsyncClient(timeout=config.AUDIT_ANCHOR_TIMEOUT_S, trust_env=False) as client:
                answer = await client.post(
                    address, content=head.line(), headers={"content-type": "application/json"}, follow_redirects=False
                )
            if answer.status_code >= 300:
                log.error("the audit log's anchor was answered with %s", answer.status_code)
        except httpx.HTTPError as error:
            log.error("the audit log's anchor could not be sent: %s", type(error).__name__)
