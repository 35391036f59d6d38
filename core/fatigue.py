"""What the figures of approving say, in words: where a yes has become a habit. A suggestion is never applied by itself.

Pure: the figures come from `core.store.fatigue`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

LEAST: Final = 5
QUICK_SHARE: Final = 0.5
HOUR_MOST: Final = 12


def report(days: int, figures: Mapping[str, Any]) -> dict[str, Any]:
    """How the approvals of the last days were answered, per skill and person, with what that suggests."""
    skills, people = figures["skills"], figures["people"]
    said = suggestions(skills, people, figures["repeated"])
    return {"days": days, "skills": skills, "people": people, "suggestions": said}


def suggestions(
    skills: Sequence[Mapping[str, Any]], people: Sequence[Mapping[str, Any]], repeated: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Sentences for a person who writes the rules; `skills`, `people` and `repeated` are of `core.store.fatigue`."""
    said = [
        f"{r['requester']} asked {r['asks']} times for {r['says']}, and it was never refused: a permission for exactly that"
        " (Always allow… on its card) would spare these asks."
        for r in repeated
    ]
    for one in skills:
        if one["asks"] >= LEAST and one["unanswered"] * 2 >= one["asks"]:
            said.append(
                f"Of {one['asks']} asks for {one['skill']}, {one['unanswered']} were answered by nobody: its approvers or its"
                " ladder reach the wrong people."
            )
    for one in people:
        if one["decisions"] >= LEAST and one["quick"] >= QUICK_SHARE * one["decisions"]:
            said.append(
                f"{one['person']} decided {one['quick']} of {one['decisions']} in under 2 seconds: too fast to have read them."
                " Fewer asks, or a second approver, would make these count."
            )
        if one["most_in_an_hour"] > HOUR_MOST:
            said.append(
                f"{one['person']} was asked {one['most_in_an_hour']} times in one hour: others could share that."
            )
    return said


def waved_through(people: Sequence[Mapping[str, Any]]) -> list[str]:
    """Who said yes to everything, each time in under 2 seconds: their yes protects nobody."""
    return [
        one["person"]
        for one in people
        if one["decisions"] >= LEAST and one["decisions"] == one["approved"] == one["quick"]
    ]


def _share(part: int, of: int) -> int:
    return round(100 * part / of) if of else 0


def in_words(report: Mapping[str, Any]) -> str:
    lines = [f"Approvals of the last {report['days']} days"]
    for one in report["skills"]:
        took = f", median {one['median_s']:g} s" if one["median_s"] is not None else ""
        lines.append(
            f"  {one['skill']}: {one['asks']} asks, {_share(one['approved'], one['asks'])} % approved, {one['denied']} denied,"
            f" {one['unanswered']} unanswered{took}, {one['quick']} in under 2 s"
        )
    for one in report["people"]:
        took = f", median {one['median_s']:g} s" if one["median_s"] is not None else ""
        lines.append(
            f"  {one['person']}: {one['asks']} asks, {one['asks_per_hour']:g} in an hour and at most {one['most_in_an_hour']};"
            f" {one['decisions']} decisions, {_share(one['approved'], one['decisions'])} % yes{took}, {one['quick']} in under 2 s"
        )
    return "\n".join([*lines, *(f"Suggestion: {s}" for s in report["suggestions"])])
