"""The models' layer: one protocol over the vendors' SDKs, with routes, fallbacks and an account of every call.

`Models.open(settings, organisation.models, record=…)` is the way in; `structured` checks what came back. Importing
this imports no SDK: only a provider that has a key is loaded, when `Models` is opened.
"""

from worker.llm.models import Models, Record
from worker.llm.protocol import (
    Answer,
    BadCall,
    CallRecord,
    Image,
    ModelRefused,
    ModelUnavailable,
    OnDelta,
    Provider,
    Recording,
    ToolCall,
    ToolSpec,
    Tried,
    Turn,
    Usage,
)
from worker.llm.routes import BadRoute

__all__ = [
    "Answer",
    "BadCall",
    "BadRoute",
    "CallRecord",
    "Image",
    "ModelRefused",
    "ModelUnavailable",
    "Models",
    "OnDelta",
    "Provider",
    "Record",
    "Recording",
    "ToolCall",
    "ToolSpec",
    "Tried",
    "Turn",
    "Usage",
]
