"""Read the configuration from TOML and the environment.

All problems are reported at once, and without any value.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import psycopg
from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict, SettingsError

from analytics_refreshd.config.access import access_contradictions
from analytics_refreshd.config.adapters import connection_problems, writing_problems
from analytics_refreshd.config.costs import cost_contradictions
from analytics_refreshd.config.environment import not_json, unknown_variables
from analytics_refreshd.config.otel import otel_contradictions
from analytics_refreshd.config.receivers import foreign_key, receiver_sections, unknown_type
from analytics_refreshd.config.sections import PREFIX, Config, DatabaseSection, EnvironmentFirst, libpq_keywords
from analytics_refreshd.config.thresholds import threshold_contradictions
from analytics_refreshd.config.times import schedule_contradictions, time_contradictions
from analytics_refreshd.config.warehouse import warehouse_contradictions
from analytics_refreshd.core.errors import ConfigError
from analytics_refreshd.core.files import decode_text, list_files, read_small
from analytics_refreshd.postgres.connection.libpq import used_by_libpq

_MOST_BYTES = 1 << 20
_LIBPQ_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")


def load(source: Path | Mapping[str, Any] | None = None) -> Config:
    """Read and check the configuration.

    `source` is a TOML file, or its content as nested values. The environment has priority. Raises ConfigError with all
    problems. Each is one sentence with the key and its place, without its value.
    """
    path, data = (source, _read_toml(source)) if isinstance(source, Path) else (None, dict(source or {}))
    problems = list(unknown_variables(os.environ))
    try:
        config = Config(**data)
    except ValidationError as error:
        found = _explain(error, path)
        if not any(text.startswith("database") for text in found):
            # The other checks need a complete configuration; this one does not.
            with suppress(Exception):
                found.extend(_database_problems(_DatabaseAlone(database=data.get("database", {})).database))
        raise ConfigError(problems + found) from None
    except RecursionError:
        raise ConfigError(
            [*problems, "an environment variable cannot be read: brackets are nested too deeply"]
        ) from None
    except SettingsError as error:  # a list or a table in the environment that is not JSON
        where = not_json(error, os.environ)
        raise ConfigError([*problems, f"{where} cannot be read: give lists and tables as JSON"]) from None
    problems.extend(_contradictions(config))
    if problems:
        raise ConfigError(problems)
    return config


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        text = decode_text(read_small(path, _MOST_BYTES))
    except FileNotFoundError:
        raise ConfigError([f"the configuration file {path} does not exist"]) from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError([f"the configuration file {path} cannot be read: {why}"]) from None
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError([f"{path} is not TOML that anybody wrote: brackets are nested too deeply"]) from None
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at (line \d+, column \d+|end of document)\)", str(error))
        raise ConfigError([f"{path} is not TOML: look at {place[1] if place else 'its syntax'}"]) from None


def _explain(error: ValidationError, path: Path | None) -> list[str]:
    found = []
    for item in error.errors(include_url=False, include_input=False):
        place = [str(part) for part in item["loc"]]
        kind = place.pop(2) if place[0] == "receivers" and len(place) > 2 else ""
        key = ".".join(place)
        if item["type"] == "extra_forbidden":
            found.append(f"{key} {_unknown_key(place, kind)}")
        elif item["type"] == "union_tag_invalid":
            found.append(f"{key}.type {unknown_type(item['ctx']['tag'])}")
        elif item["type"] == "union_tag_not_found":
            found.append(f"{key}.type is missing")
        else:
            found.append(f"{key} {_in_our_words(item)}")
    return found


def _unknown_key(place: list[str], kind: str) -> str:
    foreign = foreign_key(kind, place[-1]) if kind else None
    if foreign:
        return foreign
    known = sorted(receiver_sections()[kind].model_fields) if kind else _known_keys(place[:-1])
    nearest = difflib.get_close_matches(place[-1], known, 1, 0.5)
    hint = f"; did you mean {'.'.join([*place[:-1], nearest[0]])}?" if nearest else f"; known: {', '.join(known)}"
    return f"is not a known key{hint}"


_WORDS = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "decimal_max_digits": "must have at most {max_digits} digits",
    "decimal_max_places": "must have at most {decimal_places} digits after the point",
    "decimal_parsing": 'must be a number in quotes, like "0.0025"',
    "decimal_type": 'must be a number in quotes, like "0.0025"',
    "decimal_whole_digits": "must have at most {whole_digits} digits before the point",
    "dict_type": "must be a table",
    "finite_number": "must be a number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than": "must be over {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "less_than": "must be under {lt}",
    "less_than_equal": "must be at most {le}",
    "list_type": 'must be a list like ["a", "b"]',
    "literal_error": "must be {expected}",
    "missing": "is missing",
    "model_attributes_type": "must be a table",
    "model_type": "must be a table",
    "path_type": "must be a path, as text in quotes",
    "string_type": "must be text in quotes",
    "too_long": "must have at most {max_length} entries",
    "too_short": "must have at least {min_length} entry",
}
"""Our words for the library's kinds of error. Its own texts are about inputs and Python's classes."""


def _in_our_words(item: Mapping[str, Any]) -> str:
    known = _WORDS.get(item["type"])
    if known is None:
        text = item["msg"].removeprefix("Value error, ")
        return (
            str(text)
            if text.startswith(("cannot ", "is ", "must ", "needs "))
            else f"cannot be used: {text[0].lower()}{text[1:]}"
        )
    return known.format(**item.get("ctx", {}))


def _known_keys(place: list[str]) -> list[str]:
    model: Any = Config
    for part in place:
        fields = getattr(model, "model_fields", None)
        if fields is None:
            # a table of tables, such as prices by type
            model = next(iter(get_args(model)[1:]), None)
        elif part in fields:
            model = fields[part].annotation
        else:
            return []
        if isinstance(model, UnionType):
            model = get_args(model)[0]
    fields = getattr(model, "model_fields", {})
    return sorted(field.alias or name for name, field in fields.items())


def _contradictions(config: Config) -> Iterator[str]:
    yield from time_contradictions(config)
    yield from schedule_contradictions(config)
    yield from _database_problems(config.database)
    for view in config.staleness.views:
        if view not in config.refresh.views:
            yield f"staleness.views.{view} is not one of refresh.views"
    if len(set(config.refresh.views)) != len(config.refresh.views):
        yield "refresh.views names a view twice"
    for key, value in (("service.name", config.service.name), ("service.replica", config.service.replica)):
        if value is not None and not _NAME.fullmatch(value):
            yield f"{key} must be 1 to 40 letters, digits, dots, dashes or underscores, and begin with no sign"
    for name, receiver in config.receivers.items():
        for key, path in receiver.files():
            yield from _secret_problem(f"receivers.{name}.{key}", path)
    yield from access_contradictions(config.api)
    yield from cost_contradictions(config.costs)
    yield from threshold_contradictions(config.thresholds)
    yield from otel_contradictions(config.otel)
    yield from _secret_problem("otel.headers_file", config.otel.headers_file)
    yield from _secret_problem("otel.ca_file", config.otel.ca_file)
    yield from warehouse_contradictions(config.warehouse, config.api.engine)
    yield from _secret_problem("warehouse.password_file", config.warehouse.password_file)
    yield from writing_problems(config.api.write_url)
    if config.queries.directory is not None:
        try:
            list_files(config.queries.directory, ".sql")
        except OSError as error:
            yield f"queries.directory cannot be read: {error.strerror}"


class _DatabaseAlone(EnvironmentFirst):
    """Read this section when others are wrong."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="ignore")

    database: DatabaseSection = DatabaseSection()


