"""A standby that lacks what the warehouse has acknowledged takes over: the warehouse follows it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.settings import Outbox
from analytics_refreshd.postgres.migrate.run import migrate
from analytics_refreshd.warehouse import tables
from analytics_refreshd.warehouse.client import Client
from tests.conftest import create_application
from tests.integration.test_warehouse import change_and_refresh
from tests.support.clickhouse import needs_chdb, serving
from tests.support.postgres import Server
from tests.support.proxy import Proxy
from tests.support.waiting import eventually
from tests.support.warehouse import Fed, settings

pytestmark = [needs_chdb, pytest.mark.slow]


@pytest.fixture
def pair() -> Iterator[tuple[Server, Server, Proxy]]:
    """A primary with an outbox, its asynchronous standby, and what carries the one's WAL to the other."""
    primary = Server(settings={"max_wal_senders": "4"}).start()
    standby: Server | None = None
    try:
        create_application(primary.dsn())
        with primary.connect() as connection:
            migrate(connection)
            incremental.install(connection, outbox=Outbox(True))
        with Proxy(("127.0.0.1", primary.port)) as proxy:
            standby = primary.standby()
            standby.settings["primary_conninfo"] = f"'host=127.0.0.1 port={proxy.port} user=postgres'"
            standby.start()
            yield primary, standby, proxy
    finally:
        for server in (standby, primary):
            if server is not None:
                server.destroy()


@pytest.mark.parametrize("folded", [False, True])
def test_W10_a_standby_that_lacks_the_last_acknowledged_batch(
    pair: tuple[Server, Server, Proxy], tmp_path: Path, folded: bool
) -> None:
    """It has no such batch, or, once it folded, another one of that number: a new epoch is opened, and is exact."""
    primary, standby, proxy = pair
    name = "postgres"
    with serving(tmp_path / "clickhouse") as clickhouse:
        reached = settings(clickhouse.url, name, tmp_path)
        tables.create(Client(reached))
        before, after = Fed(primary.dsn(), Client(reached)), Fed(standby.dsn(), Client(reached))
        with primary.connect(options="-c timezone=UTC") as connection:
            change_and_refresh(connection, 1)
            before.sender.send()
            change_and_refresh(connection, 2)
            before.sender.send()
            known = before.outbox.state()
            assert known is not None
            reached_there = "select acknowledged_batch from analytics_refresh.outbox_sender"
            with standby.connect() as behind:
                eventually(lambda: behind.execute(reached_there).fetchone() == (known.acknowledged_batch,))
            proxy.freeze()
            change_and_refresh(connection, 3)
            before.sender.send()
            last = before.outbox.state()
        assert last is not None
        assert last.acknowledged_batch == known.acknowledged_batch + 1
        before.close()
        primary.stop("immediate")
        proxy.cut()
        standby.promote()
        with standby.connect(options="-c timezone=UTC") as connection:
            found = after.outbox.state()
            assert found is not None
            assert found.acknowledged_batch == known.acknowledged_batch
            if folded:
                change_and_refresh(connection, 4)
                found = after.outbox.state()
                assert found is not None
                assert found.waiting[0].batch == last.acknowledged_batch
                assert found.waiting[0].batch_id != last.acknowledged_id
            sent = after.sender.send()
            assert sent is not None
            assert sent.restarted == "the warehouse has a batch that this database has not"
            assert sent.exported_epoch == last.epoch + 1
            assert after.verify().differences == 0
            change_and_refresh(connection, 5)
            sent = after.sender.send()
            assert sent is not None
            assert (sent.batches, sent.restarted) == (1, None)
            assert after.verify().differences == 0
        after.close()
