"""`manifest slack`: the app's manifest, to be pasted or opened by one click.

What it says is in `bot.slack.manifest`; here it is only printed.
"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from bot.slack import manifest
from core.settings import Settings, SettingsError

manifest_app = typer.Typer(no_args_is_help=True, help="What a chat platform needs to know of Sayso.")


@manifest_app.callback()
def chosen() -> None:
    """What a chat platform needs to know of Sayso."""


@manifest_app.command()
def slack(
    as_json: Annotated[bool, typer.Option("--json", help="as JSON instead of YAML")] = False,
    http: Annotated[bool, typer.Option("--http", help="for HTTP at PUBLIC_BASE_URL instead of Socket Mode")] = False,
    link: Annotated[bool, typer.Option("--link", help="only the link that opens it in Slack")] = False,
) -> None:
    """Print the Slack app's manifest, with why it needs what, and a link that makes the app."""
    base_url = _public_url() if http else None
    if as_json:
        typer.echo(json.dumps(manifest.manifest(base_url), indent=2, ensure_ascii=False))
    elif link:
        typer.echo(manifest.one_click(base_url))
    else:
        typer.echo(manifest.as_yaml(base_url), nl=False)
        typer.echo(f"# Make the app with this by one click:\n# {manifest.one_click(base_url)}")


def _public_url() -> str:
    try:
        url = Settings.load().public_base_url
    except SettingsError as error:
        typer.echo("\n".join(error.problems), err=True)
        raise typer.Exit(1) from error
    if not url or not url.startswith("https://"):
        typer.echo("Slack has to reach us over https: set PUBLIC_BASE_URL=https://…", err=True)
        raise typer.Exit(2)
    return url
