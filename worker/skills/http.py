"""Skills that speak HTTP: `http.get` reads a page, `http.request` sends anything. Both only reach public addresses.

A read may be repeated, so its failures are plain. A request is `unsafe`: when no answer comes, or a server error
does, a person says whether it happened. It carries the step's key as `Idempotency-Key` for servers that honour it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from core.models import Permission
from worker.skills.context import SkillContext
from worker.skills.errors import NotDone, OutcomeUnknown, RateLimited
from worker.skills.files import in_json
from worker.skills.http_client import ANSWER_BYTES, READS, Answer
from worker.skills.skill import Content, Control, skill

RETRY_FIRST_S: Final = 5.0
RETRY_MOST_S: Final = 600.0
EXCERPT_CHARS: Final = 300
# Answers that say "later"; for reads a broken gateway is one too.
LATER: Final = frozenset({429, 502, 503, 504})
MOVED_UNDONE: Final = frozenset({307, 308})
NO_HEADERS: Final[dict[str, str]] = {}
SHOWN: Final = ("content-type", "date", "etag", "last-modified", "link", "location", "retry-after")

Url = Annotated[str, Field(min_length=1, max_length=4096)]
Headers = Annotated[dict[str, str], Field(max_length=40)]
Method = Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]


@skill(permissions=[(Permission.READ, "http:{url}")], effect="pure", card="Read {url}")
async def get(
    ctx: SkillContext, url: Annotated[Url, Control], headers: Annotated[Headers, Control] = NO_HEADERS
) -> dict[str, Any]:
    """Read a web page or an API answer from the public internet. Long answers are cut."""
    try:
        answer = await ctx.http.request("GET", url, headers, within_s=ctx.left_s())
    except OutcomeUnknown as error:
        raise NotDone(error.message, RETRY_FIRST_S) from error
    if answer.status in LATER:
        refused = RateLimited if answer.status == 429 else NotDone
        raise refused(f"{url} answered {answer.status}", retry_in_s(answer))
    return shown(answer)


@skill(permissions=[(Permission.SEND, "http:{url}")], effect="unsafe", card="Send {method} to {url}")
async def request(
    ctx: SkillContext,
    method: Annotated[Method, Control],
    url: Annotated[Url, Control],
    headers: Annotated[Headers, Control] = NO_HEADERS,
    body: Annotated[str, Content] = "",
    credential: Annotated[str, Control, Field(max_length=100)] = "",
) -> dict[str, Any]:
    """Send an HTTP request, for example to call an API that changes something. Redirects of it are not followed."""
    carried = {"Idempotency-Key": ctx.key, **headers}
    content = body.encode() if body else None
    answer = await ctx.http.request(method, url, carried, content, credential, within_s=ctx.left_s())
    refuse_undone(method, url, answer)
    return shown(answer)


@request.preview
async def _(
    ctx: SkillContext, method: str, url: str, headers: dict[str, str], body: str, credential: str
) -> str | None:
    ctx.http.refuse_unsendable(method, url, headers, body.encode() if body else None, credential)
    lines = [f"{method} {url}", *(f"{name}: {value}" for name, value in headers.items())]
    if credential:
        lines.append(f"(with the credential {credential})")
    return "\n".join([*lines, "", body]) if body else "\n".join(lines)


def refuse_undone(method: str, url: str, answer: Answer) -> None:
    """A refusal did nothing; a server error may have done something; the rest is an answer."""
    if answer.status == 429:
        raise RateLimited(f"{url} answered 429, too many requests", retry_in_s(answer))
    if answer.status in MOVED_UNDONE:
        raise NotDone(
            f"{url} wants the request at {answer.headers.get('location', 'another place')!r}; nothing was sent there"
        )
    if 400 <= answer.status < 500:
        raise NotDone(f"{url} refused it with {answer.status}: {excerpt(answer)}")
    if answer.status >= 500 and method in READS:
        raise NotDone(f"{url} answered {answer.status}: {excerpt(answer)}", RETRY_FIRST_S)
    if answer.status >= 500:
        raise OutcomeUnknown(f"{url} answered {answer.status}: {excerpt(answer)}")


def retry_in_s(answer: Answer) -> float:
    """Retry-After in seconds; its date form is rare and counts as the first delay."""
    text = answer.headers.get("retry-after", "")
    return min(float(text), RETRY_MOST_S) if text.isascii() and text.isdigit() else RETRY_FIRST_S


def shown(answer: Answer) -> dict[str, Any]:
    return {
        "status": answer.status,
        "ok": answer.status < 400,
        "url": answer.hops[-1],
        "headers": {name: answer.headers[name] for name in SHOWN if name in answer.headers},
        "bytes": len(answer.body),
        "truncated": answer.truncated,
        **in_json(answer.body[:ANSWER_BYTES], answer.truncated),
    }


def excerpt(answer: Answer) -> str:
    return " ".join(answer.body[: 4 * EXCERPT_CHARS].decode(errors="replace").replace("\0", " ").split())[
        :EXCERPT_CHARS
    ]
