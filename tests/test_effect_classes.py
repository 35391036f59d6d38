"""Every skill of the registry against its effect class, and skills that lie about theirs: each lie is found.

A new skill is swept without a further test: it needs a scenario in tests/effects.py and says so when it has none.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import pytest

from core.db import Pool
from core.models import EffectClass
from tests.effects import Scenario, World, WrongClass, scenario_of, sweep
from worker.skills import Content, SkillContext, skill
from worker.skills.context import Probe
from worker.skills.registry import Registry
from worker.skills.run import Skill
from worker.skills.skill import Declaration

NOTHING = Path("/nonexistent")
BUILT_IN = [manifest.name for manifest in Registry.load(NOTHING).manifests()]
Make = Callable[[], Awaitable[World]]


@pytest.fixture
def make(db: Pool, tmp_path: Path) -> Make:
    numbers = itertools.count()

    async def fresh() -> World:
        return await World.fresh(tmp_path / str(next(numbers)), db)

    return fresh


@pytest.mark.parametrize("name", BUILT_IN)
async def test_a_built_in_skill_keeps_what_its_class_promises(name: str, make: Make) -> None:
    registry = Registry.load(NOTHING)
    found = registry.get(name)
    assert found is not None
    base = registry.get(name.removesuffix(".undo")) if name.endswith(".undo") else None
    assert await sweep(found, scenario_of(found), make, base) >= 2, "it was ended nowhere"


def test_a_skill_without_a_scenario_is_asked_for_one() -> None:
    with pytest.raises(AssertionError, match=r"'odd\.pay' has no scenario; add one to SCENARIOS"):
        scenario_of(finished(odd("unsafe", every_time)))


# ---------------------------------------------------------------- lies


World_ = list[Any]


async def every_time(world: World_, key: str) -> None:
    """Does it whenever it is asked."""
    world.append("paid")


async def once_a_key(world: World_, key: str) -> None:
    """Looks whether this generation was there: keeps its promise."""
    if (paid := f"paid under {key.rpartition(':')[2]}") not in world:
        world.append(paid)


async def marks_afterwards(world: World_, key: str) -> None:
    """Does it, and only then remembers that it has."""
    if "done" not in world:
        world.append("paid")
        world.append("done")


def odd(
    effect: str, pay_: Callable[[World_, str], Awaitable[None]], probe: Callable[[World_, str], Probe] | None = None
) -> Declaration:
    """A skill of this class that does it like this, and is probed like that."""
    worlds: list[World_] = [[]]

    @skill(
        name="odd.pay",
        permissions=[("read" if effect == "pure" else "spend", "shop:*")],
        effect=effect,
        card="Pay {note}",
    )
    async def pay(ctx: SkillContext, note: Annotated[str, Content] = "") -> dict[str, Any]:
        """Pay."""
        await pay_(worlds[-1], ctx.key)
        return {}

    if probe is not None:

        @pay.probe
        async def _(ctx: SkillContext, note: str) -> Probe:
            return probe(worlds[-1], ctx.key)

    pay.worlds = worlds  # type: ignore[attr-defined]  # so that the test can put its world in
    return pay


def finished(declared: Declaration) -> Skill:
    registry = Registry()
    registry.add(declared, "a test")
    found = registry.get("odd.pay")
    assert found is not None
    return found


async def swept(declared: Declaration, make: Make) -> int:
    async def fresh() -> World:
        world = await make()
        declared.worlds.append(world.more)  # type: ignore[attr-defined]
        return world

    return await sweep(finished(declared), Scenario({"note": "n"}), fresh)


def says(state: str) -> Callable[[World_, str], Probe]:
    return lambda world, key: Probe(state, "so it is")  # type: ignore[arg-type]


def looks(world: World_, key: str) -> Probe:
    return Probe.happened("it is there") if world else Probe.not_happened("it is not there")


@pytest.mark.parametrize(
    "liar",
    [
        pytest.param(lambda: odd("pure", every_time), id="pure-but-changes-the-world"),
        pytest.param(lambda: odd("idempotent", every_time), id="idempotent-but-does-it-each-time"),
        pytest.param(lambda: odd("idempotent", marks_afterwards), id="idempotent-but-only-once-it-has-ended"),
        pytest.param(lambda: odd("checkable", every_time, says("not_happened")), id="checkable-but-denies-it"),
        pytest.param(lambda: odd("checkable", every_time, says("happened")), id="checkable-but-claims-it"),
    ],
)
async def test_a_wrong_effect_class_is_found(liar: Callable[[], Declaration], make: Make) -> None:
    with pytest.raises(WrongClass, match=r"odd\.pay"):
        await swept(liar(), make)


@pytest.mark.parametrize(
    "honest",
    [
        pytest.param(lambda: odd("idempotent", once_a_key), id="idempotent"),
        pytest.param(lambda: odd("checkable", every_time, looks), id="checkable"),
        pytest.param(lambda: odd("checkable", every_time, says("unsure")), id="checkable-and-unsure"),
        pytest.param(lambda: odd("unsafe", every_time), id="unsafe"),
    ],
)
async def test_a_right_effect_class_passes(honest: Callable[[], Declaration], make: Make) -> None:
    assert await swept(honest(), make) >= 2
    assert finished(honest()).manifest.effect_class is not EffectClass.PURE
