"""The http skills against local servers: where they connect, what they carry along, and what they make of silence."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import resource
import shutil
import socket
import ssl
import subprocess
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from core.models import Permission
from tests.patience import PATIENCE_S
from tests.skill_context import built_in, context
from worker.skills import NotDone, OutcomeUnknown
from worker.skills.addresses import Allowed, checked_url, why_refused
from worker.skills.context import Handles
from worker.skills.handles import http_client
from worker.skills.http_client import ANSWER_BYTES, Credential, HttpClient, resolve

PUBLIC = "93.184.216.34"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi"

Reply = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A server on a free port that keeps what it was sent and answers as told."""

    def __init__(self, reply: Reply | bytes) -> None:
        self.reply = reply
        self.seen: list[str] = []
        self.connections = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next((int(x.split(":")[1]) for x in head.lower().split("\r\n") if "content-length" in x), 0)
            self.seen.append(head + (await reader.readexactly(length)).decode())
            if isinstance(self.reply, bytes):
                writer.write(self.reply)
                await writer.drain()
            else:
                await self.reply(head, writer)
        with contextlib.suppress(OSError):
            writer.close()


@contextlib.asynccontextmanager
async def serving(reply: Reply | bytes = OK, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(reply)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


def to_loopback(*hosts: str, **more: Any) -> HttpClient:
    """A client for which these names lead to 127.0.0.1 and are allowed to."""

    async def find(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    return HttpClient(Allowed(hosts=frozenset(hosts)), resolve=find, **more)


def names(table: dict[str, list[str]]) -> Callable[[str, int], Awaitable[list[str]]]:
    async def find(host: str, port: int) -> list[str]:
        return table[host]

    return find


async def run(name: str, client: HttpClient, **args: Any) -> dict[str, Any]:
    skill = built_in(name)
    return await skill.run(context(Handles(http=client)), skill.validate(args))


FORMS = [
    "http://127.0.0.1:{port}/",
    "http://localhost:{port}/",
    "http://localhost.:{port}/",
    "http://LOCALHOST:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://127。0。0。1:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[64:ff9b::7f00:1]:{port}/",
    "http://[64:ff9b:1::7f00:1]:{port}/",
    "http://[2002:7f00:1::]:{port}/",
    "http://[2001:0:7f00:1::]:{port}/",
    "http://[fe80::1]:{port}/",
    "http://[fe80::1%25lo]:{port}/",
    "http://[fec0::1]:{port}/",
    "http://[fd00::1]:{port}/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.0.1/",
    "http://100.64.0.1/",
    "http://192.0.0.192/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://192.88.99.1/",
    "http://user@127.0.0.1:{port}/",
    "http://user:pass@example.com/",
    "http://example.com@127.0.0.1:{port}/",
    "http://example.com\\@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@example.com/",
    "http://127.0.0.1:{port}#@example.com/",
    "http://127.0.0.1:{port}?@example.com/",
    "http://example.com\t.127.0.0.1:{port}/",
    "http://127.0.0.1\n:{port}/",
    " http://127.0.0.1:{port}/",
    "http:127.0.0.1:{port}/",
    "http:///127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    "127.0.0.1:{port}/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/_x",
    "ftp://127.0.0.1:{port}/",
    "unix:///var/run/docker.sock",
    "dict://127.0.0.1:{port}/",
    "http://127.0.0.1:99999/",
    "http://127.0.0.1:-1/",
    "http://%31%32%37.0.0.1:{port}/",
    "http://127.0.0.1%00.example.com:{port}/",
    "HTTP://127.0.0.1:{port}/",
    "https://127.0.0.1:{port}/",
    "http://[::ffff:0:127.0.0.1]:{port}/",
    "http://[::1%lo]:{port}/",
    "http://../",
    "http://",
    "http://" + "a" * 5000 + "/",
]


@pytest.mark.parametrize("form", FORMS)
async def test_no_form_of_url_reaches_a_local_server(form: str) -> None:
    async with serving() as canary:
        with pytest.raises(NotDone):
            await HttpClient().request("GET", form.format(port=canary.port))
        assert canary.connections == 0


@pytest.mark.parametrize(
    "address", ["8.8.8.8", PUBLIC, "2606:2800:220:1:248:1893:25c8:1946", "2001:4860:4860::8888", "1.1.1.1"]
)
def test_public_addresses_are_allowed(address: str) -> None:
    assert why_refused(address, "example.com", Allowed()) == ""


def test_what_the_organisation_allows_is_exact() -> None:
    allowed = Allowed.parse(["10.1.0.0/16", "intranet", "fd12::/64"])
    assert why_refused("10.1.2.3", "x", allowed) == "" and why_refused("fd12::1", "x", allowed) == ""
    assert why_refused("10.2.0.1", "x", allowed) and why_refused("::ffff:10.1.2.3", "x", allowed)
    assert why_refused("192.168.1.1", "intranet", allowed) == ""
    assert why_refused("192.168.1.1", "intranet.evil.example", allowed)
    with pytest.raises(ValueError, match="neither a network nor a host"):
        Allowed.parse(["10.0.0.0/99"])


async def test_one_bad_address_among_good_ones_refuses_the_name() -> None:
    client = HttpClient(resolve=names({"mixed.example": [PUBLIC, "127.0.0.1"]}))
    with pytest.raises(NotDone, match="not on the public internet"):
        await client.request("GET", "http://mixed.example/")


async def test_a_name_that_changes_its_mind_is_resolved_once_and_pinned() -> None:
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return [PUBLIC] if len(asked) == 1 else ["127.0.0.1"]

    with respx.mock:
        route = respx.get(f"https://{PUBLIC}/x").mock(return_value=httpx.Response(200, text="hi"))
        answer = await HttpClient(resolve=rebinding).request("GET", "https://rebind.example/x")
    request = route.calls.last.request
    assert answer.body == b"hi" and asked == ["rebind.example"] and answer.hops == ("https://rebind.example/x",)
    assert request.headers["host"] == "rebind.example"
    assert request.extensions["sni_hostname"] == "rebind.example"
    assert request.headers["accept-encoding"] == "identity"


async def test_an_ipv6_address_is_pinned_too() -> None:
    six = "2606:2800:220:1:248:1893:25c8:1946"
    with respx.mock:
        route = respx.get(f"http://[{six}]:8080/").mock(return_value=httpx.Response(204))
        answer = await HttpClient(resolve=names({"six.example": [six]})).request("GET", "http://six.example:8080/")
    assert answer.status == 204 and route.calls.last.request.headers["host"] == "six.example:8080"


async def test_the_server_sees_the_name_it_is_called_by() -> None:
    async with serving() as server:
        answer = await to_loopback("pinned.test").request("GET", f"http://pinned.test:{server.port}/a?b=c#d")
        assert (answer.status, answer.body) == (200, b"hi")
        head = server.seen[0].lower()
        assert head.startswith("get /a?b=c http/1.1") and f"host: pinned.test:{server.port}" in head
        assert "cookie" not in head and "accept-encoding: identity" in head


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for `pinned.test` that nobody knows, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=pinned.test"
    more = ["-addext", "subjectAltName=DNS:pinned.test", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command.split(), *more], check=True, capture_output=True)
    return cert, key


async def test_the_certificate_is_checked_against_the_name_not_the_address(
    certificate: tuple[Path, Path],
) -> None:
    cert, key = certificate
    serve_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serve_tls.load_cert_chain(cert, key)
    trust = ssl.create_default_context(cafile=str(cert))
    async with serving(tls=serve_tls) as server:
        client = to_loopback("pinned.test", "other.test", verify=trust)
        assert (await client.request("GET", f"https://pinned.test:{server.port}/")).status == 200
        with pytest.raises(NotDone, match="certificate"):
            await client.request("GET", f"https://other.test:{server.port}/")
        with pytest.raises(NotDone, match="certificate"):
            await to_loopback("pinned.test").request("GET", f"https://pinned.test:{server.port}/")
        assert len(server.seen) == 1


async def test_environment_proxies_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as proxy, serving() as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert (await to_loopback("a.test").request("GET", f"http://a.test:{server.port}/")).status == 200
        assert proxy.connections == 0


def redirect(to: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Go\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()


async def test_redirects_are_followed_checked_and_limited() -> None:
    async with serving() as end, serving(redirect(f"http://a.test:{end.port}/end")) as start:
        answer = await to_loopback("a.test").request("GET", f"http://a.test:{start.port}/")
        assert answer.hops == (f"http://a.test:{start.port}/", f"http://a.test:{end.port}/end")
        with pytest.raises(NotDone, match="not on the public internet"):
            await to_loopback("b.test").request("GET", f"http://b.test:{start.port}/")
        assert end.connections == 1
    async with serving(redirect("/again")) as loop:
        with pytest.raises(NotDone, match="more than 5 times"):
            await to_loopback("a.test").request("GET", f"http://a.test:{loop.port}/")
        assert loop.connections == 6
    for location in ("file:///etc/passwd", "http://u:p@a.test/", "http://[", "gopher://x/"):
        async with serving(redirect(location)) as bad:
            with pytest.raises(NotDone):
                await to_loopback("a.test").request("GET", f"http://a.test:{bad.port}/")


async def test_a_redirect_from_https_to_http_is_refused() -> None:
    with respx.mock:
        respx.get(f"https://{PUBLIC}/").mock(
            return_value=httpx.Response(302, headers={"location": "http://x.example/"})
        )
        with pytest.raises(NotDone, match="not encrypted"):
            await HttpClient(resolve=names({"x.example": [PUBLIC]})).request("GET", "https://x.example/")


TOKEN = Credential("deploy", "Authorization", "Bearer s3cr3t-token", frozenset({"a.test"}))


async def test_credentials_and_headers_stay_with_their_host() -> None:
    async with serving() as end, serving(redirect(f"http://b.test:{end.port}/")) as start:
        client = to_loopback("a.test", "b.test", credentials={"deploy": TOKEN})
        headers = {"Cookie": "a=b", "X-Api-Key": "k", "Accept": "text/html"}
        await client.request("GET", f"http://a.test:{start.port}/", headers, credential="deploy")
        first, second = start.seen[0], end.seen[0]
        assert "Bearer s3cr3t-token" in first and "Cookie: a=b" in first
        assert "s3cr3t" not in second and "Cookie" not in second and "X-Api-Key" not in second
        assert "Accept: text/html" in second
        with pytest.raises(NotDone, match=r"is not for b\.test"):
            await client.request("GET", f"http://b.test:{end.port}/", credential="deploy")
        with pytest.raises(NotDone, match="no credential 'other'"):
            await client.request("GET", f"http://a.test:{end.port}/", credential="other")
        assert end.connections == 1


async def test_credentials_do_not_go_over_plain_http_on_the_internet() -> None:
    client = HttpClient(credentials={"deploy": TOKEN}, resolve=names({"a.test": [PUBLIC]}))
    with pytest.raises(NotDone, match="only sent over https"):
        await client.request("POST", "http://a.test/", credential="deploy")


async def test_an_echoed_credential_is_not_in_the_result() -> None:
    async def echo(head: str, writer: asyncio.StreamWriter) -> None:
        body = head.encode()
        writer.write(b"HTTP/1.1 200 OK\r\nETag: s3cr3t-token\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    async with serving(echo) as server:
        client = to_loopback("a.test", credentials={"deploy": TOKEN})
        result = await run(
            "http.request",
            client,
            method="POST",
            url=f"http://a.test:{server.port}/",
            credential="deploy",
            body="x",
        )
    assert "s3cr3t" not in str(result) and "[secret]" in result["text"]
    assert "s3cr3t" not in repr(TOKEN)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"host": "evil.example"},
        {"Transfer-Encoding": "chunked"},
        {"Content-Length": "0"},
        {"Connection": "upgrade"},
        {"X": "a\r\nX-Injected: 1"},
        {"X\r\nY": "a"},
        {"X:Y": "a"},
        {"X Y": "a"},
        {"X": "ü"},
        {"X": "a" * 5000},
        {f"X{n}": "a" for n in range(41)},
    ],
)
async def test_headers_that_could_redirect_or_smuggle_are_refused(headers: dict[str, str]) -> None:
    async with serving() as server:
        with pytest.raises(NotDone):
            await to_loopback("a.test").request("GET", f"http://a.test:{server.port}/", headers)
        assert server.connections == 0


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
async def test_bombs_are_cut_without_being_held(encoding: str) -> None:
    size = 200_000_000
    compressor = zlib.compressobj(9, wbits=31 if encoding == "gzip" else 15)
    bomb = b"".join([*(compressor.compress(bytes(1_000_000)) for _ in range(size // 1_000_000)), compressor.flush()])

    async def explode(_head: str, writer: asyncio.StreamWriter) -> None:
        coded = f"Content-Encoding: {encoding}\r\n" if encoding != "identity" else ""
        writer.write(f"HTTP/1.1 200 OK\r\n{coded}\r\n".encode())
        for piece in [bomb] if coded else [bytes(100_000)] * 2_000:
            writer.write(piece)
            await writer.drain()

    async with serving(explode) as server:
        before = peak_bytes()
        answer = await to_loopback("a.test").request("GET", f"http://a.test:{server.port}/")
        assert answer.truncated and len(answer.body) == ANSWER_BYTES and not any(answer.body)
        assert peak_bytes() - before < 32_000_000


async def test_compressed_answers_are_read_though_not_asked_for() -> None:
    packed = gzip.compress(b"hello")
    reply = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed
    async with serving(reply) as server:
        assert (await to_loopback("a.test").request("GET", f"http://a.test:{server.port}/")).body == b"hello"
    for encoding, body in [("br", b"x"), ("gzip, gzip", b"x"), ("gzip", b"not gzip")]:
        broken = (
            f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )
        async with serving(broken) as server:
            with pytest.raises(OutcomeUnknown):
                await to_loopback("a.test").request("POST", f"http://a.test:{server.port}/")


async def drip(_head: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def endless_headers(_head: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-A: " + b"a" * 1000 + b"\r\n")
        await writer.drain()


async def silence(_head: str, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def hang_up(_head: str, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def half_an_answer(_head: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")


@pytest.mark.parametrize("reply", [drip, endless_headers, silence, hang_up, half_an_answer])
async def test_a_request_without_a_whole_answer_is_unknown_and_a_read_is_not_done(reply: Reply) -> None:
    async with serving(reply) as server:
        client, url = to_loopback("a.test"), f"http://a.test:{server.port}/"
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(OutcomeUnknown):
                await client.request("POST", url, body=b"x", within_s=2.0)  # it has left by then
            with pytest.raises(NotDone) as failed:
                await client.request("GET", url, within_s=0.2)
        assert failed.value.retry_in_s is not None


async def test_what_was_never_sent_is_not_done() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(NotDone, match="cannot be reached") as refused:
            await to_loopback("a.test").request("POST", f"http://a.test:{port}/", body=b"x")
        assert refused.value.retry_in_s

    async def slow(host: str, port: int) -> list[str]:
        await asyncio.sleep(3600)
        return []

    async def broken(host: str, port: int) -> list[str]:
        raise socket.gaierror("no such name")

    for find, why in [
        (slow, "no complete answer"),
        (broken, "cannot be resolved"),
        (names({"a.test": []}), "no address"),
    ]:
        with pytest.raises(NotDone, match=why):
            await HttpClient(resolve=find).request("POST", "http://a.test/", body=b"x", within_s=0.2)
    with pytest.raises(NotDone, match="no complete answer"):
        await to_loopback("a.test").request("POST", "http://a.test/", within_s=0)


async def test_the_next_address_is_tried_when_nothing_was_sent() -> None:
    async with serving() as server:

        async def two(host: str, port: int) -> list[str]:
            return ["127.0.0.2", "127.0.0.1"]

        client = HttpClient(Allowed(hosts=frozenset({"a.test"})), resolve=two)
        assert (await client.request("POST", f"http://a.test:{server.port}/")).status == 200
        assert server.connections == 1


async def test_get_returns_what_was_answered() -> None:
    async with serving() as server:
        url = f"http://a.test:{server.port}/"
        result = await run("http.get", to_loopback("a.test"), url=url)
    assert result == {
        "status": 200,
        "ok": True,
        "url": url,
        "headers": {"content-type": "text/plain"},
        "bytes": 2,
        "truncated": False,
        "text": "hi",
    }


def status(code: int, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {code} X", *headers, "Content-Length: 4", "", "oops"]).encode()


async def test_get_retries_what_says_later_and_returns_the_rest() -> None:
    for reply, wait in [
        (status(429, "Retry-After: 7"), 7.0),
        (status(503), 5.0),
        (status(503, "Retry-After: ٣"), 5.0),
    ]:
        async with serving(reply) as server:
            with pytest.raises(NotDone) as later:
                await run("http.get", to_loopback("a.test"), url=f"http://a.test:{server.port}/")
            assert later.value.retry_in_s == wait
    async with serving(status(404)) as server:
        result = await run("http.get", to_loopback("a.test"), url=f"http://a.test:{server.port}/")
        assert (result["status"], result["ok"], result["text"]) == (404, False, "oops")


@pytest.mark.parametrize(
    ("code", "method", "expected"),
    [
        (201, "POST", None),
        (303, "POST", None),
        (307, "POST", NotDone),
        (404, "POST", NotDone),
        (409, "DELETE", NotDone),
        (429, "POST", NotDone),
        (500, "POST", OutcomeUnknown),
        (502, "PUT", OutcomeUnknown),
        (500, "GET", NotDone),
    ],
)
async def test_a_request_tells_refused_from_unknown(code: int, method: str, expected: type[Exception] | None) -> None:
    async with serving(status(code, "Location: /next")) as server:
        call = run(
            "http.request",
            to_loopback("a.test"),
            method=method,
            url=f"http://a.test:{server.port}/",
            body="x",
        )
        if expected is None:
            assert (await call)["status"] == code
        else:
            with pytest.raises(expected):
                await call
        assert server.connections == 1  # never followed, never repeated
        assert "Idempotency-Key: sayso:7:3:0" in server.seen[0]


async def test_a_reading_skill_may_only_read() -> None:
    async with serving() as server:
        reader = to_loopback("a.test").narrowed(frozenset({Permission.READ}))
        with pytest.raises(NotDone, match="declares no write"):
            await reader.request("POST", f"http://a.test:{server.port}/")
        with pytest.raises(NotDone, match="not one of"):
            await reader.request("CONNECT", f"http://a.test:{server.port}/")
        assert server.connections == 0 and (await reader.request("get", f"http://a.test:{server.port}/")).status == 200


async def test_the_preview_shows_the_request_and_names_the_credential() -> None:
    args = {"method": "POST", "url": "https://a.test/", "body": "{}", "credential": "deploy"}
    known = {"deploy": Credential("deploy", "Authorization", "abcdef", frozenset({"a.test"}))}
    text = await built_in("http.request").preview(context(Handles(http=HttpClient(credentials=known))), args)
    assert text == "POST https://a.test/\n(with the credential deploy)\n\n{}"


def test_settings_become_a_client_or_say_what_is_wrong() -> None:
    secrets = {"DEPLOY_TOKEN": "abcdef"}
    settings = {
        "allow_private": ["10.0.0.0/8"],
        "credentials": {"d": {"from": "DEPLOY_TOKEN", "hosts": ["A.test"]}},
    }
    assert isinstance(http_client(settings, secrets.get), HttpClient)
    with pytest.raises(ValueError, match="needs 'from'"):
        http_client({"credentials": {"d": {"hosts": ["a"]}}}, secrets.get)


async def test_the_systems_own_resolver_finds_loopback() -> None:
    assert set(await resolve("localhost", 80)) <= {"127.0.0.1", "::1"}
    assert checked_url("https://EXAMPLE.com:8443/a#frag").fragment == ""
