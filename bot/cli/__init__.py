"""`./sayso …`: the command line. Each command is in a file of its own; this one only puts them together.

Exit codes: 0 ok, 1 failed, 2 usage, 3 waiting for a person, 4 denied.
"""

from __future__ import annotations

import typer

from bot.cli.audit import audit_app
from bot.cli.bench import bench_app
from bot.cli.doctor import doctor
from bot.cli.history import fork, replay, tasks_app
from bot.cli.manifest import manifest_app
from bot.cli.people import people_app
from bot.cli.policy import policy_app
from bot.cli.processes import bot, down, migrate, up, worker
from bot.cli.talk import approvals, ask, grants_app, skills
from core import __version__

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="An agent that lives in your chat and acts only on your say-so."
)
for command in (up, down, migrate, bot, worker, doctor, ask, approvals, skills, fork, replay):
    app.command()(command)
app.add_typer(tasks_app, name="tasks")
app.add_typer(grants_app, name="grants")
app.add_typer(people_app, name="people")
app.add_typer(manifest_app, name="manifest")
app.add_typer(policy_app, name="policy")
app.add_typer(audit_app, name="audit")
app.add_typer(bench_app, name="bench")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@app.command(hidden=True)
def test() -> None:
    """The launcher runs the tests."""
    typer.echo("Run the tests with ./sayso test: the launcher installs what they need.", err=True)
    raise typer.Exit(2)


def main() -> None:
    app()
