"""Daemon or ClickHouse killed, or the network between them cut, at every step: what comes next goes on, exactly."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, LiteralString, NamedTuple, get_args

import psycopg
import pytest

from analytics_refreshd.warehouse.reading import Reader
from tests.acceptance.feeding import Feeding, fed
from tests.acceptance.test_incremental_daemon import held as kept_out
from tests.acceptance.test_incremental_daemon import waits_for
from tests.integration.test_warehouse_answers import differing
from tests.support.clickhouse import LANDING, ClickHouse, Fault, needs_chdb
from tests.support.daemon import Daemon
from tests.support.incremental import Changes, differences
from tests.support.waiting import eventually
from tests.support.warehouse import Fed

pytestmark = needs_chdb
Connection = psycopg.Connection[Any]


class Step(NamedTuple):
    """Where the daemon is at a kill: what happens, and to which statement there, or to which table here."""

    what: LiteralString
    where: LiteralString


_SENDING = (
    # where a fold waits, and no writer
    Step("table", "hour_cells"),
    Step("hold before", LANDING),
    Step("hold within", LANDING),
    Step("hold after", LANDING),
    Step("half", LANDING),
    Step("lose answer", LANDING),
    Step("table", "outbox_sender"),
    Step("hold before", "_incoming ("),
    Step("hold after", "replace partition"),
)
_EXPORTING = (
    Step("hold after", ".trigger_totals ("),
    Step("hold before", ".epochs ("),
    Step("table", "outbox_ranges"),
    Step("hold before", ".trigger_hours ("),
    Step("lose answer", ".hour_durations ("),
    Step("hold after", ".epochs ("),
    Step("half", ".hour_totals ("),
)
_KILLED = ("daemon", "server", "network")


def _each(steps: tuple[Step, ...]) -> Iterator[tuple[Step, str]]:
    """Yield each step with each that is killed there, neighbours with different ones; then all again."""
    for turn in itertools.count():
        for place, step in enumerate(steps):
            yield step, _KILLED[(place + turn) % len(_KILLED)]


@pytest.fixture
def feeding(dsn: str, connection: Connection, clickhouse: ClickHouse, tmp_path: Path) -> Feeding:
    """A database with rows, whose outbox and tables `migrate --warehouse` has made."""
    return fed(dsn, connection, clickhouse, tmp_path)


def change(changes: Changes, *, truncate: bool) -> None:
    """Insert rows, some without time, duration or trigger; update one in twenty, delete some; or empty the table."""
    if truncate:
        changes.truncate()
    changes.copy()
    changes.insert()
    changes.connection.execute(
        "update action_results set status = 'success', duration_ms = nullif(duration_ms, 1) + 1"
        " where (hashtext(id) & 1023) % 20 = 0"
    )
    changes.update()
    changes.delete()


@pytest.mark.parametrize("cycles", [4, *(pytest.param(cycles, marks=pytest.mark.nightly) for cycles in (10, 100))])
def test_W09_killed_at_every_step(feeding: Feeding, connection: Connection, cycles: int) -> None:
    """Of folding, sending, acknowledging and exchanging, and of an export after TRUNCATE; verified after each.

    A hundred cycles kill each of the three at every step.
    """
    rollups = Fed(feeding.owner, feeding.client)
    changes = Changes(connection, cycles)
    sending, exporting = _each(_SENDING), _each(_EXPORTING)
    truncated = 0
    with ExitStack() as stack:
        stack.callback(rollups.close)
        daemon = stack.enter_context(feeding.daemon())
        daemon.wait_for("warehouse.exported")
        for cycle in range(cycles):
            truncate = cycle % 4 == 2
            truncated += truncate
            step, killed = next(exporting if truncate else sending)
            with reached(step, feeding, connection, lambda: change(changes, truncate=truncate)):  # noqa: B023
                kill(killed, feeding.clickhouse, daemon)
            if killed == "daemon":
                daemon = stack.enter_context(feeding.daemon())
            change(changes, truncate=False)
            folded(daemon)
            eventually(lambda: all_sent(rollups), within=120.0, every=0.1)
            report = rollups.verify()
            assert report.differences == 0, (cycle, step, killed, report)
            assert all(table.cells for table in report.tables)
            # rows at the edge of a view's window leave it with the clock, until the next refresh
            eventually(lambda: differences(connection) == {}, within=60.0, every=0.5)
        assert daemon.stop() == 0
        asked_alike(rollups, connection)
    epochs = feeding.client.select(
        "select count() from analytics.epochs where database = {name:String}", name=feeding.client.settings.name
    )
    # one for each TRUNCATE after the first, and none because anything had parted
    assert int(epochs[0][0]) == truncated + 1


@contextmanager
def reached(step: Step, feeding: Feeding, connection: Connection, write: Callable[[], None]) -> Iterator[None]:
    """Write, and enter where the daemon is at the step. It goes on in the end, if it still runs."""
    with ExitStack() as stack:
        if step.what == "table":
            stack.enter_context(kept_out(feeding.owner, step.where))
            write()
            eventually(lambda: waits_for(connection, step.where), within=90.0)
        else:
            fault: Fault = next(each for each in get_args(Fault) if each == step.what)
            held = feeding.clickhouse.fault(fault, step.where)
            stack.callback(held.release)
            write()
            held.wait()
        yield


def kill(killed: str, clickhouse: ClickHouse, daemon: Daemon) -> None:
    """Kill the daemon or the server, or cut the network between them; server and network come back."""
    if killed == "daemon":
        daemon.process.kill()
        daemon.process.wait(60)
        return
    clickhouse.leave()
    if killed == "server":
        clickhouse.kill()
        clickhouse.start()
    clickhouse.listen()


def asked_alike(rollups: Fed, connection: Connection) -> None:
    """Hold that each query has the same rows here and there, at the last batch."""
    failed = connection.execute("select error_message from refresh_action_analytics() where not success")
    assert not failed.fetchall()
    assert rollups.sender.send() is not None
    assert rollups.verify().differences == 0
    row = connection.execute("select now()").fetchone()
    assert row is not None
    found, compared = differing(connection, Reader(rollups.client.settings, 60.0), row[0], [({}, None, {})])
    assert not found, "\n".join(found)
    assert compared > 15


def folded(daemon: Daemon) -> None:
    """Wait until what was written before this call is in the views, also where runs are out of time at first."""

    def ok(line: dict[str, Any]) -> bool:
        return bool(line["outcome"] == "ok")

    before = [line for line in daemon.events("refresh.finished") if ok(line)]
    daemon.wait_for("refresh.finished", ok, count=len(before) + 2, within=180.0)


def all_sent(rollups: Fed) -> bool:
    """Whether the warehouse has all that was folded."""
    outbox = rollups.outbox.state()
    return outbox is not None and not outbox.exporting and not outbox.waiting
