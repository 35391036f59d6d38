"""The `http` handle: one request at a time to public addresses, with a size and a time for the whole of it.

A name is resolved once, every answer is checked (`addresses`), and the connection goes to the checked address, so a
name that changes its mind cannot lead inside. Redirects are followed for reads only and each is checked anew. It
says `NotDone` where nothing was sent, `OutcomeUnknown` where a request left and no answer came.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from core.models import Permission
from worker.skills.addresses import Allowed, checked_url, host_of, is_address, port_of, same_origin, why_refused
from worker.skills.context import refuse_unless
from worker.skills.errors import LEASE_ENDED, NotDone, OutcomeUnknown

if TYPE_CHECKING:
    import httpx

ANSWER_BYTES: Final = 500_000
BODY_BYTES: Final = 1_000_000
REDIRECTS_MOST: Final = 5
# Below the skills' own timeout, so that the client says what it knows before it is cut off.
WHOLE_S: Final = 25.0
CONNECT_S: Final = 10.0
HEADERS_MOST: Final = 40
HEADER_CHARS: Final = 4_000
RETRY_S: Final = 5.0
ADDRESSES_TRIED: Final = 3

READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
METHODS: Final = READS | {"POST", "PUT", "PATCH", "DELETE"}
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# What the connection itself sets, or what would let a caller name another host or smuggle a second request.
OURS: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer"}
    | {"expect", "accept-encoding", "proxy-authorization", "proxy-connection"}
)
# What may go along to another origin; the rest (cookies, tokens, anything we do not know) stays behind.
TRAVELS: Final = frozenset({"accept", "accept-language", "user-agent"})

Resolve = Callable[[str, int], Awaitable[list[str]]]
CHANGING: Final = tuple(one for one in Permission if one is not Permission.READ)


@dataclass(frozen=True, slots=True)
class Credential:
    """A header that is sent to these hosts only. `value` never leaves this handle: answers are searched for it."""

    name: str
    header: str
    value: str = field(repr=False)
    hosts: frozenset[str]


@dataclass(frozen=True, slots=True)
class Answer:
    """`truncated` when the body was longer than we take. `hops` are the URLs gone through, the last one answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    truncated: bool
    hops: tuple[str, ...]


