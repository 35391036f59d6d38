"""Which URLs and addresses the http skills may reach: pure decisions on values, with no look-up of their own.

Allowed is what is on the public internet. Everything that leads back inside (private, loopback, link-local, and the
IPv6 forms that carry an IPv4 address: mapped, compatible, 6to4, Teredo, NAT64) is refused unless the organisation
lists the network or the host. The list says what is allowed, so an unknown range is refused.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from worker.skills.errors import NotDone

if TYPE_CHECKING:
    import httpx

URL_CHARS: Final = 4096

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Beyond what `is_global` refuses; its table differs between Python versions, so the doubtful ones are named here.
REFUSED: Final[tuple[Network, ...]] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/96",
        "::ffff:0:0/96",
        "::ffff:0:0:0/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)


@dataclass(frozen=True, slots=True)
class Allowed:
    """Exceptions from `allow_private` in the settings: networks, and host names as people write them in URLs."""

    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, entries: list[str]) -> Allowed:
        networks: list[Network] = []
        hosts: set[str] = set()
        for entry in entries:
            try:
                networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                if "/" in entry or not entry.strip():
                    raise ValueError(f"skills.http.allow_private: {entry!r} is neither a network nor a host") from None
                hosts.add(entry.lower().rstrip("."))
        return cls(tuple(networks), frozenset(hosts))


def why_refused(address: str, host: str, allowed: Allowed) -> str:
    """Why this address must not be connected to, or an empty string. `host` is the name that led to it."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return f"{address!r} is no plain address"
    if host in allowed.hosts or any(ip in network for network in allowed.networks if ip.version == network.version):
        return ""
    if (
        not ip.is_global
        or ip.is_multicast
        or any(ip in network for network in REFUSED if ip.version == network.version)
    ):
        return f"{ip} is not on the public internet"
    return ""


def is_address(host: str) -> bool:
    """Whether the host is written as an address, so that no name has to be looked up."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def checked_url(text: str) -> httpx.URL:
    """The URL as the one parser reads it, or NotDone. Everything later uses this value, never the text again."""
    import httpx

    if len(text) > URL_CHARS:
        raise NotDone(f"the URL has {len(text)} characters; at most {URL_CHARS} are taken")
    # Other parsers split at these characters or drop them; a URL that needs them is written with escapes.
    if any(ord(char) <= 0x20 or ord(char) == 0x7F or char == "\\" for char in text):
        raise NotDone(f"the URL {text[:200]!r} holds blanks, control characters or backslashes")
    try:
        url = httpx.URL(text)
        host, port = url.raw_host.decode("ascii"), url.port
    except (httpx.InvalidURL, ValueError, UnicodeError) as error:
        raise NotDone(f"{text[:200]!r} is not a URL: {error}") from error
    if url.scheme not in ("http", "https"):
        raise NotDone(f"{text[:200]!r} is not an http or https URL")
    if not host or "%" in host:
        raise NotDone(f"{text[:200]!r} names no host that can be reached")
    if url.userinfo:
        raise NotDone("the URL holds a user name or password; name a credential instead")
    if port is not None and not 0 < port < 65536:
        raise NotDone(f"{text[:200]!r} has no valid port")
    return url.copy_with(fragment=None)


def host_of(url: httpx.URL) -> str:
    """The host as credentials and exceptions are matched against it."""
    return url.raw_host.decode("ascii").strip("[]").lower().rstrip(".")


def same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    return (one.scheme, host_of(one), port_of(one)) == (other.scheme, host_of(other), port_of(other))


def port_of(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)
