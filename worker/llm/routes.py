"""Which providers there are and which of their models serve what, from the environment and sayso.yaml.

Pure. A provider without a key is left out, and so are the routes through it; a route that names a provider nobody
declared is a mistake and is refused with the fix. `models` opens what is chosen here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from pydantic import SecretStr

from core.organisation import ModelsPart

Kind = Literal["openai", "anthropic"]
NO_KEY: Final = "none"

# Used for a purpose that sayso.yaml has no route for: the stronger model plans, the quicker one takes the turns between.
DEFAULTS: Final[Mapping[str, tuple[str, ...]]] = {
    "plan": ("anthropic/claude-sonnet-4-6", "openai/gpt-5.4"),
    "act": ("openai/gpt-5.4-mini", "anthropic/claude-haiku-4-5"),
    "intent": ("openai/gpt-5.4-mini", "anthropic/claude-haiku-4-5"),
    "reflect": ("openai/gpt-5.4-mini", "anthropic/claude-haiku-4-5"),
    "summarise": ("openai/gpt-5.4-mini", "anthropic/claude-haiku-4-5"),
    "transcribe": ("openai/gpt-5.4-transcribe",),
}


class BadRoute(ValueError):
    """`models:` in sayso.yaml does not fit together; the message names the route and the fix."""


class Environment(Protocol):
    """The part of the settings that models need; `secret` looks up a name that sayso.yaml gives."""

    @property
    def openai_api_key(self) -> SecretStr | None: ...
    @property
    def openai_base_url(self) -> str | None: ...
    @property
    def anthropic_api_key(self) -> SecretStr | None: ...
    @property
    def anthropic_base_url(self) -> str | None: ...
    def secret(self, name: str) -> str | None: ...
    def secret_values(self) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Route:
    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One provider that can be asked. `own_address` says that sayso.yaml, not the environment, names where it is."""

    name: str
    kind: Kind
    base_url: str | None
    own_address: bool
    key: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Chosen:
    endpoints: Mapping[str, Endpoint]
    routes: Mapping[str, tuple[Route, ...]]


def choose(environment: Environment, config: ModelsPart) -> Chosen:
    """Endpoints that have a key or need none, and for each purpose the routes through them. Raises `BadRoute`."""
    endpoints = _declared(environment, config)
    for name, endpoint in _standard(environment).items():
        if name not in config.providers:
            endpoints[name] = endpoint
    named: dict[str, tuple[Route, ...]] = {
        purpose: tuple(_route(text, purpose) for text in given) for purpose, given in config.routes.items()
    }
    declared = {"openai", "anthropic", *config.providers}
    for purpose, given in named.items():
        for route in given:
            if route.provider not in declared:
                raise BadRoute(
                    f"models.routes.{purpose}: {str(route)!r} names a provider that is not declared;"
                    f" add {route.provider!r} under models.providers or use one of {', '.join(sorted(declared))}"
                )
    default = {purpose: tuple(_route(text, purpose) for text in given) for purpose, given in DEFAULTS.items()}
    usable = {
        purpose: tuple(route for route in given if route.provider in endpoints)
        for purpose, given in (default | named).items()
    }
    return Chosen(endpoints, {purpose: given for purpose, given in usable.items() if given})


def _declared(environment: Environment, config: ModelsPart) -> dict[str, Endpoint]:
    found: dict[str, Endpoint] = {}
    standard = _standard(environment)
    for name, provider in config.providers.items():
        if provider.base_url is None and provider.key is None:
            same = standard.get(provider.kind)
            if same is not None:
                found[name] = Endpoint(name, same.kind, same.base_url, False, same.key)
            continue
        # The environment's key is sent where the environment says, never to an address that sayso.yaml brings.
        key = None
        if provider.key is not None and provider.key != NO_KEY:
            key = environment.secret(provider.key)
            if not key:
                continue
        address = provider.base_url or _address(environment, provider.kind)
        found[name] = Endpoint(name, provider.kind, address, provider.base_url is not None, key)
    return found


def _standard(environment: Environment) -> dict[str, Endpoint]:
    """`openai` and `anthropic` by the environment alone. An OpenAI-compatible address may need no key."""
    found: dict[str, Endpoint] = {}
    openai_key, anthropic_key = _text(environment.openai_api_key), _text(environment.anthropic_api_key)
    if openai_key or environment.openai_base_url:
        found["openai"] = Endpoint("openai", "openai", environment.openai_base_url, False, openai_key)
    if anthropic_key:
        found["anthropic"] = Endpoint("anthropic", "anthropic", environment.anthropic_base_url, False, anthropic_key)
    return found


def _address(environment: Environment, kind: Kind) -> str | None:
    return environment.openai_base_url if kind == "openai" else environment.anthropic_base_url


def _text(secret: SecretStr | None) -> str | None:
    return (secret.get_secret_value() or None) if secret else None


def _route(text: str, purpose: str) -> Route:
    provider, _, model = text.partition("/")
    if not provider or not model:
        raise BadRoute(f"models.routes.{purpose}: {text!r} is no route; write it like openai/gpt-5.4")
    return Route(provider, model)
