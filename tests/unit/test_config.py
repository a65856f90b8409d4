"""The configuration: what it accepts, what follows, and how it refuses."""

import re
import tomllib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_refreshd.config import Config, load, parse_duration
from analytics_refreshd.config.alerts import AlertsSection
from analytics_refreshd.config.receivers import receiver_sections
from analytics_refreshd.core.errors import ConfigError
from analytics_refreshd.core.schedule import ViewTimes
from analytics_refreshd.postgres.connection.connector import milliseconds

ROOT = Path(__file__).parents[2]
LEAST = '[database]\nurl = "postgresql://u@db.example.net/app"\n'
CANARY = "CANARY-7f3a"

Write = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE", "PGSSLMODE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a configuration file and name it."""

    def write_text(text: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(text)
        return path

    return write_text


def problems(path: Path | None) -> list[str]:
    """The problems that loading reports."""
    with pytest.raises(ConfigError) as caught:
        load(path)
    return list(caught.value.problems)


def _commented_in(text: str) -> str:
    """The sample with every key that it shows commented out put in force, where it is a key."""
    return re.sub(r"^# (\w+ = |\[receivers)", r"\1", text, flags=re.MULTILINE)


def test_the_sample_is_accepted_as_it_stands() -> None:
    """config.example.toml loads unchanged."""
    assert load(ROOT / "config.example.toml").name == "app"


def test_the_sample_shows_every_key_and_nothing_else() -> None:
    """Each key of the model stands in the sample, and each key of the sample in the model."""
    shown = tomllib.loads(_commented_in((ROOT / "config.example.toml").read_text()))
    for section, field in Config.model_fields.items():
        if section == "receivers":
            continue
        known = {item.alias or name for name, item in field.annotation.model_fields.items()}  # type: ignore[union-attr]
        assert set(shown[section]) == known, section
    receivers = {table["type"]: set(table) for table in shown["receivers"].values()}
    assert receivers == {kind: set(section.model_fields) for kind, section in receiver_sections().items()}
    assert set(shown) == set(Config.model_fields)


def test_the_sample_shows_the_defaults(tmp_path: Path, write: Write) -> None:
    """What the sample calls a default is the default, where it does not follow from something else."""
    shown = tomllib.loads(_commented_in((ROOT / "config.example.toml").read_text()))
    config = load(write(LEAST))
    for section in ("schedule", "refresh", "alerts", "history", "queries", "http", "log"):
        model = getattr(config, section)
        for key, text in shown[section].items():
            default = getattr(model, key)
            if default is None:
                continue
            value = parse_duration(text) if isinstance(default, timedelta) else text
            assert value == default, f"{section}.{key}"


def test_limits_follow_the_interval(write: Write) -> None:
    """Unset limits are shares of the interval."""
    config = load(write(LEAST + '[schedule]\ninterval = "10s"\n'))
    assert config.lock_timeout_seconds == pytest.approx(1.0)
    assert config.statement_timeout_seconds == pytest.approx(8.0)
    assert config.deadline_seconds == pytest.approx(8.333, abs=0.001)
    assert config.evaluate_seconds == 10.0
    assert config.limits().max_age_seconds["recent_failures"] == 20.0
    assert load(write(LEAST)).limits().critical_age_seconds["recent_failures"] == 1200.0


@pytest.mark.fault
def test_L25_brackets_without_end_are_refused_in_one_sentence(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a file nor a variable that is nested beyond reason ends in a traceback."""
    (told,) = problems(write("a = " + "[" * 5000))
    assert told.endswith("is not TOML that anybody wrote: brackets are nested too deeply")
    monkeypatch.setenv("ANALYTICS_REFRESHD_REFRESH__VIEWS", "[" * 50_000)
    assert "an environment variable cannot be read: brackets are nested too deeply" in problems(write(LEAST))


