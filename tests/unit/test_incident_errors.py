"""Every distinct error of an incident, with how often it was seen."""

from pathlib import Path
from typing import Any

from analytics_refreshd.incident import markdown
from analytics_refreshd.incident.errors import DISTINCT_ERRORS
from analytics_refreshd.incident.model import Incident
from analytics_refreshd.incident.review import review
from tests.support.log_lines import at, fold, line, run, text


def only(lines: list[dict[str, Any]]) -> Incident:
    """The one incident in these lines."""
    (found,) = fold(lines).incidents
    return found


def boom(minutes: float, **fields: Any) -> dict[str, Any]:
    """A run that failed with an error of the application's own, on every view and as a whole."""
    return run(minutes, "failed", reason="other", sqlstate="P0001", error="boom", **fields)


def night() -> list[dict[str, Any]]:
    """A function that is missing at first and fails with a text of its own thereafter."""
    missing = run(5, "failed", reason="undefined", sqlstate="42883", error="function does not exist")
    retry = line(10.01, "refresh.retry", run_id="00000000-0000-4000-8000-000000000100", reason="other",
                 sqlstate="P0001", error="boom", attempt=1)  # fmt: skip
    partial = run(20, "partial", success=(True, True, False, True), sqlstate="P0001", view_reason="other", error="boom")
    return [run(0), missing, retry, boom(10), boom(15), partial, run(25)]


def test_each_error_is_told_once_with_its_count() -> None:
    """An error that is not the first is told too; tries, views and the run's own line are one sighting."""
    found = only(night())
    assert [(item.sqlstate, item.error, item.reason, item.times, item.first_at, item.last_at, len(item.views))
            for item in found.errors] == [
        ("42883", "function does not exist", "undefined", 1, at(5.1), at(5.1), 4),
        ("P0001", "boom", "other", 3, at(10.01), at(20.1), 4),
    ]  # fmt: skip
    assert found.errors_beyond == 0
    assert found.first_error is not None
    assert found.first_error.sqlstate == "42883"


def test_line_without_a_run_is_a_sighting() -> None:
    """A database that is lost twice for the same reason counts twice, without an SQLSTATE and a view."""
    lost = [line(n, "database.lost", reason="connect", sqlstate=None, error="connection refused") for n in (1, 3)]
    back = [line(n, "database.restored", seconds=30.0, missed_slots=0) for n in (2, 4)]
    (error,) = only([run(0), *lost, *back, run(5)]).errors
    assert (error.sqlstate, error.times, error.views, error.first_at, error.last_at) == (None, 2, [], at(1), at(3))


def test_error_before_trouble_returns_counts_once() -> None:
    """What is noted between two stretches of an incident is added to the same error, and its run counts once."""
    told = line(15.05, "view.failed", view="recent_failures", run_id="00000000-0000-4000-8000-000000000150",
                reason="other", sqlstate="P0001", error="boom")  # fmt: skip
    (error,) = only([run(0), boom(5), run(10), told, boom(15), run(20)]).errors
    assert (error.times, error.first_at, error.last_at) == (2, at(5.1), at(15.1))


def test_errors_beyond_the_limit_are_counted() -> None:
    """Texts that differ each time leave bounded memory, and the runs beyond are counted, noted in whatever way."""
    many = [run(5 + n, "failed", reason="other", sqlstate="P0001", error=f"boom {n}") for n in range(25)]
    found = only([run(0), *many, run(40)])
    assert len(found.errors) == DISTINCT_ERRORS == 20
    assert found.errors_beyond == 5
    retries = [line(36 + n / 100, "refresh.retry", reason="other", sqlstate="P0001", error=f"try {n}", attempt=n)
               for n in range(22)]  # fmt: skip
    found = only([run(0), *many, run(35), *retries, boom(37), run(40)])
    assert (len(found.errors), found.errors_beyond) == (20, 5 + 22 + 1)


def test_words_of_the_errors(tmp_path: Path) -> None:
    """The review tells SQLSTATE, text, views, count, first and last time."""
    (tmp_path / "log").write_text(text(night()))
    said = "\n".join(markdown.document(review([str(tmp_path / "log")])))
    assert (
        "P0001 (other) on action_metrics_hourly, trigger_performance_summary, recent_failures,"
        " action_type_distribution: boom; 3 times, 2026-03-01 12:10:00Z to 2026-03-01 12:20:06Z" in said
    )
    assert "42883 (undefined) on" in said
    assert "function does not exist; once, 2026-03-01 12:05:06Z" in said
    many = [run(5 + n, "failed", reason="other", sqlstate="P0001", error=f"boom {n}") for n in range(25)]
    (tmp_path / "log").write_text(text([run(0), *many, run(40)]))
    assert "and further ones, seen 5 times" in "\n".join(markdown.document(review([str(tmp_path / "log")])))
