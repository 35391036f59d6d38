"""One protocol over the raw openai and anthropic SDKs: turns and tools in, an answer and its account out.

`Models` picks the route for a purpose, falls over to the next when one is away, and records every call without its
content. Nothing else in the project knows a model vendor.
"""

from worker.llm.protocol import (
    Answer,
    BadCall,
    CallRecord,
    ModelRefused,
    ModelUnavailable,
    ToolCall,
    ToolSpec,
    Turn,
    Usage,
)
from worker.llm.routes import Models

__all__ = [
    "Answer",
    "BadCall",
    "CallRecord",
    "ModelRefused",
    "ModelUnavailable",
    "Models",
    "ToolCall",
    "ToolSpec",
    "Turn",
    "Usage",
]