def test_every_problem_is_reported_at_once(write: Write) -> None:
    """A file with five faults, and no database, gets six sentences."""
    found = problems(
        write(
            '[shedule]\ninterval = "5m"\n'
            '[schedule]\nintervall = "5m"\ninterval = "5x"\n'
            "[alerts]\nmin_executions = 0\n"
            '[log]\nlevel = "loud"\n'
        )
    )
    assert len(found) == 6
    assert any(text.startswith("database.url is missing") for text in found)
    assert "schedule.intervall is not a known key; did you mean schedule.interval?" in found
    assert any(text.startswith("schedule.interval is not a duration") for text in found)
    assert any("did you mean schedule?" in text for text in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[refresh]\nlock_timeout = "4m"\nstatement_timeout = "3m"', "lock_timeout < refresh.statement_timeout"),
        ('[staleness]\nmax_age = "5m"', "staleness.max_age must be over schedule.interval + refresh.deadline"),
        ('[staleness]\nviews = { nothing = "1h" }', "staleness.views.nothing is not one of refresh.views"),
        ('[staleness]\ncritical_age = "9m30s"', "staleness.critical_age must not be under"),
        ('[schedule]\nsplay = "5m"', "schedule.splay must be under schedule.interval"),
        ('[alerts]\nevaluate_every = "10m"', "alerts.evaluate_every"),
        ('[refresh]\nfunction = "x(); drop table y;--"', "refresh.function is not a plain SQL name"),
        ('[service]\nname = "a b"', "service.name must be"),
        ('[receivers.ops]\ntype = "webhook"', "receivers.ops needs exactly one of url and url_file"),
        ('[receivers.ops]\ntype = "webhook"\nurl = "ftp://x"', "receivers.ops.url must begin with http"),
        ('[queries]\ndirectory = "/nowhere"', "queries.directory cannot be read: No such file or directory"),
        ("[refresh]\nviews = []", "refresh.views must have at least 1 entry"),
        ('[refresh]\nviews = "a"', 'refresh.views must be a list like ["a", "b"]'),
        ("[refresh]\nparallel = 9", "refresh.parallel must be at most 8"),
        ('[refresh]\nlock_timeout = "0s"', "refresh.lock_timeout must be over zero"),
        ('[schedule]\ninterval = "2d"', 'schedule.interval must be at most "1d"'),
        ('[history]\nretention = "23h"', 'history.retention must be at least "1d"'),
        ('[http]\nport = "x"', "http.port must be a whole number"),
        ('[http]\npage = "maybe"', "http.page must be true or false"),
        ('[log]\nformat = "xml"', "log.format must be 'json' or 'console'"),
        ("[log]\nlevel = 3", "log.level must be 'debug', 'info', 'warning' or 'error'"),
        ("[service]\nname = 3", "service.name must be text in quotes"),
        ("[queries]\ndirectory = 4", "queries.directory must be a path, as text in quotes"),
        ("[receivers]\nops = 3", "receivers.ops must be a table"),
        ('[receivers.ops]\nurl = "http://a"', "receivers.ops.type is missing"),
        (
            '[receivers.ops]\ntype = "webhok"\nurl = "http://a"',
            'receivers.ops.type is not a known type; did you mean "webhook"?',
        ),
        (
            '[receivers.ops]\ntype = "CANARY"\nurl = "http://a"',
            "receivers.ops.type is not a known type; known: alertmanager, ",
        ),
        ("[receivers.ops]\ntype = 3", "receivers.ops.type is not a known type; known: alertmanager, "),
        ('[receivers.ops]\ntype = "webhook"\nurl = "http://h:99999999"', "receivers.ops.url cannot be read"),
        ('[receivers.ops]\ntype = "webhook"\nurl = "http://h"\nurll = ""', "did you mean receivers.ops.url?"),
        (
            '[receivers.ops]\ntype = "webhook"\nurl = "http://h"\ndeadline = "0s"',
            "receivers.ops.deadline must be over zero",
        ),
        ('schema = "reporting.v1"', "database.schema must be the name of one schema"),
        ('sslmode = "certain"', "database.sslmode has an sslmode that does not exist"),
        ('host = "u@h"', "database.host has an @ within"),
        ('[refresh]\nviews = ["reporting.v1"]', "refresh.views.0 must be a name without its schema"),
        (
            '[receivers.ops]\ntype = "alertmanager"\nurl = "http://a"\nsecret_file = "/proc/version"',
            "receivers.ops.secret_file is not for type alertmanager, but for webhook",
        ),
        (
            '[receivers.ops]\ntype = "heartbeat"\nurl = "http://a"\nsecret_file = "/proc/version"',
            "receivers.ops.secret_file is not for type heartbeat, but for webhook",
        ),
    ],
)
def test_contradictions_name_their_keys(write: Write, text: str, expected: str) -> None:
    """Each contradiction is one sentence that names the keys."""
    (found,) = problems(write(LEAST + text + "\n"))
    assert expected in found


