"""Defaults, limits, reloadable keys, versions, columns and rooms in the documents are those of the code."""

import re
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from analytics_refreshd import __version__
from analytics_refreshd.api.problems import CODES
from analytics_refreshd.app.service import needs_restart
from analytics_refreshd.cli.main import app
from analytics_refreshd.config import Config, load, parse_duration
from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.core.redaction import LIMIT_BYTES
from analytics_refreshd.core.stream import TOLD, Topic
from analytics_refreshd.postgres.check import contract
from analytics_refreshd.postgres.connection.settings import ConnectionSettings
from tests.deploy.support import ROOT
from tests.integration.test_views import VIEWS as TYPES
from tests.unit.test_documents import DOCUMENTS, identifier

GUIDES = ROOT / "deploy" / "guides"
_FIGURE = re.compile(r"([\d.,]+) ?(ms|s|min|h|days|%)?( of the interval)?")
_UNITS = {"min": "m", "days": "d"}
_QUOTED = re.compile(r"`(?:\[(\w+)(?:\.\*)?\] )?(--[a-z-]+|[a-z_0-9]+)` \(([^();]+)[);]")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The defaults, with a receiver."""
    path = tmp_path / "config.toml"
    path.write_text('[database]\nurl = "postgresql://u@h/app"\n[receivers.x]\ntype = "webhook"\nurl = "http://h"\n')
    return load(path)


def defaults(config: Config) -> Iterator[tuple[str, str, object]]:
    """Each key's section, name and default; a default that follows from the interval is a duration here."""
    limits = config.limits()
    derived = {
        ("refresh", "lock_timeout"): config.lock_timeout_seconds,
        ("refresh", "statement_timeout"): config.statement_timeout_seconds,
        ("refresh", "deadline"): config.deadline_seconds,
        ("alerts", "evaluate_every"): config.evaluate_seconds,
        ("alerts", "stale_for"): limits.stale_for_seconds,
        ("staleness", "max_age"): limits.max_age_seconds["recent_failures"],
        ("staleness", "critical_age"): limits.critical_age_seconds["recent_failures"],
    }
    for section in type(config).model_fields:
        model: Any = config.receivers["x"] if section == "receivers" else getattr(config, section)
        for key in type(model).model_fields:
            seconds = derived.get((section, key))
            yield section, key, getattr(model, key) if seconds is None else timedelta(seconds=seconds)
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        for parameter in command.params:
            for option in parameter.opts:
                yield name, option, parameter.default


def value(text: str, interval: timedelta) -> object:
    """The value that a document quotes, as the configuration holds it; None where it quotes no figure."""
    match = _FIGURE.fullmatch(text)
    if match is None:
        return None
    number, unit, share = match.groups()
    if share:
        return interval * (float(number) / 100)
    if unit in (None, "%"):
        return float(number.replace(",", ""))
    return parse_duration(f"{number}{_UNITS.get(unit, unit)}")


def test_every_default_that_a_document_quotes_is_the_default(config: Config) -> None:
    """Written as `key` (10 s), `[section] key` (90 days) or `--option` (30 s)."""
    found = list(defaults(config))
    seen = 0
    for document in DOCUMENTS:
        for section, key, text in _QUOTED.findall(document.read_text()):
            quoted = value(text, config.schedule.interval)
            known = [default for where, name, default in found if name == key and section in ("", where)]
            if quoted is None or not known:
                continue
            where = f"`{key}` ({text}) in {identifier(document)}"
            actual = [
                parse_duration(each) if key.startswith("--") and isinstance(each, str) else each for each in known
            ]
            assert len(set(actual)) == 1, f"say which section: {where}"
            assert quoted == actual[0], f"{where}; the default is {actual[0]}"
            seen += 1
    assert seen > 15


def test_a_wrong_default_would_be_found(config: Config) -> None:
    """The values that are compared are figures, not text."""
    assert value("2 min", config.schedule.interval) == config.alerts.database_unavailable_for
    assert value("3 min", config.schedule.interval) != config.alerts.database_unavailable_for
    assert value("10 % of the interval", config.schedule.interval) == timedelta(seconds=config.lock_timeout_seconds)
    assert value("warning", config.schedule.interval) is None


def test_every_address_has_the_default_port(config: Config) -> None:
    """What a document asks daemon or API for, it asks where that listens unless told otherwise."""
    ports = {
        int(port)
        for document in DOCUMENTS
        for port in re.findall(r":(\d+)/(?:livez|readyz|leader|metrics|status\.json)", document.read_text())
    }
    assert ports == {config.http.port, config.api.management_port}


