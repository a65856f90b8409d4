"""Erases what rows say, and what we keep of it.

Each portion is a transaction of its own.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from psycopg import sql
from psycopg.rows import class_row

from analytics_refreshd.core.erasure import Key, Mode, Receipt, Scope, Subject
from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.core.retention import Pace
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.names import identifier, quoted
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.retention.action_log import COUNT_SECONDS, RECORD_SECONDS, Leaf, Portion
from analytics_refreshd.postgres.retention.erasable import ErasableLog
from analytics_refreshd.postgres.retention.kept_questions import TABLE as QUESTIONS
from analytics_refreshd.postgres.retention.kept_questions import KeptQuestions

_CLAIM = 6
_AT_ONCE = 20_000
_COLUMNS = {Scope.USER: "user_id", Scope.ORGANIZATION: "organization_id", Scope.TRIGGER: "id"}
_OWN_TABLES = ("runs", "view_results", "alerts", "retention_runs")
_ROLLUPS = ("deltas", "trigger_cells")
_FROZEN = ("frozen_triggers", "frozen_series")


@dataclass(frozen=True, slots=True)
class Task:
    """What to erase: the rows of `triggers`, which are the subject's, up to `until` where that is given.

    `alone` are those of the triggers that one person alone owns, or that are gone: their frozen figures go too where
    rows are deleted.
    """

    subject: Subject
    mode: Mode
    triggers: tuple[str, ...]
    alone: tuple[str, ...]
    until: datetime | None = None

    @property
    def frozen(self) -> list[str]:
        """The triggers whose frozen figures go."""
        return list(self.alone) if self.mode is Mode.DELETE else []


@dataclass(frozen=True, slots=True)
class Begun:
    """What the first entry of an erasure says. `replay_of` is the one that it does again."""

    erasure_id: UUID
    scope: Scope
    mode: Mode
    subject_hash: str
    replay_of: UUID | None
    triggers: int
    rows_unlinked: int


class Erasure(ErasableLog):
    """Looks for rows and erases them, over one session.

    Every method raises DatabaseFault.
    """

    def __init__(self, session: Session, key: Key) -> None:
        super().__init__(session, "retention/erasure.sql", _CLAIM)
        self._key = key
        self._questions = KeptQuestions(session)

    def task(self, subject: Subject, mode: Mode, until: datetime | None = None) -> Task:
        """Find the triggers whose rows are the subject's."""
        column = sql.Identifier(_COLUMNS[subject.scope])
        statement = self._filled("triggers", triggers=self._triggers, column=column)
        found = self._session.run(
            lambda connection: connection.execute(statement, {"identifier": subject.identifier}).fetchall(),
            seconds=COUNT_SECONDS,
        )
        if not found and subject.scope is Scope.TRIGGER:
            found = [(subject.identifier, True)]
        alone = tuple(trigger for trigger, owned_alone in found if owned_alone)
        return Task(subject, mode, tuple(trigger for trigger, _ in found), alone, until)

    def candidates(self) -> dict[Scope, list[str]]:
        """Return the ids of which a receipt may speak."""

        def work(connection: BoundedConnection) -> dict[Scope, list[str]]:
            found = {}
            for scope, column in _COLUMNS.items():
                query = self._filled("candidates", triggers=self._triggers, column=sql.Identifier(column))
                found[scope] = [str(row[0]) for row in connection.execute(query)]
            return found

        candidates, more = self._session.run(work, seconds=COUNT_SECONDS), self._questions.subjects()
        return {scope: sorted({*found, *more.get(scope, ())}) for scope, found in candidates.items()}

    def count(self, task: Task) -> tuple[int, int, int]:
        """Count what would be erased: rows, frozen executions, and questions that people keep."""
        frozen = self._session.run(lambda connection: self._frozen(connection, task))
        questions = self._questions.count(task.subject, task.frozen, task.until)
        return self.rows_left(task), sum(frozen.values()), questions

    def rows_unlinked(self) -> int:
        """Count the rows that no trigger links to a user. Reads all rows."""
        return self._count(lambda table: self._filled("count_unlinked", table=table, triggers=self._triggers))

    def claim(self) -> bool:
        """Become the only erasure here; False if another is under way."""

        def work(connection: BoundedConnection) -> bool:
            claimed = self._may_claim(connection)
            if claimed:
                connection.execute(self._sql["abandon_earlier"])
            return claimed

        return self._session.run(work)

    def begin(self, begun: Begun) -> None:
        """Record that an erasure begins."""
        values = asdict(begun) | {"scope": str(begun.scope), "mode": str(begun.mode), "key_id": self._key.key_id}
        self._session.run(lambda connection: connection.execute(self._sql["begin"], values), seconds=RECORD_SECONDS)

    def found(self, leaf: Leaf, task: Task) -> Iterator[list[str]]:
        """Yield where rows lie in a table, 20,000 at once."""

        def fetch(connection: BoundedConnection) -> list[str]:
            self._refuse_lost_claim()
            fetched = connection.execute(self._filled("fetch_rows", rows=sql.Literal(_AT_ONCE)))
            return [str(row[0]) for row in fetched]

        # those of a table that was dropped meanwhile are still open; the rows are looked for when it commits
        declare = self._of("find_rows", task, leaf=leaf.identifier)
        self._session.run(lambda connection: connection.execute(self._sql["close_rows"]))
        self._session.run(lambda connection: connection.execute(declare, _given(task)), seconds=COUNT_SECONDS)
        while rows := self._session.run(fetch):
            yield rows
        self._session.run(lambda connection: connection.execute(self._sql["close_rows"]))

    def erase(self, erasure_id: UUID, leaf: Leaf, task: Task, rows: list[str], pace: Pace) -> Portion:
        """Erase the first of these rows, and count them.

        That is one transaction, of a second at most. Rows that others hold are passed over.
        """
        act = self._delete if task.mode is Mode.DELETE else self._redact

        def work(connection: BoundedConnection) -> tuple[int, str]:
            erased = act(connection, leaf, task, rows[: pace.rows])
            if erased:
                connection.execute(self._sql["note_portion"], {"erasure_id": erasure_id, "rows": erased})
            return erased, ""

        return self._portion(work)

    def rows_left(self, task: Task) -> int:
        """Count the rows that are there still."""
        return self._count(lambda table: self._of("count_rows", task, table=table), _given(task))

    def erase_texts(self) -> int:
        """Empty the error texts of our own tables, and count them."""
        ((erased,),) = self._session.run(
            lambda connection: connection.execute(self._sql["erase_texts"]).fetchall(), seconds=COUNT_SECONDS
        )
        return int(erased)

    def erase_questions(self, task: Task) -> int:
        """Remove the questions that tell of the subject, and count them."""
        return self._questions.erase(task.subject, task.frozen, task.until)

    def build_step(self) -> bool:
        """Build the next part of the rollups; True where they are built."""

        def work(connection: BoundedConnection) -> bool:
            if not self._modes(connection)[0]:
                return True
            ((built,),) = connection.execute(self._sql["built"]).fetchall()
            if not built:
                connection.execute(self._sql["build"])
            return bool(built)

        return self._session.run(work, seconds=COUNT_SECONDS)

    def erase_frozen(self, task: Task) -> int:
        """Take triggers out of what is frozen, and count their executions."""

        def work(connection: BoundedConnection) -> int:
            triggers = list(self._frozen(connection, task))
            if not triggers:
                return 0
            ((erased,),) = connection.execute(self._sql["erase_frozen"], {"triggers": triggers}).fetchall()
            return int(erased)

        return self._session.run(work, seconds=COUNT_SECONDS)

    def refresh(self, function: str, seconds: float) -> list[str] | None:
        """Refresh the views, and return those that failed.

        None if another refresh is under way.
        """
        schema = self._session.app_schema
        statement = self._filled("refresh", function=identifier(function, schema))

        def work(connection: BoundedConnection) -> list[str] | None:
            ((free,),) = connection.execute(self._sql["take_key"]).fetchall()
            if not free:
                return None
            connection.execute(self._sql["find_in"], {"schema": schema})
            return [str(view) for view, success in connection.execute(statement) if not success]

        return self._session.run(work, seconds=seconds)

    def end(self, erasure_id: UUID, outcome: str, reason: str | None, **counts: int | None) -> None:
        """Record how an erasure ended."""
        values = {"erasure_id": erasure_id, "outcome": outcome, "reason": reason, **counts}
        self._session.run(lambda connection: connection.execute(self._sql["end"], values), seconds=RECORD_SECONDS)

    def receipts(self, erasure_id: UUID | None = None) -> list[Receipt]:
        """Read the receipts, or one of them, in order."""

        def work(connection: BoundedConnection) -> list[Receipt]:
            cursor = connection.cursor(row_factory=class_row(Receipt))
            return cursor.execute(self._sql["receipts"], {"erasure_id": erasure_id}).fetchall()

        return self._session.run(work)

    def cleaning(self) -> list[str]:
        """Return the commands that clean the server's files of it."""
        schema = self._session.app_schema
        incremental, frozen = self._session.run(self._modes)
        kept = (QUESTIONS,) if self._questions.present else ()
        ours = [*_OWN_TABLES, *kept, *(_ROLLUPS if incremental else ()), *(_FROZEN if frozen else ())]
        relations = [(schema, "action_results"), *((leaf.schema, leaf.name) for leaf in self._detached_leaves())]
        relations += [(schema, view) for view in VIEWS]
        relations += [("analytics_refresh", name) for name in ours]
        commands = [f"vacuum (full, analyze) {quoted(*relation)};" for relation in relations]
        return [*commands, "vacuum full pg_catalog.pg_statistic;", "checkpoint;"]

    @property
    def _triggers(self) -> sql.Identifier:
        return sql.Identifier(self._session.app_schema, "triggers")

    def _modes(self, connection: BoundedConnection) -> tuple[bool, bool]:
        ((incremental, frozen),) = connection.execute(self._sql["incremental"]).fetchall()
        return bool(incremental), bool(frozen)

    def _frozen(self, connection: BoundedConnection, task: Task) -> dict[str, int]:
        """Return the triggers whose frozen figures go, each with its executions."""
        if not task.frozen or not self._modes(connection)[1]:
            return {}
        given = {"triggers": task.frozen, "until": task.until}
        return {str(trigger): int(n) for trigger, n in connection.execute(self._sql["frozen"], given)}

    def _of(self, name: str, task: Task, **names: sql.Composable) -> sql.Composed:
        """Fill a block with the condition on the rows r that are to be erased."""
        conditions = [self._filled("of_triggers")]
        if task.mode is Mode.REDACT:
            conditions.append(self._filled("unredacted"))
        return self._filled(name, erased=sql.SQL(" and ").join(conditions), **names)

    def _delete(self, connection: BoundedConnection, leaf: Leaf, task: Task, rows: list[str]) -> int:
        statement = self._of("delete_rows", task, leaf=leaf.identifier)
        return connection.execute(statement, {**_given(task), "rows": rows}).rowcount

    def _redact(self, connection: BoundedConnection, leaf: Leaf, task: Task, rows: list[str]) -> int:
        hold = self._of("hold_rows", task, leaf=leaf.identifier)
        held = connection.execute(hold, {**_given(task), "rows": rows}).fetchall()
        values = {
            "rows": [place for place, _, _ in held],
            "jobs": [self._key.redacted(job) for _, job, _ in held],
            "events": [self._key.redacted(event) for _, _, event in held],
        }
        return connection.execute(self._filled("redact_rows", leaf=leaf.identifier), values).rowcount


def _given(task: Task) -> dict[str, object]:
    return {"triggers": list(task.triggers), "until": task.until}
