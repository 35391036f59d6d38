"""A person in Slack, by their verbs: say, mention, slash, press, submit, edit, open the Home tab.

Each verb changes the world as Slack would, sends the app the payloads that Slack would send, and returns what the app
answered within three seconds. A verb that a person could not carry out (no such button) is an error of the test.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from tests.sim import slack_payloads as payloads
from tests.sim.slack_check import view_problems
from tests.sim.slack_files import SharedFile, share
from tests.sim.slack_methods import with_ids
from tests.sim.slack_transport import Delivery, with_ts
from tests.sim.slack_world import Body, Channel, Member, Message, ResponseUrl, View, interactive, labels
from tests.sim.violation import Violation

if TYPE_CHECKING:
    from tests.sim.slack import SlackSim


class Person:
    """`from_team` is the workspace that a payload claims to come from; None means what Slack itself would write."""

    def __init__(self, sim: "SlackSim", member: Member) -> None:
        self.sim, self.member, self.id = sim, member, member.id

    @property
    def im(self) -> str:
        """The channel id of their DM with the app."""
        return self.sim.world.im(self.id).id

    def _channel(self, channel: str | None) -> Channel:
        found = self.sim.world.im(self.id) if channel is None else self.sim.world.channels[channel]
        found.members.add(self.id)
        return found

    def _post(self, channel: Channel, text: str, thread_ts: str | None, extra: Body | None = None) -> Message:
        message = Message(channel.id, self.sim.world.ts(), self.id, text, thread_ts=thread_ts, extra=extra or {})
        self.sim.world.posted.append(message)
        return message

    async def _event(self, event: Body, channel: Channel | None, from_team: str | None = None) -> Delivery:
        payload = payloads.event_callback(self.sim.world, event, channel, from_team)
        return await self.sim.deliver("events_api", payload)

    async def say(
        self,
        text: str,
        channel: str | None = None,
        thread_ts: str | None = None,
        *,
        from_team: str | None = None,
        extra: Body | None = None,
    ) -> Delivery:
        """A message in the DM with the app (default) or in a channel; `extra` adds fields, e.g. files, attachments."""
        place = self._channel(channel)
        message = self._post(place, text, thread_ts, extra)
        event = payloads.said(self.sim.world, message, self.member, place)
        return with_ts(await self._event(event, place, from_team), message.ts)

    async def share(
        self, *files: SharedFile, text: str = "", channel: str | None = None, thread_ts: str | None = None
    ) -> Delivery:
        """A message with files."""
        share(self.sim.world, self.id, files)
        shown = [one.wire(self.sim.base_url) for one in files]
        return await self.say(text, channel, thread_ts, extra={"subtype": "file_share", "files": shown})

    async def mention(
        self, text: str, channel: str, thread_ts: str | None = None, *, from_team: str | None = None
    ) -> Delivery:
        """Says "@app text"; Slack sends it twice, as app_mention and as message, under two event ids."""
        place, bot = self._channel(channel), self.sim.world.bot_user
        message = self._post(place, text if f"<@{bot}>" in text else f"<@{bot}> {text}", thread_ts)
        mention = payloads.mentioned(self.sim.world, message, self.member, place)
        twin = payloads.said(self.sim.world, message, self.member, place)
        first, second = await asyncio.gather(
            self._event(mention, place, from_team), self._event(twin, place, from_team)
        )
        return with_ts(first, message.ts, second)

    async def broadcast(self, text: str, channel: str, thread_ts: str) -> Delivery:
        """A thread reply that is also sent to the channel."""
        place = self._channel(channel)
        message = self._post(place, text, thread_ts)
        return with_ts(await self._event(payloads.broadcast(self.sim.world, message, place), place), message.ts)

    async def edit(self, ts: str, text: str, channel: str | None = None) -> Delivery:
        place = self._channel(channel)
        message = self._find(ts, place.id)
        message.replace(text, [])
        return await self._event(payloads.changed(self.sim.world, message, place), place)

    async def delete(self, ts: str, channel: str | None = None) -> Delivery:
        place = self._channel(channel)
        message = self._find(ts, place.id)
        message.deleted = True
        return await self._event(payloads.removed(self.sim.world, message, place), place)

    async def slash(
        self, command: str, text: str = "", channel: str | None = None, *, from_team: str | None = None
    ) -> Delivery:
        """A slash command; a text in the acknowledgement is shown to this person only."""
        place = self._channel(channel)
        url = self._response_url(place.id, None)
        team = from_team or self.member.team
        payload = payloads.slash(self.sim.world, self.member, team, command, text, place, url)
        delivery = await self.sim.deliver("slash_commands", payload)
        if delivery.acked and delivery.text:
            self._show(place.id, delivery)
        return delivery

    def _show(self, channel: str, delivery: Delivery) -> None:
        body = delivery.answer or {"text": delivery.text}
        blocks = with_ids(self.sim.world, body.get("blocks") or [])
        message = Message(channel, self.sim.world.ts(), self.sim.world.bot_user, body.get("text", ""), blocks)
        message.bot_id = self.sim.world.bot_id
        message.ephemeral_to = None if body.get("response_type") == "in_channel" else self.id
        self.sim.world.posted.append(message)

    def _response_url(self, channel: str, message_ts: str | None) -> str:
        key = f"r{self.sim.world.number():06d}"
        self.sim.world.response_urls[key] = ResponseUrl(channel, message_ts, self.id, self.sim.world.clock.monotonic())
        return f"{self.sim.base_url}/response/{key}"

    def _find(self, ts: str, channel: str | None) -> Message:
        for message in self.sim.world.posted:
            if message.ts == ts and channel in (None, message.channel):
                return message
        raise AssertionError(f"no message {ts!r} in {channel or 'any channel'}")

    async def press(
        self,
        message: Message | View | str,
        button: str,
        channel: str | None = None,
        *,
        version: int | None = None,
        value: str | None = None,
        from_team: str | None = None,
    ) -> Delivery:
        """Presses the button with this action id or text, or chooses that line of a menu; `value` tells like ones apart.

        `version` presses a button of an earlier version of the message (0 = as first posted), as a person can whose
        client has not yet shown the edit. A View (also the Home tab) is pressed in the same way.
        """
        team = from_team or self.member.team
        if isinstance(message, View):
            found = _button(message.body["blocks"], button, value)
            payload = payloads.pressed_in_view(self.sim.world, self.member, team, message, found)
            return await self.sim.deliver("interactive", payload)
        pressed = self._find(message, channel) if isinstance(message, str) else message
        blocks = pressed.blocks if version in (None, len(pressed.edits)) else pressed.edits[version or 0].blocks
        found = _button(blocks, button, value)
        url = self._response_url(pressed.channel, pressed.ts)
        payload = payloads.pressed(self.sim.world, self.member, team, pressed, found, url)
        return await self.sim.deliver("interactive", payload)

    async def submit(self, view: View | str, values: dict[str, Any], *, from_team: str | None = None) -> Delivery:
        """Fills a modal in and submits it. `values` go by action id or block id; unnamed inputs are left empty."""
        opened = self.sim.world.views[view] if isinstance(view, str) else view
        state: dict[str, dict[str, Any]] = {}
        left = dict(values)
        for block, element in interactive(opened.body["blocks"]):
            key = element["action_id"] if element["action_id"] in left else block["block_id"]
            if block["type"] == "input" or key in left:
                state.setdefault(block["block_id"], {})[element["action_id"]] = _filled(element, left.pop(key, None))
        assert not left, f"the view has no such inputs: {sorted(left)}"
        team = from_team or self.member.team
        payload = payloads.submitted(self.sim.world, self.member, team, opened, state)
        delivery = await self.sim.deliver("interactive", payload)
        answer = delivery.answer or {}
        self._judge(answer, opened)
        if delivery.acked and answer.get("response_action") == "update":
            opened.body = answer["view"]
        elif delivery.acked and answer.get("response_action") not in ("errors", "push"):
            self.sim.world.views.pop(opened.id, None)
        return delivery

    def _judge(self, answer: Body, view: View) -> None:
        """What Slack shows as "we had some trouble": an error at no input, or a view that it would not open."""
        action, problems = answer.get("response_action"), []
        if action == "errors":
            inputs = {block["block_id"] for block in view.body["blocks"] if block["type"] == "input"}
            problems = [f"no input {name!r} for an error" for name in answer["errors"] if name not in inputs]
            problems += [f"an empty error at {name!r}" for name, text in answer["errors"].items() if not text]
        elif action in ("update", "push"):
            problems = view_problems(answer.get("view"))
        self.sim.violations += [Violation("slack", "view_submission", one, answer) for one in problems]

    async def shortcut(self, message: Message | str, callback_id: str, *, from_team: str | None = None) -> Delivery:
        """Chooses a shortcut of the app from a message's menu."""
        chosen = self._find(message, None) if isinstance(message, str) else message
        url = self._response_url(chosen.channel, chosen.ts)
        team = from_team or self.member.team
        payload = payloads.shortcut(self.sim.world, self.member, team, chosen, callback_id, url)
        return await self.sim.deliver("interactive", payload)

    async def stop(self, thread_ts: str, channel: str | None = None, *, from_team: str | None = None) -> Delivery:
        """Slack's own Stop button, which is there while a session is processing."""
        place = self._channel(channel)
        shown = self.sim.world.sessions.get((place.id, thread_ts), {}).get("status")
        assert shown == "processing", f"there is no Stop: the session is {shown}"
        return await self._event(
            payloads.session_stopped(self.sim.world, self.member, place, thread_ts), place, from_team
        )

    async def close(self, view: View) -> Delivery | None:
        """Dismisses a modal; the app hears of it only when the view asked for that."""
        self.sim.world.views.pop(view.id, None)
        if not view.body.get("notify_on_close"):
            return None
        payload = payloads.closed(self.sim.world, self.member, self.member.team, view)
        return await self.sim.deliver("interactive", payload)

    async def open_home(self, tab: str = "home") -> Delivery:
        """Opens the app's Home tab ("home") or its DM ("messages")."""
        return await self._event(payloads.home_opened(self.sim.world, self.member, tab), self.sim.world.im(self.id))

    def messages(self, channel: str | None = None) -> list[Message]:
        """What this person sees in their DM or in a channel: also what only they see."""
        place = self._channel(channel).id
        return [
            one
            for one in self.sim.world.posted
            if one.channel == place and not one.deleted and one.ephemeral_to in (None, self.id)
        ]

    def views(self) -> list[View]:
        """The modals that this person has open, oldest first."""
        return [one for one in self.sim.world.views.values() if one.user == self.id and one.body["type"] == "modal"]


