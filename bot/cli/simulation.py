"""`sayso up --sim`: what has to be so that a Sayso runs in front of simulated chats instead of vendors.

It only prepares: a home of its own, so that nobody's data are touched, and the addresses of the stand-ins in the environment
of everything that is started next, which gets no secret of the real Sayso but the keys of its models. The stand-ins are the
ones of the tests, a process of their own; the bot does not import them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass

from bot.cli.ground import HOUSE, end
from core.settings import SECRETS, Settings

MODEL_KEYS = frozenset({"OPENAI_API_KEY", "ANTHROPIC_API_KEY"})


@dataclass(frozen=True, slots=True)
class Simulated:
    commands: dict[str, list[str]]
    greeting: str


def prepare(settings: Settings, port: int | None) -> Simulated:
    """Point this process and what it starts at the stand-ins; ends the program where they cannot be."""
    if not (HOUSE / "tests" / "sim" / "page").is_dir():
        end(
            "The simulated chats are not part of this installation; run ./sayso up --sim in a checkout of the repository."
        )
    port = port or settings.port + 1
    if port == settings.port:
        end(f"Port {port} is the web chat's; choose another one with --sim-port.")
    command = [sys.executable, "-m", "tests.sim", "--port", str(port), "--app", settings.local_url()]
    is_model_real = bool(settings.openai_api_key or settings.openai_base_url or settings.anthropic_api_key)
    if is_model_real:
        command.append("--real-model")
    left_behind = SECRETS - MODEL_KEYS if is_model_real else SECRETS
    os.environ |= dict.fromkeys([name + suffix for name in left_behind for suffix in ("", "_FILE")], "")
    os.environ |= {"SAYSO_HOME": str(settings.home / "sim"), "PYTHONPATH": str(HOUSE)}
    asked = subprocess.run([*command, "--environment"], capture_output=True, text=True, check=False)  # noqa: S603  # ours
    if asked.returncode:
        end(f"The simulated chats do not start:\n{asked.stderr}")
    os.environ |= json.loads(asked.stdout)
    words = "a real model plans plain words" if is_model_real else "no key is set, so a few rules stand in for a model"
    greeting = f"\nChats without accounts, on a page where you can be several people ({words}):\n\n    http://127.0.0.1:{port}/\n"
    return Simulated({"sim": command}, greeting)
