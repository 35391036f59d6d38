"""What every value of Sayso is: frozen, and without a field that nobody named."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A value that never changes and has no field that we did not name."""

    model_config = ConfigDict(frozen=True, extra="forbid")
