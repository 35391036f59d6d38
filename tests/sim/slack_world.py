"""What the Slack stand-in knows: people, channels, messages with their history, views, uploads.

Plain state with no wire format; the Web API (slack_api) changes it for the app, a person's verbs (slack_people)
change it for people. Nothing here waits or sends.
"""

import itertools
import time
from dataclasses import dataclass, field
from typing import Any

from tests.sim.clock import Clock

TRIGGER_LIFE_S = 3.0
STREAM_LIFE_S = 300.0
RESPONSE_URL_LIFE_S = 1800.0
RESPONSE_URL_USES = 5

Body = dict[str, Any]


@dataclass
class Member:
    """A user of Slack as others see them."""

    id: str
    name: str
    team: str
    is_bot: bool = False
    deleted: bool = False


@dataclass(frozen=True)
class Version:
    """What a message said before an edit."""

    text: str
    blocks: list[Body]
    until: float


@dataclass
class Message:
    """A message as it stands now; `edits` holds what it said before, oldest first."""

    channel: str
    ts: str
    user: str
    text: str
    blocks: list[Body] = field(default_factory=list)
    thread_ts: str | None = None
    bot_id: str | None = None
    metadata: Body | None = None
    edits: list[Version] = field(default_factory=list)
    deleted: bool = False
    ephemeral_to: str | None = None
    extra: Body = field(default_factory=dict)
    streaming_until: float | None = None

    def is_streaming(self) -> bool:
        return self.streaming_until is not None and time.monotonic() < self.streaming_until

    def replace(self, text: str, blocks: list[Body]) -> None:
        self.edits.append(Version(self.text, self.blocks, time.time()))
        self.text, self.blocks = text, blocks

    def buttons(self) -> list[str]:
        """What the buttons and the lines of menus say, in the order shown."""
        return labels(self.blocks)

    def everything(self) -> str:
        """All text that a person can read in the message, for asserts."""
        return "\n".join([self.text, *texts(self.blocks)])


@dataclass
class Channel:
    id: str
    name: str
    kind: str  # "channel", "group", "im" or "mpim", as in the event's channel_type
    members: set[str]
    shared: bool = False
    archived: bool = False


@dataclass
class View:
    id: str
    body: Body
    hash: str
    user: str
    root_id: str
    previous_id: str | None = None


@dataclass
class Trigger:
    user: str
    at: float
    used: bool = False


@dataclass
class ResponseUrl:
    channel: str
    message_ts: str | None
    user: str
    at: float
    uses: int = 0


@dataclass
class World:
    """Everything of one workspace, and who looks into it from outside."""

    team: str
    team_domain: str
    enterprise: str | None
    bot_user: str
    bot_id: str
    app: str
    clock: Clock = field(default_factory=Clock)
    members: dict[str, Member] = field(default_factory=dict)
    channels: dict[str, Channel] = field(default_factory=dict)
    posted: list[Message] = field(default_factory=list)
    views: dict[str, View] = field(default_factory=dict)
    homes: dict[str, View] = field(default_factory=dict)
    triggers: dict[str, Trigger] = field(default_factory=dict)
    response_urls: dict[str, ResponseUrl] = field(default_factory=dict)
    reactions: set[tuple[str, str, str]] = field(default_factory=set)
    usergroups: dict[str, list[str]] = field(default_factory=dict)
    statuses: list[Body] = field(default_factory=list)
    sessions: dict[tuple[str, str], Body] = field(default_factory=dict)
    hears_stops: bool = True
    uploads: dict[str, Body] = field(default_factory=dict)
    trigger_life_s: float = TRIGGER_LIFE_S
    stream_life_s: float = STREAM_LIFE_S
    files: dict[str, Any] = field(default_factory=dict)
    _counter: "itertools.count[int]" = field(default_factory=itertools.count)
    _last_us: int = 0

    def number(self) -> int:
        return next(self._counter)

    def ts(self) -> str:
        """A Slack timestamp, strictly growing, so that it names one message."""
        self._last_us = max(self._last_us + 1, int(self.clock.time() * 1_000_000))
        return f"{self._last_us // 1_000_000}.{self._last_us % 1_000_000:06d}"

    def im(self, user: str) -> Channel:
        """The direct channel of the app with this user, opened when it is not there yet."""
        channel_id = "D" + user[1:]
        if channel_id not in self.channels:
            self.channels[channel_id] = Channel(channel_id, "directmessage", "im", {user, self.bot_user})
        return self.channels[channel_id]

    def find(self, channel: str, ts: str) -> Message | None:
        return next((one for one in self.posted if (one.channel, one.ts) == (channel, ts)), None)

    def standing(self, channel: str) -> list[Message]:
        """The messages of a channel that everybody sees and that were not deleted, oldest first."""
        return [one for one in self.posted if one.channel == channel and not one.deleted and one.ephemeral_to is None]

    def trigger(self, user: str) -> str:
        trigger_id = f"{self.number() + 1000}.{self.team}.{user}"
        self.triggers[trigger_id] = Trigger(user, self.clock.monotonic())
        return trigger_id


def interactive(blocks: list[Body]) -> list[tuple[Body, Body]]:
    """Every (block, element) that has an action id or could be pressed, also inside containers."""
    found: list[tuple[Body, Body]] = []
    for block in blocks:
        elements = [*block.get("elements", []), block.get("accessory"), block.get("element")]
        found += [(block, one) for one in elements if isinstance(one, dict) and "action_id" in one]
        found += interactive(block.get("child_blocks", []))
    return found


def labels(blocks: list[Body]) -> list[str]:
    """What can be pressed, as it reads."""
    elements = [element for _, element in interactive(blocks)]
    return [
        one["text"]["text"]
        for element in elements
        for one in (element["options"] if element["type"] == "overflow" else [element])
        if "text" in one
    ]


def texts(value: Any) -> list[str]:
    """Every string that is read as text, in reading order; a plan's titles among them."""
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    if not isinstance(value, dict):
        return []
    return [
        text
        for key, item in value.items()
        for text in ([item] if key in ("text", "alt_text", "title") and isinstance(item, str) else texts(item))
    ]
