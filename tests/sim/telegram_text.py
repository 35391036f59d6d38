"""Telegram's HTML: text with tags → plain text and entities, or the refusal that the Bot API would give.

Pure. Lengths and offsets are in UTF-16 code units, as everywhere in the Bot API. Markdown modes are not known here: our
app speaks HTML only, and the stand-in says so when that changes.
"""

import re
from dataclasses import dataclass, field
from typing import Any

TEXT_UNITS = 4096
SIMPLE = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "u": "underline",
    "ins": "underline",
    "s": "strikethrough",
    "strike": "strikethrough",
    "del": "strikethrough",
    "code": "code",
    "pre": "pre",
    "blockquote": "blockquote",
    "tg-spoiler": "spoiler",
}
NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}
TAG = re.compile(r"<(/?)([A-Za-z0-9-]*)((?:\s+[^<>]*)?)>")
ATTRIBUTE = re.compile(r'([A-Za-z-]+)\s*=\s*(?:"([^"]*)"|\'([^\']*)\'|(\S+))|([A-Za-z-]+)')
ENTITY = re.compile(r"&(#x[0-9A-Fa-f]+|#[0-9]+|[a-z]+);")


class Unparsable(ValueError):
    """The text after "Bad Request: can't parse entities: "."""


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


@dataclass
class _Open:
    tag: str
    entity: dict[str, Any] | None
    start: int
    at: int


@dataclass
class _Out:
    parts: list[str] = field(default_factory=list)
    length: int = 0

    def add(self, text: str) -> None:
        self.parts.append(text)
        self.length += units(text)


def parse_html(source: str) -> tuple[str, list[dict[str, Any]]]:
    """(plain text, entities sorted as Telegram sorts them). Raises Unparsable."""
    out, stack, entities = _Out(), list[_Open](), list[dict[str, Any]]()
    at = 0
    while at < len(source):
        if source[at] != "<":
            end = source.find("<", at)
            end = len(source) if end < 0 else end
            out.add(ENTITY.sub(_character, source[at:end]))
            at = end
            continue
        offset = len(source[:at].encode())
        tag = TAG.match(source, at)
        if tag is None:
            if source.find(">", at) < 0:
                raise Unparsable(f"Unclosed start tag at byte offset {offset}")
            raise Unparsable(f"Unexpected character in the tag at byte offset {offset}")
        closing, name, attributes = tag[1], tag[2].lower(), tag[3]
        if closing:
            entities += _closed(stack, name, out.length, offset)
        else:
            stack.append(_opened(name, attributes, out.length, offset))
        at = tag.end()
    if stack:
        raise Unparsable(f'Can\'t find end tag corresponding to start tag "{stack[-1].tag}"')
    entities = [one for one in entities if one["length"] > 0]
    return "".join(out.parts), sorted(entities, key=lambda one: (one["offset"], -one["length"]))


def _character(found: re.Match[str]) -> str:
    name = found[1]
    if name.startswith("#x"):
        return chr(int(name[2:], 16))
    if name.startswith("#"):
        return chr(int(name[1:]))
    return NAMED.get(name, found[0])


def _opened(name: str, attributes: str, start: int, offset: int) -> _Open:
    given = {one[1] or one[5]: one[2] or one[3] or one[4] or "" for one in ATTRIBUTE.finditer(attributes)}
    if name == "a":
        url = given.get("href", "")
        if mentioned := re.fullmatch(r"tg://user\?id=(\d+)", url):
            user = {"id": int(mentioned[1]), "is_bot": False, "first_name": "?"}
            return _Open(name, {"type": "text_mention", "user": user}, start, offset)
        return _Open(name, {"type": "text_link", "url": url} if url else None, start, offset)
    if name == "span":
        if given.get("class") != "tg-spoiler":
            raise Unparsable(f'Tag "span" must have class "tg-spoiler" at byte offset {offset}')
        return _Open(name, {"type": "spoiler"}, start, offset)
    if name == "tg-emoji":
        return _Open(name, {"type": "custom_emoji", "custom_emoji_id": given.get("emoji-id", "")}, start, offset)
    if name not in SIMPLE:
        raise Unparsable(f'Unsupported start tag "{name}" at byte offset {offset}')
    kind = "expandable_blockquote" if name == "blockquote" and "expandable" in given else SIMPLE[name]
    return _Open(name, {"type": kind}, start, offset)


def _closed(stack: list[_Open], name: str, end: int, offset: int) -> list[dict[str, Any]]:
    if not stack:
        raise Unparsable(f"Unexpected end tag at byte offset {offset}")
    opened = stack.pop()
    if name not in ("", opened.tag):
        raise Unparsable(f'Unmatched end tag at byte offset {offset}, expected "</{opened.tag}>", found "</{name}>"')
    if opened.entity is None:
        return []
    return [opened.entity | {"offset": opened.start, "length": end - opened.start}]


def trimmed(text: str, entities: list[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """As Telegram stores it: without white space at both ends, entities moved and cut to fit."""
    lead = units(text) - units(text.lstrip())
    kept = text.strip()
    most = units(kept)
    moved = []
    for one in entities:
        start, end = max(0, one["offset"] - lead), min(most, one["offset"] + one["length"] - lead)
        if end > start:
            moved.append(one | {"offset": start, "length": end - start})
    return kept, moved
