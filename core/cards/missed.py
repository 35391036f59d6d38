"""What happened while somebody was away, in one message. Pure; what others wrote is shown with everything hidden made visible."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from core.display import visible

TITLE_CHARS: Final = 120
NOTHING: Final = "Nothing happened to what is yours"
_DECIDED: Final = {"approved": "approved", "consumed": "approved", "denied": "denied"}
_UNANSWERED: Final = {"expired": "nobody answered in time", "undeliverable": "nobody could be asked"}

Item = Mapping[str, Any]


def nothing_missed(missed: Mapping[str, Any]) -> bool:
    """Whether there is nothing to tell; money alone is no news."""
    return not any(missed[name]["total"] for name, _, _ in _PARTS)


def missed_text(missed: Mapping[str, Any], url: str) -> str:
    """`missed` is what `store.absence.missed` answers; `url` is where the web shows it all."""
    since = f"since {datetime.fromisoformat(missed['since']):%Y-%m-%d %H:%M} UTC"
    spent = f"Spent on models: ${missed['usd']:.2f}." if missed["usd"] >= 0.005 else ""
    if nothing_missed(missed):
        return " ".join(part for part in (f"{NOTHING} {since}.", spent) if part)
    lines = [f"While you were away ({since}):"]
    for name, title, line in _PARTS:
        part = missed[name]
        if not part["total"]:
            continue
        lines.append(f"{title}:")
        lines += [f"  {line(item)}" for item in part["items"]]
        if part["total"] > len(part["items"]):
            lines.append(f"  … and {part['total'] - len(part['items'])} more: {url}")
    return "\n".join([*lines, spent] if spent else lines)


def _finished(item: Item) -> str:
    return f"{item['task_id']}: {_short(item['goal'])} ({item['status']})"


def _waiting(item: Item) -> str:
    return f"{_titled(item)}, asked by {visible(item['requester'])}"


def _decided(item: Item) -> str:
    return f"{_titled(item)}: {_DECIDED[item['status']]} by {visible(item['by'] or 'nobody')}"


def _unanswered(item: Item) -> str:
    return f"{_titled(item)}: {_UNANSWERED[item['status']]}"


def _unknown(item: Item) -> str:
    return f"{item['task_id']}: {_short(item['title'])} (step {item['step']})"


def _titled(item: Item) -> str:
    return f"{item['task_id']}: {_short(item['title'])}"


def _short(text: str) -> str:
    shown = visible(text[:TITLE_CHARS])
    return shown + "…" if len(text) > TITLE_CHARS else shown


# What wants an answer comes first.
_PARTS: Final[tuple[tuple[str, str, Callable[[Item], str]], ...]] = (
    ("waiting", "Waiting for your decision", _waiting),
    ("unknown", "Not known whether it happened", _unknown),
    ("finished", "Finished", _finished),
    ("decided", "Decided by others", _decided),
    ("expired", "Not answered", _unanswered),
)
