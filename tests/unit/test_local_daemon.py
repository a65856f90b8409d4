"""What the daemon on this machine is asked for, when the database cannot answer."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from analytics_refreshd.app.commands import status
from analytics_refreshd.app.commands.local_daemon import LocalStatus
from analytics_refreshd.cli import main
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.model import VIEWS, Outcome, Reason, ViewResult
from analytics_refreshd.observe.status.document import status_json
from analytics_refreshd.observe.status.fetch import fetch_status, local_address
from tests.support.states import NOW, healthy, run_at

pytestmark = pytest.mark.fault


@contextmanager
def answering(status_code: int, body: bytes) -> Iterator[int]:
    """A server that answers everything so; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status_code)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def document() -> str:
    """A daemon's document after a run in which a view failed, and one before it that was well."""
    results = [ViewResult(view, True, duration_seconds=0.3, rows=5) for view in VIEWS[1:]]
    failed = ViewResult(VIEWS[0], False, reason=Reason.DATA, sqlstate="22003", error="numeric field overflow")
    bad = replace(run_at(1, NOW - timedelta(minutes=5)), outcome=Outcome.PARTIAL, views=(failed, *results))
    return status_json(healthy(runs=[bad, run_at(2, NOW - timedelta(minutes=10))]))


@pytest.mark.quick
def test_L26_the_daemons_runs_are_those_of_history() -> None:
    """Outcome, results and the last error come back as they were; the newest is first."""
    newest, before = LocalStatus("here", json.loads(document())).runs()
    assert (newest.outcome, before.outcome) == (Outcome.PARTIAL, Outcome.OK)
    assert newest.started_at > before.started_at
    [failed] = [result for result in newest.views if not result.success]
    assert (failed.view, failed.reason, failed.sqlstate) == (VIEWS[0], Reason.DATA, "22003")
    assert failed.error == "numeric field overflow"
    assert {result.view for result in before.views} == set(VIEWS)


def test_L26_only_the_daemon_of_this_database_is_believed() -> None:
    """Another database's, no JSON, no page, nobody: nothing is told."""
    name = json.loads(document())["database"]
    with answering(200, document().encode()) as port:
        found = fetch_status("127.0.0.1", port, name)
        assert found is not None
        assert found["source"] == "memory"
        assert fetch_status("0.0.0.0", port, name) == found  # noqa: S104 - a daemon listens there
        assert fetch_status("127.0.0.1", port, "another") is None
    assert fetch_status("127.0.0.1", port, name) is None
    for code, body in ((404, document().encode()), (200, b"<html>"), (200, b"[]"), (200, b"\xff")):
        with answering(code, body) as port:
            assert fetch_status("127.0.0.1", port, name) is None
    assert fetch_status("127.0.0.1", 0, name) is None
    assert (local_address("::", 9720), local_address("10.0.0.1", 1)) == ("[::1]:9720", "10.0.0.1:1")


@pytest.mark.parametrize(
    ("error_class", "reason", "code"),
    [
        (ErrorClass.RESOURCE, Reason.DISK_FULL, 1),
        (ErrorClass.RESOURCE, Reason.TOO_MANY_CONNECTIONS, 1),
        (ErrorClass.CONNECT, Reason.CONNECT, 75),
    ],
)
def test_L26_a_full_disk_is_told_by_the_daemon(
    error_class: ErrorClass,
    reason: Reason,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What cannot be read from a server in need is shown from the daemon's memory; the file that is full is named."""
    text = 'could not extend file "pg_tblspc/16385/PG_18_1/5/1234567": No space left on device'

    def full(*_: object, **__: object) -> None:
        raise DatabaseFault(text, error_class=error_class, reason=reason, sqlstate="53100")

    monkeypatch.setattr(status, "database_snapshot", full)
    monkeypatch.setattr(status, "past_runs", full)
    with answering(200, document().encode()) as port:
        monkeypatch.setenv("ANALYTICS_REFRESHD_DATABASE__URL", "postgresql://u@127.0.0.1:1/x")
        monkeypatch.setenv("ANALYTICS_REFRESHD_SERVICE__NAME", json.loads(document())["database"])
        monkeypatch.setenv("ANALYTICS_REFRESHD_HTTP__PORT", str(port))
        for words in (["status"], ["history", "--since", "30d"], ["status", "--format", "json"]):
            monkeypatch.setattr(sys, "argv", ["analytics-refreshd", *words])
            assert main() == code
            printed = capsys.readouterr()
            assert VIEWS[0] in printed.out
            assert f"not from the database ({text}), but from the daemon" in printed.err
            assert printed.err.splitlines()[-1] == f"analytics-refreshd: {text} (SQLSTATE 53100)"
