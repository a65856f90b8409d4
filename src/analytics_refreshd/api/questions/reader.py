"""Reads the questions that people keep, where the figures are read."""

from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import UUID

from analytics_refreshd.api.pool import PooledConnection, ReadPool
from analytics_refreshd.core.questions import Question
from analytics_refreshd.postgres.tenants.questions import read_question, read_questions
from analytics_refreshd.postgres.tenants.wall import Wall

_Value = TypeVar("_Value")


class QuestionReader:
    """Reads on connections of the pool. Each transaction is admitted to organizations, None for all."""

    def __init__(self, pool: ReadPool, wall: Wall, seconds: float) -> None:
        self._pool = pool
        self._wall = wall
        self._seconds = seconds

    def page(self, admitted: Sequence[str] | None, limit: int, offset: int) -> tuple[list[Question], int]:
        """Return questions by name, and how many there are. Raises DatabaseFault."""
        return self._read(admitted, lambda connection: read_questions(connection, limit, offset))

    def one(self, admitted: Sequence[str] | None, question_id: UUID) -> Question | None:
        """Return a question, None if there is none of this id. Raises DatabaseFault."""
        return self._read(admitted, lambda connection: read_question(connection, question_id))

    def _read(self, admitted: Sequence[str] | None, work: Callable[[PooledConnection], _Value]) -> _Value:
        def within(connection: PooledConnection) -> _Value:
            with connection.transaction(force_rollback=True):
                self._wall.admit(connection, admitted)
                return work(connection)

        return self._pool.read(within, self._seconds)
