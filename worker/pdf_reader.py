"""The process in which an attached PDF is read: the file on stdin, `{"text", "pages", "shown", "why"}` on stdout.

It is started as a file and imports nothing of ours, so that nothing of ours is in reach of what the file may do to its
reader. Its limits are set before the first byte is read; `worker.pdf` starts it and takes what it says for what it is.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import resource
import sys

from pypdf import PdfReader
from pypdf.errors import PyPdfError

CPU_S = 10
MEMORY_BYTES = 1_500_000_000


def main(pages_most: int, chars_most: int) -> None:
    for what, most in (
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):  # a system that has no such limit, or a lower one
            resource.setrlimit(what, (most, most))
    logging.disable()
    answer = {"text": "", "pages": 0, "shown": 0, "why": ""}
    try:
        answer |= read(sys.stdin.buffer.read(), pages_most, chars_most)
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, ArithmeticError, OSError):
        answer["why"] = "it is broken, or no PDF"
    except (MemoryError, RecursionError):
        answer["why"] = "reading it took too much memory"
    print(json.dumps(answer))


def read(content: bytes, pages_most: int, chars_most: int) -> dict[str, object]:
    """The text of the first pages, until it is enough."""
    file = PdfReader(io.BytesIO(content))
    if file.is_encrypted and not file.decrypt(""):
        return {"why": "it is encrypted"}
    text, shown = "", 0
    for page in file.pages[:pages_most]:
        shown += 1
        text += page.extract_text().replace("\0", "") + "\n"
        if len(text) > chars_most:
            break
    return {"text": text[:chars_most], "pages": len(file.pages), "shown": shown}


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
