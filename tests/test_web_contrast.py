"""The colours of the pages against WCAG 2.2 AA (success criteria 1.4.3 and 1.4.11), computed from the stylesheet itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CSS = (Path(__file__).parent.parent / "bot" / "web" / "static" / "app.css").read_text(encoding="utf-8")
TEXT_LEAST, LINE_LEAST = 4.5, 3.0
# What is written on what; each pair stands in a rule of the stylesheet.
TEXT = [
    *((ink, ground) for ink in ("ink", "soft", "accent", "bad") for ground in ("ground", "surface", "sunken")),
    *((tone, f"{tone}-ground") for tone in ("ask", "good", "bad", "busy")),
    *(("ink", f"{tone}-ground") for tone in ("ask", "good", "bad", "busy", "accent")),
    ("accent-ink", "accent"), ("surface", "bad"), ("soft", "accent-ground"),
]  # fmt: skip
LINES = [
    *(("field", ground) for ground in ("surface", "ground", "sunken")),
    *((line, "surface") for line in ("accent", "good", "bad", "ask", "busy")), ("accent", "ground"),
]  # fmt: skip


def schemes() -> dict[str, dict[str, str]]:
    light, dark = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    return {
        name: dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", text))
        for name, text in (("light", light), ("dark", dark))
    }


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_black_on_white_is_twenty_one_to_one() -> None:
    assert round(contrast("#000000", "#ffffff"), 2) == 21.0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("pairs", "least"), [(TEXT, TEXT_LEAST), (LINES, LINE_LEAST)])
def test_every_pair_of_colours_is_far_enough_apart(scheme: str, pairs: list[tuple[str, str]], least: float) -> None:
    colours = schemes()[scheme]
    weak = {pair: round(found, 2) for pair in pairs if (found := contrast(colours[pair[0]], colours[pair[1]])) < least}
    assert weak == {}
