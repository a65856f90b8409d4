"""Query files and parameters: what a header says, how values are checked, and what a mistake is told."""

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_refreshd.postgres.catalogue.definition import ParameterError, Query, QueryFileError
from analytics_refreshd.postgres.catalogue.files import SECTIONS, Catalogue, parse, relations
from analytics_refreshd.postgres.catalogue.run import bind, printed, statement
from tests.generate.queries_dashboard import dashboard_json
from tests.generate.queries_guide import guide_markdown

CATALOGUE = Catalogue.load()
DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
NOW = datetime(2026, 3, 4, 10, 20, 30, tzinfo=UTC)
ENDPOINTS = """
    actions/success-rate actions/hourly actions/daily triggers/slowest actions/latency triggers/sla-violations
    failures/by-trigger failures/top-errors failures/by-action-type failures/recent triggers/low-success-rate
    triggers/most-active triggers/idle triggers/high-retries throughput/hourly actions/distribution
    throughput/peak-hours growth/weekly organizations/usage organizations/top health/summary meta/refresh-status
""".split()
DEFAULTS: dict[str, dict[str, object]] = {
    "success-rate": {"days": 7},
    "hourly-actions": {"hours": 24},
    "daily-trend": {"days": 30},
    "slowest-triggers": {"limit": 10},
    "latency": {"hours": 24},
    "sla-violations": {"above-ms": 5000, "critical-ms": 10_000},
    "failing-triggers": {"hours": 24},
    "top-errors": {"hours": 24, "limit": 10},
    "failures-by-type": {"hours": 24},
    "recent-failures": {"hours": 24, "limit": 20},
    "unhealthy-triggers": {"below-percent": 80, "critical-percent": 50},
    "most-active": {"days": 7, "limit": 10},
    "idle-triggers": {"days": 7},
    "retrying-triggers": {"above": 0.5},
    "throughput": {"hours": 24},
    "distribution": {},
    "peak-hours": {"days": 7},
    "weekly-growth": {"weeks": 8},
    "organization-usage": {"days": 30},
    "top-organizations": {"limit": 10},
    "summary": {"hours": 24},
    "refresh-status": {},
}
GOOD = """-- name: own
-- section: our own
-- endpoint: own/path
-- purpose: Why?
-- parameter: days integer default 7 min 1 max 30; Days,
--   and nothing else
-- parameter: share number default 0.5 min 0 max 1; Share
-- parameter: all boolean default false; All
-- parameter: word text default x; Word
-- window: days in hours
-- organizations: yes
-- column: actions count; How many
select count(*) as actions from {actions} as a where 5 %% 2 = 1 and %(all)s
"""


def test_the_catalogue_is_the_contracts() -> None:
    """Seven sections, and in them the contract's 22 queries with their endpoints and default windows."""
    endpoints = [query.endpoint for query in CATALOGUE]
    assert len(set(endpoints)) == len(endpoints)
    assert set(ENDPOINTS) <= set(endpoints)
    assert tuple(dict.fromkeys(query.section for query in CATALOGUE)) == SECTIONS
    for name, defaults in DEFAULTS.items():
        found: dict[str, object] = {item.name: item.default for item in CATALOGUE.get(name).parameters}
        assert found | defaults == found, name


def test_every_query_but_the_status_can_be_limited() -> None:
    """A query that shows a tenant's data can be limited; refresh-status shows everyone's sizes and cannot."""
    assert [query.name for query in CATALOGUE if not query.organizations] == ["refresh-status"]


def test_every_relation_has_a_limited_twin() -> None:
    """Each limited relation reads the organizations as a parameter; the names of the two forms match."""
    # the rows of `distribution rows` are those of the relation `actions`, whichever form that has
    of_days = {name for name in relations() if name.endswith(" frozen")}
    forms = set(relations()) - of_days - {"distribution rows"}
    plain = {name for name in forms if not name.endswith(" limited")}
    assert {f"{name} limited" for name in plain} == forms - plain
    for name in of_days:
        # what {days} stands for is limited
        assert name.removesuffix(" frozen") in forms
        assert "{days}" in relations()[name]
        assert "organizations)s" not in relations()[name]
    # what is configured is the same for all
    configured = {"prices", "thresholds"}
    assert all(relations()[f"{name} limited"] == relations()[name] for name in configured)
    for name in plain - configured:
        assert "any (%(organizations)s::text[])" in relations()[f"{name} limited"]
        assert "organizations)s" not in relations()[name]