def _database_problems(database: DatabaseSection) -> Iterator[str]:
    yield from connection_problems(database)
    try:
        given = libpq_keywords(database)
    except psycopg.Error:
        # The adapter reports it. libpq's own text repeats a part of the URL, which may contain the password.
        return
    named = ("host", "hostaddr", "service", "dbname")
    if not any(key in given for key in named) and not any(
        os.environ.get(key) for key in ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE")
    ):
        yield "database.url is missing: say which database, for example postgresql://refreshd@db.example.net/app"
    if database.password_file is not None and database.password_command is not None:
        yield "database.password_file and database.password_command exclude each other"
    if database.password_command is not None and not database.password_command:
        yield "database.password_command names no program"
    yield from _secret_problem("database.password_file", database.password_file)
    yield from _certificate_problems(database, given)
    yield from _service_problems(given)


def _secret_problem(key: str, path: Path | None) -> Iterator[str]:
    if path is None:
        return
    try:
        empty = not decode_text(read_small(path)).strip()
    except OSError as error:
        yield f"{key} cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        yield f"{key} is not UTF-8 text"
    else:
        if empty:
            yield f"{key} is empty"


def _certificate_problems(database: DatabaseSection, given: Mapping[str, str]) -> Iterator[str]:
    """Yield what libpq could not read of the files that the configuration itself names."""
    for keyword in _LIBPQ_FILES:
        path = given.get(keyword)
        if not path or path == "system":
            continue
        try:
            read_small(Path(path), _MOST_BYTES)
        except OSError as error:
            key = keyword if getattr(database, keyword, None) else f"url names {keyword}, which"
            yield f"database.{key} cannot be read: {error.strerror}"


def _service_problems(given: Mapping[str, str]) -> Iterator[str]:
    service = given.get("service") or os.environ.get("PGSERVICE")
    if service and used_by_libpq(given) is None:
        where = "database.service" if "service" in given else "the environment variable PGSERVICE"
        yield f"{where} names a service that no file defines, or none that can be read: see PGSERVICEFILE"
