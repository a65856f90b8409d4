"""Which queries the warehouse answers, and how values reach it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from analytics_refreshd.app.commands.warehouse_query import WarehouseQuestion
from analytics_refreshd.app.commands.warehouse_question import why_not
from analytics_refreshd.postgres.catalogue.definition import ParameterError
from analytics_refreshd.postgres.catalogue.files import Catalogue, parse
from analytics_refreshd.warehouse.catalogue.definition import UNANSWERED, answers
from analytics_refreshd.warehouse.catalogue.definition import parse as parse_answer
from analytics_refreshd.warehouse.catalogue.statement import Asked, NotAnswered, refuse, statement, written

NOW = datetime(2026, 3, 1, 10, 20, tzinfo=UTC)
CATALOGUE = Catalogue.load()


def asked(name: str, *, organizations: list[str] | None = None, fleet: bool = False, **parameters: object) -> Asked:
    """The question, with the values that the catalogue binds."""
    values = CATALOGUE.get(name).bind(parameters, organizations, NOW)
    return Asked(answers()[name], values, {"shop": 3}, fleet)


def test_every_query_is_answered_or_has_a_reason() -> None:
    """No query is forgotten, and none has both."""
    assert set(answers()) | set(UNANSWERED) == set(CATALOGUE.queries)
    assert not set(answers()) & set(UNANSWERED)


def test_a_query_of_your_own_is_postgresqls() -> None:
    """The warehouse does not answer it, even where it bears a known name's text."""
    header = ("name: mine", "section: s", "endpoint: e/e", "purpose: P?", "organizations: no", "column: a text; A")
    text = "".join(f"-- {line}\n" for line in header) + "select 1 as a"
    own = parse(text, "mine.sql", own=True)
    assert why_not(own) == "it is a query of your own, in PostgreSQL's SQL"
    with pytest.raises(ParameterError, match="a query of your own"):
        WarehouseQuestion(own, {}, None)


@pytest.mark.parametrize("name", sorted(answers()))
def test_a_statement_names_no_relation_any_more(name: str) -> None:
    """All names in braces are replaced, down to tables of the database; only parameters are left."""
    query = CATALOGUE.get(name)
    limited = None if answers()[name].not_narrowed or not query.organizations else ["acme"]
    values = query.bind({}, limited, NOW)
    text = statement(Asked(answers()[name], values | DEFAULTS, {"shop": 3}), "sink").text
    assert "{target}" not in text
    assert "`sink`." in text
    assert ("in {organizations:" in text) == (limited is not None)


_LISTS = """price_types prices_per_execution prices_per_retry prices_per_second threshold_organizations threshold_types
thresholds_success_warning_percent thresholds_success_critical_percent thresholds_latency_warning_ms
thresholds_latency_critical_ms"""
DEFAULTS: dict[str, object] = {
    **{name: [] for name in _LISTS.split()},
    "healthy_percent": Decimal(95),
    "degraded_percent": Decimal(90),
    "currency": None,
}


@pytest.mark.parametrize(
    ("question", "why"),
    [
        (asked("latency", organizations=["acme"]), "no durations of an organization"),
        (asked("distribution", days=29), "last 30 days"),
        (asked("distribution", fleet=True), "cannot be added up"),
        (asked("recent-failures", hours=25), "last 24 hours"),
        (asked("success-rate", organizations=["acme"], fleet=True), "name different organizations alike"),
        (asked("most-active", since=NOW - timedelta(days=3), until=NOW - timedelta(days=2)), "ends now"),
        (asked("organization-usage", timezone="Asia/Kolkata"), "whole hours of UTC"),
        (asked("daily-trend", since=datetime(1899, 1, 1, tzinfo=UTC), until=datetime(1899, 2, 1, tzinfo=UTC)), "1900"),
    ],
)
def test_what_would_not_be_exact_is_refused(question: Asked, why: str) -> None:
    """The reason names what the warehouse does not have."""
    with pytest.raises(NotAnswered, match=why):
        refuse(question)


@pytest.mark.parametrize("name", ["distribution", "recent-failures", "most-active", "organization-usage", "latency"])
def test_what_is_exact_is_not_refused(name: str) -> None:
    """With their default windows these are answered."""
    refuse(asked(name))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("it's\ta\\b\n", "it\\'s\\ta\\\\b\\n"),
        (["a'b", None, "c"], "['a\\'b',NULL,'c']"),
        ([Decimal("0.5"), 80], "[0.5,80]"),
        (1e-9, "0.000000001"),
        (True, "true"),
        ([], "[]"),
    ],
)
def test_values_are_written_as_clickhouse_reads_them(value: object, text: str) -> None:
    """No value can end its quotes, and no number has an exponent."""
    assert written(value) == text


def test_days_begin_as_postgresql_lets_them_begin() -> None:
    """Where the clock leaves midnight out, the day begins later; where it is there twice, with the second."""
    spring = asked(
        "daily-trend",
        since=datetime(2025, 9, 6, tzinfo=ZoneInfo("America/Santiago")),
        until=datetime(2025, 9, 8, tzinfo=ZoneInfo("America/Santiago")),
        timezone="America/Santiago",
    )
    begins = statement(spring, "sink").parameters["steps"]
    assert begins == f"[{_us('2025-09-06T04:00')},{_us('2025-09-07T04:00')}]"
    autumn = asked(
        "daily-trend",
        since=datetime(2024, 11, 2, tzinfo=ZoneInfo("America/Havana")),
        until=datetime(2024, 11, 4, tzinfo=ZoneInfo("America/Havana")),
        timezone="America/Havana",
    )
    assert statement(autumn, "sink").parameters["steps"] == f"[{_us('2024-11-02T04:00')},{_us('2024-11-03T05:00')}]"


def _us(text: str) -> int:
    return int(datetime.fromisoformat(f"{text}:00+00:00").timestamp()) * 1_000_000


@pytest.mark.parametrize(
    "text",
    [
        "select 1",
        "-- narrowed: maybe\nselect 1",
        "-- narrowed: no\nselect 1",
        "-- narrowed: yes\n-- ends: now\nselect 1",
    ],
)
def test_a_file_that_gives_no_reason_is_a_mistake(text: str) -> None:
    """Each file says whether a limit is possible, and why not."""
    with pytest.raises(ValueError, match=r"broken\.sql"):
        parse_answer("broken", text)
