"""The Home tab of each person who has it open: read, published, and published anew when something of theirs changed.

Slack tells when a tab is opened and never when it is left, so for a while it counts as open. Rounds are coalesced, and a
view that would look the same is not sent again. Tier 4: 100 calls a minute; permalinks: some hundreds.
https://docs.slack.dev/reference/methods/views.publish
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.sending import NotSent
from bot.slack.forms import UNANSWERED
from bot.slack.sender import refusal
from bot.slack.sessions import REFUSED_S, Control
from bot.slack.surfaces import HomePressed, TabOpened
from bot.slack.tab import SHOWN_MOST, Shown, Waiting, home_view
from core import intake
from core.cards import NOT_YOURS
from core.db import DATABASE_AWAY
from core.deps import Deps
from core.display import visible
from core.models import Channel, Identity
from core.ring import EVENTS_BELL, Bell
from core.spoken import NO_GRANT, REVOKED
from core.store import approvals, conversations, grants, people, tasks
from core.store.people import Principal

log = logging.getLogger(__name__)

GAP_S: Final = 2.0
POLL_S: Final = 15.0
OPEN_S: Final = 1800.0
OPEN_MOST: Final = 200
NOTICE_S: Final = 60.0
LINKS_MOST: Final = 1000
# These are about one person's tab; whatever else Slack refuses it would refuse for everybody's.
OF_TAB: Final = frozenset(
    {"invalid_arguments", "invalid_blocks", "view_too_large", "user_not_found", "hash_conflict", "not_found"}
)


@dataclass(slots=True, eq=False)
class Open:
    """One person's tab: what it shows, and what they were last told in it."""

    person: Identity
    user: str
    channel: str = ""
    seen_at: float = 0.0
    published: str = ""
    notice: str = ""
    told_at: float = 0.0


