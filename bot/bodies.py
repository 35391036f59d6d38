"""Reads the body of a vendor's request: no further than a size, and no longer than a time.

For the routes that check a secret or a signature before they believe a word; the size is kept also where the request
lies about its length or says none.
"""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import Request

READ_S: Final = 5.0


async def whole_body(request: Request, most_bytes: int) -> bytes | int:
    """The body as it came, or the status that refuses it: 408 too slow, 413 too large."""
    length = request.headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or int(length) > most_bytes:
        return 413
    body = bytearray()
    try:
        async with asyncio.timeout(READ_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most_bytes:
                    return 413
    except TimeoutError:
        return 408
    return bytes(body)
