"""Logging: one line an event on standard error, every known secret masked before anything is written.

JSON for machines, or aligned words for a person at a terminal (`LOG_FORMAT`). A transition of a step, an approval or a task
is one line with the same fields everywhere (`moved`). What people wrote and what skills were given never enters a line.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, Final, Literal

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
_FIELDS: Final = ("task", "step", "approval", "principal", "from", "to", "why")

Format = Literal["json", "console"]


class Masking:
    """A structlog step that replaces known secret values wherever they stand in a line."""

    def __init__(self, mask: Callable[[str], str]) -> None:
        self._mask = mask

    def __call__(self, _: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        for key, value in event.items():
            if not isinstance(value, int | float | None):
                event[key] = self._mask(value if isinstance(value, str) else str(value))
        return event


def set_up_logging(level: str, mask: Callable[[str], str], form: Format | None = None) -> None:
    """One handler for the whole process. Vendor libraries speak from WARNING up: some put tokens into URLs they log.

    Without a `form`, a terminal gets words and everything else JSON.
    """
    is_terminal = sys.stderr.isatty()
    for_people = form == "console" or (form is None and is_terminal)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(allow=_FIELDS),
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if for_people else "iso", utc=not for_people),
    ]
    render: Any = (
        structlog.dev.ConsoleRenderer(colors=is_terminal, pad_event_to=0, sort_keys=False)
        if for_people
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.PositionalArgumentsFormatter()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                Masking(mask),
                render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def moved(
    log: logging.Logger,
    machine: Literal["step", "approval", "task"],
    *,
    task: object,
    principal: object,
    was: str,
    to: str,
    why: str,
    step: int | None = None,
    approval: str | None = None,
) -> None:
    """One transition, one line. `why` is a word of ours, never what a person wrote or a vendor answered."""
    if not log.isEnabledFor(logging.INFO):
        return
    fields: dict[str, object] = {"task": str(task), "principal": principal, "from": was, "to": to, "why": why}
    if step is not None:
        fields["step"] = step
    if approval is not None:
        fields["approval"] = approval
    log.info("%s moved", machine, extra=fields)
