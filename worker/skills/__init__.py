"""What Sayso can do. Each file is a namespace of skills (`files.py` holds `files.delete`); see docs/skills.md.

This page is what authors import from; `registry` finds their skills, `run.Skill` is what the executor calls.
"""

from core.models import EffectClass, Permission
from worker.skills.context import Probe, SkillContext
from worker.skills.errors import BadArguments, BadDeclaration, NotDone, OutcomeUnknown, RateLimited
from worker.skills.run import Skill
from worker.skills.skill import Content, Control, skill

__all__ = [
    "BadArguments",
    "BadDeclaration",
    "Content",
    "Control",
    "EffectClass",
    "NotDone",
    "OutcomeUnknown",
    "Permission",
    "Probe",
    "RateLimited",
    "Skill",
    "SkillContext",
    "skill",
]
