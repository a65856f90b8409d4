"""Who answers a request of the API, and what a warehouse's faults are for its clients."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from analytics_refreshd.api.access.principal import Principal
from analytics_refreshd.api.asking import asked
from analytics_refreshd.api.engine import Admitted, NotAnsweredHereError
from analytics_refreshd.api.exchange import Request, of_error
from analytics_refreshd.api.freshness import Known, Timing
from analytics_refreshd.api.keeping import Asking, tag_of
from analytics_refreshd.api.problems import of_warehouse_fault
from analytics_refreshd.api.routes import Route, routes_of
from analytics_refreshd.api.warehouse import readers_of
from analytics_refreshd.api.warehouse.reader import WarehouseReader, fleets, refusal
from analytics_refreshd.config import load
from analytics_refreshd.core.errors import ConfigError
from analytics_refreshd.core.warehouse import FaultKind, WarehouseFault
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.page import Page
from analytics_refreshd.postgres.catalogue.run import BoundQuery, bind
from analytics_refreshd.warehouse.catalogue.definition import UNANSWERED, answers
from analytics_refreshd.warehouse.reading import State
from analytics_refreshd.warehouse.settings import WarehouseSettings
from tests.support.fakes import FakeClock

NOW = datetime(2026, 3, 1, 10, 20, tzinfo=UTC)
CATALOGUE = Catalogue.load()
CONFIG = load({"database": {"url": "postgresql://u@h/app"}})
ROUTES = {route.query.name: route for route in routes_of(CATALOGUE, fleets())}


def bound(name: str, *, organizations: list[str] | None = None, **parameters: object) -> BoundQuery:
    """The query as a request binds it."""
    return bind(ROUTES[name].query, parameters, organizations, NOW, "analytics_api")


@pytest.mark.parametrize("name", sorted(CATALOGUE.queries))
def test_25_of_28_are_answered_by_the_warehouse(name: str) -> None:
    """By one definition: those that `query --list` calls answered."""
    assert (refusal(bound(name), False) is None) == (name in answers())
    assert (len(answers()), len(UNANSWERED)) == (len(CATALOGUE.queries) - 3, 3)


@pytest.mark.parametrize(
    ("question", "fleet", "why"),
    [
        (bound("latency", organizations=["acme"]), False, "no durations of an organization"),
        (bound("failing-triggers", hours=48), False, "last 24 hours"),
        (bound("organization-costs", timezone="Asia/Kolkata"), False, "whole hours of UTC"),
        (bound("distribution"), True, "cannot be added up"),
        (bound("success-rate", organizations=["acme"]), True, "name different organizations alike"),
        (bound("forecast"), False, "written for PostgreSQL alone"),
    ],
)
def test_what_the_warehouse_does_not_hold_is_postgresqls(question: BoundQuery, fleet: bool, why: str) -> None:
    """The reason is that of `query --engine warehouse`."""
    assert why in (refusal(question, fleet) or "")


def test_a_fleet_is_offered_where_rows_can_name_their_database() -> None:
    """Not for one trigger's row, nor for what the warehouse answers of one database alone."""
    offered = {name for name, route in ROUTES.items() if route.fleet}
    assert offered == {name for name, answer in answers().items() if not answer.not_fleet} - {"trigger-stats"}
    assert {name for name, route in ROUTES.items() if route.by_database} <= offered
    assert not any(route.fleet for route in routes_of(CATALOGUE))
    assert ROUTES["top-organizations"].names(fleet=True)[0] == "database"
    assert ROUTES["success-rate"].names(fleet=True) == ROUTES["success-rate"].field_names


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (FaultKind.AWAY, 503, "service_unavailable"),
        (FaultKind.REFUSED, 503, "service_unavailable"),
        (FaultKind.TIMEOUT, 503, "timeout"),
        (FaultKind.TOO_LARGE, 400, "validation_error"),
    ],
)
def test_a_fault_of_the_warehouse_is_a_problem_without_its_text(kind: FaultKind, status: int, code: str) -> None:
    """What it said stays in the log; who may ask again is told when."""
    fault = WarehouseFault("user refreshd at 10.1.2.3 was refused", kind)
    problem = of_warehouse_fault(fault)
    assert (problem.status, problem.code) == (status, code)
    assert ("Retry-After" in problem.headers) == (status == 503)
    reply = of_error(fault, "r1")
    assert reply.status == status
    assert b"refreshd at" not in reply.body
    assert reply.exception is fault


