"""Gathers why a task is where it is: its history, what was asked, what the rules of now say, which models took its turns.

Read only. `core.cards` words it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core import cards
from core.db import Db
from core.deps import Deps
from core.models import SkillManifest
from core.recorded import in_words, judge
from core.store import approvals, events, llm_calls, recorded


async def why(db: Db, deps: Deps, manifests: Mapping[str, SkillManifest], task: int, shown: Mapping[str, Any]) -> str:
    """`shown` is the task as `store.tasks.shown` answers it to whom asks."""
    try:
        judged = {
            one.step: in_words(judge(one, manifest, deps.organisation))
            for one in await recorded.of_task(db, manifests, task)
            if (manifest := manifests.get(one.action.skill)) is not None
        }
    except cards.UNSHOWABLE:  # a row that cannot be read: the rest is told all the same
        judged = {}
    history = await events.of_task(db, task)
    asked = await approvals.of_task(db, task)
    return cards.why_text(shown, history, asked, judged, await llm_calls.models_of(db, task))