def _button(blocks: list[Body], wanted: str, value: str | None = None) -> tuple[Body, Body]:
    """(block, element) of the button, or of the menu with only the chosen line in it."""
    found = interactive(blocks)
    for block, element in found:
        reads_so = element["type"] == "button" and wanted in (element["action_id"], element["text"]["text"])
        if reads_so and value in (None, element.get("value")):
            return block, element
        for option in element["options"] if element["type"] == "overflow" else []:
            if wanted in (option["text"]["text"], option["value"]):
                return block, element | {"selected_option": option}
    shown = [f"{label!r}" for label in labels(blocks)]
    raise AssertionError(f"no button {wanted!r}; there are: {', '.join(shown) or 'none'}")


def _filled(element: Body, value: Any) -> Body:
    """The state of one input as Slack reports it."""
    kind = element["type"]
    names = {
        "datepicker": "selected_date",
        "datetimepicker": "selected_date_time",
        "timepicker": "selected_time",
        "users_select": "selected_user",
        "channels_select": "selected_channel",
        "conversations_select": "selected_conversation",
    }
    if kind in names:
        return {"type": kind, names[kind]: value}
    options = element.get("options", [])
    if kind in ("static_select", "radio_buttons"):
        return {"type": kind, "selected_option": next((one for one in options if one["value"] == value), None)}
    if kind in ("checkboxes", "multi_static_select"):
        return {"type": kind, "selected_options": [one for one in options if one["value"] in (value or [])]}
    return {"type": kind, "value": None if value is None else str(value)}
