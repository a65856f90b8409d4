"""Run the REST API on the demo's database."""

import importlib.util
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from psycopg import conninfo

from analytics_refreshd.app.commands import keys
from analytics_refreshd.config import Config
from analytics_refreshd.core.access import KeyRequest
from analytics_refreshd.demo import loading
from analytics_refreshd.demo.child import FollowingProcess
from analytics_refreshd.postgres.migrate.run import migrate
from analytics_refreshd.postgres.tenants.install import note_secret

CONFIGURATION = "api.toml"
_ROLE = "analytics_api"
_NEEDED = ("anyio", "psycopg_pool", "starlette", "uvicorn")
_KEY_HOLDS = timedelta(days=7)


def installed() -> bool:
    """Whether the packages of the extra `api` are there."""
    return all(importlib.util.find_spec(name) is not None for name in _NEEDED)


@dataclass(frozen=True, slots=True)
class Prepared:
    """The API's configuration file, its port, and a key that sees everything."""

    file: Path
    port: object
    key: str


def prepare(config: Config, dsn: str, folder: Path, settings: Mapping[str, Mapping[str, object]]) -> Prepared:
    """Install what the API needs; write its configuration into `folder`.

    `settings` are those of the daemon that the API shares, and its own. Raises psycopg.Error and RefreshdError.
    """
    secret = folder / "api-secret"
    secret.touch(0o600)
    secret.write_text(secrets.token_hex(32))
    with psycopg.connect(dsn, autocommit=True) as connection:
        migrate(connection, app_schema="public", tenants=True)
        note_secret(connection, "public", secret.read_bytes())
        connection.execute(loading.statement("api_role"))
        connection.execute(loading.statement("api_allow"))
    wanted = KeyRequest("demo", None, "admin", "enterprise", True, datetime.now(UTC) + _KEY_HOLDS)
    key, _ = keys.create(config, wanted)
    file = folder / CONFIGURATION
    file.touch(0o600)
    own = {"database": {"url": conninfo.make_conninfo(dsn, user=_ROLE)}}
    given = {**settings, **own, "api": {**settings.get("api", {}), "secret_file": str(secret)}}
    file.write_text(as_toml(given))
    return Prepared(file, given["api"]["port"], key)


def as_toml(settings: Mapping[str, Mapping[str, object]]) -> str:
    """Write sections of texts and whole numbers as TOML. A section may hold others."""
    lines: list[str] = []
    for section, values in settings.items():
        inner = {f"{section}.{key}": value for key, value in values.items() if isinstance(value, Mapping)}
        # JSON's texts and whole numbers are TOML's, too
        own = [f"{key} = {json.dumps(value)}" for key, value in values.items() if not isinstance(value, Mapping)]
        lines += [f"[{section}]", *own, "", *([as_toml(inner)] if inner else [])]
    return "\n".join(lines)


class ApiProcess(FollowingProcess):
    """The API as a child that ends with the demo."""

    def start(self, file: Path) -> None:
        """Start it with its configuration file."""
        self.begin("--config", str(file), "api")
