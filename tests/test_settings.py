"""Settings: environment, files and `.env`, read whole or refused whole."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from core.settings import SECRETS, Settings, SettingsError

HOUSE = Path(__file__).resolve().parents[1]


def load(folder: Path, **environ: str) -> Settings:
    return Settings.load(environ, folder)


def test_an_empty_environment_is_enough(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.base_url() == "http://127.0.0.1:8080"
    assert settings.home == Path.cwd() / ".sayso"
    assert not settings.slack_on
    assert not settings.telegram_on
    with pytest.raises(SettingsError, match=r"DATABASE_URL is not set; \./sayso up"):
        settings.database_dsn()


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("what is this\n")
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, PORT="eighty", LOG_LEVEL="loud", SLACK_API_URL="slack", SLACK_BOT_TOKEN_FILE="/nowhere")
    told = "\n".join(caught.value.problems)
    for part in (
        ".env:1",
        "PORT: ",
        "LOG_LEVEL: ",
        "SLACK_API_URL: 'slack' is no web address",
        "SLACK_BOT_TOKEN_FILE='/nowhere'",
    ):
        assert part in told
    assert "what is this" not in told, "a line that cannot be read may be a secret"


def test_a_channel_that_is_only_half_set_up_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(
            tmp_path, SLACK_BOT_TOKEN="x", SLACK_MODE="socket", TELEGRAM_BOT_TOKEN="y", TELEGRAM_MODE="webhook",
            TELEGRAM_WEBHOOK_SECRET="short",
        )  # fmt: skip
    names = [problem.split()[0] for problem in caught.value.problems]
    assert names == ["SLACK_APP_TOKEN", "TELEGRAM_WEBHOOK_SECRET", "PUBLIC_BASE_URL"]


def test_the_environment_wins_over_dotenv_and_both_over_the_default(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# ports\nexport PORT=1111\nHOST='0.0.0.0'\nDEPLOY_TOKEN=from-dotenv\n\n")
    settings = load(tmp_path, PORT="2222")
    assert (settings.host, settings.port) == ("0.0.0.0", 2222)
    assert settings.secret("DEPLOY_TOKEN") == "from-dotenv", "also what sayso.yaml names is found there"


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret-token\n")
    settings = load(
        tmp_path,
        SLACK_BOT_TOKEN_FILE=str(tmp_path / "token"),
        SLACK_SIGNING_SECRET="sign",
        OTHER_FILE=str(tmp_path / "token"),
    )
    assert settings.secret_of(settings.slack_bot_token) == "s3cret-token"
    assert settings.secret("OTHER") == "s3cret-token"
    assert settings.slack_how == "http"
    assert "s3cret-token" not in repr(settings)
    assert "s3cret-token" in settings.secret_values()


def test_passwords_inside_addresses_are_masked_too(tmp_path: Path) -> None:
    settings = load(tmp_path, DATABASE_URL="postgresql://sayso:pa55word@db/sayso")
    assert "pa55word" in settings.secret_values()


def test_processes_that_start_at_once_make_one_key(tmp_path: Path) -> None:
    settings = load(tmp_path, SAYSO_HOME=str(tmp_path / "home"))
    gate, keys = threading.Barrier(8), []

    def make() -> None:
        gate.wait()
        keys.append(settings.secret_key())

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert len(keys[0]) == 64
    assert stat.S_IMODE((tmp_path / "home" / "secret-key").stat().st_mode) == 0o600
    assert [p.name for p in (tmp_path / "home").iterdir()] == ["secret-key"]


def test_a_damaged_key_is_named_and_not_replaced(tmp_path: Path) -> None:
    settings = load(tmp_path, SAYSO_HOME=str(tmp_path))
    (tmp_path / "secret-key").write_text("half")
    with pytest.raises(SettingsError, match="secret-key is damaged; delete it"):
        settings.secret_key()


def test_the_example_names_every_setting_and_nothing_else(tmp_path: Path) -> None:
    text = (HOUSE / ".env.example").read_text()
    named = {line.removeprefix("#").partition("=")[0] for line in text.splitlines() if "=" in line and line[:2] != "# "}
    fields = {name.upper() for name in Settings.model_fields} - {"SAYSO_TEST_CLOCK"}
    assert named == fields
    uncommented = "\n".join(line.removeprefix("#") for line in text.splitlines() if line[:2] != "# ")
    (tmp_path / ".env").write_text(uncommented)
    assert load(tmp_path).slack_mode == "socket"


def test_every_secret_setting_can_come_from_a_file() -> None:
    held = {name.upper() for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert held <= SECRETS
