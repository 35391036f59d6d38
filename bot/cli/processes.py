"""`up`, `down`, `migrate`, `bot`, `worker`: the processes of the Procfile."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated

import asyncpg
import typer

from bot.cli import simulation
from bot.cli.ground import Servers, check_organisation, end, read_settings, servers
from bot.cli.supervisor import Supervisor
from core import config, organisation
from core.db import MigrationError, open_pool
from core.db import migrate as apply_migrations
from core.embedded import lock
from core.settings import Settings
from core.store import audit, people

READY_S = 30.0


def up(
    port: Annotated[int | None, typer.Option(help="Port of the web chat; PORT otherwise.")] = None,
    sim: Annotated[
        bool, typer.Option("--sim", help="With simulated chats, a phone and data of its own: no accounts.")
    ] = False,
    sim_port: Annotated[
        int | None, typer.Option(help="Port of their page; the one after the web chat's otherwise.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Worker processes; each uses up to one processor core.")
    ] = 1,
) -> None:
    """Start everything here: database, cache, bot and worker; print the link to the web chat."""
    began = time.monotonic()
    if port is not None:
        os.environ["PORT"] = str(port)
    simulated = simulation.prepare(read_settings(), sim_port) if sim else None
    with servers() as ground:
        settings = ground.settings
        check_organisation(settings)
        mine = _only_one(settings.home)
        _wait_for_port(settings)
        _migrate(settings.database_dsn())
        code = asyncio.run(_prepare_owner(settings))
        words = {"LOG_FORMAT": settings.log_format or "console"}  # a person reads them here
        commands = _commands(workers) | (simulated.commands if simulated else {})
        nice = {name: config.WORKER_NICE for name in commands if name.startswith("worker")}
        children = Supervisor(commands, ground.environment | words, ground.lease, nice)
        for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(sign, lambda *_: children.stop())
        children.start()
        if _wait_ready(settings, children):
            _greet(settings, code, time.monotonic() - began)
            if simulated:
                typer.echo(simulated.greeting)
                sys.stdout.flush()
        children.watch(ground.keep)
        os.close(mine)


def down() -> None:
    """Stop a Sayso that runs in this home."""
    settings = read_settings()
    pid = _running_up(settings.home)
    if pid is None:
        typer.echo("Nothing is running here.")
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + config.GRACE_S * 2
    while _running_up(settings.home) == pid and time.monotonic() < deadline:
        time.sleep(0.1)
    if _running_up(settings.home) == pid:
        end(f"Process {pid} has not stopped yet.")
    typer.echo("Stopped.")


def migrate(
    grant_to: Annotated[
        str | None,
        typer.Option(metavar="ROLE", help="A database role that may use the tables but not rewrite history."),
    ] = None,
) -> None:
    """Bring the database to this version; safe to run at any time and from several places at once."""
    with servers() as ground:
        applied = _migrate(ground.settings.database_dsn())
        typer.echo("\n".join(applied) or "The database is up to date.")
        if grant_to is not None:
            asyncio.run(_grant(ground.settings.database_dsn(), grant_to))
            typer.echo(f"{grant_to} may use it, and only append to the audit log.")


async def _grant(dsn: str, role: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await audit.grant_use(connection, role)
    except asyncpg.UndefinedObjectError:
        end(f"There is no database role {role!r}; create it first: create role {role} login.")
    finally:
        await connection.close()


def bot() -> None:
    """Run the bot process: web, API, chats, courier."""
    with servers() as ground:
        check_organisation(ground.settings)
        _become(ground, "bot")


def worker() -> None:
    """Run a worker process; any number of them may run, on any machine."""
    with servers() as ground:
        check_organisation(ground.settings)
        _become(ground, "worker")


# ---------------------------------------------------------------- parts


def _commands(workers: int) -> dict[str, list[str]]:
    """What to run, by the name before its lines."""
    names = {"bot": "bot", "worker": "worker"} | {f"worker-{n}": "worker" for n in range(2, workers + 1)}
    return {name: [sys.executable, "-m", module] for name, module in names.items()}


def _become(ground: Servers, module: str) -> None:
    """Replace this process; the lease goes with it."""
    if ground.lease is not None:
        os.set_inheritable(ground.lease, True)
    os.execve(sys.executable, [sys.executable, "-m", module], ground.environment)  # noqa: S606  # our own module


def _migrate(dsn: str) -> list[str]:
    try:
        return asyncio.run(apply_migrations(dsn))
    except (OSError, MigrationError) as error:
        end(f"The database cannot be brought up to date: {error}")


async def _prepare_owner(settings: Settings) -> str:
    """An owner with an API token in `$SAYSO_HOME/api-token`; answers a one-time login code."""
    db = await open_pool(settings.database_dsn(), most=2)
    try:
        await people.sync(db, people.wanted(organisation.load(settings.config_path)))
        owner = await people.ensure_owner(db)
        path = settings.home / "api-token"
        token = path.read_text(encoding="ascii").strip() if path.is_file() else ""
        held = await people.holder(db, token, "api") if token else None
        if held is None or held.id != owner.id:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            token = await people.make_token(db, owner.id, "api", None)
            path.unlink(missing_ok=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                file.write(token)
        return await people.make_token(db, owner.id, "login", config.LOGIN_EXPIRES_S)
    finally:
        await db.close()


def _only_one(home: Path) -> int:
    """The lock of `up`; ends the program when another one holds it."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        mine = lock(home / "up.lock", fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = (home / "up.lock").read_text(encoding="ascii").strip() or "unknown"
        end(
            f"Sayso is running in {home} already (process {pid}). Stop it with ./sayso down, or set SAYSO_HOME;"
            " ./sayso people link makes a link to log in."
        )
    os.ftruncate(mine, 0)
    os.write(mine, str(os.getpid()).encode())
    return mine


