"""Reads answers from a warehouse."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from analytics_refreshd.api.answers import Reading, plain
from analytics_refreshd.api.engine import Admitted, NotAnsweredHereError, WarehouseReaders
from analytics_refreshd.api.freshness import KNOWN_SECONDS, Known
from analytics_refreshd.api.routes import DATABASE
from analytics_refreshd.app.commands.warehouse_question import Asked, NotAnswered, asked_of
from analytics_refreshd.core.display import exact_text
from analytics_refreshd.core.warehouse import FaultKind, WarehouseFault
from analytics_refreshd.postgres.catalogue.horizon import Horizon, with_horizon
from analytics_refreshd.postgres.catalogue.page import MESSAGE_CHARACTERS, Page, PageOfRows
from analytics_refreshd.postgres.catalogue.parameters import Column
from analytics_refreshd.postgres.catalogue.redacting import redacted
from analytics_refreshd.postgres.catalogue.run import BoundQuery, Row
from analytics_refreshd.postgres.catalogue.sources import Sources
from analytics_refreshd.warehouse.catalogue.definition import answers
from analytics_refreshd.warehouse.catalogue.page import PageOf
from analytics_refreshd.warehouse.reading import Reader, State
from analytics_refreshd.warehouse.settings import WarehouseSettings

ENGINE = "warehouse"
_WALL_SECONDS = 60.0
"""How long the second wall is taken to stand."""
_FAIL_FAST_SECONDS = 0.8
"""For so long after it was away nobody tries again, so that no request waits behind others."""


class WarehouseReader:
    """`api.engine.AnswerReader` over a warehouse, for one database or all of its fleet.

    `views` are those whose age an answer tells: here that of the last batch. `seconds` is the longest that a statement
    may take.
    """

    def __init__(
        self,
        settings: WarehouseSettings,
        views: Sequence[str],
        seconds: float,
        monotonic: Callable[[], float],
        *,
        fleet: bool = False,
    ) -> None:
        limited = replace(
            settings,
            request_seconds=min(settings.request_seconds, seconds + 1),
            connect_seconds=min(settings.connect_seconds, seconds),
        )
        self._reader = Reader(limited, seconds, fleet=fleet, walled=True)
        self._views = tuple(views)
        self._monotonic = monotonic
        self._fleet = fleet
        self._lock = threading.Lock()
        self._state: tuple[float, State] | None = None
        self._walled_at: float | None = None
        self._fault: tuple[float, WarehouseFault] | None = None

    def sources(self, bound: BoundQuery) -> Sources:
        """Return the views: every figure is as old as the last batch."""
        del bound
        return Sources({}, self._views, rows=False, days=False)

    def known_now(self) -> Known | None:
        """Return how old the figures are. None: that was not read within a second."""
        state = self._state
        if state is None or self._monotonic() - state[0] >= KNOWN_SECONDS:
            return None
        return self._known(state[1])

    def known(self) -> Known:
        """Return how old the figures are. Raises WarehouseFault."""
        return self._known(self._state_now())

    def read(self, asked: Admitted, page: Page, summary: BoundQuery | None = None, *, stored: bool = False) -> Reading:
        """Read a page, and the row beside it."""
        with self._failing_fast():
            before = self._state_now()
            bound, horizon, total, rows = self._page(asked, page, before, stored=stored)
            units = [field.column.unit for field in bound.query.api.fields]
            kept = tuple(_as_json(units, row) for row in rows)
            beside = None
            if summary is not None:
                _, _, _, found = self._page(replace(asked, bound=summary), Page(1), before, stored=stored)
                beside = next(found)
            known = self._known(before, horizon, after=self._read_state())
        return Reading(bound, PageOfRows(kept, total), beside, known)

    def export(
        self, asked: Admitted, page: Page, take: Callable[[Iterator[Row]], None], *, stored: bool = False
    ) -> Known:
        """Hand rows to `take`, and return how old they are."""
        with self._failing_fast():
            before = self._state_now()
            _, horizon, _, rows = self._page(asked, page, before, stored=stored)
            take(rows)
            return self._known(before, horizon, after=self._read_state())

    @contextmanager
    def _failing_fast(self) -> Iterator[None]:
        """Raise at once what was met a moment ago, if the warehouse was away."""
        fault = self._fault
        if fault is not None and self._monotonic() - fault[0] < _FAIL_FAST_SECONDS:
            raise WarehouseFault(str(fault[1]), fault[1].kind)
        try:
            yield
        except WarehouseFault as error:
            if error.kind is FaultKind.AWAY:
                self._fault = (self._monotonic(), error)
            raise

    def _page(
        self, asked: Admitted, page: Page, state: State, *, stored: bool
    ) -> tuple[BoundQuery, Horizon | None, int, Iterator[Row]]:
        question = _question(asked.bound, state.epochs, fleet=self._fleet)
        horizon = self._horizon(question, asked.bound)
        bound = with_horizon(asked.bound, horizon)
        columns = [field.column for field in bound.query.api.fields]
        wanted = PageOf(tuple(column.name for column in columns), page.limit, page.offset, page.order)
        units = [column.unit for column in columns]
        total, rows = self._reader.page(question, wanted, units, asked.organizations)
        if self._fleet and question.answer.of_database:
            columns = [DATABASE, *columns]
        return bound, horizon, total, (_clean(tuple(columns), row, stored=stored) for row in rows)

    def _horizon(self, question: Asked, bound: BoundQuery) -> Horizon | None:
        if not question.reads_trigger_hours:
            return None
        frozen = self._reader.frozen_until(question)
        if frozen is None:
            return None
        if not bound.query.days:
            raise NotAnsweredHereError(
                f"before {_written(frozen)} only whole days are kept of organizations and triggers"
            )
        return Horizon(frozen)

    def _state_now(self) -> State:
        """Return how far the warehouse is, as it was within a second."""
        state = self._state
        if state is not None and self._monotonic() - state[0] < KNOWN_SECONDS:
            return state[1]
        with self._failing_fast():
            if self._walled_at is None or self._monotonic() - self._walled_at >= _WALL_SECONDS:
                began = self._monotonic()
                self._reader.refuse_missing_wall()
                self._walled_at = began
            return self._read_state()

    def _read_state(self) -> State:
        began = self._monotonic()
        found = self._reader.state()
        with self._lock:
            if self._state is None or began >= self._state[0]:
                self._state = (began, found)
        return found

    def _known(self, state: State, horizon: Horizon | None = None, after: State | None = None) -> Known:
        """Return what is known of an answer that was read between two states.

        What landed meanwhile may be in a part of it: such an answer is not kept.
        """
        moved = after is not None and after.position != state.position
        mark = None if moved or not state.settled else repr(state.position)
        return Known(dict.fromkeys(self._views, state.as_of), horizon, ENGINE, mark)

    def close(self) -> None:
        """Give up what is read."""
        self._reader.close()


def readers(
    settings: WarehouseSettings, views: Sequence[str], seconds: float, monotonic: Callable[[], float]
) -> WarehouseReaders:
    """Return what reads from the warehouse."""
    own, fleet = (WarehouseReader(settings, views, seconds, monotonic, fleet=of) for of in (False, True))

    def close() -> None:
        own.close()
        fleet.close()

    return WarehouseReaders(own, fleet, refusal, close)


def refusal(bound: BoundQuery, fleet: bool) -> str | None:
    """Return why the warehouse does not answer; None: it does, as far as is known without asking it."""
    try:
        _question(bound, {}, fleet=fleet)
    except NotAnsweredHereError as error:
        return str(error)
    return None


def fleets() -> Mapping[str, bool]:
    """Return the queries that a fleet can be asked.

    Beside each is whether its rows are of one database each.
    """
    return {name: answer.of_database for name, answer in answers().items() if not answer.not_fleet}


def _question(bound: BoundQuery, epochs: Mapping[str, int], *, fleet: bool) -> Asked:
    try:
        return asked_of(bound, bound.values, epochs, fleet=fleet)
    except NotAnswered as refused:
        raise NotAnsweredHereError(str(refused)) from None


def _clean(columns: tuple[Column, ...], row: Row, *, stored: bool) -> Row:
    """Mask what a row holds of secrets; long messages are cut before."""
    cut = tuple(
        value[:MESSAGE_CHARACTERS] if column.unit == "message" and isinstance(value, str) else value
        for column, value in zip(columns, row, strict=True)
    )
    return redacted(columns, cut, messages=not stored)


def _as_json(units: Sequence[str], row: Row) -> Row:
    """Return a row as JSON has it, as PostgreSQL's rows are read; a database's name may stand before it."""
    first = len(row) - len(units)
    values = (
        exact_text(value) if unit == "money" else plain(value) for unit, value in zip(units, row[first:], strict=True)
    )
    return (*row[:first], *values)


def _written(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