@pytest.mark.parametrize(
    "url", [f"postgresql://u:{CANARY}@x@h/db", f"postgresql://u:{CANARY}%zz@h/db", f"postgresql://u:{CANARY}@h:port/db"]
)
def test_a_malformed_url_never_shows_its_password(write: Write, url: str) -> None:
    """The message is ours, not libpq's, which repeats parts of the password."""
    found = problems(write(f'[database]\nurl = "{url}"\n'))
    assert found
    assert CANARY not in " ".join(found)


def test_a_missing_database_is_refused(write: Write) -> None:
    """There is no default for which database to serve."""
    (found,) = problems(write(""))
    assert found.startswith("database.url is missing")


def test_the_environment_wins_over_the_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable replaces the file's value, and nothing beside it."""
    monkeypatch.setenv("ANALYTICS_REFRESHD_SCHEDULE__INTERVAL", "1m")
    config = load(write(LEAST + '[schedule]\ninterval = "2m"\nsplay = "7s"\n'))
    assert config.schedule.interval == timedelta(minutes=1)
    assert config.schedule.splay == timedelta(seconds=7)


def test_values_stand_for_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nested values are checked as a file's are, and the environment wins over them too."""
    values = {"database": {"url": "postgresql://u@localhost/orders"}, "http": {"port": 0}}
    assert load(values).http.port == 0
    monkeypatch.setenv("ANALYTICS_REFRESHD_HTTP__PORT", "1234")
    assert load(values).http.port == 1234


