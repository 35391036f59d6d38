"""`sayso bench …`: measurements, each a program of its own in `bench/` that this only starts.

The bot knows nothing of workers, so it imports none of them: a command replaces this process by `python -m bench.…`,
which then owns the terminal, Ctrl-C and the exit code.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from bot.cli.ground import HOUSE, end

bench_app = typer.Typer(no_args_is_help=True, help="Measure this machine, Sayso on it, and others beside it.")

Quick = Annotated[bool, typer.Option("--quick", help="Everything once and small: at most three minutes.")]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the cells as JSON.")]


@bench_app.command()
def engine(
    quick: Quick = False,
    json: Json = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a plot as SVG.")] = None,
    only: Annotated[str | None, typer.Option(metavar="W1,W4", help="Only these workloads.")] = None,
    systems: Annotated[str | None, typer.Option(metavar="sayso,dbos", help="Only these systems.")] = None,
    concurrency: Annotated[str | None, typer.Option(metavar="1,8", help="Of W1 to W3, instead of 1, 8 and 32.")] = None,
    repeats: Annotated[int | None, typer.Option(min=1, help="Repeats of each cell; 5, with --quick 1.")] = None,
    kills: Annotated[int | None, typer.Option(min=1, help="Of W6; 200, with --quick 3.")] = None,
) -> None:
    """The engine and its peers, interleaved on one Postgres, as ratios to what the machine can do (docs/benchmarks.md)."""
    given = {
        "--json": json,
        "--plot": plot,
        "--only": only,
        "--systems": systems,
        "--concurrency": concurrency,
        "--repeats": repeats,
        "--kills": kills,
    }
    options = [part for name, value in given.items() if value is not None for part in (name, str(value))]
    become("bench.engine", ["--quick"] * quick + options)


@bench_app.command()
def oversight(
    quick: Annotated[bool, typer.Option("--quick", help="Only Sayso's own policy, not the ones beside it.")] = False,
    json: Json = None,
    cases: Annotated[Path | None, typer.Option(metavar="FILE", help="Play these cases, not the project's own.")] = None,
) -> None:
    """What the gate keeps from happening unasked, and how often it asks (docs/security.md)."""
    files = {"--json": json, "--cases": cases}
    become("bench.oversight", ["--quick"] * quick + [p for name, v in files.items() if v for p in (name, str(v))])


@bench_app.command()
def traffic(
    rate: Annotated[int, typer.Option(min=1, help="Events a second.")] = 200,
    seconds: Annotated[float, typer.Option(min=1, help="For how long.")] = 60.0,
    json: Json = None,
) -> None:
    """Signed Slack events at a steady rate: how soon each is acknowledged, what is lost or doubled (docs/benchmarks.md)."""
    more = ["--json", str(json)] if json else []
    become("bench.traffic", ["--rate", str(rate), "--seconds", str(seconds), *more])


def become(module: str, arguments: list[str]) -> None:
    """Replace this process by a measurement."""
    if not (HOUSE / "bench").is_dir():
        end("The measurements are not part of this installation; run them in a checkout of the repository.")
    environment = os.environ | {"PYTHONPATH": str(HOUSE)}
    os.execve(sys.executable, [sys.executable, "-m", module, *arguments], environment)  # noqa: S606  # our own module