def test_a_good_file_is_understood() -> None:
    """Everything in a header arrives, continued lines included."""
    query = parse(GOOD, "own.sql")
    assert query.parameters[0].meaning == "Days, and nothing else"
    assert [item.default for item in query.parameters] == [7, 0.5, False, "x"]
    assert query.reads_rows
    assert query.views == ()
    assert query.relations == {"actions"}


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("-- name: own\n", "", 1, "lacks 'name'"),
        ("-- name: own", "-- name: Own Query", 1, "kebab-case"),
        ("-- purpose: Why?", "-- purpose:", 4, "purpose is empty"),
        ("-- purpose: Why?", "-- purpose: Why?\n-- purpose: How?", 5, "given twice"),
        ("-- purpose: Why?", "-- porpoise: Why?", 4, "unknown header 'porpoise'"),
        ("-- purpose: Why?", "-- just a remark", 4, "expected `-- key: value`"),
        ("integer default 7", "integer default seven", 5, "whole number"),
        ("integer default 7", "integer default 70", 5, "at most 30"),
        ("integer default 7 min 1 max 30", "integer default 7", 5, "min and max"),
        ("integer default", "duration default", 5, "integer, number, boolean, text"),
        ("days integer", "limit integer", 10, "parameter of that name"),
        ("parameter: word", "parameter: now", 9, "of another name"),
        ("days in hours", "days by hours", 10, "`PARAMETER in hours|days|weeks`"),
        ("organizations: yes", "organizations: maybe", 11, "yes or no"),
        ("-- organizations: yes", "-- organizations: yes\n-- horizon: weeks", 12, "must be `days`"),
        ("-- organizations: yes", "-- organizations: yes\n-- horizon: days; p95", 12, "columns above or below"),
        ("parameter: word", "parameter: frozen-until", 9, "of another name"),
        ("actions count;", "actions apples;", 12, "of a unit among"),
        ("actions count;", "error_message text;", 12, "redacted"),
        ("-- column: actions count; How many\n", "", 1, "lacks 'column'"),
        ("{actions}", "{everything}", 13, "braces name"),
        ("{actions}", "{app}.action_results", 13, "every tenant's rows"),
        ("%%", "%", 13, "written %%"),
        ("%(all)s", "%(none)s", 13, "%(none)s is not declared"),
        ("-- window: days in hours\n", "", 12, "needs a window"),
        (GOOD.splitlines()[-1], "", 13, "no SQL"),
    ],
)
def test_a_mistake_is_told_with_file_and_line(old: str, new: str, line: int, words: str) -> None:
    """A header that cannot be used names the file, the line and what is expected."""
    assert old in GOOD
    with pytest.raises(QueryFileError) as raised:
        parse(GOOD.replace(old, new, 1), "own.sql")
    assert str(raised.value).startswith(f"own.sql:{line}: ")
    assert words in str(raised.value)


@pytest.mark.fault
def test_L25_lines_may_end_as_on_other_systems() -> None:
    """A file written on Windows is the same query, and a mistake is at its true line."""
    text = GOOD.replace(" from {actions}", "\nfrom {actions}")
    assert parse(text.replace("\n", "\r\n"), "mine.sql") == parse(text, "mine.sql")
    with pytest.raises(QueryFileError, match=r"^mine\.sql:13: "):
        parse(text.replace("{actions}", "{everything}").replace("\n", "\r\n"), "mine.sql")


@pytest.mark.fault
def test_L25_a_rare_sign_in_a_comment_ends_no_line() -> None:
    """An editor shows a vertical tab or a line separator within the line that it stands in."""
    text = GOOD.replace(" from {actions}", "\n-- a\x0bb\u2028c\nfrom {actions}")
    assert "a\x0bb\u2028c\nfrom" in parse(text, "mine.sql").body


def test_a_users_own_files_join_the_catalogue(tmp_path: Path) -> None:
    """Adding a query is adding a file; a name or endpoint that is taken, or no directory, is refused."""
    (tmp_path / "own.sql").write_text(GOOD)
    (tmp_path / "notes.txt").write_text("not a query")
    catalogue = Catalogue.load(tmp_path)
    assert set(catalogue.queries) == {*CATALOGUE.queries, "own"}
    assert catalogue.get("own").endpoint == "own/path"
    assert "own/path" in guide_markdown(catalogue)
    assert '"title": "Why?"' in dashboard_json(catalogue)
    (tmp_path / "own.sql").write_text(GOOD.replace("name: own", "name: latency"))
    with pytest.raises(QueryFileError, match=r"own\.sql:1: latency repeats the name"):
        Catalogue.load(tmp_path)
    (tmp_path / "own.sql").write_bytes(b"\xff\xfe")
    with pytest.raises(QueryFileError, match="cannot be read"):
        Catalogue.load(tmp_path)
    with pytest.raises(QueryFileError, match="cannot be read: No such file or directory"):
        Catalogue.load(tmp_path / "none")


