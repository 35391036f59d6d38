"""The model of `sayso up --sim` where no key is set: a few sentences understood by rule, and it says that it is no model.

Its plans go over the vendor's real wire format and through the same gate as any model's. It must never look cleverer than
it is: whatever it does not know it answers with what it knows.
"""

import json
import re

from tests.sim.llm_script import Asked, Call, Calls, Reply

WHO_I_AM = (
    'I am a stand-in that follows a few rules, not a language model: no key is set. I understand: "list files", '
    '"read NAME", "write NAME: TEXT", "delete NAME" and "tidy up the logs". Commands such as '
    '"do files.list" work as always.'
)
NAME = r"[\w.\-/]+"
RESULT = re.compile(r"<result\b[^>]*>(.*?)</result>", re.DOTALL)
SHOWN_CHARS = 600
SENTENCES: tuple[tuple[str, str], ...] = (
    (rf"(?:please )?write ({NAME})\s*: ?(.+)", "write"),
    (rf"(?:please )?(?:delete|remove) (?:the file )?({NAME})", "delete"),
    (rf"(?:please )?(?:read|show)(?: me)? (?:the file )?({NAME})", "read"),
    (r"(?:please )?(?:list|show)(?: me)? (?:the |my |all )?files.*", "list"),
    (r"(?:please )?(?:tidy|clean) .*logs?.*", "tidy"),
)


def answer(asked: Asked) -> Reply | str:
    """What it makes of the last words of a person; after its plan ran, what came of it."""
    if "propose_plan" not in asked.tools:
        return WHO_I_AM
    if results := RESULT.findall(asked.last()):
        return f"{_in_words(results[-1].strip())[:SHOWN_CHARS]}\n(I follow rules, I am no language model.)"
    text = asked.last().strip().rstrip(".!")
    for pattern, kind in SENTENCES:
        found = re.fullmatch(pattern, text, re.IGNORECASE | re.DOTALL)
        if found is not None:
            return _plan(*_steps(kind, found))
    return WHO_I_AM


def _steps(kind: str, found: re.Match[str]) -> tuple[dict[str, object], ...]:
    match kind:
        case "write":
            args = {"path": found[1], "content": found[2], "overwrite": True}
            return ({"id": "write", "skill": "files.write", "args": args},)
        case "delete":
            return ({"id": "delete", "skill": "files.delete", "args": {"paths": [found[1]]}},)
        case "read":
            return ({"id": "read", "skill": "files.read", "args": {"path": found[1]}},)
        case "tidy":
            find = {"id": "find", "skill": "files.list", "args": {"pattern": "*.log"}}
            remove = {"id": "remove", "skill": "files.delete", "args": {"paths": "{{ find.paths }}"}, "needs": ["find"]}
            return (find, remove)
        case _:
            return ({"id": "list", "skill": "files.list", "args": {"pattern": "*"}},)


def _in_words(result: str) -> str:
    """What stands in a result for people; without that, the result itself."""
    try:
        found = json.loads(result)
    except ValueError:
        return f"It came to: {result}"
    if "paths" in found:
        return f"Files: {', '.join(found['paths']) or 'none'}"
    return str(found.get("text") or found.get("summary") or f"It came to: {result}")


def _plan(*steps: dict[str, object]) -> Reply:
    return Calls(Call("propose_plan", {"say": "I go by a rule.", "steps": list(steps), "then": "continue"}))
