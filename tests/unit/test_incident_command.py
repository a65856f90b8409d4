"""The review as people see it: Markdown, the table, the bar on a terminal."""

import io
import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from analytics_refreshd.cli.incident import moment
from analytics_refreshd.core.errors import UsageError
from analytics_refreshd.incident import markdown
from analytics_refreshd.incident.review import review
from tests.support.log_lines import line, lock_trouble, run, text

NOW = datetime(2026, 3, 2, tzinfo=UTC)


def reviewed(lines: str, tmp_path: Path) -> str:
    """The Markdown for a log."""
    path = tmp_path / "log"
    path.write_text(lines)
    return "\n".join(markdown.document(review([str(path)])))


def test_markdown_is_exact(tmp_path: Path) -> None:
    """The review of a held lock, word by word."""
    assert (
        reviewed(text(lock_trouble()), tmp_path)
        == """\
# Incident review

Log: 16 lines read, 16 of the daemon.

- shop: 2026-03-01 11:50:00Z to 2026-03-01 12:20:06Z, 16 lines of r1; runs: 4 ok, 2 partial; interval 5 min

## 1. shop, 2026-03-01 12:05:00Z

| | |
|---|---|
| Start | 2026-03-01 12:05:00Z, with refresh.finished partial; last ok run before: 2026-03-01 12:00:06Z |
| End | 2026-03-01 12:15:06Z |
| Duration | 10 min 6 s |
| Views | recent_failures |
| Runs | 2 partial, 1 ok |
| Reasons | 2 lock_timeout |
| First error | 55P03 (lock_timeout) on recent_failures: canceling statement due to lock timeout |
| Errors | 55P03 (lock_timeout) on recent_failures: canceling statement due to lock timeout; 2 times, \
2026-03-01 12:05:24Z to 2026-03-01 12:10:30Z |
| Blocker | pid 812, nightly-etl, role etl, idle in transaction, transaction since 2026-03-01 12:04:00Z: held up \
recent_failures 2 times, last 2026-03-01 12:10:06Z, first seen 2026-03-01 12:05:06Z, for 4.0 s when logged |
| Retries | 0 |
| Changes of leader | none |
| Database away | no |
| Stale | recent_failures: for 5 min 3 s, since 2026-03-01 12:10:03Z, limit 10 min, oldest 15 min 3 s |
| Alerts | AnalyticsViewStale of recent_failures (warning): fired 2026-03-01 12:10:09Z, resolved 2026-03-01 12:15:12Z; \
firing delivered to pager 2026-03-01 12:10:12Z; resolved delivered to pager 2026-03-01 12:15:18Z after 2 tries |
| Time to detect | 5 min 9 s until the first alert fired; 5 min 12 s until one was delivered |
| Time to recover | 10 min 6 s |
"""
    )


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    """An incident without an end, an alert and an error has a line for each that says so."""
    said = reviewed(text([line(0, "database.lost", level="warning")]), tmp_path)
    for expected in (
        "| End | not over when the log ends |",
        "| First error | not in the log |",
        "| Alerts | none in the log |",
        "| Time to detect | no alert for it in the log; no delivery of one in the log |",
        "| Time to recover | not in the log |",
        "- the start: no successful run comes before it in the log, so it may have begun earlier",
        "- the end: the log ends before everything was ok again",
        "- shop: lines of level info: without them no recovery can be seen",
        "interval 5 min, the default: the log does not name it",
    ):
        assert expected in said


def test_text_from_the_log_stays_text(tmp_path: Path) -> None:
    """An error's text can neither make markup nor reach the terminal."""
    evil = "\x1b[31m| <b>x</b> `y` [z](http://e) \u202e\nnext # *w*"
    bad = run(5, "failed", reason="other", sqlstate="P0001", error=evil, database="a|b")
    said = reviewed(text([bad]), tmp_path)
    row = next(item for item in said.splitlines() if item.startswith("| First error"))
    assert r"\[31m\| \<b\>x\</b\> \`y\` \[z\](http://e)   next \# \*w\*" in row
    assert row.replace("\\|", "").count("|") == 3
    assert "## 1. a\\|b," in said
    assert "\x1b" not in said
    assert "\u202e" not in said


@pytest.mark.parametrize(("given", "expected"), [
    (None, None),
    ("24h", NOW - timedelta(hours=24)),
    ("1h30m", NOW - timedelta(minutes=90)),
    ("2026-03-01T02:00:00Z", datetime(2026, 3, 1, 2, tzinfo=UTC)),
    ("2026-03-01T02:00:00+02:00", datetime(2026, 3, 1, tzinfo=UTC)),
])  # fmt: skip
def test_window(given: str | None, expected: datetime | None) -> None:
    """A duration is taken back from now, a time as it is."""
    assert moment(given, NOW) == expected


@pytest.mark.parametrize("given", ["", "yesterday", "2026-03-01", "2026-03-01T02:00:00", "24", "99999999999d"])
def test_window_that_cannot_be(given: str) -> None:
    """A time without its zone is ambiguous, so it is refused like any other text."""
    with pytest.raises(UsageError, match="neither a duration"):
        moment(given, NOW)


def test_bar_on_a_terminal_only(tmp_path: Path) -> None:
    """Standard error shows progress where it is a terminal, and the results on standard output stay clean."""
    path = tmp_path / "log"
    path.write_text(text(lock_trouble()) * 200)
    words = [sys.executable, "-m", "analytics_refreshd", "incident", "--log", str(path), "--format", "json"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=theirs, env=os.environ | {"TERM": "xterm"})
    os.close(theirs)
    shown = io.BytesIO()
    with open(ours, "rb", buffering=0) as terminal:
        try:
            while part := terminal.read(4096):
                shown.write(part)
        except OSError:
            pass  # the terminal's other end was closed
    assert process.stdout is not None
    with process.stdout:
        result = json.loads(process.stdout.read())
    assert process.wait(30) == 0
    assert b"folding" in shown.getvalue() or b"reading" in shown.getvalue()
    assert len(result["incidents"]) == 1
    piped = subprocess.run(words, capture_output=True, check=True)
    assert piped.stderr == b""