def _running_up(home: Path) -> int | None:
    """The pid of the `up` that holds the lock of this home."""
    try:
        os.close(lock(home / "up.lock", fcntl.LOCK_EX | fcntl.LOCK_NB))
    except BlockingIOError:
        text = (home / "up.lock").read_text(encoding="ascii").strip()
        return int(text) if text.isdigit() else None
    except FileNotFoundError:
        return None
    return None


def _wait_for_port(settings: Settings) -> None:
    """Ends the program when the port stays taken. A bot whose `up` was killed needs some seconds to give it back."""
    deadline, said = time.monotonic() + config.GRACE_S + 2, False
    while settings.port and not _is_free(settings.host, settings.port):
        if time.monotonic() > deadline:
            end(
                f"Port {settings.port} of {settings.host} is taken by another program; choose one: ./sayso up --port 8081"
            )
        if not said:
            typer.echo(f"Port {settings.port} is taken; waiting a moment for it.", err=True)
            said = True
        time.sleep(0.2)


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE  # anything else the bot itself reports better
    return True


def _wait_ready(settings: Settings, children: Supervisor) -> bool:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and not children.stopping:
        try:
            with urllib.request.urlopen(f"{settings.local_url()}/readyz", timeout=2):  # noqa: S310  # our own http address
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    if not children.stopping:
        typer.echo("The web part is not ready yet; see the lines above.", err=True)
    return False


def _greet(settings: Settings, code: str, took_s: float) -> None:
    chats = (("Slack", settings.slack_on), ("Telegram", settings.telegram_on), ("SMS", settings.twilio_on))
    on = [name for name, is_on in chats if is_on]
    typer.echo(f"\nSayso is up ({took_s:.1f} s). Open this link once to log in; it is good for 15 minutes:\n")
    typer.echo(f"    {settings.base_url()}/login?code={code}\n")
    typer.echo(f"Chats: web{''.join(f', {name}' for name in on)}. Ctrl-C stops everything; your data stay.")
    sys.stdout.flush()
