"""The samples of docs/skills.md run as written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.skill_context import KEY, context
from worker.skills import NotDone
from worker.skills.context import Handles
from worker.skills.handles import open_handles
from worker.skills.registry import Registry
from worker.skills.run import Skill

PAGE = Path(__file__).parent.parent / "docs" / "skills.md"


def samples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    (tmp_path / "skills").mkdir(mode=0o755)
    for name, text in zip(("lamp", "ledger"), samples("python"), strict=True):
        path = tmp_path / "skills" / f"{name}.py"
        path.write_text(text)
        path.chmod(0o644)
    registry = Registry.load(tmp_path)
    assert registry.problems == []
    return registry


def found(registry: Registry, name: str) -> Skill:
    skill = registry.get(name)
    assert skill is not None, name
    return skill


async def test_the_first_sample_runs(registry: Registry) -> None:
    skill = found(registry, "lamp.switch")
    result = await skill.run(context(Handles()), skill.validate({"room": "hall", "on": "true"}))
    assert result == {"room": "hall", "is_on": True, "summary": "The lamp in hall is on"}
    assert skill.manifest.card == "Switch the lamp in {room}" and skill.target({"room": "hall"}) == "lamp:hall"


async def test_the_second_sample_previews_probes_and_undoes(registry: Registry) -> None:
    skill, ctx = found(registry, "ledger.book"), context(Handles())
    args = skill.validate({"account": "office", "cents": 500})
    assert await skill.preview(ctx, args) == "office: 0 → +500"
    assert (await skill.probe(ctx, args, KEY)).state == "not_happened"
    result = await skill.run(ctx, args)
    assert (await skill.probe(ctx, args, KEY)).state == "happened"
    undo = found(registry, "ledger.book.undo")
    undone = await undo.run(context(Handles(), undo_of=(args, result)), {"task": "7", "step": 3})
    assert undone["summary"] == "Took back 500 from office"
    assert (await skill.probe(ctx, args, KEY)).state == "not_happened"
    with pytest.raises(NotDone):
        await skill.run(ctx, {"account": "office", "cents": 0})


def test_the_settings_of_the_page_open_the_handles(tmp_path: Path) -> None:
    settings = yaml.safe_load(samples("yaml")[0])["skills"]
    handles = open_handles(tmp_path, settings, {"DEPLOY_TOKEN": "t0ken"}.get)
    assert handles.files is not None and handles.files.root == tmp_path.resolve() / "workspace"
    assert handles.mail is not None and handles.mail.sender == "sayso@acme.example" and handles.http is not None


def test_the_page_lists_every_built_in_skill() -> None:
    text = PAGE.read_text()
    for manifest in Registry.load(Path("/nonexistent")).manifests():
        if not manifest.name.endswith(".undo"):
            assert f"`{manifest.name}`" in text, manifest.name
