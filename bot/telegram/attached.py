"""What came with a Telegram message: files, pictures, voices, and whose voice. Pure; `bot.telegram.files` fetches them."""

from __future__ import annotations

from collections.abc import Iterator

from telegram import Audio, Document, Message, PhotoSize, Video, VideoNote, Voice

from core.models import Attached, AttachmentKind


def attached(message: Message, *, is_own: bool) -> Iterator[Attached]:
    """What a message carries. Only a voice or video note that the sender recorded themselves is their own."""
    album = message.media_group_id or ""
    if message.photo:
        best = max(message.photo, key=lambda size: size.width * size.height)
        yield _of(best, "image", "photo.jpg", "image/jpeg", album=album)
    elif message.voice is not None:
        yield _of(message.voice, "voice", "voice.ogg", message.voice.mime_type, is_own=is_own)
    elif message.video_note is not None:
        yield _of(message.video_note, "voice", "video-note.mp4", "video/mp4", is_own=is_own)
    elif message.audio is not None:
        yield _of(message.audio, "voice", message.audio.file_name or "audio", message.audio.mime_type, album=album)
    elif message.document is not None:
        document = message.document
        kind: AttachmentKind = "image" if (document.mime_type or "").startswith("image/") else "file"
        yield _of(document, kind, document.file_name or "file", document.mime_type, album=album)
    elif message.video is not None:
        yield _of(message.video, "file", message.video.file_name or "video.mp4", message.video.mime_type, album=album)


def _of(
    media: PhotoSize | Voice | VideoNote | Audio | Document | Video,
    kind: AttachmentKind,
    name: str,
    mime: str | None,
    *,
    is_own: bool = False,
    album: str = "",
) -> Attached:
    return Attached(
        ref=media.file_id, name=name, mime=mime or "", size=media.file_size, kind=kind, is_own=is_own, album=album
    )
