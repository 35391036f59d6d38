"""Opens the handles of an installation from its settings: workspace, HTTP client, mailer. Notes come from the caller.

Everything is checked here, at start, with the setting and the fix named; nothing is connected yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from worker.skills.addresses import Allowed
from worker.skills.context import Handles, Notes
from worker.skills.http_client import Credential, HttpClient
from worker.skills.mailer import Mailer, Server, checked_address
from worker.skills.workspace import Workspace

SENDER: Final = "sayso@localhost"


def open_handles(
    home: Path,
    settings: Mapping[str, Any],
    secret: Callable[[str], str | None],
    smtp_url: str | None = None,
    notes: Notes | None = None,
) -> Handles:
    """`settings` is the `skills:` part of sayso.yaml; `secret` gives the value of a named environment secret.

    Raises ValueError for a setting that cannot be used.
    """
    files = settings.get("files") or {}
    return Handles(
        files=Workspace.under(home, _path(files.get("workspace")), _path(files.get("trash"))),
        http=http_client(settings.get("http") or {}, secret),
        mail=mailer(home, settings.get("email") or {}, smtp_url),
        notes=notes,
    )


def http_client(settings: Mapping[str, Any], secret: Callable[[str], str | None]) -> HttpClient:
    """`allow_private` lists networks and hosts; `credentials` name a header, where its value is, and its hosts."""
    credentials = {}
    for name, one in (settings.get("credentials") or {}).items():
        where, hosts = one.get("from"), one.get("hosts")
        if not where or not hosts:
            raise ValueError(f"skills.http.credentials.{name} needs 'from' (an environment name) and 'hosts'")
        value = secret(where)
        # An unset secret is no credential: a request that names it is refused, others go on.
        if value:
            header, prefix = one.get("header", "Authorization"), one.get("prefix", "")
            credentials[name] = Credential(name, header, prefix + value, frozenset(host.lower() for host in hosts))
    return HttpClient(Allowed.parse(list(settings.get("allow_private") or [])), credentials)


def mailer(home: Path, settings: Mapping[str, Any], smtp_url: str | None) -> Mailer:
    """The sender is `skills.email.from`, else `?from=` of the URL, else the SMTP user where that is an address."""
    server = Server.parse(smtp_url) if smtp_url else None
    sender = settings.get("from") or (server and (server.sender or ("@" in server.user and server.user))) or SENDER
    return Mailer(home / "mail", checked_address(sender), server)


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None
