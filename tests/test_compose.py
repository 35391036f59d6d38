"""docker-compose.yml and Dockerfile, checked as far as it goes without an engine."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.cli import app
from core.settings import Settings

HOUSE = Path(__file__).resolve().parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((HOUSE / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = ("release", "bot", "worker")


def procfile() -> dict[str, str]:
    lines = (HOUSE / "Procfile").read_text().splitlines()
    return {name: command.strip() for name, _, command in (line.partition(":") for line in lines if line)}


def has_compose() -> bool:
    docker = shutil.which("docker")
    return docker is not None and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0


def test_every_process_of_the_procfile_runs_and_every_command_exists() -> None:
    assert procfile() == {name: " ".join(SERVICES[name]["command"]) for name in OURS}
    known = {command.callback.__name__ for command in app.registered_commands if command.callback}
    for command in procfile().values():
        assert command.split()[0] == "./sayso"
        assert command.split()[1] in known


def test_postgres_18_keeps_its_data_in_a_volume_where_its_image_looks_for_it() -> None:
    assert SERVICES["postgres"]["image"] == "pgvector/pgvector:pg18"
    assert SERVICES["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]
    assert set(COMPOSE["volumes"]) == {"postgres", "home"}


def test_everything_that_stays_up_says_whether_it_is_well() -> None:
    for name, service in SERVICES.items():
        if name == "release":
            assert service["restart"] == "no"
        else:
            assert service["healthcheck"]["test"][0] == "CMD", name
            assert service["restart"] == "unless-stopped"


def test_nothing_starts_before_what_it_needs_is_ready() -> None:
    assert SERVICES["release"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("bot", "worker"):
        assert SERVICES[name]["depends_on"] == {
            "release": {"condition": "service_completed_successfully"},
            "valkey": {"condition": "service_healthy"},
        }


def test_the_environment_is_one_that_settings_accept(tmp_path: Path) -> None:
    for name in OURS:
        environment = {
            key: re.sub(r"\$\{POSTGRES_PASSWORD:\?[^}]*\}", "pa55word", value)
            for key, value in SERVICES[name]["environment"].items()
        }
        assert {key.lower() for key in environment} <= set(Settings.model_fields)
        settings = Settings.load(environment, tmp_path)
        assert settings.database_dsn() == "postgresql://sayso:pa55word@postgres/sayso"
        assert settings.redis_address() == "redis://valkey:6379/0"
        assert settings.home.is_relative_to(SERVICES[name]["volumes"][0].partition(":")[2])


def test_no_password_is_written_down_and_only_loopback_is_published() -> None:
    assert SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD"].startswith("${POSTGRES_PASSWORD:?")
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:8080:8080"]


def test_the_image_runs_without_rights_and_leaves_secrets_and_data_out() -> None:
    lines = (HOUSE / "Dockerfile").read_text().splitlines()
    assert lines.index("RUN ./sayso version") < lines.index("USER sayso") < lines.index('CMD ["./sayso", "bot"]')
    assert {".env", ".sayso", ".git", ".venv"} <= set((HOUSE / ".dockerignore").read_text().split())
    image = next(line for line in lines if line.startswith("FROM "))
    assert image == "FROM python:3.11-slim"


@pytest.mark.skipif(not has_compose(), reason="docker compose is not here")
def test_docker_compose_itself_takes_the_file() -> None:
    checked = subprocess.run(
        ["docker", "compose", "config", "--quiet"], cwd=HOUSE, env={"POSTGRES_PASSWORD": "x", "PATH": "/usr/bin:/usr/local/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr
