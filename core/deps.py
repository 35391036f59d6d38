"""What every entry point builds once and passes down: settings, the organisation, the database, the ring."""

from __future__ import annotations

from dataclasses import dataclass

from core.db import Pool
from core.organisation import Organisation
from core.ring import Ring
from core.settings import Settings


@dataclass(frozen=True, slots=True)
class Deps:
    settings: Settings
    organisation: Organisation
    db: Pool
    ring: Ring
