"""What came with a Slack message: its files, which of them are voices, and whose. Pure; `bot.slack.files` fetches them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bot.slack.payload import Json, id_at, objects_at, text_at
from core.models import Attached, AttachmentKind

# Its MIME type may be anything, or nothing at all.
CLIP: Final = "slack_audio"


def attached(event: Json) -> Iterator[Attached]:
    """What a message's files are. A clip counts as the sender's own voice only if they recorded it."""
    for file in objects_at(event, "files"):
        ref, mime, size = id_at(file, "id"), text_at(file, "mimetype"), file.get("size")
        if not ref:
            continue
        is_clip = text_at(file, "subtype") == CLIP
        kind: AttachmentKind = "voice" if is_clip or mime.startswith("audio/") else "file"
        yield Attached(
            ref=ref,
            name=text_at(file, "name") or text_at(file, "title"),
            mime=mime,
            size=size if isinstance(size, int) and size >= 0 else None,
            kind="image" if mime.startswith("image/") else kind,
            is_own=is_clip and id_at(file, "user") == id_at(event, "user") != "",
        )


def names(event: Json) -> Iterator[str]:
    """The files of a message that is only shown, as text."""
    for one in attached(event):
        yield f"attached file: {one.name}" + (f" ({one.mime})" if one.mime else "")
