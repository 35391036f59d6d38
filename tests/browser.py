"""A real browser for tests, where this machine has one. It waits as long as other tests do for what a page has to show."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
from playwright.async_api import Browser, async_playwright, expect

from tests.patience import PATIENCE_S

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS: Final = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE_MS: Final = PATIENCE_S * 1000
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="this machine has no Chromium")

expect.set_options(timeout=PATIENCE_MS)


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS, timeout=PATIENCE_MS)
        try:
            yield browser
        finally:
            await browser.close()
