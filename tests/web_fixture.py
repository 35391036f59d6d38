"""The fixture `house` for the modules that name this plugin. Apart from `web_house`, which they import."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.db import Pool
from tests.web_house import House, open_house


@pytest.fixture
async def house(db: Pool, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(db, tmp_path) as opened:
        yield opened