class Home:
    def __init__(self, deps: Deps, client: AsyncWebClient) -> None:
        self._deps, self._client, self._mask = deps, client, deps.masks()
        self._open: dict[str, Open] = {}
        self._links: dict[tuple[str, str], str] = {}
        self._refused_until = 0.0
        self._round = asyncio.Lock()

    async def run(self) -> None:
        """Keep the open tabs up to date."""
        async with Bell(self._deps.settings.redis_address(), EVENTS_BELL) as bell:
            while True:
                await bell.wait(POLL_S)
                try:
                    await self.refresh()
                except DATABASE_AWAY as error:
                    log.warning("Home tabs cannot be refreshed: %s", type(error).__name__)
                await asyncio.sleep(GAP_S)

    async def opened(self, opened: TabOpened) -> None:
        tab = self._tab(opened.user, opened.person)
        tab.channel, tab.published = opened.channel, ""
        await self.refresh(only=tab)

    async def pressed(self, press: HomePressed, control: Control = intake.control) -> str:
        """What came of it. Raises what the database raises."""
        person = await people.behind(self._deps.db, press.person)
        if person is None:
            return NOT_YOURS
        task = tasks.parse_id(press.value)
        if press.verb == "stop" and task is not None:
            try:
                said = await control(self._deps, person, task, "stop", delivery=(Channel.SLACK, press.delivery))
            except intake.NotVisible:
                return NOT_YOURS
            return str(said)
        if press.verb == "revoke":
            is_owner = "owner" in person.roles
            done = await grants.revoke(self._deps.db, press.value, person.id, is_owner=is_owner)
            return REVOKED if done else NO_GRANT
        return NOT_YOURS

    async def tell(self, press: HomePressed, notice: str) -> None:
        """Say it at the top of the tab from which it was pressed; another process may have opened that."""
        tab = self._tab(press.user, press.person)
        tab.notice, tab.told_at = notice, time.monotonic()
        await self.refresh(only=tab)

    def _tab(self, user: str, person: Identity) -> Open:
        """Theirs, as just seen. Who opened one longest ago makes room."""
        tab = self._open.pop(user, None) or Open(person, user)
        while len(self._open) >= OPEN_MOST:
            del self._open[next(iter(self._open))]
        tab.person, tab.seen_at = person, time.monotonic()
        self._open[user] = tab
        return tab

    async def refresh(self, *, only: Open | None = None) -> None:
        """Publish each open tab that would look different now."""
        async with self._round:
            now = time.monotonic()
            for user, tab in list(self._open.items()):
                if now - tab.seen_at > OPEN_S:
                    del self._open[user]
                elif now >= self._refused_until and only in (None, tab):
                    await self._publish(tab, now)

    async def _publish(self, tab: Open, now: float) -> None:
        view = home_view(await self._shown(tab, now))
        as_text = json.dumps(view, sort_keys=True)
        if as_text == tab.published:
            return
        try:
            await self._client.views_publish(user_id=tab.user, view=view)
            tab.published = as_text
        except UNANSWERED as error:
            refused = refusal(error) if isinstance(error, SlackApiError) else None
            if isinstance(refused, NotSent) and refused.retry_s is None:
                code = refused.why.partition(":")[0]
                if code in OF_TAB:
                    tab.published = as_text  # the same would be refused again
                    log.warning("Slack does not take somebody's Home tab (%s)", code)
                    return
                log.warning("Slack does not take the Home tab (%s); this workspace goes without it", code)
                self._refused_until = now + REFUSED_S

    # ------------------------------------------------------------ what is in it

    async def _shown(self, tab: Open, now: float) -> Shown | None:
        db, settings = self._deps.db, self._deps.settings
        person = await people.behind(db, tab.person)
        if person is None:
            return None
        open_tasks = await tasks.listed(db, person.id, sees_all=False, sees_conversation=False, only_open=True)
        return Shown(
            name=person.name or person.key,
            waiting=await self._waiting(person, tab),
            tasks=[one | {"goal": self._mask(one["goal"])} for one in open_tasks if one["requester"] == person.key],
            grants=await grants.listed(db, person.id),
            identities=await people.identities_of(db, person.id),
            settings=self._settings(person),
            notice=tab.notice if now - tab.told_at < NOTICE_S else "",
            web=settings.base_url() if settings.public_base_url else "",
        )

    async def _waiting(self, person: Principal, tab: Open) -> list[Waiting]:
        db = self._deps.db
        rows = await approvals.listed(db, person.id, sees_all=False)
        mine = await approvals.decidable(db, person.id, [row["id"] for row in rows])
        rows = [row for row in rows if row["id"] in mine and not row["merged_task"]]
        places = await conversations.cards_of(db, Channel.SLACK, [row["id"] for row in rows[:SHOWN_MOST]])
        return [await self._one(person, row, places.get(row["id"], ()), tab) for row in rows]

    async def _one(
        self, person: Principal, row: Mapping[str, Any], places: Sequence[tuple[str, str]], tab: Open
    ) -> Waiting:
        title = row["card"].get("title") if isinstance(row["card"], dict) else ""
        return Waiting(
            approval_id=row["id"],
            title=self._mask(visible(title or row["skill"])),
            asked_by=visible(row["requester_name"] or row["requester"]),
            expires_unix_s=int(row["expires_at"].timestamp()),
            has_answered=any(vote["key"] == person.key for vote in row["votes"]),
            link=await self._link(row["id"], places, tab),
        )

    async def _link(self, approval: str, places: Sequence[tuple[str, str]], tab: Open) -> str:
        """To the person's own card, else to one in a channel, else to the web page, where people can reach it."""
        own = {tab.channel, tab.user}
        channels = [(external_id.rpartition("/")[2], ts) for external_id, ts in places]
        mine = [(tab.channel, ts) for channel, ts in channels if channel in own and tab.channel]
        shared = [(channel, ts) for channel, ts in channels if channel.startswith(("C", "G"))]
        for channel, ts in (*mine, *shared):
            if link := await self._permalink(channel, ts):
                return link
        settings = self._deps.settings
        return f"{settings.base_url()}/approvals/{approval}" if settings.public_base_url else ""

    async def _permalink(self, channel: str, ts: str) -> str:
        if (channel, ts) not in self._links:
            try:
                answer = await self._client.chat_getPermalink(channel=channel, message_ts=ts)
            except UNANSWERED:
                return ""
            if len(self._links) >= LINKS_MOST:
                self._links.clear()
            self._links[channel, ts] = str(answer.get("permalink") or "")
        return self._links[channel, ts]

    def _settings(self, person: Principal) -> list[str]:
        known = self._deps.organisation
        told = known.people.get(person.key)
        hours = (told.quiet_hours if told else None) or known.quiet_hours
        zone = (told.timezone if told else None) or known.timezone
        quiet = f"Quiet hours: {hours.from_:%H:%M} to {hours.to:%H:%M}" if hours else "Quiet hours: none"
        return [f"Time zone: {zone}", quiet, f"Roles: {', '.join(sorted(person.roles)) or 'none'}"]
