"""Steps whose row does not say what to do: they end with the reason and nothing of them is run.

Pure. It takes a hand in the database or a broken disk to make one. A call that may be under way stays a question to people.
"""

from __future__ import annotations

from pydantic import ValidationError

from core.models import ArgumentOrigin, Claimed, EffectClass, Failed, Outcome, Unknown

WHY = "Quarantined: the row of this step cannot be read ({flaw}). Nothing was run; ask for it again."
KINDS = frozenset({"plan", "think", "act", "wait", "ask", "reflect"})
EFFECT_CLASSES = frozenset(map(str, EffectClass))


def flaw_of(step: Claimed) -> str | None:
    """What is wrong with the row of a claimed step; None when it can be read."""
    if step.kind not in KINDS:
        return f"there is no kind {step.kind!r}"
    if step.effect_class not in EFFECT_CLASSES:
        return f"there is no effect class {step.effect_class!r}"
    if not isinstance(step.args, dict):
        return f"its arguments are {_kind(step.args)}, not an object"
    if not isinstance(step.origins, dict):
        return f"the origins of its arguments are {_kind(step.origins)}, not an object"
    for origin in step.origins.values():
        try:
            ArgumentOrigin.model_validate(origin)
        except ValidationError:
            return "an argument's origin is none"
    return None


def _kind(value: object) -> str:
    """What it is, without saying what is in it."""
    return {list: "a list", str: "a text", type(None): "null", bool: "true or false"}.get(type(value), "a number")


def quarantined(step: Claimed, flaw: str) -> Failed | Unknown:
    if step.effect_state == "intent":
        return Unknown(
            error="The worker lost sight of the call after it had begun, and its row cannot be read any more."
        )
    return Failed(error=WHY.format(flaw=flaw), outcome=Outcome.ERROR)
