"""A home with a workspace, and contexts as the executor would make them, for the tests of skills."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from worker.skills.context import Handles, SkillContext
from worker.skills.mailer import Mailer
from worker.skills.registry import Registry
from worker.skills.run import Skill
from worker.skills.workspace import Workspace

KEY = "sayso:7:3:0"


def context(handles: Handles, key: str = KEY, **more: Any) -> SkillContext:
    return SkillContext(key=key, task_id="7", step=3, requester_key="ann", handles=handles, **more)


def file_context(home: Path, key: str = KEY, **more: Any) -> SkillContext:
    return context(Handles(files=Workspace.under(home), mail=Mailer(home / "mail", "bot@acme.example")), key, **more)


def built_in(name: str) -> Skill:
    found = Registry.load(Path("/nonexistent")).get(name)
    assert found is not None, name
    return found
