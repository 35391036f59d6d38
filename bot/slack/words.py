"""The few sentences that only Slack needs, because they are about Slack itself. All others are in `core.cards`."""

from __future__ import annotations

from typing import Final

PRESS_FAILED: Final = "That did not reach me: nothing was decided. Please press again."
COMMAND_FAILED: Final = "That did not reach me: nothing was done. Please say it again."
COMMAND_TAKEN: Final = "Received. My answer comes in this channel; if it does not, /invite me here."
COMMAND_TAKEN_PRIVATELY: Final = "Received. My answer comes in our direct messages."
NO_SUCH_TASK: Final = "There is no such task, or it is not yours to steer."
STRANGER: Final = "I don't know you, so this button is not yours to press."
NOT_KNOWN: Final = "I don't know that person. Choose somebody whom I know, or have an owner pair them first."
NO_FORM: Final = (
    "Slack did not open the form in time. Please press again; or go without it:"
    " Deny needs no form, and edit, ask and delegate I take in words too (say help)."
)
FORM_FAILED: Final = "That could not be loaded just now: nothing was changed. Please close this and press again."
EDIT_ELSEWHERE: Final = (
    "There is nothing here that you can edit in a form of Slack's: it is decided already, not yours to see, or too long."
    " If it is too long, say edit <task> name=value, or open the card's details."
)
