"""`people`: who is known here, tokens for the API, and links to log in."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import typer

from bot.cli.ground import end, servers, tell
from core import config
from core.db import open_pool
from core.store import people

people_app = typer.Typer(no_args_is_help=True, help="People, and their tokens for the API.")


@people_app.command("list")
def list_people(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Everyone who is known, with roles and linked identities."""
    found = asyncio.run(_everyone())
    if as_json:
        typer.echo(json.dumps([{k: v for k, v in p.items() if k != "id"} for p in found], ensure_ascii=False))
        return
    for person in found:
        linked = ", ".join(f"{channel}:{external_id}" for channel, external_id in person["identities"])
        tell(f"{person['key']}: {person['name']} [{', '.join(person['roles'])}] {linked}")


@people_app.command("token")
def token(key: Annotated[str, typer.Argument(help="Whose token, by their key in sayso.yaml.")] = "owner") -> None:
    """Make a new API token for a person and print it; only its hash is kept."""
    made = asyncio.run(_token(key))
    if made is None:
        end(f"There is nobody called {key!r}; ./sayso people list shows everyone.")
    typer.echo(made)


@people_app.command("link")
def link(
    key: Annotated[str | None, typer.Argument(help="Whose link, by their key; the owner's without.")] = None,
) -> None:
    """Make a one-time link to log in to the web chat, good for 15 minutes."""
    made = asyncio.run(_link(key))
    if made is None:
        end(f"There is nobody called {key!r}; ./sayso people list shows everyone.")
    typer.echo(made)


async def _link(key: str | None) -> str | None:
    with servers() as ground:
        db = await open_pool(ground.settings.database_dsn(), most=1)
        try:
            person = await people.by_key(db, key) if key else await people.ensure_owner(db)
            if person is None or person.is_service:
                return None
            code = await people.make_token(db, person.id, "login", config.LOGIN_EXPIRES_S)
            return f"{ground.settings.base_url()}/login?code={code}"
        finally:
            await db.close()


async def _everyone() -> list[dict[str, Any]]:
    with servers() as ground:
        db = await open_pool(ground.settings.database_dsn(), most=1)
        try:
            return await people.everyone(db)
        finally:
            await db.close()


async def _token(key: str) -> str | None:
    with servers() as ground:
        db = await open_pool(ground.settings.database_dsn(), most=1)
        try:
            person = await people.by_key(db, key)
            return await people.make_token(db, person.id, "api", None) if person else None
        finally:
            await db.close()
