"""Erases the questions that somebody kept, or that tell of somebody."""

from collections.abc import Sequence
from datetime import datetime

from psycopg import sql

from analytics_refreshd.core.erasure import Scope, Subject
from analytics_refreshd.core.questions import author, named_organization, naming, user_of
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.sqlfiles import blocks

_FILE = "retention/kept_questions.sql"
TABLE = "api_questions"


class KeptQuestions:
    """The questions that people keep. Every method raises DatabaseFault.

    There are none where the API was never set up. A question goes if the organization keeps it, if its address names
    the organization or one of `triggers`, or if the user kept it.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def present(self) -> bool:
        """Whether there is such a table."""
        return self._session.run(_present)

    def count(self, subject: Subject, triggers: Sequence[str], until: datetime | None) -> int:
        """Count those that would go."""
        return self._run("count", subject, triggers, until)

    def erase(self, subject: Subject, triggers: Sequence[str], until: datetime | None) -> int:
        """Delete them, and count them."""
        return self._run("delete", subject, triggers, until)

    def subjects(self) -> dict[Scope, list[str]]:
        """Return the organizations and users of whom any question tells."""

        def work(connection: BoundedConnection) -> dict[Scope, list[str]]:
            rows = connection.execute(blocks(_FILE)["all"]).fetchall() if _present(connection) else []
            users = {user_of(str(kept_by)) for _, kept_by, _ in rows}
            organizations = {found for one, _, address in rows for found in (one, named_organization(str(address)))}
            return {
                Scope.USER: sorted(filter(None, users)),
                Scope.ORGANIZATION: sorted(filter(None, organizations)),
            }

        return self._session.run(work)

    def _run(self, name: str, subject: Subject, triggers: Sequence[str], until: datetime | None) -> int:
        of_organization = subject.scope is Scope.ORGANIZATION
        organization = subject.identifier if of_organization else None
        values = {
            "organization": organization,
            "kept_by": author(subject.identifier) if subject.scope is Scope.USER else None,
            "named": [
                *([naming("organization", organization)] if organization is not None else []),
                *(naming("trigger", trigger) for trigger in triggers),
            ],
            "until": until,
        }
        statement = sql.SQL(blocks(_FILE)[name]).format(theirs=sql.SQL(blocks(_FILE)["theirs"]))

        def work(connection: BoundedConnection) -> int:
            if not _present(connection):
                return 0
            cursor = connection.execute(statement, values)
            return cursor.rowcount if name == "delete" else int(cursor.fetchall()[0][0])

        return self._session.run(work)


def _present(connection: BoundedConnection) -> bool:
    ((present,),) = connection.execute(blocks(_FILE)["present"]).fetchall()
    return bool(present)
