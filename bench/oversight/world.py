"""The small office in which the cases play: skills that read what others wrote and skills that change something.

Every change is written to one ledger beside the engine, so that what happened is counted at the effect itself. What a
read answers is decided by the case. Nothing here knows of policy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from worker.skills import Content, Control, SkillContext, skill
from worker.skills.registry import Registry


@dataclass(frozen=True, slots=True)
class Happened:
    """A call as it was carried out. Reading a page changes nothing here, but its address can carry something out."""

    task: str
    skill: str
    args: dict[str, Any]

    @property
    def changes(self) -> bool:
        return self.skill != "page.read"


@dataclass(slots=True)
class World:
    """`answer` tells what a read of a task brings; `ledger` holds every call that leaves a trace, in order."""

    answer: Callable[[str, str, str], str]
    ledger: list[Happened] = field(default_factory=list)

    def of(self, task: str) -> list[Happened]:
        return [one for one in self.ledger if one.task == task]


def office(world: World) -> Registry:
    """The skills of the office, writing to `world`."""

    def note(ctx: SkillContext, skill: str, /, **args: Any) -> dict[str, Any]:
        world.ledger.append(Happened(ctx.task_id, skill, args))
        return {"summary": "done"}

    def read(ctx: SkillContext, name: str, what: str) -> dict[str, Any]:
        return {"text": world.answer(ctx.task_id, name, what)}

    @skill(name="page.read", permissions=[("read", "web:{url}")], effect="pure", card="Read {url}")
    async def page_read(ctx: SkillContext, url: Annotated[str, Control]) -> dict[str, Any]:
        """Read a web page."""
        note(ctx, "page.read", url=url)
        return read(ctx, "page.read", url)

    @skill(name="mail.read", permissions=[("read", "mail:{box}")], effect="pure", card="Read {box}")
    async def mail_read(ctx: SkillContext, box: Annotated[str, Control]) -> dict[str, Any]:
        """Read the mails of a box."""
        return read(ctx, "mail.read", box)

    @skill(name="doc.read", permissions=[("read", "files:{name}")], effect="pure", card="Read {name}")
    async def doc_read(ctx: SkillContext, name: Annotated[str, Control]) -> dict[str, Any]:
        """Read a document."""
        return read(ctx, "doc.read", name)

    @skill(name="doc.write", permissions=[("write", "docs:{name}")], effect="idempotent", card="Write {name}")
    async def doc_write(
        ctx: SkillContext, name: Annotated[str, Control], text: Annotated[str, Content]
    ) -> dict[str, Any]:
        """Write a document."""
        return note(ctx, "doc.write", name=name, text=text)

    @doc_write.undo
    async def doc_unwrite(ctx: SkillContext, result: dict[str, Any], name: str, text: str) -> dict[str, Any]:
        return note(ctx, "doc.write.undo", name=name)

    @skill(name="doc.move", permissions=[("write", "docs:{name}")], effect="idempotent", card="Move {name} to {to}")
    async def doc_move(ctx: SkillContext, name: Annotated[str, Control], to: Annotated[str, Control]) -> dict[str, Any]:
        """Move a document."""
        return note(ctx, "doc.move", name=name, to=to)

    @doc_move.undo
    async def doc_unmove(ctx: SkillContext, result: dict[str, Any], name: str, to: str) -> dict[str, Any]:
        return note(ctx, "doc.move.undo", name=name)

    @skill(name="doc.delete", permissions=[("delete", "docs:{names}")], effect="idempotent", card="Delete {names}")
    async def doc_delete(ctx: SkillContext, names: Annotated[list[str], Control]) -> dict[str, Any]:
        """Delete documents."""
        return note(ctx, "doc.delete", names=names)

    @skill(
        name="calendar.add", permissions=[("write", "calendar:{day}")], effect="idempotent", card="Add {title} on {day}"
    )
    async def calendar_add(
        ctx: SkillContext, day: Annotated[str, Control], title: Annotated[str, Content]
    ) -> dict[str, Any]:
        """Put something into one's own calendar."""
        return note(ctx, "calendar.add", day=day, title=title)

    @calendar_add.undo
    async def calendar_take_out(ctx: SkillContext, result: dict[str, Any], day: str, title: str) -> dict[str, Any]:
        return note(ctx, "calendar.add.undo", day=day)

    @skill(
        name="ticket.set",
        permissions=[("write", "tickets:{ticket}")],
        effect="idempotent",
        card="Set {ticket} to {status}",
    )
    async def ticket_set(
        ctx: SkillContext, ticket: Annotated[str, Control], status: Annotated[str, Control]
    ) -> dict[str, Any]:
        """Change the status of a ticket."""
        return note(ctx, "ticket.set", ticket=ticket, status=status)

    @ticket_set.undo
    async def ticket_unset(ctx: SkillContext, result: dict[str, Any], ticket: str, status: str) -> dict[str, Any]:
        return note(ctx, "ticket.set.undo", ticket=ticket)

    @skill(name="mail.send", permissions=[("send", "mail:{to}")], effect="idempotent", card="Mail {to}")
    async def mail_send(
        ctx: SkillContext,
        to: Annotated[list[str], Control],
        body: Annotated[str, Content],
        subject: Annotated[str, Content] = "",
        attach: Annotated[list[str], Control] = [],  # noqa: B006 (a schema's default, copied by pydantic)
    ) -> dict[str, Any]:
        """Send a mail."""
        return note(ctx, "mail.send", to=to, body=body, subject=subject, attach=attach)

    @skill(name="hook.post", permissions=[("send", "web:{url}")], effect="idempotent", card="Post to {url}")
    async def hook_post(
        ctx: SkillContext, url: Annotated[str, Control], body: Annotated[str, Content]
    ) -> dict[str, Any]:
        """Post to a web address."""
        return note(ctx, "hook.post", url=url, body=body)

    @skill(name="bank.pay", permissions=[("spend", "bank:{to}")], effect="idempotent", card="Pay {amount} to {to}")
    async def bank_pay(
        ctx: SkillContext,
        to: Annotated[str, Control],
        amount: Annotated[float, Control],
        memo: Annotated[str, Content] = "",
    ) -> dict[str, Any]:
        """Pay somebody."""
        return note(ctx, "bank.pay", to=to, amount=amount, memo=memo)

    @skill(
        name="deploy.run", permissions=[("execute", "deploy:{service}")], effect="idempotent", card="Deploy {service}"
    )
    async def deploy_run(
        ctx: SkillContext, service: Annotated[str, Control], version: Annotated[str, Control]
    ) -> dict[str, Any]:
        """Deploy a version of a service."""
        return note(ctx, "deploy.run", service=service, version=version)

    @skill(name="rights.give", permissions=[("admin", "rights:{who}")], effect="idempotent", card="Make {who} {role}")
    async def rights_give(
        ctx: SkillContext, who: Annotated[str, Control], role: Annotated[str, Control]
    ) -> dict[str, Any]:
        """Give somebody a role."""
        return note(ctx, "rights.give", who=who, role=role)

    registry = Registry()
    for declared in (
        page_read, mail_read, doc_read, doc_write, doc_move, doc_delete, calendar_add, ticket_set, mail_send, hook_post,
        bank_pay, deploy_run, rights_give,
    ):  # fmt: skip
        registry.add(declared, "the office")
    return registry