def test_a_warehouse_that_is_no_engine_is_not_loaded() -> None:
    """Without the key PostgreSQL answers all; with it and without an address nothing starts."""
    config = load({"database": {"url": "postgresql://u@h/app"}, "warehouse": {"url": "https://c.example.net:8443"}})
    assert readers_of(config, lambda: 0.0) == (None, {})
    with pytest.raises(ConfigError, match=r"set warehouse\.url"):
        load({"database": {"url": "postgresql://u@h/app"}, "api": {"engine": "warehouse"}})
    both = {"warehouse": {"url": "https://c.example.net:8443"}, "api": {"engine": "warehouse"}}
    readers, offered = readers_of(load({"database": {"url": "postgresql://u@h/app"}, **both}), lambda: 0.0)
    assert readers is not None
    assert offered == fleets()
    readers.close()


@dataclass
class FakeWarehouse:
    """Stands for `warehouse.reading.Reader`: tells states one after the other, and fails when told to."""

    states: list[State]
    fault: WarehouseFault | None = None
    frozen: datetime | None = None
    calls: list[str] = field(default_factory=list)

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.fault is not None:
            raise self.fault

    def state(self) -> State:
        self._called("state")
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def refuse_missing_wall(self) -> None:
        self._called("wall")

    def frozen_until(self, question: object) -> datetime | None:
        self._called("frozen")
        return self.frozen

    def page(self, question: Any, page: object, units: list[str], admitted: object) -> tuple[int, Iterator[Any]]:
        self._called(f"page {admitted}")
        return 1, iter([("east",) * question.fleet + (None,) * len(units)])

    def close(self) -> None:
        self._called("close")


def state(batch: int, *, settled: bool = True) -> State:
    """How far the warehouse is."""
    return State({"shop": 1}, batch, NOW, NOW, (("shop", 1, batch, 0),), settled)


def reader_of(fake: FakeWarehouse, clock: FakeClock, *, fleet: bool = False) -> WarehouseReader:
    """A reader over it."""
    made = WarehouseReader(WarehouseSettings("shop", "http://h"), ["v"], 5, clock.monotonic, fleet=fleet)
    made._reader = fake  # type: ignore[assignment]
    return made


QUESTION = Admitted(bound("slowest-triggers"), ("acme",))


def test_an_answer_that_was_read_while_a_batch_landed_is_not_kept() -> None:
    """Nor one whose small tables are of the batch before. Its age is that of before."""
    clock = FakeClock()
    still = reader_of(FakeWarehouse([state(3)]), clock).read(QUESTION, Page(5)).known
    assert (still.engine, still.mark, still.successes) == ("warehouse", repr(state(3).position), {"v": NOW})
    moved = reader_of(FakeWarehouse([state(3), state(4)]), clock).read(QUESTION, Page(5)).known
    assert moved.mark is None
    assert reader_of(FakeWarehouse([state(3, settled=False)]), clock).known().mark is None


