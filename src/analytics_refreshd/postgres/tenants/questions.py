"""Lists and changes kept questions, as the role of the API."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC
from typing import TypeVar
from uuid import UUID

from psycopg.rows import class_row, scalar_row, tuple_row

from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.model import Reason
from analytics_refreshd.core.questions import (
    NameTakenError,
    NoRoomError,
    Question,
    QuestionError,
    QuestionText,
    UnknownOrganizationError,
)
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.tenants.primary import Primary
from analytics_refreshd.postgres.tenants.wall import Wall

_Value = TypeVar("_Value")
_FILE = "tenants/questions.sql"
_LABEL = "questions"
_TAKEN, _CHECKED = "23505", "23514"


def read_questions(connection: Connection, limit: int, offset: int) -> tuple[list[Question], int]:
    """Return admitted questions by name, and how many there are. Raises psycopg.Error."""
    with connection.cursor(row_factory=scalar_row) as cursor:
        total = cursor.execute(blocks(_FILE)["count"], prepare=False).fetchone()
    return _questions(connection, "list", {"limit": limit, "offset": offset}), int(total or 0)


def read_question(connection: Connection, question_id: UUID) -> Question | None:
    """Return an admitted question. None: there is none of this id. Raises psycopg.Error."""
    return next(iter(_questions(connection, "one", {"question_id": question_id})), None)


class PostgresQuestionBook:
    """Changes questions on the primary. Each transaction is admitted to organizations, None for all."""

    def __init__(self, primary: Primary, wall: Wall) -> None:
        self._primary = primary
        self._wall = wall

    def keep(
        self, admitted: Sequence[str] | None, organization: str | None, text: QuestionText, kept_by: str
    ) -> Question:
        """Keep a question of `organization`, None for who sees all; return it.

        Raises NameTakenError, NoRoomError, UnknownOrganizationError, QuestionError and DatabaseFault.
        """

        def work(connection: BoundedConnection) -> Question:
            values = {"organization": organization, **_values(text), "kept_by": kept_by}
            with connection.cursor(row_factory=tuple_row) as cursor:
                ((question_id, known, room),) = cursor.execute(blocks(_FILE)["keep"], values).fetchall()
            if not known:
                raise UnknownOrganizationError
            if not room:
                raise NoRoomError
            return _written(connection, question_id)

        return self._run(admitted, work)

    def replace(
        self, admitted: Sequence[str] | None, question_id: UUID, text: QuestionText, kept_by: str
    ) -> Question | None:
        """Give a question another name and address; return it.

        None: there is none of this id. Raises NameTakenError, QuestionError and DatabaseFault.
        """

        def work(connection: BoundedConnection) -> Question | None:
            values = {"question_id": question_id, **_values(text), "kept_by": kept_by}
            return _written(connection, question_id) if _one(connection, "replace", values) else None

        return self._run(admitted, work)

    def remove(self, admitted: Sequence[str] | None, question_id: UUID) -> bool:
        """Remove a question. False: there is none of this id. Raises DatabaseFault."""
        return self._run(
            admitted, lambda connection: _one(connection, "remove", {"question_id": question_id}) is not None
        )

    def _run(self, admitted: Sequence[str] | None, work: Callable[[BoundedConnection], _Value]) -> _Value:
        def within(connection: BoundedConnection) -> _Value:
            self._wall.admit(connection, admitted)
            return work(connection)

        try:
            return self._primary.run(_LABEL, within)
        except DatabaseFault as fault:
            if fault.sqlstate == _TAKEN:
                raise NameTakenError from fault
            if fault.sqlstate == _CHECKED or fault.reason is Reason.DATA:
                raise QuestionError("name has a character that this database cannot store") from fault
            raise


def _values(text: QuestionText) -> dict[str, object]:
    return {"name": text.name, "address": text.address}


def _one(connection: BoundedConnection, name: str, values: dict[str, object]) -> object:
    with connection.cursor(row_factory=scalar_row) as cursor:
        return cursor.execute(blocks(_FILE)[name], values).fetchone()


def _written(connection: BoundedConnection, question_id: UUID) -> Question:
    found = read_question(connection, question_id)
    assert found is not None  # noqa: S101 - it was written in this transaction
    return found


def _questions(connection: Connection, name: str, values: dict[str, object]) -> list[Question]:
    with connection.cursor(row_factory=class_row(Question)) as cursor:
        found = cursor.execute(blocks(_FILE)[name], values, prepare=False).fetchall()
    return [replace(question, kept_at=question.kept_at.astimezone(UTC)) for question in found]
