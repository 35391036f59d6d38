"""What every command stands on: settings, or a clear end; and the servers they name or the embedded ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import typer

from core.display import visible
from core.embedded import EmbeddedError, RunningServers, start_servers
from core.organisation import OrganisationError
from core.settings import Settings, SettingsError

# Where the checkout or the installation is.
HOUSE: Final = Path(__file__).resolve().parents[2]


def end(message: str, code: int = 1) -> NoReturn:
    """Say what is wrong on standard error and leave."""
    typer.echo(message, err=True)
    raise typer.Exit(code)


def tell(*lines: str) -> None:
    """Print lines for a person: what others wrote in one can neither move the cursor nor begin another line."""
    for line in lines:
        typer.echo(visible(line.rstrip()))


def read_settings() -> Settings:
    try:
        return Settings.load()
    except SettingsError as error:
        end(f"The settings are wrong:\n{error}", 2)


@dataclass(frozen=True, slots=True)
class Servers:
    """`environment` is what child processes get; `lease` the descriptor they inherit, if the servers are embedded."""

    settings: Settings
    environment: dict[str, str]
    embedded: RunningServers | None

    @property
    def lease(self) -> int | None:
        return self.embedded.lease if self.embedded else None

    def keep(self) -> None:
        """For whoever runs for long: start again what died of the embedded servers."""
        if self.embedded is not None:
            try:
                self.embedded.keep()
            except EmbeddedError as error:
                typer.echo(str(error), err=True)


@contextmanager
def servers() -> Iterator[Servers]:
    """The servers that the environment names; what it does not name is embedded."""
    settings = read_settings()
    environment = dict(os.environ)
    needs_postgres, needs_redis = settings.database_url is None, settings.redis_url is None
    if not (needs_postgres or needs_redis):
        yield Servers(settings, environment, None)
        return
    try:
        running = start_servers(settings.home, postgres=needs_postgres, redis=needs_redis)
    except EmbeddedError as error:
        end(str(error))
    with running:
        if running.database_url:
            environment["DATABASE_URL"] = running.database_url
        if running.redis_url:
            environment["REDIS_URL"] = running.redis_url
        yield Servers(Settings.load(environment), environment, running)


def check_organisation(settings: Settings) -> None:
    """sayso.yaml is read once before anything starts, so that its errors are seen at once."""
    from core import organisation

    try:
        organisation.load(settings.config_path)
    except OrganisationError as error:
        end(f"sayso.yaml is wrong:\n{error}", 2)