async def resolve(host: str, port: int) -> list[str]:
    """All addresses of a name, as the system finds them."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # An IPv6 scope id means link-local; keeping it makes the address unparseable and so refused.
    return list(dict.fromkeys(f"{a[0]}%{a[3]}" if len(a) == 4 and a[3] else str(a[0]) for *_, a in found))


class HttpClient:
    """`may` are the permissions of the skill that holds this handle: with `read` alone, only GET, HEAD, OPTIONS."""

    def __init__(
        self,
        allowed: Allowed | None = None,
        credentials: Mapping[str, Credential] | None = None,
        may: frozenset[Permission] = frozenset(Permission),
        resolve: Resolve = resolve,
        verify: ssl.SSLContext | None = None,
        may_call: Callable[[], bool] = lambda: True,
    ) -> None:
        self._allowed = allowed or Allowed()
        self._credentials = dict(credentials or {})
        self._may = may
        self._resolve = resolve
        self._verify = verify
        self._may_call = may_call

    def narrowed(self, may: frozenset[Permission]) -> HttpClient:
        return HttpClient(
            self._allowed, self._credentials, self._may & may, self._resolve, self._verify, self._may_call
        )

    def guarded(self, may_call: Callable[[], bool]) -> HttpClient:
        """The same, asking in the last moment before a request leaves whether it may: a worker that slept may not."""
        return HttpClient(self._allowed, self._credentials, self._may, self._resolve, self._verify, may_call)

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        credential: str = "",
        within_s: float = WHOLE_S,
    ) -> Answer:
        """Send one request and read the answer. NotDone: nothing was sent. OutcomeUnknown: sent, no answer."""
        method = method.upper()
        target, known = self.refuse_unsendable(method, url, headers or {}, body, credential)
        if method not in READS:
            refuse_unless(self._may, "http", *CHANGING)
        sent = Sent(method in READS, self._may_call)
        try:
            async with asyncio.timeout(max(0.0, min(within_s, WHOLE_S))):
                return await self._hops(method, target, dict(headers or {}), body, known, sent)
        except TimeoutError as error:
            raise ended(sent, f"no complete answer from {host_of(target)} in time") from error

    def refuse_unsendable(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, credential: str
    ) -> tuple[httpx.URL, Credential | None]:
        """Everything that can be told without asking anybody: NotDone says why such a request could not be sent.

        No name is looked up: that alone would carry the host's name to whoever answers for it.
        """
        if method not in METHODS:
            raise NotDone(f"the method {method!r} is not one of {', '.join(sorted(METHODS))}")
        target = checked_url(url)
        checked_headers(headers)
        if body is not None and len(body) > BODY_BYTES:
            raise NotDone(f"the body has {len(body)} bytes; at most {BODY_BYTES} are sent")
        host = host_of(target)
        if is_address(host) and (why := why_refused(host, host, self._allowed)):
            raise NotDone(f"{host!r} is refused: {why}; skills.http.allow_private can allow it")
        known = self._named(credential, target)
        if known and target.scheme != "https" and host not in self._allowed.hosts:
            raise NotDone(f"the credential {known.name!r} is only sent over https")
        return target, known

    def _named(self, credential: str, url: httpx.URL) -> Credential | None:
        if not credential:
            return None
        found = self._credentials.get(credential)
        if found is None:
            raise NotDone(f"there is no credential {credential!r}; add it to skills.http.credentials")
        if host_of(url) not in found.hosts:
            raise NotDone(
                f"the credential {credential!r} is not for {host_of(url)}; it is for {', '.join(found.hosts)}"
            )
        return found

    async def _hops(
        self,
        method: str,
        url: httpx.URL,
        headers: dict[str, str],
        body: bytes | None,
        credential: Credential | None,
        sent: Sent,
    ) -> Answer:
        hops: list[str] = []
        while True:
            hops.append(str(url))
            answer = await self._one(method, url, headers, body, credential, sent)
            location = answer.headers.get("location")
            if method not in READS or answer.status not in REDIRECTS or location is None:
                return redacted(answer, self._credentials.values(), tuple(hops))
            if len(hops) > REDIRECTS_MOST:
                raise NotDone(f"{hops[0]} redirects more than {REDIRECTS_MOST} times")
            onward = joined(url, location)
            if url.scheme == "https" and onward.scheme == "http":
                raise NotDone(f"{url} redirects to {onward}, which is not encrypted")
            if not same_origin(url, onward):
                headers = {name: value for name, value in headers.items() if name.lower() in TRAVELS}
                credential = None
            url = onward

    async def _one(
        self,
        method: str,
        url: httpx.URL,
        headers: dict[str, str],
        body: bytes | None,
        credential: Credential | None,
        sent: Sent,
    ) -> Answer:
        addresses = await self._addresses(url)
        if credential:  # another scheme is another origin, so it would not have come along
            headers = {n: v for n, v in headers.items() if n.lower() != credential.header.lower()}
            headers[credential.header] = credential.value
        for last, address in [(one == addresses[-1], one) for one in addresses]:
            try:
                return await self._at(address, method, url, headers, body, sent)
            except NotDone as error:
                # Nothing was sent, so the name's next address may be tried.
                if last or error.retry_in_s is None:
                    raise
        raise AssertionError("a name without addresses is refused earlier")

    async def _addresses(self, url: httpx.URL) -> list[str]:
        host = url.raw_host.decode("ascii").strip("[]")
        try:
            found = await self._resolve(host, port_of(url))
        except (OSError, UnicodeError) as error:
            raise NotDone(f"{host!r} cannot be resolved: {error}", RETRY_S) from error
        if not found:
            raise NotDone(f"{host!r} has no address", RETRY_S)
        for address in found:
            if why := why_refused(address, host_of(url), self._allowed):
                raise NotDone(f"{host!r} is refused: {why}; skills.http.allow_private can allow it")
        return found[:ADDRESSES_TRIED]

    async def _at(
        self,
        address: str,
        method: str,
        url: httpx.URL,
        headers: dict[str, str],
        body: bytes | None,
        sent: Sent,
    ) -> Answer:
        import httpx

        pinned = url.copy_with(host=address)
        # Host and SNI keep the name, so virtual hosts answer and the certificate is checked against it.
        headers = {
            "User-Agent": "Sayso",
            **headers,
            "Host": url.netloc.decode("ascii"),
            "Accept-Encoding": "identity",
        }
        extensions: dict[str, Any] = {"trace": sent.trace, "sni_hostname": host_of(url)}
        timeout = httpx.Timeout(WHOLE_S, connect=CONNECT_S)
        try:
            async with (
                httpx.AsyncClient(verify=self._verify or public_tls(), trust_env=False, timeout=timeout) as client,
                client.stream(method, pinned, headers=headers, content=body, extensions=extensions) as response,
            ):
                return await read_answer(response)
        except httpx.LocalProtocolError as error:
            raise NotDone(f"the request to {host_of(url)} is not valid HTTP: {error}") from error
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise NotDone(f"{host_of(url)} cannot be reached: {error}", RETRY_S) from error
        except httpx.TransportError as error:
            sent.anything = True
            raise ended(sent, f"the connection to {host_of(url)} broke: {type(error).__name__} {error}") from error


@cache
def public_tls() -> ssl.SSLContext:
    """Certificates as certifi has them; reading them takes tens of milliseconds, so once."""
    import httpx

    return httpx.create_ssl_context(trust_env=False)


@dataclass(slots=True)
class Sent:
    """Whether a byte of a request may have left, as the transport tells it; for reads it does not matter."""

    only_reads: bool
    may_call: Callable[[], bool]
    anything: bool = False

    async def trace(self, event: str, _info: dict[str, Any]) -> None:
        if event.endswith("send_request_headers.started"):
            if not self.may_call():
                raise NotDone(LEASE_ENDED)
            self.anything = True


def ended(sent: Sent, why: str) -> NotDone | OutcomeUnknown:
    if sent.anything and not sent.only_reads:
        return OutcomeUnknown(f"{why}; the request was sent")
    return NotDone(why, RETRY_S)


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    if len(headers) > HEADERS_MOST:
        raise NotDone(f"{len(headers)} headers are too many; at most {HEADERS_MOST} are sent")
    for name, value in headers.items():
        if name.lower() in OURS or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
            raise NotDone(f"the header {name!r} cannot be set by a skill")
        if len(value) > HEADER_CHARS or not value.isascii() or not value.isprintable():
            raise NotDone(f"the value of the header {name!r} is too long or not printable ASCII")
    return dict(headers)


def joined(url: httpx.URL, location: str) -> httpx.URL:
    import httpx

    try:
        return checked_url(str(url.join(location)))
    except (httpx.InvalidURL, ValueError) as error:
        raise NotDone(f"{url} redirects to something that is no URL") from error


async def read_answer(response: httpx.Response) -> Answer:
    """The body up to ANSWER_BYTES after decompression; more is cut, never held in memory."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower() or "identity"
    body, truncated = bytearray(), False
    async for piece in pieces(response.aiter_raw(), encoding):
        room = ANSWER_BYTES - len(body)
        body += piece[:room]
        if len(piece) > room:
            truncated = True
            break
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, bytes(body), truncated, ())


async def pieces(raw: AsyncIterator[bytes], encoding: str) -> AsyncIterator[bytes]:
    """Decoded pieces of bounded size. We ask for no compression; servers that compress anyway are read with care."""
    if encoding == "identity":
        async for chunk in raw:
            yield chunk
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise OutcomeUnknown(f"the answer is encoded as {encoding[:40]!r}, which was not asked for")
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 32 if encoding != "deflate" else zlib.MAX_WBITS)
    async for chunk in raw:
        while chunk:
            try:
                yield decoder.decompress(chunk, ANSWER_BYTES)
            except zlib.error as error:
                raise OutcomeUnknown(f"the answer is not valid {encoding}: {error}") from error
            chunk = decoder.unconsumed_tail


def redacted(answer: Answer, credentials: Any, hops: tuple[str, ...]) -> Answer:
    """The answer without any credential that the server echoed."""
    body, headers = answer.body, dict(answer.headers)
    for one in credentials:
        for secret in {one.value, one.value.rpartition(" ")[2]}:
            if len(secret) >= 6:
                body = body.replace(secret.encode(), b"[secret]")
                headers = {name: value.replace(secret, "[secret]") for name, value in headers.items()}
    return Answer(answer.status, headers, body, answer.truncated, hops)
