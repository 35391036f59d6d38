"""The words of Sayso as types: what adapters bring in, what the engine carries, what people decide on.

Pure: frozen values without clock, I/O or vendor types. Ids are integers or text inside and always strings at the edges
(JSON, buttons).
"""

from core.models.answers import (
    Accepted,
    AlreadyDecided,
    Changed,
    Decided,
    Duplicate,
    Invalid,
    NotAllowed,
    NotFound,
    Received,
    TooLate,
)
from core.models.arriving import Attached, AttachmentKind, Channel, Identity, Inbound, Place, Press, Verdict
from core.models.frozen import Frozen
from core.models.gate import (
    Allow,
    Approvers,
    Ask,
    Classified,
    ConversationRef,
    Deny,
    Grant,
    Provenance,
    Requester,
    Risk,
)
from core.models.outcomes import Dropped, Failed, Outcome, Parked, Released, Succeeded, Unknown, Waiting
from core.models.skills import (
    WEIGHT,
    ArgumentOrigin,
    ArgumentRole,
    EffectClass,
    Origin,
    Permission,
    PermissionOn,
    SkillManifest,
)
from core.models.work import Action, Claimed, PlanFirst, PlannedStep, StepKind

__all__ = [
    "WEIGHT",
    "Accepted",
    "Action",
    "Allow",
    "AlreadyDecided",
    "Approvers",
    "ArgumentOrigin",
    "ArgumentRole",
    "Ask",
    "Attached",
    "AttachmentKind",
    "Changed",
    "Channel",
    "Claimed",
    "Classified",
    "ConversationRef",
    "Decided",
    "Deny",
    "Dropped",
    "Duplicate",
    "EffectClass",
    "Failed",
    "Frozen",
    "Grant",
    "Identity",
    "Inbound",
    "Invalid",
    "NotAllowed",
    "NotFound",
    "Origin",
    "Outcome",
    "Parked",
    "Permission",
    "PermissionOn",
    "Place",
    "PlanFirst",
    "PlannedStep",
    "Press",
    "Provenance",
    "Received",
    "Released",
    "Requester",
    "Risk",
    "SkillManifest",
    "StepKind",
    "Succeeded",
    "TooLate",
    "Unknown",
    "Verdict",
    "Waiting",
]
