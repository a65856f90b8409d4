"""Prices as the configuration has them, and months as the costs are asked for."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from analytics_refreshd.config import load
from analytics_refreshd.core.costs import Price, Prices
from analytics_refreshd.core.display import csv_cell, exact_text
from analytics_refreshd.core.errors import ConfigError
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.run import bind, printed
from analytics_refreshd.postgres.catalogue.settings import QuerySettings
from analytics_refreshd.postgres.catalogue.spans import ParameterError

COSTS = Catalogue.load().get("organization-costs")
NOW = datetime(2026, 3, 4, 12, 34, 56, tzinfo=UTC)
END = datetime(9999, 12, 1, tzinfo=UTC)
LEAST = '[database]\nurl = "postgresql:///app"\n'


def loaded(folder: Path, text: str) -> Prices:
    """The prices of a configuration file."""
    path = folder / "config.toml"
    path.write_text(LEAST + text)
    return load(path).costs.known()


def test_prices_are_exact(tmp_path: Path) -> None:
    """What is written is the price, to the last digit; what is left out costs nothing."""
    text = """
[costs]
currency = "EUR"
[costs.prices.rest]
per_execution = "0.000000001"
per_second = 2
[costs.default]
per_retry = "0.1"
"""
    rest = Price(Decimal("0.000000001"), Decimal(0), Decimal(2))
    assert loaded(tmp_path, text) == Prices("EUR", {"rest": rest}, Price(per_retry=Decimal("0.1")))
    assert loaded(tmp_path, "") == Prices()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "default = { per_execution = 0.1 }",
            'costs.default.per_execution is not exact: write it as text, like "0.0025"',
        ),
        ("default = { per_execution = true }", "costs.default.per_execution is not exact"),
        ('default = { per_execution = "much" }', "costs.default.per_execution must be a number in quotes"),
        ('default = { per_execution = "-1" }', "costs.default.per_execution must be at least 0"),
        ('default = { per_execution = "NaN" }', "costs.default.per_execution must be a number"),
        (
            'default = { per_execution = "0.0000000001" }',
            "costs.default.per_execution must have at most 9 digits after",
        ),
        ('default = { per_execution = "1e99" }', "costs.default.per_execution must have at most"),
        ('default = { per_executions = "1" }', "did you mean costs.default.per_execution?"),
        ('prices.rest = { per_retrys = "1" }', "did you mean costs.prices.rest.per_retry?"),
        ('prices."" = { per_retry = "1" }', "costs.prices holds the name of no action type"),
        ('currency = "euro"', 'costs.currency must be the three letters of a currency (ISO 4217), like "EUR"'),
    ],
)
def test_a_wrong_price_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    """It names the key and shows no value; a float is refused, since it would be rounded."""
    currency = "" if text.startswith("currency") else 'currency = "EUR"\n'
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, f"[costs]\n{currency}{text}\n")
    (told,) = caught.value.problems
    assert said in told


def test_prices_need_a_currency(tmp_path: Path) -> None:
    """A number alone is no cost."""
    with pytest.raises(ConfigError, match=r"costs\.currency is missing"):
        loaded(tmp_path, '[costs.default]\nper_execution = "1"\n')


@pytest.mark.parametrize(
    ("asked", "since", "until"),
    [
        ({}, datetime(2026, 3, 1), datetime(2026, 4, 1)),  # noqa: DTZ001
        ({"months": 3}, datetime(2026, 1, 1), datetime(2026, 4, 1)),  # noqa: DTZ001
        ({"months": 15}, datetime(2025, 1, 1), datetime(2026, 4, 1)),  # noqa: DTZ001
        ({"month": "2025-12"}, datetime(2025, 12, 1), datetime(2026, 1, 1)),  # noqa: DTZ001
        ({"since": datetime(2026, 1, 31), "until": datetime(2026, 2, 1)}, datetime(2026, 1, 1), datetime(2026, 2, 1)),  # noqa: DTZ001
    ],
)  # fmt: skip
@pytest.mark.parametrize("zone", ["UTC", "America/Santiago"])
def test_months_are_whole_ones_of_the_zone(
    asked: dict[str, object], since: datetime, until: datetime, zone: str
) -> None:
    """The current one and those before it, one that is named, or those that hold a span."""
    values = COSTS.bind({**asked, "timezone": zone}, None, NOW)
    own = ZoneInfo(zone)
    assert (values["since"], values["until"]) == (since.replace(tzinfo=own), until.replace(tzinfo=own))
    assert values["months"] == (until.year - since.year) * 12 + until.month - since.month


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"month": "2026-3"}, "--month must be a month such as 2026-03"),
        ({"month": "0000-01"}, "--month must be a month such as 2026-03"),
        ({"month": "9999-12"}, "--month must be a month of the calendar"),
        ({"month": "2026-03", "since": NOW}, "give --month, or --since and --until, not both"),
        ({"month": "2026-03", "months": 2}, "give --month, or --months, not both"),
        ({"since": datetime(2020, 1, 1, tzinfo=UTC), "until": NOW}, "covers at most 36 months, whole months"),
        ({"since": END, "until": END.replace(day=9)}, "times of the calendar"),
    ],
)  # fmt: skip
def test_a_wrong_month_is_one_sentence(asked: dict[str, object], said: str) -> None:
    """It says what works."""
    with pytest.raises(ParameterError, match=said):
        COSTS.bind(asked, None, NOW)


def test_only_a_query_over_months_takes_one() -> None:
    """Another has no such parameter."""
    with pytest.raises(ParameterError, match="has no parameter 'month'"):
        Catalogue.load().get("latency").bind({"month": "2026-03"}, None, NOW)


def test_printed_sql_has_the_prices() -> None:
    """Who pastes it gets the same costs."""
    prices = Prices("EUR", {"rest": Price(Decimal("0.25"))}, Price(per_retry=Decimal(3)))
    text = printed(bind(COSTS, {}, None, NOW, "public", settings=QuerySettings(prices)))
    assert "'{rest,NULL}'" in text
    assert "0.25" in text


def test_money_is_written_without_an_exponent() -> None:
    """A reader of JSON would make a float of a number, and one of CSV of an exponent."""
    assert exact_text(Decimal("1E-9")) == "0.000000001"
    assert exact_text(Decimal("12.50")) == "12.50"
    assert exact_text(None) is None
    assert csv_cell(Decimal("1E-9")) == "0.000000001"