def test_the_wall_is_looked_at_before_and_each_minute() -> None:
    """Where it is missing, nothing is read."""
    clock, fake = FakeClock(), FakeWarehouse([state(3)])
    reader = reader_of(fake, clock)
    for _ in range(2):
        reader.read(QUESTION, Page(5))
    assert fake.calls.count("wall") == 1
    assert fake.calls.index("wall") < fake.calls.index("page ('acme',)")
    clock.pass_by(61)
    reader.read(QUESTION, Page(5))
    assert fake.calls.count("wall") == 2
    fake.fault = WarehouseFault("the warehouse shows triggers")
    clock.pass_by(61)
    before = len(fake.calls)
    with pytest.raises(WarehouseFault, match="shows triggers"):
        reader.read(QUESTION, Page(5))
    assert fake.calls[before:] == ["wall"]


def test_nobody_waits_for_what_was_away_a_moment_ago() -> None:
    """Within a second it is not tried again; what was refused is."""
    clock, fake = FakeClock(), FakeWarehouse([state(3)], WarehouseFault("away", FaultKind.AWAY))
    reader = reader_of(fake, clock)
    for _ in range(3):
        with pytest.raises(WarehouseFault, match="away"):
            reader.known()
    assert len(fake.calls) == 1
    clock.pass_by(0.9)
    fake.fault = None
    assert reader.known().successes == {"v": NOW}
    assert reader.known_now() == reader.known()
    clock.pass_by(1.1)
    assert reader.known_now() is None
    fake.fault = WarehouseFault("no right")
    for _ in range(2):
        with pytest.raises(WarehouseFault, match="no right"):
            reader.known()


def test_frozen_days_are_postgresqls_where_the_query_has_hours() -> None:
    """What days hold is answered, and says so."""
    frozen = NOW - timedelta(days=40)
    fake = FakeWarehouse([state(3)], frozen=frozen)
    reader = reader_of(fake, FakeClock())
    days = bound("organization-usage", organizations=["acme"], days=90)
    reading = reader.read(Admitted(days, ("acme",)), Page(5))
    assert reading.known.horizon is not None
    assert reading.known.horizon.until == frozen
    assert any("frozen days count" in note for note in reading.bound.notes)
    hours = bound("heat-map", organizations=["acme"], days=90)
    with pytest.raises(NotAnsweredHereError, match="only whole days are kept"):
        reader.read(Admitted(hours, ("acme",)), Page(5))


def test_a_fleets_row_begins_with_its_database() -> None:
    """Its statement is admitted to all."""
    fake = FakeWarehouse([state(3)])
    reading = reader_of(fake, FakeClock(), fleet=True).read(Admitted(bound("top-organizations"), None), Page(5))
    assert reading.page.rows[0][0] == "east"
    assert "page None" in fake.calls


def test_a_tag_is_another_one_after_a_batch_and_in_the_next_slot() -> None:
    """A quiet database sends no batch, and its windows go on."""
    timing = Timing(CONFIG.limits(), CONFIG.plan())
    route = ROUTES["top-organizations"]

    def tag(mark: str | None, minutes: int = 0) -> str | None:
        known = Known({"v": NOW}, None, "warehouse", mark)
        return tag_of(asking(route, NOW + timedelta(minutes=minutes)), known, timing, stored=False)

    first = tag("a")
    assert first is not None
    assert tag("a", 1) == first
    assert tag("b") not in (None, first)
    assert tag("a", 6) not in (None, first)
    assert tag(None) is None


def asking(route: Route, now: datetime) -> Asking:
    """A request without parameters, for the warehouse."""
    reader = reader_of(FakeWarehouse([state(3)]), FakeClock())
    request = Request("/", {}, (), MappingProxyType({}), "192.0.2.1", "r1")
    principal = Principal("key_1", None, "admin", "enterprise")
    query = bind(route.query, {}, None, now, "analytics_api")
    return Asking(route, request, asked(route, (), {}), principal, query, reader.sources(query), now, reader)


def test_a_password_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    """So that a request is answered 503, and the log says where to look."""
    settings = WarehouseSettings("shop", "http://127.0.0.1:1", password_file=tmp_path / "none")
    with pytest.raises(WarehouseFault, match="password_file"):
        WarehouseReader(settings, ["v"], 1, FakeClock().monotonic).known()
