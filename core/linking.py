"""A person brings another chat account by a link that they asked for where they are known already.

A link is asked for in private, good once and for an hour. It stands for its person's own word, not for an owner's: who is
no owner is confirmed by one, as a stranger is. Everything happens in the commit that records the words. The secret of a link
is made again from the name of the link whenever the words are shown, and stands in no row.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from typing import Final

from core import cards
from core.db import Connection
from core.deps import Deps
from core.display import visible
from core.models import Channel, Identity, Inbound
from core.store import conversations, linking, people
from core.store.people import Principal

_OPENED: Final = re.compile(r"start ([A-Za-z0-9_-]{43})", re.ASCII)
REDACTED: Final = "start"
# Stands for the secret in the words as they are kept.
BLANK: Final = "<secret>"

IN_PRIVATE: Final = "Say that where nobody else reads it: in a direct message to me, or in the web chat."
NO_BOT: Final = "No Telegram bot is set up here, or it has not been reached yet."
FOR_PEOPLE: Final = "Only people bring chat accounts."
OFFER: Final = (
    "Open this where you use Telegram, and press Start: https://t.me/{bot}?start=" + BLANK + "\n"
    "It is good for one hour and for one account. Whoever opens it first is taken for you, so show it to nobody."
)
OWNER_CONFIRMS: Final = "An owner confirms it then."
GONE: Final = (
    "That link is not known, was used, or is older than an hour. Say link telegram where I know you for a new one."
)
KNOWN: Final = "This account is linked to {name} already."
WELCOME: Final = "Welcome, {name}: this account is yours from now on. Say help to see what I can do."
LINKED: Final = (
    "The Telegram account {account} is you from now on. If it is not yours, tell whoever runs this Sayso at once."
)
ASK_AN_OWNER: Final = (
    "The Telegram account {account} is to be {name}'s. An owner lets it in with: pair {code} as {key}."
    " It is good for one hour."
)


async def begin(tx: Connection, deps: Deps, person: Principal, conversation: int) -> tuple[str, str | None]:
    """A link in words that lack its secret, and the name of the link; or why there is none, and None."""
    place = await conversations.by_id(tx, conversation)
    if person.is_service:
        return FOR_PEOPLE, None
    if place is None or not place.is_private:
        return IN_PRIVATE, None
    bot = await linking.username(tx, Channel.TELEGRAM) if deps.settings.telegram_on else ""
    if not bot:
        return NO_BOT, None
    link = secrets.token_urlsafe(16)
    await linking.offer(tx, person.id, conversation, _secret(link, deps.settings.secret_key()))
    said = OFFER.format(bot=bot)
    return (said if "owner" in person.roles else f"{said} {OWNER_CONFIRMS}"), link


def with_secret(text: str, link: str, key: bytes) -> str:
    """The words as the person is to read them; `key` is SAYSO_SECRET_KEY."""
    return text.replace(BLANK, _secret(link, key))


def _secret(link: str, key: bytes) -> str:
    """43 characters that a URL takes as they are."""
    mac = hmac.new(key, f"link\0{link}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(mac).decode().rstrip("=")


def opened(inbound: Inbound) -> str | None:
    """The secret of the link that was opened to say this."""
    if inbound.channel is not Channel.TELEGRAM or not inbound.place.private:
        return None
    found = _OPENED.fullmatch(inbound.text.strip())
    return found[1] if found else None


async def redeem(tx: Connection, identity: Identity, known: Principal | None, secret: str) -> str:
    """What to say to the account that opened the link. `known` is who it is already."""
    if known is not None:
        return KNOWN.format(name=visible(known.name or known.key))
    offered = await linking.find(tx, secret)
    if offered is None:
        return GONE
    person, account = offered.person, f"{visible(identity.display_name)} ({identity.external_id})"
    if "owner" in person.roles:
        await people.link(tx, identity, person, by=person)
        here, there = WELCOME.format(name=visible(person.name or person.key)), LINKED.format(account=account)
    else:
        code = await people.offer_pairing(tx, identity)
        if code is None:
            return cards.pairing_text(None)  # the link stays good
        here = there = ASK_AN_OWNER.format(account=account, name=visible(person.name), code=code, key=person.key)
    await linking.use(tx, secret)
    if offered.conversation is not None:
        await conversations.say(tx, offered.conversation, there)
    return here
