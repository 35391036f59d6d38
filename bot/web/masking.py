"""Takes known secrets out of all that a page shows, whatever it is made of, so that no page has to think of it.

Pure. The fields of a form stay as they are: what is masked there could not be sent back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from core.cards import Card
from core.editing import Field

Mask = Callable[[str], str]


def masked(value: Any, mask: Mask) -> Any:
    """The same value with every text in it masked: of cards, of frozen dataclasses, of mappings and sequences."""
    match value:
        case str():
            return mask(value)
        case Card():
            return value.masked(mask)
        case Field():
            return value
        case Mapping():
            return {key: masked(one, mask) for key, one in value.items()}
        case list() | tuple():
            return type(value)(masked(one, mask) for one in value)
        case _ if is_dataclass(value) and not isinstance(value, type):
            return replace(value, **{f.name: masked(getattr(value, f.name), mask) for f in fields(value)})
        case _:
            return value