def test_an_unknown_name_suggests_the_nearest() -> None:
    """A mistyped query is one sentence with the nearest name; an endpoint is as good as a name."""
    with pytest.raises(ParameterError, match=r"there is no query 'sucess-rat'; did you mean success-rate\?"):
        CATALOGUE.get("sucess-rat")
    with pytest.raises(ParameterError, match="`query --list` shows them all"):
        CATALOGUE.get("x" * 10_000)
    assert CATALOGUE.get("actions/latency").name == "latency"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"days": "0"}, "days must be at least 1, not '0'"),
        ({"days": "31"}, "days must be at most 30, not '31'"),
        ({"days": "1.5"}, "days must be a whole number"),
        ({"days": "٣"}, "days must be a whole number"),
        ({"days": "9" * 50}, "days must be a whole number"),
        ({"days": "1; drop table x"}, "days must be a whole number, not '1; drop table x'"),
        ({"days": True}, "days must be a whole number"),
        ({"days": None}, "days must be a whole number"),
        ({"share": "nan"}, "share must be a number"),
        ({"share": float("inf")}, "share must be a number"),
        ({"share": "1.01"}, "share must be at most 1"),
        ({"all": "ja"}, "all must be true or false"),
        ({"word": "a\x00b"}, "without NUL"),
        ({"word": "a" * 1001}, "at most 1000"),
        ({"wrod": "x"}, "own has no parameter 'wrod'; it has: days, share, all, word"),
    ],
)
def test_a_bad_parameter_is_one_clear_sentence(given: dict[str, object], words: str) -> None:
    """What is out of range, of another type, unknown or an attack is refused before any SQL."""
    with pytest.raises(ParameterError) as raised:
        parse(GOOD, "own.sql").bind(given, None, NOW)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("organizations", [[""], ["a\x00"], ["x" * 1001], "acme"])
def test_a_bad_organization_is_refused(organizations: list[str]) -> None:
    """An id that cannot be one is refused, as is text in place of a list."""
    with pytest.raises(ParameterError):
        CATALOGUE.get("latency").bind({}, organizations, NOW)


def test_an_empty_limit_is_a_limit() -> None:
    """None means everything; an empty list of organizations means nothing, never everything."""
    query = CATALOGUE.get("latency")
    assert "organizations" not in query.bind({}, None, NOW)
    assert query.bind({}, [], NOW)["organizations"] == []
    with pytest.raises(ParameterError, match="refresh-status cannot be limited to organizations"):
        CATALOGUE.get("refresh-status").bind({}, [], NOW)


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])), st.integers(1, 30))
def test_windows_are_whole_steps_of_utc(now: datetime, amount: int) -> None:
    """A window holds `amount` steps, ends after now, and begins on a boundary in UTC whatever the zone of now."""
    if not 1900 < now.year < 9000:
        return
    for name, parameter in (("success-rate", "days"), ("daily-trend", "days"), ("hourly-actions", "hours")):
        values = CATALOGUE.get(name).bind({parameter: amount}, None, now)
        since, until = values["since"], values["until"]
        assert isinstance(since, datetime)
        assert isinstance(until, datetime)
        assert until - since == timedelta(**{parameter: amount})
        step = timedelta(days=1) if name == "daily-trend" else timedelta(hours=1)
        assert until - step <= now < until
        assert (since.minute, since.second, since.microsecond, since.utcoffset()) == (0, 0, 0, timedelta(0))
    week = CATALOGUE.get("weekly-growth").bind({"weeks": amount}, None, now)
    assert isinstance(week["since"], datetime)
    assert isinstance(week["until"], datetime)
    assert (week["since"].weekday(), week["since"].hour) == (0, 0)
    assert week["until"] - week["since"] == timedelta(weeks=amount + 1)


def test_values_never_become_part_of_the_statement() -> None:
    """Statements hold placeholders only; the schema is an identifier, whatever its name."""
    for query in CATALOGUE:
        for limited in {False, query.organizations}:
            text = statement(query, 'we"ird', limited=limited).as_string(None)
            assert "{" not in text
            assert ('"we""ird".' in text) or query.relations == frozenset()


def test_printed_sql_quotes_its_literals() -> None:
    """--print-sql shows values as literals that psql reads as the same values."""
    query: Query = parse(GOOD, "own.sql")
    text = printed(bind(query, {"all": True}, ["a'b"], NOW, "public"))
    assert "a''b" in text
    assert "5 % 2" in text
    assert not re.search(r"%\(", text)
    assert text.endswith(";")