def keys_that_need_a_restart(config: Config) -> set[str]:
    """`[section]` where every key of it does, else `[section] key`."""
    found = set()
    for section in type(config).model_fields:
        model = getattr(config, section)
        if section == "receivers":
            changed = {key: config.model_copy(update={section: {key: "other"}}) for key in model}
        else:
            names = {item.alias or key: key for key, item in type(model).model_fields.items()}
            changed = {
                key: config.model_copy(update={section: model.model_copy(update={name: "other"})})
                for key, name in names.items()
            }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that "other" is of another type than the key
            needing = {key for key, other in changed.items() if needs_restart(config, other)}
        whole = f"[{section}.*]" if section == "receivers" else f"[{section}]"
        found |= {whole} if needing == set(changed) else {f"[{section}] {key}" for key in needing}
    return found


@pytest.mark.parametrize("path", ["config.example.toml", "deploy/guides/install.md"])
def test_the_keys_that_need_a_restart_are_those_that_a_reload_leaves(path: str, config: Config) -> None:
    """The sentence "A change of … needs" names exactly them."""
    text = re.sub(r"\n#? ?", " ", (ROOT / path).read_text()).replace("`", "")
    (sentence,) = re.findall(r"A change of (.+?) needs ", text)
    assert set(re.split(r", | or ", sentence)) == keys_that_need_a_restart(config)


def test_the_guide_names_every_error_of_the_api() -> None:
    """Who builds a client reads what each means, and what to do."""
    rows = re.findall(r"^\| [1-5]\d\d(?:, \d+)* \| ([^|]+) \|", (GUIDES / "api.md").read_text(), re.MULTILINE)
    assert {code for row in rows for code in re.findall(r"`(\w+)`", row)} == set(CODES)


def test_the_guide_names_every_topic_and_ending_of_a_stream() -> None:
    """A client compares with them."""
    told = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", (GUIDES / "api.md").read_text(), re.MULTILINE))
    assert {topic.value for topic in Topic} <= told.keys()
    assert set(re.findall(r"`(\w+)`", told["end"])) - {"reason"} == {ending.value for ending in TOLD}


def test_limits_in_prose() -> None:
    """Figures that no key sets."""
    security = (ROOT / ".github" / "SECURITY.md").read_text()
    assert f"one line and {LIMIT_BYTES:,} bytes" in security
    seconds = f"within {ConnectionSettings('x').password_command_timeout_seconds:g} s"
    assert f"without a shell, {seconds}," in (GUIDES / "managed-postgres.md").read_text()
    assert f"run for each connection {seconds}:" in (ROOT / "config.example.toml").read_text()


def test_the_newest_change_is_this_version() -> None:
    """Whoever raises the version says what changed, and the manifests name the image of it."""
    versions = re.findall(r"^## (\S+)$", (GUIDES / "changes.md").read_text(), re.MULTILINE)
    assert versions[0] == __version__
    numbers = [tuple(map(int, version.split("."))) for version in versions]
    assert numbers == sorted(set(numbers), reverse=True)
    image = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "components" / "image" / "kustomization.yaml").read_text())
    assert [item["newTag"] for item in image["images"]] == [__version__]


def columns(heading: str) -> list[tuple[str, str]]:
    """Name and type of each column in the first table after `**heading**` in the design."""
    section = (GUIDES / "design.md").read_text().split(f"**`{heading}`**", 1)[1]
    found = []
    for row in re.split(r"\n\n(?!\|)", section.partition("\n|")[2], maxsplit=1)[0].splitlines()[2:]:
        names, kind, _ = row.strip("|").split(" | ")
        found += [(name, kind.strip()) for name in re.findall(r"`(\w+)`", names)]
    return found


@pytest.mark.parametrize("view", VIEWS)
def test_the_contract_names_every_column_of_a_view(view: str) -> None:
    """In their order, with their types, as `check` and the tests of the views have them."""
    types = [
        (name, kind.replace("timestamp with time zone", "timestamptz"))
        for name, kind in re.findall(r"(\w+) ((?:timestamp with time zone|\w+)(?:\(12,2\))?)(?:,|$)", TYPES[view])
    ]
    assert columns(view) == types
    assert tuple(name for name, _ in types) == contract.COLUMNS[view]


@pytest.mark.parametrize(
    ("function", "returned"),
    [
        ("refresh_action_analytics()", contract._REPORT),
        ("get_analytics_refresh_status()", contract._STATUS),
    ],
)
def test_the_contract_names_every_column_of_a_function(function: str, returned: tuple[str, ...]) -> None:
    """In their order, as `check` has them."""
    assert tuple(name for name, _ in columns(function)) == returned


def test_the_design_names_every_room() -> None:
    """Each package is in the table or below one that is, and each one in the table exists."""
    section = (GUIDES / "design.md").read_text().split("\n## Rooms\n", 1)[1].split("\n## ", 1)[0]
    rooms = re.findall(r"^\| `([\w/]+)` \|", section, re.MULTILINE)
    source = ROOT / "src" / "analytics_refreshd"
    assert [room for room in rooms if not (source / room / "__init__.py").exists()] == []
    floors = {path.parent.name for path in source.glob("*/__init__.py")} - {"postgres"}
    assert floors | {f"postgres/{path.parent.name}" for path in source.glob("postgres/*/__init__.py")} <= set(rooms)
