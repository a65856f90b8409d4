"""A cluster of two shards of two replicas holds each database once, whole, whichever server is asked.

On ClickHouse 18.16, the one that Debian has: what is proved here is the topology. `tests/README.md` lists what that
server lacks, and what proves it instead.
"""

import io
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import psycopg
import pytest

from analytics_refreshd.core.warehouse import CELLS, KINDS, SUMMED, WarehouseFault
from analytics_refreshd.postgres.connection.connector import Profile
from analytics_refreshd.postgres.state.outbox_snapshot import at_snapshot
from analytics_refreshd.warehouse import tables
from analytics_refreshd.warehouse.client import Client
from analytics_refreshd.warehouse.sender import Sender
from analytics_refreshd.warehouse.settings import WarehouseSettings
from analytics_refreshd.warehouse.store import ClickHouseWarehouse
from tests.support.clickhouse_cluster import DAEMON, PASSWORD, Node, cluster, led, needs_cluster
from tests.support.incremental import Changes
from tests.support.warehouse import Fed

pytestmark = [needs_cluster, pytest.mark.nightly, pytest.mark.timeout(600)]
Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    """The servers, with the tables that `migrate --warehouse` creates."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "password").write_text(PASSWORD)
    with cluster(folder) as started:
        assert len(tables.create(Client(settings(started[0], "none", folder)))) > 40
        led(started[:2])
        led(started[2:])
        yield started


def settings(node: Node, name: str, folder: Path, seconds: float = 120.0) -> WarehouseSettings:
    """How a daemon reaches a server, and how long it waits for an answer."""
    return WarehouseSettings(
        name,
        node.old.url,
        user=DAEMON,
        password_file=folder / "password",
        connect_seconds=60.0,
        request_seconds=seconds,
        cluster="analytics",
    )


class WithoutSnapshots(ClickHouseWarehouse):
    """Leaves the small tables out: 18.16 may wait for ever where it exchanges partitions between replicas."""

    def replace(self, table: str, body: IO[bytes]) -> None:
        """Exchange nothing."""


class Feeding:
    """A database, and the replicas of the shard that it lives on."""

    def __init__(self, dsn: str, replicas: list[Node], folder: Path, seed: int) -> None:
        self.dsn, self.replicas, self.folder = dsn, replicas, folder
        self.name = str(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"])
        self.connection: Connection = psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC")
        self.changes = Changes(self.connection, seed)
        self._fed: Fed | None = None
        self.by(replicas[0])

    def by(self, node: Node, seconds: float = 120.0) -> Fed:
        """Send to this replica from now on, with this limit for an answer."""
        if self._fed is not None:
            self._fed.close()
        self._fed = Fed(self.dsn, Client(settings(node, self.name, self.folder, seconds)))
        self._fed.warehouse = WithoutSnapshots(self._fed.client)
        self._fed.sender = Sender(self._fed.outbox, self._fed.warehouse)
        return self._fed

    @property
    def fed(self) -> Fed:
        """The way to the replica that is sent to."""
        assert self._fed is not None
        return self._fed

    def change(self) -> None:
        """Change rows of all kinds, and fold that."""
        self.changes.insert()
        self.changes.update()
        self.changes.delete()
        failed = self.connection.execute("select error_message from refresh_action_analytics() where not success")
        assert not failed.fetchall()

    def cells(self, table: str) -> set[str]:
        """The cells of PostgreSQL."""
        connection = self.fed.connector.connect("cells", Profile())
        try:
            with at_snapshot(connection, "public") as rollups:
                kind = next(kind for kind, names in KINDS.items() if table in names)
                parts = [part for part in rollups.ranges() if part.kind == kind]
                return {line for part in parts for line in rollups.cells(table, part).decode().splitlines()}
        finally:
            connection.close()

    def differing(self, node: Node, database: str = "analytics_all") -> list[str]:
        """Which tables a server shows otherwise than PostgreSQL has them, once replicas have copied from each other."""
        for replica in self.replicas:
            if replica.runs:
                replica.sync()
        return [table for table in CELLS if shown(node, table, self.name, database) != self.cells(table)]

    def close(self) -> None:
        """End its connections."""
        self.fed.close()
        self.connection.close()


def shown(node: Node, table: str, name: str, database: str) -> set[str]:
    """The cells that a server shows of one database."""
    keys = [column for column in CELLS[table] if column not in SUMMED]
    sums = [f"sum({column})" for column in CELLS[table] if column in SUMMED]
    query = (
        f"select {', '.join([*keys, *sums])} from {database}.{table} where database = '{name}' and epoch = ("
        f"select max(epoch) from {database}.epochs where database = '{name}') group by {', '.join(keys)} "
        f"having {' or '.join(f'{each} <> 0' for each in sums)}"
    )
    return set(node.ask(query).splitlines())


@pytest.fixture
def feeding(
    nodes: list[Node], databases: Callable[..., str], fed_template: str, tmp_path: Path
) -> Iterator[list[Feeding]]:
    """Three databases: two on the first shard, one on the second."""
    (tmp_path / "password").write_text(PASSWORD)
    led(nodes[:2])
    places = (nodes[:2], nodes[:2], nodes[2:])
    made = [Feeding(databases(fed_template), place, tmp_path, seed) for seed, place in enumerate(places, 1)]
    for each in made:
        each.change()
        sent = each.fed.sender.send()
        assert sent is not None
        assert sent.exported_epoch is not None
    yield made
    for each in made:
        each.close()


def test_each_server_has_each_table(nodes: list[Node], tmp_path: Path) -> None:
    """Replicated ones and those over all shards; created again, nothing is left to do, and a wrong name is refused."""
    names = [node.ask("select database, name from system.tables where database like 'analytics%' order by 1, 2")
             for node in nodes]  # fmt: skip
    assert len(set(names)) == 1
    assert names[0].count("\n") > 40
    (tmp_path / "password").write_text(PASSWORD)
    usual = settings(nodes[3], "none", tmp_path)
    assert tables.create(Client(usual)) == []
    with pytest.raises(WarehouseFault, match="knows no cluster other"):
        tables.create(Client(replace(usual, cluster="other")))


def test_the_figures_of_three_databases_add_up(nodes: list[Node], feeding: list[Feeding]) -> None:
    """Each server shows every database's cells, and the percentiles of all actions together are those of all rows."""
    for _ in range(3):
        for each in feeding:
            each.change()
            each.fed.sender.send()
    for node in (nodes[0], nodes[3]):
        assert [each.differing(node) for each in feeding] == [[], [], []]
    names = ", ".join(f"'{each.name}'" for each in feeding)
    found = nodes[2].ask(
        f"select action_type, duration_ms, sum(n) from analytics_all.hour_durations where database in ({names})"
        " group by action_type, duration_ms having sum(n) <> 0"
    )
    counted: dict[str, Counter[int]] = {}
    for line in found.splitlines():
        kind, duration, count = line.split("\t")
        counted.setdefault(kind, Counter())[int(duration)] += int(count)
    rows: dict[str, list[int]] = {}
    for each in feeding:
        query = "select action_type, duration_ms from action_results where duration_ms is not null"
        for kind, duration in each.connection.execute(query):
            rows.setdefault(kind, []).append(duration)
    assert {kind: percentile(sorted(counts.elements()), 0.95) for kind, counts in counted.items()} == {
        kind: percentile(sorted(durations), 0.95) for kind, durations in rows.items()
    }


