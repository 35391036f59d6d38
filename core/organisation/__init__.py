"""sayso.yaml: people, roles, rules, approvers, models, skills, runbooks, hooks.

`load` reads and checks the whole file; an error names every line with its fix. Everything is optional: an empty file
is a valid organisation of one owner.
"""

from core.organisation.reading import OrganisationError, load, parse
from core.organisation.rights import may, may_steer, note_scopes, secret_names, sees_all, sees_conversation, why_not
from core.organisation.runbooks import BadInputs, runbook_steps
from core.organisation.schema import (
    ApproverGroup,
    AuditPart,
    Budget,
    Hook,
    ModelsPart,
    Organisation,
    Person,
    PolicyPart,
    QuietHours,
    Role,
    Rule,
    Runbook,
    Rung,
)

__all__ = [
    "ApproverGroup",
    "AuditPart",
    "BadInputs",
    "Budget",
    "Hook",
    "ModelsPart",
    "Organisation",
    "OrganisationError",
    "Person",
    "PolicyPart",
    "QuietHours",
    "Role",
    "Rule",
    "Runbook",
    "Rung",
    "load",
    "may",
    "may_steer",
    "note_scopes",
    "parse",
    "runbook_steps",
    "secret_names",
    "sees_all",
    "sees_conversation",
    "why_not",
]
