"""The note skills hand notes to memory with the step's key, and can take them back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.skill_context import KEY, built_in, context
from worker.skills import BadArguments, NotDone
from worker.skills.context import Handles


class Memory:
    """Notes by key, as Postgres would keep them."""

    def __init__(self) -> None:
        self.notes: dict[str, dict[str, Any]] = {}

    async def remember(self, text: str, scope: str, key: str) -> str:
        self.notes.setdefault(key, {"id": f"n-{key}", "text": text, "scope": scope})
        return str(self.notes[key]["id"])

    async def recall(self, query: str, limit: int) -> list[dict[str, Any]]:
        return [note for note in self.notes.values() if query in note["text"]][:limit]

    async def forget(self, note_id: str) -> bool:
        return self.notes.pop(note_id.removeprefix("n-"), None) is not None


async def test_a_note_is_remembered_once_recalled_and_forgotten() -> None:
    memory = Memory()
    ctx = context(Handles(notes=memory))
    remember, recall = built_in("note.remember"), built_in("note.recall")
    args = remember.validate({"text": "the deploy window is Tuesday"})
    result = await remember.run(ctx, args)
    assert await remember.run(ctx, args) == result and len(memory.notes) == 1
    assert memory.notes[KEY]["scope"] == "person"
    found = await recall.run(ctx, {"query": "deploy"})
    assert found["count"] == 1 and found["notes"][0]["text"] == "the deploy window is Tuesday"
    await remember.undo(ctx, args, result)
    assert memory.notes == {} and not recall.manifest.output_trusted


async def test_recall_cannot_write() -> None:
    narrowed = Handles(notes=Memory()).narrowed({"notes": frozenset()}).notes
    assert narrowed is not None
    with pytest.raises(NotDone, match="declares no write"):
        await narrowed.remember("x", "person", "k")
    with pytest.raises(NotDone, match="declares no write"):
        await narrowed.forget("n-k")


def test_notes_have_a_size_and_a_known_scope() -> None:
    for args in ({"text": ""}, {"text": "x" * 4001}, {"text": "x", "scope": "world"}):
        with pytest.raises(BadArguments):
            built_in("note.remember").validate(args)