def percentile(values: list[int], share: float) -> float:
    """As percentile_cont."""
    place = share * (len(values) - 1)
    low, high = values[math.floor(place)], values[math.ceil(place)]
    return low + (high - low) * (place - math.floor(place))


def test_a_killed_replica_loses_nothing(nodes: list[Node], feeding: list[Feeding]) -> None:
    """Who asks gets all of it from the other one, who sends goes on there, and the one that comes back catches up."""
    first = feeding[0]
    nodes[0].kill()
    try:
        assert first.differing(nodes[2]) == []
        # 18.16 alone: partitions are exchanged by the leader, which a server is for some seconds after its death
        led(nodes[:2])
        sender = first.by(nodes[1]).sender
        for _ in range(3):
            first.change()
            sent = sender.send()
            assert sent is not None
            assert (sent.restarted, sent.exported_epoch, sent.batches) == (None, None, 1)
        assert first.differing(nodes[2]) == []
    finally:
        nodes[0].start()
        nodes[0].wait()
    led(nodes[:2])
    # the position is asked for when the replica has caught up, so that nothing passes for lost
    sent = first.by(nodes[0]).sender.send()
    assert sent is not None
    assert (sent.restarted, sent.exported_epoch) == (None, None)
    assert first.differing(nodes[0], "analytics") == []


