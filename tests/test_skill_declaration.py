"""What `@skill` accepts, what it refuses with the fix named, and what it publishes."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

import jsonschema
import pytest
import rfc8785
from pydantic import BaseModel, Field

from core.models import ArgumentRole, EffectClass, Permission
from tests.skill_context import built_in, context
from worker.skills import BadArguments, BadDeclaration, Content, Control, NotDone, Probe, SkillContext, skill
from worker.skills.context import Handles
from worker.skills.registry import Registry
from worker.skills.skill import Declaration

READ = [("read", "things:{what}")]


class Report(BaseModel):
    """A result as a model."""

    lines: list[str]
    score: float = 0.5


@skill(permissions=READ, effect="pure", card="Look at {what}", name="thing.look", version="2")
async def look(
    ctx: SkillContext,
    what: Annotated[str, Control, Field(max_length=20)],
    note: Annotated[str, Content] = "none",
    depth: int = 1,
    how: Literal["fast", "slow"] = "fast",
) -> Report:
    """Look at a thing.

    The rest of the docstring is for authors.
    """
    return Report(lines=[what, note, how, str(depth)])


def test_manifest_says_everything_others_may_know() -> None:
    manifest = look.finished().manifest
    assert (manifest.name, manifest.version, manifest.summary) == ("thing.look", "2", "Look at a thing.")
    assert manifest.permission is Permission.READ and manifest.effect_class is EffectClass.PURE
    assert manifest.roles == {
        "what": ArgumentRole.CONTROL,
        "note": ArgumentRole.CONTENT,
        "depth": ArgumentRole.CONTROL,  # unmarked is control
        "how": ArgumentRole.CONTROL,
    }
    jsonschema.Draft202012Validator.check_schema(manifest.args_schema)
    assert manifest.args_schema["additionalProperties"] is False
    assert manifest.args_schema["required"] == ["what"]
    assert manifest.args_schema["properties"]["how"]["enum"] == ["fast", "slow"]
    assert manifest.schema_hash == hashlib.sha256(rfc8785.dumps(manifest.args_schema)).hexdigest()


def test_effect_is_unsafe_unless_said_otherwise() -> None:
    @skill(permissions=READ, card="x {what}", name="thing.poke")
    async def poke(ctx: SkillContext, what: str) -> dict[str, Any]:
        """Poke."""
        return {}

    assert poke.finished().manifest.effect_class is EffectClass.UNSAFE


async def test_run_validates_and_returns_plain_json() -> None:
    one = look.finished()
    assert one.validate({"what": "cat"}) == {"what": "cat", "note": "none", "depth": 1, "how": "fast"}
    assert await one.run(context(Handles()), {"what": "cat", "depth": 2}) == {
        "lines": ["cat", "none", "fast", "2"],
        "score": 0.5,
    }
    assert one.target({"what": "cat"}) == "things:cat"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({}, "'what' is missing"),
        ({"what": "a", "wat": 1}, "there is no argument 'wat'; it takes what, note, depth, how"),
        ({"what": "x" * 21}, "at most 20"),
        ({"what": "a", "how": "sideways"}, "'how'"),
        ({"what": "a", "depth": 2**53}, "no canonical form"),
        ({"what": "a\0b"}, "NUL"),
        ({"what": "\ud800"}, "unicode"),
        ({"what": "a", "note": "x" * 1_000_001}, "at most 1000000"),
    ],
)
def test_bad_arguments_are_told_in_words(args: dict[str, Any], words: str) -> None:
    with pytest.raises(BadArguments) as refused:
        look.finished().validate(args)
    assert words in str(refused.value) and str(refused.value).startswith("thing.look: ")


def test_a_backslash_before_u0000_is_no_nul() -> None:
    assert look.finished().validate({"what": "\\u0000"})["what"] == "\\u0000"


async def some(ctx: SkillContext, what: str) -> dict[str, Any]:
    """Do something."""
    return {"what": what}


async def unhinted(ctx: SkillContext, what) -> dict[str, Any]:  # type: ignore[no-untyped-def]  # the point
    """Do something."""
    return {}


async def undocumented(ctx: SkillContext, what: str) -> dict[str, Any]:
    return {}


async def listless(ctx: SkillContext, what: str) -> list[str]:
    """Do something."""
    return []


async def without_context(what: str) -> dict[str, Any]:
    """Do something."""
    return {}


async def starred(ctx: SkillContext, what: str, **more: str) -> dict[str, Any]:
    """Do something."""
    return {}


async def shadowing(ctx: SkillContext, what: str, copy: str) -> dict[str, Any]:
    """Do something."""
    return {}


def not_async(ctx: SkillContext, what: str) -> dict[str, Any]:
    """Do something."""
    return {}


@pytest.mark.parametrize(
    ("fn", "terms", "fix"),
    [
        (unhinted, {}, "'what' has no type hint; add one"),
        (undocumented, {}, "no docstring"),
        (listless, {}, "return a dict"),
        (without_context, {}, "ctx: SkillContext first"),
        (starred, {}, "name each one"),
        (shadowing, {}, "cannot be called 'copy'; rename it"),
        (not_async, {}, "write 'async def'"),
        (some, {"effect": "probably"}, "use one of pure, idempotent, checkable, unsafe"),
        (some, {"effect": "checkable"}, "add @…probe or declare effect='unsafe'"),
        (some, {"reversible": True}, "add @…undo or drop reversible=True"),
        (some, {"card": "Do {wat}"}, "names 'wat', which is not an argument; use {what}"),
        (some, {"card": "Do {what"}, "is no template"),
        (some, {"card": ""}, "has no card"),
        (some, {"permissions": []}, "declares no permission"),
        (some, {"permissions": [("peek", "x")]}, "unknown permission 'peek'"),
        (some, {"permissions": [("read", "x:{y}")]}, "names 'y'"),
        (some, {"permissions": [("delete", "x")], "effect": "pure"}, "is pure but asks for more"),
        (some, {"timeout_s": 1e9}, "timeout_s"),
        (some, {"version": ""}, "is no version"),
        (some, {"name": "No Name"}, "is no skill name"),
        (some, {"names_files": ("paths",)}, "names_files has 'paths'"),
    ],
)
def test_bad_declarations_name_the_fix(fn: Any, terms: dict[str, Any], fix: str) -> None:
    with pytest.raises(BadDeclaration) as refused:
        skill(**{"permissions": READ, "card": "Do {what}", "name": "thing.do"} | terms)(fn).finished()
    assert fix in str(refused.value)


def declared(**terms: Any) -> Declaration:
    return skill(**{"permissions": READ, "card": "Do {what}", "name": "thing.do"} | terms)(some)


def test_parts_must_take_the_arguments_of_the_skill() -> None:
    async def probe(ctx: SkillContext, wat: str) -> Probe:
        return Probe.unsure("x")

    with pytest.raises(BadDeclaration, match=r"probe takes \(wat\).*arguments are \(what\)"):
        declared().probe(probe)


def test_an_undo_makes_a_skill_reversible_and_must_not_be_denied() -> None:
    async def undo(ctx: SkillContext, result: dict[str, Any], what: str) -> dict[str, Any]:
        return {"undid": what, "was": result}

    one = declared()
    one.undo(undo)
    assert one.finished().manifest.reversible
    with pytest.raises(BadDeclaration, match="two undo functions"):
        one.undo(undo)
    refused: list[tuple[dict[str, Any], str]] = [
        ({"reversible": False}, "drop one of the two"),
        ({"effect": "pure"}, "nothing to undo"),
    ]
    for terms, words in refused:
        other = declared(**terms)
        other.undo(undo)
        with pytest.raises(BadDeclaration, match=words):
            other.finished()


async def test_the_registry_derives_an_undo_skill() -> None:
    async def undo(ctx: SkillContext, result: dict[str, Any], what: str) -> dict[str, Any]:
        return {"undid": what, "was": result}

    one = declared()
    one.undo(undo)
    registry = Registry()
    registry.add(one, "test")
    found = registry.get("thing.do.undo")
    assert found is not None
    assert found.manifest.permission is Permission.WRITE and found.manifest.effect_class is EffectClass.IDEMPOTENT
    assert found.manifest.card == "Undo: thing.do in step {step} of task {task}"
    args = {"task": "7", "step": 3}
    recorded = ({"what": "cat"}, {"what": "cat"})
    assert await found.run(context(Handles(), undo_of=recorded), args) == {"undid": "cat", "was": recorded[1]}
    with pytest.raises(NotDone, match="left no record"):
        await found.run(context(Handles()), args)


async def test_a_probe_that_fails_is_unsure_and_never_a_yes() -> None:
    async def probe(ctx: SkillContext, what: str) -> Probe:
        raise ConnectionError("gone")

    one = declared(effect="checkable")
    one.probe(probe)
    found = await one.finished().probe(context(Handles()), {"what": "x"}, "k")
    assert found.state == "unsure" and "gone" in found.evidence


async def test_a_probe_sees_the_key_it_is_asked_about() -> None:
    async def probe(ctx: SkillContext, what: str) -> Probe:
        return Probe.happened(ctx.key, {"what": what})

    one = declared(effect="checkable")
    one.probe(probe)
    found = await one.finished().probe(context(Handles()), {"what": "x"}, "sayso:1:1:4")
    assert found == Probe("happened", "sayso:1:1:4", {"what": "x"})


async def test_a_preview_is_cut_to_what_a_card_can_hold() -> None:
    async def preview(ctx: SkillContext, what: str) -> str:
        return what * 5_000

    one = declared()
    one.preview(preview)
    text = await one.finished().preview(context(Handles()), {"what": "abc"})
    assert text is not None and len(text) < 8_100 and text.endswith("7000 more")


def test_every_built_in_skill_has_a_probe_where_it_is_checkable_and_marks_its_roles() -> None:
    manifests = {one.name: one for one in Registry.load(__import__("pathlib").Path("/nonexistent")).manifests()}
    assert set(manifests) == {
        *("files.list", "files.read", "files.write", "files.move", "files.delete"),
        *("files.write.undo", "files.move.undo", "files.delete.undo"),
        *("http.get", "http.request", "email.send", "note.remember", "note.remember.undo", "note.recall"),
        *("attachment.read", "attachment.save", "attachment.save.undo"),
    }
    for one in manifests.values():
        assert one.has_probe or one.effect_class is not EffectClass.CHECKABLE
        assert set(one.roles) == set(one.args_schema["properties"])
    assert manifests["http.request"].effect_class is EffectClass.UNSAFE
    assert manifests["files.delete"].permission is Permission.DELETE
    assert built_in("email.send").manifest.roles["body"] is ArgumentRole.CONTENT
