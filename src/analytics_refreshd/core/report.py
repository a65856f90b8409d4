"""A month of one organization, as it is reported."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ReportColumn:
    """A column of a table: its field, the unit of its figures as in the catalogue, and its heading."""

    field: str
    unit: str
    heading: str


@dataclass(frozen=True, slots=True)
class ReportTable:
    """The answer to one question.

    `notes` are sentences for its reader. `complete` is False where a limit left rows out.
    """

    name: str
    title: str
    columns: tuple[ReportColumn, ...]
    rows: Sequence[tuple[object, ...]]
    notes: tuple[str, ...] = ()
    complete: bool = True

    def column(self, field: str) -> list[object]:
        """Return the values of a column."""
        at = next(number for number, column in enumerate(self.columns) if column.field == field)
        return [row[at] for row in self.rows]


@dataclass(frozen=True, slots=True)
class Report:
    """All tables of a month.

    `name` is the organization's, or its id. `since` and `until` are the month's bounds in `timezone`. `read_at` is the
    server's time: before `until` the month is not over.
    """

    organization_id: str
    name: str
    month: str
    timezone: str
    since: datetime
    until: datetime
    read_at: datetime
    tables: tuple[ReportTable, ...]

    @property
    def over(self) -> bool:
        """Whether the month was over when it was read."""
        return self.read_at >= self.until

    def table(self, name: str) -> ReportTable:
        """Return the table of that name."""
        return next(table for table in self.tables if table.name == name)

    def notes(self) -> tuple[str, ...]:
        """Return the sentences of all tables, each once."""
        return tuple(dict.fromkeys(note for table in self.tables for note in table.notes))
