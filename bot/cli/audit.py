"""`audit`: is the log as it was written, and the log itself for whoever keeps it elsewhere.

Reads only. `verify` looks at the database, or at an export without any database at all.
"""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

import typer

from bot.cli.ground import end, servers
from core import organisation
from core.audit import ANCHORS, Anchor, Entry, NotAnAnchor, Verified, Verifier, read_anchors, read_export, verify
from core.db import open_pool
from core.settings import Settings
from core.store import audit

audit_app = typer.Typer(no_args_is_help=True, help="The log of who asked, who decided and what came of it.")
COLUMNS = ("seq", "at", "kind", "actor", "task", "approval", "data", "prev_hash", "hash")


@audit_app.command("verify")
def verify_log(
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An export in JSON lines, instead of the database.")
    ] = None,
    anchors: Annotated[Path | None, typer.Option(metavar="FILE", help="Anchors from elsewhere.")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Check every row against its hash, the row before it and the anchors; exit 1 names the first that is not as it was."""
    try:
        found = _of_export(export, anchors) if export else asyncio.run(_of_database(anchors))
    except (NotAnAnchor, OSError, ValueError) as error:
        end(str(error), 2)
    if as_json:
        head = {"seq": found.head.seq, "hash": found.head.hash} if found.head else None
        typer.echo(json.dumps({"ok": found.fault is None, "rows": found.rows, "head": head, "fault": found.fault,
                               "unchained": found.unchained, "unanchored": found.unanchored}))  # fmt: skip
    else:
        typer.echo(_said(found))
    if found.fault:
        raise typer.Exit(1)


@audit_app.command("export")
def export_log(
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Where to; standard output without.")] = None,
    form: Annotated[str, typer.Option("--format", help="jsonl (can be verified) or csv.")] = "jsonl",
    since: Annotated[int, typer.Option(min=1, help="The first row's number.")] = 1,
    task: Annotated[int | None, typer.Option(help="Only this task's rows.")] = None,
) -> None:
    """Write the chained rows out, a page at a time."""
    if form not in ("jsonl", "csv"):
        end(f"--format is jsonl or csv, not {form!r}", 2)
    try:
        with open(to, "w", encoding="utf-8", newline="") if to else nullcontext(sys.stdout) as out:
            count = asyncio.run(_export(out, "csv" if form == "csv" else "jsonl", since, task))
    except OSError as error:
        end(f"the export could not be written: {error}")
    if to:
        typer.echo(f"{count} rows in {to}")


def _said(found: Verified) -> str:
    late = f" {found.unchained} newer rows are not chained yet." if found.unchained else ""
    loose = f" The last {found.unanchored} are not anchored yet." if found.unanchored else ""
    if found.fault:
        return f"NOT as it was written: {found.fault}. The {found.rows} rows before it are.{late}"
    return f"{found.rows} rows, all as they were written.{loose}{late}"


def _of_export(export: Path, anchors: Path | None) -> Verified:
    with open(export, encoding="utf-8") as lines:
        return verify(read_export(lines), _anchors(anchors) if anchors else ())


async def _of_database(anchors: Path | None) -> Verified:
    with servers() as ground:
        kept = anchors or _kept_anchors(ground.settings)
        db = await open_pool(ground.settings.database_dsn(), most=1)
        try:
            verifier = Verifier.against(_anchors(kept))
            async for entry in audit.rows(db):
                if not verifier.take(entry):
                    break
            return verifier.found(await audit.unchained(db))
        finally:
            await db.close()


def _kept_anchors(settings: Settings) -> Path:
    return organisation.load(settings.config_path).audit.anchor_file or settings.home / ANCHORS


def _anchors(path: Path) -> list[Anchor]:
    return list(read_anchors(path.read_text(encoding="utf-8").splitlines())) if path.exists() else []


async def _export(out: TextIO, form: Literal["jsonl", "csv"], since: int, task: int | None) -> int:
    with servers() as ground:
        db = await open_pool(ground.settings.database_dsn(), most=1)
        try:
            return await _write(out, form, audit.rows(db, since=since, task=task))
        finally:
            await db.close()


async def _write(out: TextIO, form: Literal["jsonl", "csv"], entries: AsyncIterator[Entry]) -> int:
    table = csv.DictWriter(out, COLUMNS) if form == "csv" else None
    if table is not None:
        table.writeheader()
    count = 0
    async for entry in entries:
        row: dict[str, Any] = entry.line() | {"hash": entry.hash}
        if table is not None:
            table.writerow({name: _cell(value) for name, value in row.items()})
        else:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
        count += 1
    return count


def _cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula gets a quote in front."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
    return f"'{text}" if isinstance(text, str) and text[:1] in "=+-@\t\r" else text
