"""Whether a skill keeps the promise of its effect class: it is ended at every line of its own, then treated as the engine would.

The engine treats a lost call by its class alone: pure and idempotent ones run again with the same key, a checkable one is
probed and, where it did not happen, runs again under a new key; about an unsafe one a person is asked. Afterwards the
world must look as after one undisturbed call. A world is what the handles reach, each with a record that is no skill's.
What the file skills do beneath their handles is ended line by line in test_skill_crash.py.
"""

from __future__ import annotations

import asyncio
import email
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.policy import default
from pathlib import Path
from types import FrameType
from typing import Any, Final

from core.db import Pool
from core.models import EffectClass
from tests.patience import PATIENCE_S
from worker.context import StoredNotes
from worker.skills.context import AttachedFile, Handles, SkillContext
from worker.skills.http_client import Answer
from worker.skills.mailer import Mailer
from worker.skills.run import Skill
from worker.skills.workspace import Workspace

FILES: Final = {"a.txt": "one", "d/b.txt": "two"}
KEY: Final = "sayso:{task}:3:{gen}"
POINTS_MOST: Final = 300


class WrongClass(AssertionError):
    """A skill does not keep what its effect class promises; the message names the skill, the class and the line."""


class Ended(BaseException):
    """The process ended here, as far as the skill can tell."""


@dataclass
class Web:
    """A server that keeps a book of everything that it was asked to change."""

    book: list[tuple[str, str, bytes | None]] = field(default_factory=list)

    def narrowed(self, may: object) -> Web:
        return self

    async def request(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None,
        credential: str = "", within_s: float = PATIENCE_S,
    ) -> Answer:  # fmt: skip
        if method not in ("GET", "HEAD", "OPTIONS"):
            self.book.append((method, url, body))
        return Answer(200, {"content-type": "text/plain"}, b"done", False, (url,))


class Sent:
    """One file that came with the request."""

    async def open(self, number: int) -> AttachedFile:
        return AttachedFile("a.csv", "text/csv", 5)

    async def read(self, number: int, offset: int, most_bytes: int) -> bytes:
        return b"a,b,c"[offset : offset + most_bytes]


@dataclass
class World:
    """`more` is for skills that reach further than their handles."""

    home: Path
    task: int
    notes: StoredNotes
    db: Pool
    web: Web = field(default_factory=Web)
    more: list[Any] = field(default_factory=list)

    @classmethod
    async def fresh(cls, home: Path, db: Pool) -> World:
        for path, text in FILES.items():
            file = home / "workspace" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        person: int = await db.fetchval("insert into principals (key) values ($1) returning id", str(home))
        return cls(home, person, StoredNotes(db, person, None), db)

    def context(self, gen: int = 1, undo_of: tuple[dict[str, Any], dict[str, Any]] | None = None) -> SkillContext:
        handles = Handles(
            files=Workspace.under(self.home),
            http=self.web,  # type: ignore[arg-type]  # what a skill asks of it
            mail=Mailer(self.home / "mail", "bot@acme.example"),
            notes=self.notes,
            attachments=Sent(),
        )
        return SkillContext(KEY.format(task=self.task, gen=gen), str(self.task), 3, "ann", handles, undo_of=undo_of)

    async def state(self) -> dict[str, Any]:
        """Everything that somebody outside could see."""
        root = self.home / "workspace"
        mail = [
            email.message_from_bytes(one.read_bytes(), policy=default) for one in (self.home / "mail").glob("*.eml")
        ]
        kept = await self.db.fetch(
            "select body from memories where principal_id = $1 and forgotten_at is null order by body",
            self.notes.principal,
        )
        return {
            "files": {str(p.relative_to(root)): p.read_text() for p in root.rglob("*") if p.is_file()},
            "mail": sorted((one["to"], one["subject"], one.get_content()) for one in mail),
            "web": sorted(self.web.book, key=str),
            "notes": [row["body"] for row in kept],
            "more": list(self.more),
        }


@dataclass(frozen=True, slots=True)
class Scenario:
    """One ordinary call. `undoes` is the call that an undo takes back: its arguments."""

    args: dict[str, Any]
    undoes: dict[str, Any] | None = None


SCENARIOS: Final[dict[str, Scenario]] = {
    "attachment.read": Scenario({"id": 1}),
    "attachment.save": Scenario({"id": 1, "path": "e/a.csv"}),
    "email.send": Scenario({"to": "ann@acme.example", "subject": "s", "body": "b"}),
    "files.delete": Scenario({"paths": ["a.txt", "d/b.txt"]}),
    "files.list": Scenario({"pattern": "**/*.txt"}),
    "files.move": Scenario({"source": "a.txt", "target": "e/moved.txt"}),
    "files.read": Scenario({"path": "a.txt"}),
    "files.write": Scenario({"path": "a.txt", "content": "new", "overwrite": True}),
    "http.get": Scenario({"url": "http://acme.example/"}),
    "http.request": Scenario({"method": "POST", "url": "http://acme.example/", "body": "pay"}),
    "note.recall": Scenario({"query": "tea"}),
    "note.remember": Scenario({"text": "Ann likes tea"}),
}


