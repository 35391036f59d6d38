"""`python -m tests.sim`: every stand-in on one port, with a page on which one person can be several people in every chat.

`sayso up --sim` starts it beside a Sayso that has no accounts. It prints with `--environment` what that Sayso is to be
given, so that both know the same addresses before either runs. The clock is stepped here and in Sayso's database together.
"""

import argparse
import asyncio
import json
import os
import signal
from datetime import timedelta

import asyncpg

from core.store import clock
from tests.sim import by_rule
from tests.sim.desk import PAGE, Desk
from tests.sim.line import HOST
from tests.sim.llm_script import Script
from tests.sim.world import World


async def serve(port: int, app_url: str, is_model_real: bool) -> None:
    """Until SIGTERM or SIGINT."""
    world = World(app_url, script=Script(otherwise=by_rule.answer))
    desk = Desk(world, app_url, is_model_real)
    desk.add_routes(world.site.app)
    world.clock.followers.append(_move_sayso)
    asked = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, asked.set)
    await world.start(port)
    try:
        await asked.wait()
    finally:
        await world.stop()


async def _move_sayso(ahead_s: float) -> None:
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    try:
        await connection.execute("set sayso.clock_may_move = 'on'")
        await clock.move(connection, timedelta(seconds=ahead_s))
    finally:
        await connection.close()


def environment(port: int, app_url: str, is_model_real: bool) -> dict[str, str]:
    """What a Sayso in front of this world is given. Nothing of a real account is left in it."""
    world = World(app_url)
    world.site.port = port
    for sim in (world.slack, world.telegram, world.twilio, world.openai, world.anthropic):
        sim.line.site = world.site
    given = world.environment(models=not is_model_real)
    return given | {
        "PUBLIC_BASE_URL": app_url,
        "SAYSO_CONFIG": str(PAGE / "acme.yaml"),
        "TWILIO_MESSAGING_SERVICE_SID": "",
        "TWILIO_SIGNATURE": "",
        "SMTP_URL": "",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Slack, Telegram, phones and models on one port of this machine.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--app", default="http://127.0.0.1:8080", help="where Sayso listens")
    parser.add_argument("--real-model", action="store_true", help="a key is set: plain words go to the real vendor")
    parser.add_argument("--environment", action="store_true", help="print what Sayso is to be given, and end")
    given = parser.parse_args()
    if given.environment:
        print(json.dumps(environment(given.port, given.app, given.real_model)))
        return
    asyncio.run(serve(given.port, given.app, given.real_model))


if __name__ == "__main__":
    assert HOST.startswith("127."), "it listens on loopback only"
    main()
