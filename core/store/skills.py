"""The manifests that workers publish: all that the bot knows of a skill."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from core.db import Db, transaction
from core.models import SkillManifest

log = logging.getLogger(__name__)

KEPT_MOST: Final = 1_000
# Manifests as read, by their rows as they were: every message asks for all of them, and they change with a release.
_kept: dict[str, SkillManifest] = {}


async def publish(db: Db, manifests: Iterable[SkillManifest]) -> str:
    """Write what this worker can do; what no worker has published for a day is forgotten. Answers a hash of all of it."""
    whole = hashlib.sha256()
    async with transaction(db) as tx:
        for manifest in sorted(manifests, key=lambda m: (m.name, m.version)):
            body = manifest.model_dump(mode="json")
            digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
            whole.update(f"{manifest.name} {manifest.version} {digest}\n".encode())
            await tx.execute(
                "insert into skills (name, version, manifest, hash) values ($1, $2, $3, $4)"
                " on conflict (name, version) do update set manifest = excluded.manifest, hash = excluded.hash, seen_at = now()",
                manifest.name, manifest.version, body, digest,
            )  # fmt: skip
        await tx.execute("delete from skills where seen_at < now() - interval '1 day'")
    return whole.hexdigest()


async def sign(db: Db, worker: int, published: str) -> None:
    """Say which skills this worker has, so that it can be seen when two differ."""
    await db.execute("update workers set skills_hash = $2 where id = $1", worker, published)


@dataclass(frozen=True, slots=True)
class Published:
    """The newest manifest of each skill by name; `mark` is another one after any change (`skills_mark_v1`)."""

    mark: str
    manifests: dict[str, SkillManifest]


async def manifests(db: Db) -> dict[str, SkillManifest]:
    """The newest manifest of each skill by name."""
    return (await published(db)).manifests


async def published(db: Db) -> Published:
    newest = (
        "select distinct on (name) name, format('%s %s %s %s', name, version, hash, xmin) as row,"
        " (select skills_mark_v1()) as mark{}"
        " from skills order by name, seen_at desc, version desc"
    )
    rows = await db.fetch(newest.format(""))
    if not all(r["row"] in _kept for r in rows):
        rows = await db.fetch(newest.format(", manifest"))
        if len(_kept) > KEPT_MOST:
            _kept.clear()
        for r in rows:
            try:
                _kept[r["row"]] = SkillManifest.model_validate(r["manifest"])
            except ValidationError:
                log.error("the manifest of %s cannot be read; a worker that starts writes it anew", r["name"])
    found = {r["name"]: _kept[r["row"]] for r in rows if r["row"] in _kept}
    return Published(rows[0]["mark"] if rows else "", found)
