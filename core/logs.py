"""Logging: JSON lines on standard error, every known secret masked before anything is written."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

_QUIET = (
    "httpx",
    "httpcore",
    "httpx2",
    "httpcore2",
    "arq",
    "slack_bolt",
    "slack_sdk",
    "telegram",
    "openai",
    "anthropic",
    "uvicorn.access",
)


class Masking:
    """A structlog step that replaces known secret values wherever they stand in a line."""

    def __init__(self, mask: Callable[[str], str]) -> None:
        self._mask = mask

    def __call__(self, _: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        for key, value in event.items():
            if isinstance(value, str):
                event[key] = self._mask(value)
        return event


def set_up_logging(level: str, mask: Callable[[str], str]) -> None:
    """One handler for the whole process. Vendor libraries speak from WARNING up: some put tokens into URLs they log."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.PositionalArgumentsFormatter()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                Masking(mask),
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
