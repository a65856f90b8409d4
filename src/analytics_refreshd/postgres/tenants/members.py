"""Reads which organizations a user belongs to."""

from analytics_refreshd.core.access import Membership, Memberships
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.tenants.keys import refuse_untrusted_tenants
from analytics_refreshd.postgres.tenants.wall import Wall

_SECONDS = 2.0


class MemberReader:
    """Reads memberships, as the role of the API."""

    def __init__(self, session: Session, wall: Wall) -> None:
        self._session = session
        self._wall = wall

    def memberships(self, user: str) -> Memberships:
        """Return the organizations of a user. Raises DatabaseFault, within seconds."""

        def work(connection: BoundedConnection) -> Memberships:
            refuse_untrusted_tenants(connection, self._session.app_schema)
            self._wall.admit_user(connection, user)
            rows = connection.execute(blocks("tenants/wall.sql")["memberships"]).fetchall()
            found = tuple(Membership(one, role, plan) for _, one, role, plan in rows if one is not None)
            return Memberships(any(kept for kept, *_ in rows), found)

        return self._session.run(work, seconds=_SECONDS, wait_seconds=_SECONDS)
