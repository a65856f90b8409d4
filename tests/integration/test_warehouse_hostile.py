"""Whatever answers at `[warehouse] url`: a request ends in time, takes little memory, and tells nothing secret."""

import io
import threading
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import UUID

import pytest

from analytics_refreshd.core.redaction import printable
from analytics_refreshd.core.warehouse import Batch, FaultKind, OutboxState, Position, WarehouseFault
from analytics_refreshd.warehouse import client as talking
from analytics_refreshd.warehouse import tables
from analytics_refreshd.warehouse.client import Client
from analytics_refreshd.warehouse.months import ClickHouseMonths
from analytics_refreshd.warehouse.reading import Reader
from analytics_refreshd.warehouse.sender import Sender
from analytics_refreshd.warehouse.settings import WarehouseSettings
from analytics_refreshd.warehouse.store import ClickHouseWarehouse
from tests.support.hostile_clickhouse import KINDS, answering, hostile
from tests.unit.test_core_warehouse import OUTBOX

pytestmark = pytest.mark.timeout(60)
_MOST_BYTES = 120 << 20
_MOST_SECONDS = 20.0
SECRET = "sesame-of-the-warehouse"
BATCH = Batch(1, UUID(int=1), 1, datetime(2026, 3, 1, tzinfo=UTC))


def reached(url: str, folder: Path, seconds: float = 0.5) -> WarehouseSettings:
    """How a client finds it: with a limit of half a second."""
    (folder / "password").write_text(SECRET)
    return WarehouseSettings(
        "shop", url, password_file=folder / "password", request_seconds=seconds, connect_seconds=5.0
    )


def rows(number: int = 1) -> io.BytesIO:
    """Lines of a batch."""
    body = io.BytesIO(b"shop\t1\n" * number)
    body.seek(0, io.SEEK_END)
    return body


def refused(ask: Callable[[], object]) -> WarehouseFault:
    """Hold that a request is over, long after its own limit at the latest; returns what it raised."""
    raised: list[WarehouseFault] = []

    def run() -> None:
        try:
            ask()
        except WarehouseFault as fault:
            raised.append(fault)

    # on a thread of its own: without a limit it would go on, and no test would end
    asking = threading.Thread(target=run, daemon=True)
    asking.start()
    asking.join(_MOST_SECONDS)
    assert not asking.is_alive(), f"a request with a limit of half a second went on for {_MOST_SECONDS} s"
    assert raised, "nothing was raised"
    return raised[0]


