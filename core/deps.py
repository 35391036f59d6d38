"""What every entry point builds once and passes down: settings, the organisation, the database, the ring."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.db import Pool
from core.display import Masks
from core.groups import SlackGroups
from core.measures import Measures
from core.orders import Orders
from core.organisation import Organisation, secret_names
from core.ring import Ring
from core.settings import Settings


@dataclass(frozen=True, slots=True)
class Deps:
    settings: Settings
    organisation: Organisation
    db: Pool
    ring: Ring
    measures: Measures = field(default_factory=Measures)
    groups: SlackGroups = field(default_factory=SlackGroups)
    orders: Orders = field(default_factory=Orders)

    def masks(self) -> Masks:
        """Takes every secret out of a text: those of the environment, and those that sayso.yaml names."""
        return self.settings.masks(secret_names(self.organisation))
