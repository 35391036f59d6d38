"""Slack's text, both ways: what a person typed out of its markup, and our words into markup that says nothing else.

Pure. What comes in keeps only the sender's own words; lines they quoted are told apart. What goes out as markup has
no character left with which Slack begins a mention or a link.
https://docs.slack.dev/messaging/formatting-message-text
"""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(r"<([^<>\n]+)>")
_QUOTED: Final = re.compile(r"&gt; ?")


def clean(value: object) -> str:
    """The value when it is text that a database can hold, without NUL and lone surrogates; else nothing."""
    if not isinstance(value, str):
        return ""
    return value.encode("utf-8", "replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")


def typed(raw: str, bot_user: str) -> tuple[str, tuple[str, ...]]:
    """The sender's own words without our mention, and the blocks of lines that they quoted."""
    own: list[str] = []
    quotes: list[list[str]] = []
    was_quote = False
    lines = raw.split("\n")
    for at, line in enumerate(lines):
        if line.startswith("&gt;&gt;&gt;"):
            rest = "\n".join([line.removeprefix("&gt;&gt;&gt;").lstrip(), *lines[at + 1 :]])
            quotes.append([rest])
            break
        if _QUOTED.match(line):
            if not was_quote:
                quotes.append([])
            quotes[-1].append(_QUOTED.sub("", line, count=1))
            was_quote = True
        else:
            own.append(line)
            was_quote = False
    text = plain(without_mention("\n".join(own), bot_user))
    return text.strip(), tuple(quote for parts in quotes if (quote := plain("\n".join(parts)).strip()))


def mentions(raw: str, user: str) -> bool:
    return bool(user) and (f"<@{user}>" in raw or f"<@{user}|" in raw)


def without_mention(raw: str, bot_user: str) -> str:
    """The text without our name; a colon or comma behind a leading one belongs to it."""
    if not bot_user:
        return raw
    name = rf"<@{re.escape(bot_user)}(?:\|[^<>]*)?>"
    raw = re.sub(rf"^\s*(?:{name}\s*)+[:,]?\s*", "", raw)
    return re.sub(rf"[ \t]*{name}(?=\s|$)|{name}", "", raw)


def plain(raw: str) -> str:
    """Slack's tokens and entities as the characters that the sender saw."""
    text = _TOKEN.sub(lambda token: _token(token.group(1)), raw)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _token(inside: str) -> str:
    target, _, label = inside.partition("|")
    if target.startswith("@"):
        return target
    if target.startswith("#"):
        return f"#{label or target[1:]}"
    if target.startswith("!"):
        return label or f"@{target[1:].partition('^')[0]}"
    scheme, colon, rest = target.partition(":")
    if not colon:
        return f"<{inside}>"
    if scheme in ("mailto", "tel"):
        return rest
    # Slack makes a link of every bare `notes.md`, a file's name: then the label is what was typed.
    return label if scheme in ("http", "https") and label and rest.rstrip("/") == f"//{label}".rstrip("/") else target


def inert(text: str) -> str:
    """Text for a field that Slack reads as markup: no character of it begins a mention, a link or a date."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def clipped(text: str, most: int) -> str:
    """At most that many characters; what is cut off is said."""
    return text if len(text) <= most else text[: most - 1] + "…"
