"""How a skill says that something went wrong, so that the executor knows what may be done next.

`NotDone` is a promise: the world did not change. `OutcomeUnknown` is the opposite of a promise. Anything else that
a skill raises is judged by its effect class: a pure skill failed, any other may or may not have acted.
"""

from __future__ import annotations

from typing import Final

LEASE_ENDED: Final = "the worker's lease had ended before the call was made"


class NotDone(Exception):
    """It definitely did not happen. `retry_in_s` None means that trying again is useless."""

    def __init__(self, message: str, retry_in_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_in_s = retry_in_s


class RateLimited(NotDone):
    """It was not done because there were too many calls: the step waits so long, and no attempt is charged."""

    def __init__(self, message: str, retry_in_s: float) -> None:
        super().__init__(message, retry_in_s)
        self.wait_s = retry_in_s


class OutcomeUnknown(Exception):
    """It may or may not have happened; a probe or a person has to say."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadPath(NotDone, ValueError):
    """A path that no skill may use: absolute, with `..`, too long, or unreadable to people."""


class BadArguments(ValueError):
    """Arguments that do not fit the skill's schema; the message is for people."""


class BadDeclaration(TypeError):
    """A skill was declared wrongly; the message names the skill and the fix."""
