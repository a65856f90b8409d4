"""The tables in which rows of the action log lie: its own, and the months that `retain` detached and keeps."""

from collections.abc import Callable
from typing import Any

from psycopg import sql

from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.model import Reason
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.retention.action_log import COUNT_SECONDS, ActionLog, FoundLeaf, Leaf


class ErasableLog(ActionLog):
    """The action log with its detached months. Every method raises DatabaseFault."""

    def leaves(self) -> list[FoundLeaf]:
        """Find the tables in which rows lie."""
        return self._session.run(lambda connection: [*self._leaves(connection), *self._detached(connection)])

    def is_gone(self, leaf: Leaf) -> bool:
        """Whether `retain` dropped this table meanwhile."""
        return leaf not in [found.leaf for found in self.leaves()]

    def _detached(self, connection: BoundedConnection) -> list[FoundLeaf]:
        ((has_months,),) = connection.execute(self._sql["has_months"]).fetchall()
        if not has_months:
            return []
        in_log = {found.leaf for found in self._leaves(connection)}
        rows = connection.execute(self._sql["detached"], {"table": self.table.as_string(None)}).fetchall()
        found = [FoundLeaf(Leaf(schema, name), *rest) for schema, name, *rest in rows]
        return [each for each in found if each.leaf not in in_log]

    def _detached_leaves(self) -> list[Leaf]:
        return [found.leaf for found in self._session.run(self._detached)]

    def _count(self, statement: Callable[[sql.Identifier], sql.Composed], given: dict[str, Any] | None = None) -> int:
        """Add up what `statement` counts in the log and in each detached month.

        It counts again where a month was detached, put back or dropped meanwhile: such a month was counted twice, or
        not at all.
        """
        while True:
            detached = self._detached_leaves()
            tables = [self.table, *(leaf.identifier for leaf in detached)]
            try:
                rows = sum(self._count_one(statement(table), given) for table in tables)
            except DatabaseFault as fault:
                if fault.reason is not Reason.UNDEFINED or self._detached_leaves() == detached:
                    raise
                continue
            if self._detached_leaves() == detached:
                return rows

    def _count_one(self, statement: sql.Composed, given: dict[str, Any] | None) -> int:
        ((rows,),) = self._session.run(
            lambda connection: connection.execute(statement, given).fetchall(), seconds=COUNT_SECONDS
        )
        return int(rows)
