"""What an operator sets: environment, `NAME_FILE` secrets and `.env`, checked whole at start.

Frozen. A wrong environment ends the program with one message that lists every problem. Limits that nobody sets live in
`core.config`.
"""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, ValidationError, field_validator

from core.display import Masks
from core.organisation import ModelsPart

SECRETS = frozenset(
    {
        "DATABASE_URL", "REDIS_URL", "SAYSO_SECRET_KEY", "SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "SLACK_SIGNING_SECRET",
        "TELEGRAM_BOT_TOKEN", "TELEGRAM_WEBHOOK_SECRET", "TWILIO_AUTH_TOKEN", "TWILIO_SIGNING_KEY", "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY", "SMTP_URL",
    }
)  # fmt: skip


class SettingsError(Exception):
    """Every problem of the environment, one a line."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Settings(BaseModel):
    """One field per environment name, in lower case. A channel is on when its token is set."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    database_url: SecretStr | None = None
    redis_url: SecretStr | None = None
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    public_base_url: str | None = None
    sayso_home: Path = Path(".sayso")
    sayso_config: Path = Path("sayso.yaml")
    sayso_secret_key: SecretStr | None = None
    sayso_test_clock: bool = False
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] | None = None

    slack_bot_token: SecretStr | None = None
    slack_app_token: SecretStr | None = None
    slack_signing_secret: SecretStr | None = None
    slack_mode: Literal["socket", "http"] | None = None
    slack_api_url: str = "https://slack.com/api/"

    telegram_bot_token: SecretStr | None = None
    telegram_mode: Literal["polling", "webhook"] = "polling"
    telegram_webhook_secret: SecretStr | None = None
    telegram_api_url: str = "https://api.telegram.org"

    twilio_account_sid: str | None = Field(default=None, pattern=r"^AC[0-9a-fA-F]{32}$")
    twilio_auth_token: SecretStr | None = None
    twilio_from: str | None = None
    twilio_messaging_service_sid: str | None = Field(default=None, pattern=r"^MG[0-9a-fA-F]{32}$")
    twilio_signature: Literal["HMAC-SHA1", "HMAC-SHA256"] = "HMAC-SHA1"
    twilio_signing_key: SecretStr | None = None
    twilio_api_url: str = "https://api.twilio.com"

    openai_api_key: SecretStr | None = None
    openai_base_url: str | None = None
    anthropic_api_key: SecretStr | None = None
    anthropic_base_url: str | None = None
    smtp_url: SecretStr | None = None

    _read: Mapping[str, str] = PrivateAttr(default_factory=lambda: os.environ)

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("twilio_from")
    @classmethod
    def _is_sender(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"\+[1-9][0-9]{6,14}|[0-9]{3,8}", value, re.ASCII):
            raise ValueError(f"{value!r} is no number that can be answered; write it like +15551234567")
        return value

    @field_validator(
        "public_base_url",
        "slack_api_url",
        "telegram_api_url",
        "twilio_api_url",
        "openai_base_url",
        "anthropic_base_url",
    )
    @classmethod
    def _is_web_address(cls, value: str | None) -> str | None:
        if value is not None and (urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).netloc):
            raise ValueError(f"{value!r} is no web address; write it with https://")
        return value

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, folder: Path | None = None) -> Settings:
        """From the environment, `.env` beneath it, and files named by `NAME_FILE`. Raises `SettingsError`."""
        problems: list[str] = []
        values = dict(_dotenv((folder or Path.cwd()) / ".env", problems))
        values.update(environ if environ is not None else os.environ)
        for name in SECRETS:
            path = values.get(f"{name}_FILE")
            if path and not values.get(name):
                try:
                    values[name] = Path(path).read_text(encoding="utf-8").strip()
                except (OSError, UnicodeDecodeError) as error:
                    problems.append(f"{name}_FILE={path!r} cannot be read: {error}")
        given = {k.lower(): v for k, v in values.items() if v != "" and k.lower() in cls.model_fields}
        try:
            settings = cls.model_validate(given)
        except ValidationError as error:
            for e in error.errors(include_url=False, include_input=False):
                problems.append(f"{str(e['loc'][0]).upper()}: {e['msg'].removeprefix('Value error, ')}")
        else:
            problems += settings._contradictions()
            if not problems:
                settings._read = values
                return settings
        raise SettingsError(problems)

    def _contradictions(self) -> Iterator[str]:
        if self.slack_bot_token:
            if self.slack_how == "http" and not self.slack_signing_secret:
                yield "SLACK_SIGNING_SECRET is missing: Slack over HTTP is verified with it (Socket Mode wants SLACK_APP_TOKEN)"
            if self.slack_how == "socket" and not self.slack_app_token:
                yield "SLACK_APP_TOKEN is missing: Socket Mode needs it (or set SLACK_MODE=http)"
        if self.telegram_bot_token and self.telegram_mode == "webhook":
            if len(self.secret_of(self.telegram_webhook_secret)) < 32:
                yield "TELEGRAM_WEBHOOK_SECRET is missing or shorter than 32 characters: without it anyone can pose as Telegram"
            if not self.public_base_url:
                yield "PUBLIC_BASE_URL is missing: Telegram has to be told where the webhook is"
        if self.twilio_on:
            if not self.twilio_account_sid:
                yield "TWILIO_ACCOUNT_SID is missing: it stands beside the auth token in Twilio's console"
            if not (self.twilio_from or self.twilio_messaging_service_sid):
                yield "TWILIO_FROM is missing: a number of yours, or TWILIO_MESSAGING_SERVICE_SID for a Messaging Service"
            if not self.public_base_url:
                yield "PUBLIC_BASE_URL is missing: Twilio signs its requests with the address that it calls"
            if self.twilio_signature == "HMAC-SHA256" and not self.twilio_signing_key:
                yield "TWILIO_SIGNING_KEY is missing: HMAC-SHA256 signatures are made with a shared key, not with the token"

    # ------------------------------------------------------------ derived

    @property
    def home(self) -> Path:
        return self.sayso_home.expanduser().absolute()

    @property
    def config_path(self) -> Path:
        return self.sayso_config.expanduser().absolute()

    @property
    def slack_on(self) -> bool:
        return self.slack_bot_token is not None

    @property
    def slack_how(self) -> Literal["socket", "http"]:
        return self.slack_mode or ("socket" if self.slack_app_token else "http")

    @property
    def telegram_on(self) -> bool:
        return self.telegram_bot_token is not None

    @property
    def twilio_on(self) -> bool:
        return self.twilio_auth_token is not None

    def has_model(self, models: ModelsPart) -> bool:
        """Whether plain words can be planned: a key, or an endpoint that needs none."""
        return bool(self.openai_api_key or self.openai_base_url or self.anthropic_api_key or models.providers)

    def base_url(self) -> str:
        """Where people find the web pages, without a slash at the end."""
        return (self.public_base_url or self.local_url()).rstrip("/")

    def local_url(self) -> str:
        """Where this machine finds them. An address that means "all of them" is no address to go to."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host.strip("[]"), self.host.strip("[]"))  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def database_dsn(self) -> str:
        """Raises `SettingsError` when no database is named."""
        if self.database_url is None:
            raise SettingsError(["DATABASE_URL is not set; ./sayso up starts an embedded Postgres and sets it"])
        return self.database_url.get_secret_value()

    def redis_address(self) -> str:
        """Raises `SettingsError` when no Redis is named."""
        if self.redis_url is None:
            raise SettingsError(["REDIS_URL is not set; ./sayso up starts an embedded Valkey and sets it"])
        return self.redis_url.get_secret_value()

    @staticmethod
    def secret_of(value: SecretStr | None) -> str:
        return value.get_secret_value() if value else ""

    def smtp(self) -> str | None:
        return self.smtp_url.get_secret_value() if self.smtp_url else None

    def secret(self, name: str) -> str | None:
        """A secret that sayso.yaml names by its environment name (`from: DEPLOY_TOKEN`), or its file."""
        value = self._read.get(name)
        path = self._read.get(f"{name}_FILE")
        if not value and path:
            value = Path(path).read_text(encoding="utf-8").strip()
        return value or None

    def secret_values(self) -> list[str]:
        """Every secret we hold, for masking. Whole addresses are in it, and the password inside each."""
        found = [v.get_secret_value() for v in self.__dict__.values() if isinstance(v, SecretStr)]
        passwords = [urlsplit(v).password for v in found if "://" in v]
        return [v for v in (*found, *passwords) if v]

    def masks(self, named: Iterable[str] = ()) -> Masks:
        """Takes every secret we hold out of a text; `named` are those that sayso.yaml takes from the environment."""
        others = [value for name in named if (value := self.secret(name))]
        return Masks([*self.secret_values(), *others], self.secret_key())

    def secret_key(self) -> bytes:
        """The key of our own signatures: SAYSO_SECRET_KEY, else one made once in `$SAYSO_HOME/secret-key`."""
        if self.sayso_secret_key:
            return self.sayso_secret_key.get_secret_value().encode()
        path = self.home / "secret-key"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            # Written whole under another name, then linked: of two processes that start at once one key wins, unbroken.
            with tempfile.NamedTemporaryFile("w", dir=path.parent, encoding="ascii") as file:
                file.write(secrets.token_hex(32))
                file.flush()
                with suppress(FileExistsError):
                    os.link(file.name, path)
        key = path.read_text(encoding="ascii").strip()
        if len(key) != 64:
            raise SettingsError([f"{path} is damaged; delete it to have a new key made (everyone has to log in again)"])
        return key.encode()


def _dotenv(path: Path, problems: list[str]) -> Iterator[tuple[str, str]]:
    """`NAME=value` lines; quotes around a value are taken off, nothing is expanded."""
    if not path.is_file():
        return
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        line = line.strip().removeprefix("export ")
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip().isidentifier():
            problems.append(f".env:{number} is no NAME=value line")
            continue
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        yield name.strip(), value
