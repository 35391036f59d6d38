"""Who is in Slack's user groups: asked when somebody presses, when Slack says that one changed, and every few minutes.

What Slack answers is written down whole; `core` decides what follows from it. One look at a group at a time: whoever
needs the same one waits for it. Tier 2: 20 looks a minute.
https://docs.slack.dev/reference/methods/usergroups.users.list
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.slack.forms import UNANSWERED
from bot.slack.payload import Own
from core import config
from core.db import DATABASE_AWAY
from core.deps import Deps
from core.store import groups

log = logging.getLogger(__name__)

MEMBERS_MOST: Final = 5000
OWN_POLL_S: Final = 2.0


class UserGroups:
    def __init__(self, deps: Deps, client: AsyncWebClient) -> None:
        self._deps, self._client = deps, client
        self.own: Own | None = None
        self._looking: dict[str, asyncio.Task[None]] = {}
        approvers = deps.organisation.approvers.values()
        deps.groups.answer_by(self.look_up)
        self._named = sorted({name for group in approvers for name in group.slack_usergroups})

    async def run(self) -> None:
        """Keep up with the groups that sayso.yaml names."""
        while True:
            try:
                await self.look_up(await groups.older_than(self._deps.db, self._named, config.GROUPS_EVERY_S))
            except DATABASE_AWAY as error:
                log.warning("user groups cannot be remembered: %s", type(error).__name__)
            await asyncio.sleep(config.GROUPS_EVERY_S if self.own else OWN_POLL_S)

    async def changed(self, group: str) -> None:
        """Slack says that somebody came or went."""
        if await groups.changed(self._deps.db, group):
            await self.look_up([group])

    async def look_up(self, names: Sequence[str]) -> None:
        """Ask Slack and write down what it says, also that it says nothing. Before we know who we are, nothing is asked."""
        for name in names:
            if name not in self._looking:
                self._looking[name] = asyncio.create_task(self._look(name))
        # Whoever loses patience leaves the look to the others who wait for it.
        await asyncio.gather(*(asyncio.shield(self._looking[name]) for name in names), return_exceptions=True)

    async def _look(self, name: str) -> None:
        own = self.own
        try:
            if own is None:
                return
            team = own.team if own.enterprise else None
            answer = await self._client.usergroups_users_list(usergroup=name, team_id=team)
            users = [str(user) for user in answer.get("users") or []]
            if len(users) > MEMBERS_MOST:
                raise ValueError(f"more than {MEMBERS_MOST} members")
        except (*UNANSWERED, ValueError) as error:
            why = str(error.response.get("error") or "") if isinstance(error, SlackApiError) else type(error).__name__
            log.warning("Slack does not say who is in the user group %s: %s", name, why)
            await groups.not_known(self._deps.db, name, why)
        else:
            await groups.remember(self._deps.db, name, [f"{own.home}/{user}" for user in users])
        finally:
            del self._looking[name]