def test_a_batch_sent_to_both_replicas_counts_once(nodes: list[Node], feeding: list[Feeding]) -> None:
    """As two leaders, or one whose answer was lost, send it."""
    first = feeding[0]
    first.change()
    outbox = first.fed.outbox.state()
    assert outbox is not None
    (batch,) = outbox.waiting
    body = io.BytesIO()
    first.fed.outbox.rows(batch, outbox.epoch, body)
    for node in (nodes[0], nodes[1], nodes[0]):
        first.by(node).warehouse.land(outbox.epoch, batch, body)
    first.fed.sender.send()
    assert first.differing(nodes[2]) == []


def test_a_replica_that_lags_is_neither_believed_nor_asked(nodes: list[Node], feeding: list[Feeding]) -> None:
    """What it has not copied yet does not pass for lost: it is waited for, and who asks is led to the other one."""
    first = feeding[0]
    nodes[0].parts.freeze()
    try:
        first.change()
        first.fed.sender.send()
        whole = first.cells("hour_totals")
        assert shown(nodes[1], "hour_totals", first.name, "analytics") != whole
        with pytest.raises(WarehouseFault, match="this replica was waited for"):
            first.by(nodes[1], 10.0).sender.send()
        query = f"select sum(n) from analytics_all.hour_totals where database = '{first.name}'"
        limits = {
            "max_replica_delay_for_distributed_queries": "1",
            "fallback_to_stale_replicas_for_distributed_queries": "0",
        }
        truth = nodes[0].ask(query)
        assert nodes[1].ask(query, {"max_replica_delay_for_distributed_queries": "0"}) != truth
        assert nodes[1].ask(query, limits) == truth
    finally:
        nodes[0].parts.thaw()
    sent = first.by(nodes[1]).sender.send()
    assert sent is not None
    assert (sent.restarted, sent.exported_epoch) == (None, None)
    assert first.differing(nodes[1], "analytics") == []


def test_a_second_shard_is_refused(nodes: list[Node], feeding: list[Feeding]) -> None:
    """A database that is led to another shard would count twice over all of them: it says so, and sends nothing."""
    first = feeding[0]
    with pytest.raises(WarehouseFault, match="another shard of the cluster holds the figures"):
        first.by(nodes[2]).sender.send()
    first.by(nodes[0]).sender.send()
    assert first.differing(nodes[3]) == []


def test_a_slow_network_only_takes_time(nodes: list[Node], feeding: list[Feeding]) -> None:
    """Each packet between servers comes late: answers are whole, and batches land."""
    for node in nodes:
        node.native.on_request = node.parts.on_request = lambda data: time.sleep(0.1)
    try:
        for each in feeding:
            each.change()
            each.fed.sender.send()
        for node in (nodes[0], nodes[2]):
            assert [each.differing(node) for each in feeding] == [[], [], []]
    finally:
        for node in nodes:
            node.native.on_request = node.parts.on_request = lambda data: None
