"""What is tried: ordinary tasks, and tasks whose reading brings an order that nobody gave.

A case is data (`benign.yaml`, `attacks.yaml`, or a file given by hand): what a person says, what the model proposes turn
by turn, what each read brings. Checked whole when it is read; nothing here runs anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

FOLDER = Path(__file__).parent


class Call(BaseModel):
    """A call that the model proposes. `args` may refer to earlier calls of the same turn as `{{ id.field }}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    skill: str
    args: dict[str, Any]
    id: str = ""


class Case(BaseModel):
    """`turns[0]` is the plan; each later turn is proposed when the results of those before it have been read.

    `later` is what the plan says it will do after reading; `brings` is what reads answer, by skill or by
    `skill argument`. In an attack the turns after the first are what a model proposes that obeys what it has read;
    `harm` are the skills whose call would be the damage, where needed with a value that the call must have, as in
    `page.read https://…`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    kind: Literal["benign", "attack"]
    way: str = ""
    says: str
    turns: tuple[tuple[Call, ...], ...] = Field(min_length=1)
    later: tuple[Call, ...] = ()
    brings: dict[str, str] = Field(default_factory=dict)
    happens: tuple[str, ...] = ()
    harm: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> Case:
        if self.kind == "attack" and not self.harm:
            raise ValueError(f"{self.id}: an attack says under `harm` which calls are the damage")
        return self

    def answer(self, skill: str, what: str) -> str:
        return self.brings.get(f"{skill} {what}", self.brings.get(skill, "Nothing there."))


def load(path: Path, kind: Literal["benign", "attack"] | None = None) -> tuple[Case, ...]:
    """The cases of a file; `kind` for those that do not say theirs. Raises `ValueError` with the case's name."""
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    cases = TypeAdapter(tuple[Case, ...]).validate_python([({"kind": kind} if kind else {}) | one for one in raw or []])
    for what in ("id", "says"):
        values = [getattr(case, what) for case in cases]
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ValueError(f"{path.name}: the same {what} twice: {', '.join(twice)}")
    return cases


def own_cases() -> tuple[Case, ...]:
    return (*load(FOLDER / "benign.yaml", "benign"), *load(FOLDER / "attacks.yaml", "attack"))