@pytest.mark.parametrize(
    "name",
    [
        "ANALYTICS_REFRESHD_DATABAS__URL",
        "ANALYTICS_REFRESHD_SCHEDULE__INTERVALL",
        "ANALYTICS_REFRESHD_DATABASE_URL",
        "ANALYTICS_REFRESHD_CONFG",
        "Analytics_Refreshd_Schedul__Interval",
    ],
)
def test_unknown_variables_are_refused(write: Write, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A variable that looks like ours and sets nothing is a typing mistake; its value stays unsaid."""
    monkeypatch.setenv(name, CANARY)
    found = " ".join(problems(write(LEAST)))
    assert "did you mean" in found
    assert CANARY not in found


def test_a_variable_like_none_of_ours_is_refused_too(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """One underscore for two is a mistake as well; the file's own variable is none."""
    monkeypatch.setenv("ANALYTICS_REFRESHD_CONFIG", "/etc/analytics-refreshd/config.toml")
    monkeypatch.setenv("ANALYTICS_REFRESHD_XYZ", CANARY)
    text = "the environment variable ANALYTICS_REFRESHD_XYZ sets nothing that exists"
    assert problems(write(LEAST)) == [text]


@pytest.mark.parametrize("name", ["ANALYTICS_REFRESHD_REFRESH__VIEWS", "ANALYTICS_REFRESHD_REFRESH"])
def test_a_list_in_the_environment_is_json(write: Write, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A list or a table that is not JSON is refused by the variable's name, not by its section's."""
    monkeypatch.setenv("ANALYTICS_REFRESHD_REFRESH__FUNCTION", "refresh")
    monkeypatch.setenv(name, f"a,{CANARY}")
    assert problems(write(LEAST)) == [f"{name} cannot be read: give lists and tables as JSON"]


def test_an_unreadable_file_is_one_sentence(tmp_path: Path) -> None:
    """A missing file, a folder and a broken file are told apart."""
    assert "does not exist" in problems(tmp_path / "none.toml")[0]
    assert "cannot be read" in problems(tmp_path)[0]
    broken = tmp_path / "broken.toml"
    broken.write_text(f'[database\nurl = "{CANARY}"')
    (found,) = problems(broken)
    assert "line 1" in found
    assert CANARY not in found


def test_secret_files_are_looked_at(tmp_path: Path, write: Write) -> None:
    """A password file that is missing or empty is refused; one that all may read gets a warning."""
    secret = tmp_path / "password"
    text = LEAST + f'password_file = "{secret}"\n'
    assert "database.password_file cannot be read" in problems(write(text))[0]
    secret.write_text("\n")
    assert problems(write(text)) == ["database.password_file is empty"]
    secret.write_text(CANARY)
    secret.chmod(0o644)
    assert "chmod 600" in load(write(text)).warnings()[0]
    secret.chmod(0o600)
    assert load(write(text)).warnings() == []


def test_what_is_logged_holds_no_address(write: Write) -> None:
    """The configuration in the log shows neither the connection string nor a receiver's address."""
    config = load(
        write(
            f'[database]\nurl = "postgresql://u:{CANARY}@localhost/app"\n'
            f'[receivers.ops]\ntype = "webhook"\nurl = "https://hooks.example.net/{CANARY}"\n'
        )
    )
    assert CANARY not in repr(config.public())
    assert config.public()["database"]["schema"] == "public"


@given(st.integers(0, 3650), st.sampled_from(["ms", "s", "m", "h", "d"]), st.sampled_from(["", " "]))
def test_durations_are_read_exactly(number: int, unit: str, space: str) -> None:
    """A number and a unit, to the microsecond."""
    seconds = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
    assert parse_duration(f"{number}{space}{unit}").total_seconds() == pytest.approx(number * seconds)


@pytest.mark.parametrize("text", ["3651d", "9999999999d", f"{'9' * 400}h", "3650d1ms"])
def test_a_duration_ends_at_ten_years(write: Write, text: str) -> None:
    """What no calendar can hold is refused like any other mistake, by its key."""
    with pytest.raises(ValueError, match="is too long"):
        parse_duration(text)
    (found,) = problems(write(LEAST + f'[history]\nretention = "{text}"\n'))
    assert found == 'history.retention is too long: ten years, "3650d", at most'


def test_a_defect_in_reading_is_not_blamed_on_the_environment(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what the settings library says of a variable becomes a sentence about variables."""

    def defect(**data: object) -> Config:
        raise ZeroDivisionError

    monkeypatch.setattr("analytics_refreshd.config.loading.Config", defect)
    with pytest.raises(ZeroDivisionError):
        load(write(LEAST))


@given(st.text(max_size=12))
def test_anything_else_is_no_duration(text: str) -> None:
    """No text but a duration is accepted, and the message never repeats it."""
    if re.fullmatch(r"\s*(\d+(\.\d+)?\s*(ms|s|m|h|d)\s*)+", text):
        return
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@given(st.floats(0.000001, 10 * 365 * 86400))
def test_a_limit_fits_into_the_server_s_integer(seconds: float) -> None:
    """However long a limit: never 0, which is none, nor more than the server can hold."""
    assert 1 <= int(milliseconds(seconds)) <= 2**31 - 1


def test_every_alert_limit_follows_its_key() -> None:
    """A key that is read and not handed on would change nothing."""
    usual = Config().limits()
    for key, info in AlertsSection.model_fields.items():
        if key in ("evaluate_every", "repeat_every", "runbooks_url", "unusual"):
            continue
        default = info.get_default(call_default_factory=True)
        default = 80.0 if key == "trigger_success_rate_min" else default
        other = timedelta(seconds=77) if default is None or isinstance(default, timedelta) else default - 1
        other = 10**12 if key == "disk_bytes" else other
        assert Config.model_validate({"alerts": {key: other}}).limits() != usual, key


def mixed(**sections: dict[str, object]) -> Config:
    """A configuration of two views with intervals of their own."""
    views = {"recent_failures": "30s", "trigger_performance_summary": "1h"}
    given: dict[str, dict[str, object]] = {"schedule": {"views": views}, "refresh": {"isolation": "view"}}
    for name, keys in sections.items():
        given[name] = given.get(name, {}) | keys
    return load({"database": {"url": "postgresql://u@db.example.net/app"}} | given)


def test_what_follows_from_an_interval_follows_from_the_views_own() -> None:
    """Limits, timeouts and the evaluation; other views keep those of the common interval, but for the lock timeout."""
    config = mixed()
    limits, times = config.limits(), config.view_times
    assert config.plan().intervals == tuple(timedelta(seconds=seconds) for seconds in (30, 300, 3600))
    assert (config.shortest_interval_seconds, config.lock_timeout_seconds) == (30.0, 3.0)
    assert limits.max_age_seconds == {
        "action_metrics_hourly": 600.0,
        "trigger_performance_summary": 7200.0,
        "recent_failures": 60.0,
        "action_type_distribution": 600.0,
    }
    assert limits.critical_age_seconds["recent_failures"] == 120.0
    assert limits.view_interval_seconds == {"recent_failures": 30.0, "trigger_performance_summary": 3600.0}
    assert limits.view_stale_for_seconds == {"recent_failures": 30.0, "trigger_performance_summary": 60.0}
    assert times["recent_failures"] == ViewTimes(3.0, 24.0, 25.0)
    # nobody waits longer for a lock than the most frequent view could bear
    assert times["trigger_performance_summary"] == ViewTimes(3.0, 2880.0, 3000.0)
    assert (config.statement_timeout_seconds, config.deadline_seconds) == (240.0, 250.0)
    assert mixed(schedule={"views": {"recent_failures": "5s"}}).evaluate_seconds == 5.0


def test_what_is_set_holds_for_views_with_an_interval_of_their_own() -> None:
    """A timeout is shortened where the interval asks for it, and a view's own limit of age comes first."""
    config = mixed(
        refresh={"lock_timeout": "10s", "statement_timeout": "2m", "deadline": "150s"},
        staleness={"views": {"recent_failures": "4m"}},
        alerts={"stale_for": "0s"},
    )
    limits, times = config.limits(), config.view_times
    assert times["recent_failures"] == ViewTimes(3.0, 24.0, 25.0)
    assert times["trigger_performance_summary"] == ViewTimes(10.0, 120.0, 150.0)
    assert (limits.max_age_seconds["recent_failures"], limits.critical_age_seconds["recent_failures"]) == (240.0, 480.0)
    assert (limits.stale_for_seconds, limits.view_stale_for_seconds) == (0.0, {})


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        ({"refresh": {"isolation": "cycle"}}, 'schedule.views needs refresh.isolation = "view"'),
        ({"schedule": {"views": {"recent_failure": "30s"}}}, "schedule.views.recent_failure is not one of"),
        ({"schedule": {"views": {"recent_failures": "2d"}}}, 'schedule.views.recent_failures must be at most "1d"'),
        ({"schedule": {"views": {"recent_failures": 30}}}, "schedule.views.recent_failures is not a duration"),
        ({"staleness": {"max_age": "10m"}}, "; staleness.views.trigger_performance_summary sets its own"),
        ({"staleness": {"views": {"recent_failures": "50s"}}}, "must be over schedule.views.recent_failures + the"),
        ({"alerts": {"evaluate_every": "40s"}}, "must not be over the shortest interval of schedule.views"),
    ],
)
def test_intervals_of_views_that_cannot_be_had_are_refused(sections: dict[str, Any], problem: str) -> None:
    """One sentence names the key, and what to do."""
    with pytest.raises(ConfigError) as caught:
        mixed(**sections)
    assert any(problem in text for text in caught.value.problems), caught.value.problems


def test_without_intervals_of_views_nothing_of_them_is_known() -> None:
    """No limit, no threshold and no time exists that was not there before."""
    config = load({"database": {"url": "postgresql://u@db.example.net/app"}, "schedule": {"interval": "10s"}})
    limits = config.limits()
    assert (limits.view_interval_seconds, limits.view_stale_for_seconds, config.view_times) == ({}, {}, {})
    assert limits.shortest_interval_seconds is None
    assert (config.lock_timeout_seconds, config.evaluate_seconds) == (1.0, 10.0)
    assert config.plan().own == {}
