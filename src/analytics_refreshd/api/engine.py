"""Who reads an answer: PostgreSQL, or a warehouse."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from analytics_refreshd.api.answers import Reading
from analytics_refreshd.api.freshness import Known
from analytics_refreshd.postgres.catalogue.page import Page
from analytics_refreshd.postgres.catalogue.run import BoundQuery, Row
from analytics_refreshd.postgres.catalogue.sources import Sources


@dataclass(frozen=True, slots=True)
class Admitted:
    """A query, and the organizations that its statements see.

    None is all of them. What the query says changes nothing of it.
    """

    bound: BoundQuery
    organizations: tuple[str, ...] | None


class NotAnsweredHereError(Exception):
    """The warehouse does not hold what was asked; the text says why."""


class AnswerReader(Protocol):
    """Reads answers, and what is known beside them. Callable from any thread."""

    def sources(self, bound: BoundQuery) -> Sources:
        """Return what the query reads."""

    def known_now(self) -> Known | None:
        """Return what is known of the figures' age. None: nothing of this second."""

    def known(self) -> Known:
        """Return what is known of the figures' age. It may wait."""

    def read(self, asked: Admitted, page: Page, summary: BoundQuery | None = None, *, stored: bool = False) -> Reading:
        """Read a page, and the row beside it.

        With `stored` error texts are as they are stored. Raises ParameterError for what frozen days do not hold,
        NotAnsweredHereError where another must answer, and DatabaseFault or WarehouseFault.
        """

    def export(
        self, asked: Admitted, page: Page, take: Callable[[Iterator[Row]], None], *, stored: bool = False
    ) -> Known:
        """Hand rows to `take`.

        It may be called again, from the first row on. Otherwise as `read`.
        """


@dataclass(frozen=True, slots=True)
class WarehouseReaders:
    """What reads from a warehouse: the API's own database, and all of the fleet."""

    own: AnswerReader
    fleet: AnswerReader
    refusal: Callable[[BoundQuery, bool], str | None]
    """Says why the warehouse does not answer a bound query, of the fleet or not; None: it does."""
    close: Callable[[], None]
    """Gives up what is read."""
