"""Asks the warehouse a catalogue query, and reads its rows."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any

from analytics_refreshd.core.redaction import printable
from analytics_refreshd.core.warehouse import WarehouseFault
from analytics_refreshd.warehouse.catalogue.definition import answers
from analytics_refreshd.warehouse.catalogue.page import MOST_ROWS, PageOf, page_statement, total_statement
from analytics_refreshd.warehouse.catalogue.statement import SETTINGS, Asked, Statement, part, statement
from analytics_refreshd.warehouse.client import Client
from analytics_refreshd.warehouse.refusals import not_understood
from analytics_refreshd.warehouse.settings import WarehouseSettings
from analytics_refreshd.warehouse.tenants import NOTHING, admission, shown_to_nobody

LAG_SECONDS = 30
"""A replica that lags by more is not asked through a Distributed table."""
_MOST_BYTES = 256 << 20
_MORE_SECONDS = 1.0
"""So that the server gives up first, and tells why."""
_JSON = {"output_format_json_quote_64bit_integers": "0", "output_format_json_quote_decimals": "0"}
_REPLICAS = {
    "max_replica_delay_for_distributed_queries": str(LAG_SECONDS),
    # rather no answer than an old one
    "fallback_to_stale_replicas_for_distributed_queries": "0",
}
_FORMAT = "format JSONCompactEachRowWithNamesAndTypes"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER, _EVER = -(2**63 - 1), 2**63 - 1
"""What stands for -infinity and infinity."""
_CENTS = 2
_HALF_DAY = 43_200
_MOST_NAME = 100


@dataclass(frozen=True, slots=True)
class State:
    """The databases that are asked, and how far the warehouse is.

    `epochs` has the current one of each. `as_of` is when the last batch was folded that landed of each; of several
    databases it is the earliest. `now` is the warehouse's clock. `position` is another one as soon as anything landed.
    `settled` says that the small tables are of the last batch too.
    """

    epochs: Mapping[str, int]
    batch: int
    as_of: datetime
    now: datetime
    position: tuple[tuple[str, int, int, int], ...] = ()
    settled: bool = False


class Reader:
    """Reads one database of a warehouse, or all of its fleet. Callable from any thread.

    With `walled` each statement sees what its request is admitted to, by the server's row policies; without, what the
    server lets its user see. Each method raises WarehouseFault.
    """

    def __init__(
        self, settings: WarehouseSettings, seconds: float, *, fleet: bool = False, walled: bool = False
    ) -> None:
        self._settings = settings
        self._client = Client(settings)
        self._fleet = fleet
        self._walled = walled
        self._seconds = seconds
        self._given = {
            **SETTINGS,
            **_JSON,
            **_REPLICAS,
            "max_execution_time": f"{max(seconds, 0.001):g}",
            "timeout_overflow_mode": "throw",
            "max_result_rows": str(MOST_ROWS),
            "max_result_bytes": str(_MOST_BYTES),
            "result_overflow_mode": "throw",
        }

    def state(self) -> State:
        """Return which databases are there and how far they are. Raises WarehouseFault if there is none."""
        asked = Asked(answers()["success-rate"], {"fleet": self._fleet, "database": self._settings.name}, {})
        rows = list(self._rows(part("state", asked, self._settings.database)))
        if not rows:
            whose = "any database" if self._fleet else f"the database {self._settings.name}"
            raise WarehouseFault(
                f"the warehouse holds no complete figures of {whose} yet: look at [service] name, and at"
                " analytics_warehouse_lag_seconds of the daemon that sends"
            )
        with _understood():
            return State(
                {str(row[0]): int(row[1]) for row in rows},
                min(int(row[2]) for row in rows),
                moment(min(int(row[3]) for row in rows)),
                moment(max(int(row[4]) for row in rows)),
                tuple((str(row[0]), int(row[1]), int(row[2]), int(row[3])) for row in rows),
                all(row[5] for row in rows),
            )

    def refuse_missing_wall(self) -> None:
        """Raise WarehouseFault where rows are shown to nobody."""
        asks = Statement(shown_to_nobody(self._settings.database), {})
        shown = self._names(asks, NOTHING)
        if shown:
            raise WarehouseFault(
                f"the warehouse shows {printable(shown[0])[:_MOST_NAME]} to whom it should show nothing: its"
                " administrator runs deploy/clickhouse/tenants.sql there, for the user in [warehouse]"
            )

    def frozen_until(self, asked: Asked) -> datetime | None:
        """Return until when the window's hours of triggers are frozen days.

        None: none of them is.
        """
        with _understood():
            ((until,),) = self._rows(part("frozen", asked, self._settings.database))
            return moment(int(until) * 1_000_000) if until and int(until) > _HALF_DAY else None

    def unknown_organizations(self, asked: Asked) -> list[str]:
        """Return which organizations asked for the warehouse does not know."""
        return self._names(part("unknown", asked, self._settings.database))

    def rows(self, asked: Asked, units: Sequence[str]) -> Iterator[tuple[object, ...]]:
        """Yield the answer's rows. `units` are those of the columns that the catalogue declares.

        Of a fleet, each row that is of one database begins with its name.
        """
        of_database = asked.answer.of_database
        readers = [_as_is] * of_database + [_READERS.get(unit, _as_is) for unit in units]
        for read in _read(readers, self._rows(statement(asked, self._settings.database))):
            yield read[1:] if of_database and not asked.fleet else read

    def page(
        self, asked: Asked, page: PageOf, units: Sequence[str], admitted: Sequence[str] | None
    ) -> tuple[int, Iterator[tuple[object, ...]]]:
        """Return how many rows there are, and the page's.

        `units` are those of its columns; of a fleet, each row that is of one database begins with its name. The
        statement sees the organizations `admitted`, None: all of them.
        """
        seen = admission(None if asked.fleet else self._settings.name, admitted)
        of_database = asked.fleet and asked.answer.of_database
        readers = [_as_is] * of_database + [_READERS.get(unit, _as_is) for unit in units]
        found = self._rows(page_statement(asked, page, self._settings.database), seen)
        first = next(found, None)
        if first is None:
            if not page.offset:
                return 0, iter(())
            # past the last row nothing tells how many there are
            with _understood():
                ((total,),) = self._rows(total_statement(asked, self._settings.database), seen)
                return int(total), iter(())
        with _understood():
            found_in_all = int(first[0])
        return found_in_all, _read(readers, (row[1:] for row in chain([first], found)))

    def close(self) -> None:
        """End the connections."""
        self._client.stop()

    def _rows(self, asks: Statement, admitted: Mapping[str, str] | None = None) -> Iterator[list[Any]]:
        """Yield rows with exact decimals: JSON has them without the zeros at their end.

        What our own statements ask that tell of no tenant is `admitted` to all.
        """
        given = {**self._given, **(admitted or admission(None, None))} if self._walled else self._given
        lines = self._client.lines(f"{asks.text}\n{_FORMAT}", given, asks.parameters, self._seconds + _MORE_SECONDS)
        next(lines, None)
        kinds = next(lines, b"")
        with _understood():
            exact = [number for number, kind in enumerate(json.loads(kinds)) if "Decimal" in kind]
        for line in lines:
            with _understood():
                row: list[Any] = json.loads(line, parse_float=Decimal)
                for number in exact:
                    row[number] = _figure(row[number])
            yield row

    def _names(self, asks: Statement, admitted: Mapping[str, str] | None = None) -> list[str]:
        rows = list(self._rows(asks, admitted))
        with _understood():
            return [str(row[0]) for row in rows]


def _read(readers: Sequence[Callable[[Any], object]], rows: Iterable[Sequence[Any]]) -> Iterator[tuple[object, ...]]:
    for row in rows:
        with _understood():
            read = tuple(reader(value) for reader, value in zip(readers, row, strict=True))
        yield read


@contextmanager
def _understood() -> Iterator[None]:
    """Raise WarehouseFault for what cannot be read as what was asked for."""
    try:
        yield
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
        raise not_understood() from None


def moment(microseconds: int) -> datetime:
    """Return the time, in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def _as_is(value: object) -> object:
    return value


def _time(value: object) -> object:
    """Read microseconds; what PostgreSQL cannot hold as a time of Python it shows as text, and so does this."""
    if value is None:
        return None
    number = int(str(value))
    if number in (_NEVER, _EVER):
        return "-infinity" if number == _NEVER else "infinity"
    return moment(number)


def _figure(value: object) -> Decimal | None:
    """Return a decimal with its cents, and no zeros after those."""
    if value is None:
        return None
    plain = Decimal(str(value)).normalize()
    exponent = plain.as_tuple().exponent
    if not isinstance(exponent, int):
        raise ValueError
    return plain if -exponent > _CENTS else plain.quantize(Decimal("0.01"))


def _money(value: object) -> object:
    return None if value is None else Decimal(str(value)).normalize()


def _json(value: object) -> object:
    return None if value is None else json.loads(str(value))


def _boolean(value: object) -> object:
    return None if value is None else bool(value)


_READERS: Mapping[str, Callable[[Any], object]] = {
    "timestamp": _time,
    "json": _json,
    "boolean": _boolean,
    "money": _money,
}
