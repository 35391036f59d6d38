"""What doctor wants to know of Slack: what our token was granted, and whether Slack takes the cards that we make.

It asks and answers what it saw; what that means is in `bot.cli.findings`. Nothing is posted anywhere.
https://docs.slack.dev/reference/methods/blocks.validate
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from slack_sdk.errors import SlackApiError

from bot.slack.blocks import card_message
from bot.slack.forms import UNANSWERED
from bot.slack.sender import refusal, web_client
from bot.slack.shortcut import sample_view
from bot.slack.tab import Shown, Waiting, home_view
from core.cards import Button, Card, StepLine
from core.settings import Settings

WITHIN_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Checked:
    """`trouble`: why Slack could not be asked. `refused`: which of our cards it does not take, with its reason."""

    who: str = ""
    trouble: str = ""
    scopes: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    is_validated: bool = False


async def look(settings: Settings) -> Checked:
    """One question about the token, and one for each kind of card."""
    client = web_client(settings, may_repeat=True)
    try:
        async with asyncio.timeout(WITHIN_S):
            answer = await client.auth_test()
            who = f"{answer.get('user')} in {answer.get('team')}"
            headers = {str(k).lower(): str(v) for k, v in dict(answer.headers).items()}
            scopes = tuple(filter(None, headers.get("x-oauth-scopes", "").replace(" ", "").split(",")))
            refused = []
            for name, what in _samples(settings):
                if problem := await _problem(client, what):
                    refused.append(f"{name}: {problem}")
            return Checked(who, scopes=scopes, refused=tuple(refused), is_validated=True)
    except _NoSuchMethod:
        return Checked(who, scopes=scopes)
    except SlackApiError as error:
        return Checked(trouble=str(refusal(error)))
    except UNANSWERED as error:
        return Checked(trouble=f"it does not answer ({type(error).__name__})")


class _NoSuchMethod(Exception):
    """This Slack validates no blocks."""


async def _problem(client: Any, what: dict[str, Any]) -> str:
    try:
        await client.blocks_validate(**what)
    except SlackApiError as error:
        code = str(error.response.get("error"))
        if not code.startswith("invalid_") or code == "invalid_auth":
            raise _NoSuchMethod from error
        found = error.response.get("errors") or (error.response.get("response_metadata") or {}).get("messages") or []
        return f"{code} {found[0] if found else ''}".strip()
    return ""


def _samples(settings: Settings) -> Iterator[tuple[str, dict[str, Any]]]:
    base_url = settings.base_url()
    for name, card in (("approval card", _approval()), ("run card", _run())):
        yield name, {"message": {"blocks": card_message(card, base_url, has_links=True).blocks}}
    waiting = Waiting("0", "Delete old.log", "Ann", 1_800_000_000, False, f"{base_url}/approvals/0")
    yield "Home tab", {"view": home_view(Shown("Ann", [waiting], [], [], [("slack", "T0/U0")], ["Time zone: UTC"]))}
    yield "shortcut's form", {"view": sample_view()}


def _approval() -> Card:
    return Card(
        subject="approval", subject_id="0", task_id="0", tone="ask", headline="Delete old.log from the workspace",
        status="waits for a decision", lines=("It deletes.", "May decide: any owner"), quote="do files.delete paths=old.log",
        exact='{"paths":["old.log"]}', expires_at=datetime(2030, 1, 1, tzinfo=UTC),
        buttons=(Button(verb="approve", label="Approve", style="primary", confirm="Delete?"), Button(verb="deny", label="Deny")),
        more=(Button(verb="looking", label="I'm looking"),),
    )  # fmt: skip


def _run() -> Card:
    return Card(
        subject="task", subject_id="0", task_id="0", tone="busy", headline="tidy up", status="running, 1 of 2 steps done",
        steps=(StepLine(n=1, title="List files", status="done"), StepLine(n=2, title="Delete files", status="running")),
        buttons=(Button(verb="stop", label="Stop", confirm="Stop this task?"),),
    )  # fmt: skip