ASKING: dict[str, Callable[[Client], object]] = {
    "position": lambda client: ClickHouseWarehouse(client).position(),
    "rows": lambda client: ClickHouseWarehouse(client).rows_of(1, BATCH),
    "months": lambda client: ClickHouseMonths(client).moves(1, 1),
    "version": tables.refuse_older,
    "figures": lambda client: Reader(client.settings, 0.5).state(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_W13_every_question_ends(kind: str, tmp_path: Path) -> None:
    """In time, in little memory, in one printable line, without the password that was sent."""
    with hostile(kind) as url:
        for name, ask in ASKING.items():
            tracemalloc.start()
            try:
                text = str(refused(lambda: ask(Client(reached(url, tmp_path)))))  # noqa: B023
                assert tracemalloc.get_traced_memory()[1] < _MOST_BYTES, name
            finally:
                tracemalloc.stop()
            assert text == printable(text)
            assert SECRET not in text
            assert len(text) < 1200


@pytest.mark.parametrize("kind", ["a slow header", "endless waiting", "nothing"])
def test_W13_every_insert_ends(kind: str, tmp_path: Path) -> None:
    """Also where the server takes the rows and goes on for ever, or takes none of them."""
    with hostile(kind) as url:
        warehouse = ClickHouseWarehouse(Client(reached(url, tmp_path)))
        assert "cannot be reached" in str(refused(lambda: warehouse.land(1, BATCH, rows(500_000))))


def test_W13_what_is_read_as_a_whole_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer of cells that does not end is given up, and so is a line of figures."""
    monkeypatch.setattr(talking, "_MOST_BYTES", 4 << 20)
    monkeypatch.setattr(talking, "_MOST_LINE_BYTES", 1 << 20)
    with hostile("an endless answer") as url:
        client = Client(reached(url, tmp_path, 20.0))
        with pytest.raises(WarehouseFault, match="more than 4 MiB") as caught:
            client.read("select 1")
        assert caught.value.kind is FaultKind.TOO_LARGE
        with pytest.raises(WarehouseFault, match="more than 1 MiB"):
            list(client.lines("select 1", {}, {}, 20.0))


def test_W13_a_redirect_is_not_followed(tmp_path: Path) -> None:
    """The password would go where the answer says."""
    asked = threading.Event()

    def elsewhere(send: Callable[[bytes], None]) -> None:
        asked.set()
        send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with answering(elsewhere) as other:
        leads = f"HTTP/1.1 307 There\r\nLocation: {other}/\r\nContent-Length: 0\r\n\r\n".encode()
        with (
            answering(lambda send: send(leads)) as url,
            pytest.raises(WarehouseFault, match="answered 307, which leads elsewhere"),
        ):
            Client(reached(url, tmp_path)).select("select 1")
    assert not asked.is_set()


def test_W13_an_error_that_repeats_the_password_is_masked(tmp_path: Path) -> None:
    """What a server says of a request may hold what was sent with it."""
    said = f"no such user with {SECRET}-42"
    answer = f"HTTP/1.1 500 No\r\nContent-Length: {len(said)}\r\n\r\n{said}".encode()
    with answering(lambda send: send(answer)) as url, pytest.raises(WarehouseFault) as caught:
        Client(reached(url, tmp_path)).select("select 1")
    assert str(caught.value) == "the warehouse answered 500: no such user with ***-42"


class Forgetful:
    """A warehouse that takes all, and says of itself what it likes."""

    def __init__(self, position: Callable[[], Position | None]) -> None:
        self.position = position
        self.taken = 0

    def export(self, *_: object) -> None:
        """Take cells."""
        self.taken += 1

    def complete(self, outbox: OutboxState) -> None:
        """Take an epoch."""

    def has_cells(self, epoch: int) -> bool:
        """Say that it has them."""
        return bool(epoch)


class Endless:
    """An outbox with an export of no parts, which begins an epoch whenever it is told to."""

    def __init__(self, outbox: OutboxState) -> None:
        self.outbox = outbox
        self.restarts = 0

    def state(self) -> OutboxState:
        """Return what is there."""
        return self.outbox

    def claim(self) -> bool:
        """Be the only one."""
        return True

    def restart(self, reason: str, above: int) -> None:
        """Begin an epoch."""
        self.restarts += 1
        assert self.restarts < 5, (reason, above)

    def ranges(self, epoch: int) -> list[object]:
        """All was sent."""
        assert epoch
        return []


@pytest.mark.parametrize(
    ("position", "said"),
    [
        (lambda: None, "took an export and does not have it"),
        (lambda: Position(900, UUID(int=9), 1, None), "there is a reason for another one"),
    ],
)
def test_W13_what_it_says_of_itself_is_not_followed_for_ever(
    position: Callable[[], Position | None], said: str
) -> None:
    """One export and one new epoch in a call, however often the answer asks for another."""
    outbox = Endless(OUTBOX)
    sender = Sender(outbox, Forgetful(position))  # type: ignore[arg-type]
    with pytest.raises(WarehouseFault, match=said):
        sender.send()
    assert outbox.restarts <= 1


def test_W13_a_number_that_no_database_has_is_no_epoch(tmp_path: Path) -> None:
    """A new epoch above it could never be counted in PostgreSQL."""
    line = f"{2**31 - 1}\t{UUID(int=1)}\t0\n"
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(line)}\r\n\r\n{line}".encode()
    with answering(lambda send: send(answer)) as url:
        warehouse = ClickHouseWarehouse(Client(reached(url, tmp_path)))
        warehouse._replicated = False
        with pytest.raises(WarehouseFault, match="what no ClickHouse does"):
            warehouse.position()


class Counting(BaseHTTPRequestHandler):
    """Answers 1, and counts connections. The server says when it closes, or just does."""

    protocol_version = "HTTP/1.1"
    connections = 0
    says = ""
    closes = False

    def setup(self) -> None:
        """A connection came."""
        type(self).connections += 1
        super().setup()

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""

    def do_POST(self) -> None:
        """Answer."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        if self.says:
            self.send_header("Connection", self.says)
        self.end_headers()
        self.wfile.write(b"1\n")
        self.close_connection = bool(self.says) or self.closes


@pytest.mark.parametrize(("says", "closes", "connections"), [("", False, 1), ("close", False, 5), ("", True, None)])
def test_a_connection_is_used_again(says: str, closes: bool, connections: int | None, tmp_path: Path) -> None:
    """As long as the server keeps it; one that it closed without a word costs no request."""
    handler = type("Handler", (Counting,), {"says": says, "closes": closes, "connections": 0})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        client = Client(reached(f"http://127.0.0.1:{server.server_address[1]}", tmp_path, 20.0))
        for _ in range(5):
            if closes:
                # its end is here before the next request
                threading.Event().wait(0.05)
            assert client.one("select 1", int) == [1]
        client.stop()
        server.shutdown()
    assert connections is None or handler.connections == connections  # type: ignore[attr-defined]
    with pytest.raises(WarehouseFault, match="stopping"):
        client.select("select 1")
