"""The text of an attached PDF, read by a process of its own: a file that somebody sent may loop, swell or break its reader.

The process has no environment, no way out but its answer, and limits on time and memory; whatever becomes of it, this answers
with text or with why there is none. Pages are not drawn and nothing in the file is run: a scan has no text. `worker.attached`
shows what comes of it as others' words.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PAGES_MOST: Final = 50
TEXT_CHARS: Final = 40_000
READ_S: Final = 20.0
ANSWER_BYTES: Final = 1_000_000
TOO_LONG: Final = "reading it took too long"
BROKEN: Final = "it is broken, or no PDF"
NO_TEXT: Final = "there is no text in it, as in a scan"
_READER: Final = Path(__file__).with_name("pdf_reader.py")
_READING_MOST: Final = asyncio.Semaphore(2)


@dataclass(frozen=True, slots=True)
class Read:
    """`text` is empty where there is none, and `why` says so; else `why` says what is left out, if anything is."""

    text: str
    why: str = ""


def is_pdf(head: bytes) -> bool:
    """Whether it begins as a PDF, whatever its name: within the first kilobyte, as readers take it."""
    return b"%PDF-" in head[:1024]


async def read_pdf(content: bytes, within_s: float = READ_S) -> Read:
    async with _READING_MOST:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", str(_READER), str(PAGES_MOST), str(TEXT_CHARS),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env={},
        )  # fmt: skip
        try:
            async with asyncio.timeout(within_s):
                said, _ = await process.communicate(content)
        except TimeoutError:
            return Read("", TOO_LONG)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return _read(said[:ANSWER_BYTES], process.returncode)


def _read(said: bytes, code: int | None) -> Read:
    if code is not None and code < 0:  # ended by a limit
        return Read("", TOO_LONG)
    try:
        answer = json.loads(said)
        text, pages, shown = str(answer["text"]).strip(), int(answer["pages"]), int(answer["shown"])
    except (ValueError, KeyError, TypeError):
        return Read("", BROKEN)
    if answer["why"]:
        return Read("", str(answer["why"]))
    if not text:
        return Read("", NO_TEXT)
    is_cut = shown < pages or len(text) >= TEXT_CHARS
    return Read(text, f"cut: it has {pages} pages, this is of the first {shown}" if is_cut else "")