def scenario_of(skill: Skill) -> Scenario:
    """Raises AssertionError for a skill that nobody has thought of."""
    name = skill.manifest.name
    of = name.removesuffix(".undo")
    if of not in SCENARIOS:
        raise AssertionError(f"the skill {of!r} has no scenario; add one to SCENARIOS in tests/effects.py")
    return Scenario({"task": "7", "step": 2}, SCENARIOS[of].args) if name.endswith(".undo") else SCENARIOS[of]


MakeWorld = Callable[[], Any]


async def sweep(skill: Skill, scenario: Scenario, make: MakeWorld, base: Skill | None = None) -> int:
    """End the call at each line in turn; answers how many there were. Raises `WrongClass`. `base` is what an undo undoes."""
    once = await _prepared(scenario, make, base)
    before = await once.world.state()
    await skill.run(once.ctx, scenario.args)
    after = await once.world.state()
    if skill.manifest.effect_class is EffectClass.PURE and before != after:
        raise WrongClass(f"{skill.manifest.name} is declared pure, but it changes the world: {before} became {after}")
    for point in range(POINTS_MOST):
        lost = await _prepared(scenario, make, base)
        where = await _ended_at(point, skill, lost.ctx, scenario.args)
        if where is None:
            return point
        await _recover(skill, scenario, lost, before, after, where)
    raise AssertionError(f"{skill.manifest.name} has more than {POINTS_MOST} lines to be ended at")


@dataclass
class _Call:
    world: World
    ctx: SkillContext


async def _prepared(scenario: Scenario, make: MakeWorld, base: Skill | None) -> _Call:
    """A fresh world; for an undo, one in which its call was made."""
    world: World = await make()
    if base is None or scenario.undoes is None:
        return _Call(world, world.context())
    done = await base.run(replace(world.context(), key=f"sayso:{world.task}:2:1"), scenario.undoes)
    return _Call(world, world.context(undo_of=(scenario.undoes, done)))


async def _ended_at(point: int, skill: Skill, ctx: SkillContext, args: dict[str, Any]) -> str | None:
    """Where the call was ended, None when it came to its own end before. Only lines of the skill's own file count."""
    own = _function(skill).__code__.co_filename
    left, where = point, None

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal left, where
        if frame.f_code.co_filename != own:
            return None
        waits = asyncio.isfuture(arg)  # a coroutine that waits "returns" as well; what it waits for would go on
        if event in ("line", "return") and where is None and not waits:
            if left == 0:
                where = f"{Path(own).name}:{frame.f_lineno} ({event})"
                raise Ended
            left -= 1
        return trace

    was = sys.gettrace()
    sys.settrace(trace)
    try:
        await skill.run(ctx, args)
    except Ended:
        return where
    finally:
        sys.settrace(was)
    return None


def _function(skill: Skill) -> Any:
    """The author's function: of an undo, the function that takes back."""
    made = skill.call
    for cell in made.__closure__ or ():
        if isinstance(cell.cell_contents, Skill):
            return cell.cell_contents.parts["undo"]
    return getattr(made, "__wrapped__", made)


async def _recover(
    skill: Skill, scenario: Scenario, lost: _Call, before: dict[str, Any], after: dict[str, Any], where: str
) -> None:
    """What the engine makes of a lost call of this class, and whether the world is then as after one call."""
    name, effect = skill.manifest.name, skill.manifest.effect_class
    world, now = lost.world, await lost.world.state()
    match effect:
        case EffectClass.UNSAFE:
            return  # a person looks and says
        case EffectClass.PURE | EffectClass.IDEMPOTENT:
            await skill.run(lost.ctx, scenario.args)
        case EffectClass.CHECKABLE:
            found = await skill.probe(lost.ctx, scenario.args, lost.ctx.key)
            if found.state == "unsure":
                return
            if (found.state == "happened") != (now == after) or (found.state == "not_happened") != (now == before):
                raise WrongClass(f"{name}: ended at {where}, its probe says {found.state}, but the world is {now}")
            if found.state == "not_happened":
                await skill.run(replace(lost.ctx, key=KEY.format(task=world.task, gen=2)), scenario.args)
    if (then := await world.state()) != after:
        raise WrongClass(
            f"{name} is declared {effect}, but ended at {where} and taken up again as such,"
            f" the world is {then} instead of {after}"
        )
