"""What people type instead of plain language: `do`, `run`, `tasks`, `stop 12`, and so on.

Pure: a text goes in, one frozen command comes out, and an error is a command too (`Wrong`, with the fix).
"""

from core.commands.command import (
    TASK_VERBS,
    Away,
    Command,
    Digest,
    Do,
    Follow,
    Fork,
    Level,
    LinkTelegram,
    OnCard,
    OnTask,
    Pair,
    PlainText,
    PlanFirst,
    Prioritise,
    Recall,
    Remember,
    Revoke,
    RollBack,
    Run,
    Show,
    Sms,
    Steer,
    TaskVerb,
    Wrong,
)
from core.commands.reading import parse
from core.commands.values import read_changes, read_given, usage
from core.commands.words import Word, split

__all__ = [
    "TASK_VERBS",
    "Away",
    "Command",
    "Digest",
    "Do",
    "Follow",
    "Fork",
    "Level",
    "LinkTelegram",
    "OnCard",
    "OnTask",
    "Pair",
    "PlainText",
    "PlanFirst",
    "Prioritise",
    "Recall",
    "Remember",
    "Revoke",
    "RollBack",
    "Run",
    "Show",
    "Sms",
    "Steer",
    "TaskVerb",
    "Word",
    "Wrong",
    "parse",
    "read_changes",
    "read_given",
    "split",
    "usage",
]
