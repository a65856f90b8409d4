"""Which organizations a user belongs to, as the API's role reads it."""

from collections.abc import Iterator

import psycopg
import pytest

from analytics_refreshd.core.access import Membership, Memberships
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.postgres.connection.connector import Connector
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.settings import ConnectionSettings
from analytics_refreshd.postgres.migrate.run import migrate
from analytics_refreshd.postgres.tenants.members import MemberReader
from analytics_refreshd.postgres.tenants.wall import Wall
from tests.support.installs import Connection
from tests.support.tenants import SECRET, fill, walled

MEMBERS = (
    "create table organization_members (organization_id text, user_id text, role text);"
    "insert into organization_members values ('acme', 'ann', 'admin'), ('bolt', 'ann', 'viewer'),"
    " ('bolt', 'bob', 'owner')"
)


@pytest.fixture
def api(dsn: str, connection: Connection) -> Iterator[Connection]:
    """A connection of the API's role; two organizations, whose owner is u."""
    fill(connection)
    with walled(dsn, connection) as own:
        yield own


@pytest.fixture
def members(api: Connection) -> Iterator[MemberReader]:
    """Memberships as the API reads them."""
    session = Session(Connector(ConnectionSettings("t", api.info.dsn)), label="api")
    yield MemberReader(session, Wall(SECRET))
    session.close()


def found(members: MemberReader, user: str) -> tuple[bool, set[Membership]]:
    """Whether members are kept, and a user's organizations."""
    known: Memberships = members.memberships(user)
    return known.kept, set(known.found)


def test_owners_and_members(connection: Connection, members: MemberReader) -> None:
    """Without a table of members an owner is known; with one, after `migrate`, members are, and owners are not."""
    assert found(members, "u") == (False, {Membership(one, "owner", "pro") for one in ("acme", "bolt")})
    assert found(members, "ann") == (False, set())
    connection.execute(MEMBERS)
    assert [step for step in migrate(connection).steps if "analytics_api" in step]
    assert found(members, "ann") == (True, {Membership("acme", "admin", "pro"), Membership("bolt", "viewer", "pro")})
    assert found(members, "u") == (True, set())
    assert found(members, "") == (True, set())
    assert not migrate(connection).changed


def test_nobody_else_learns_of_members(api: Connection, connection: Connection, members: MemberReader) -> None:
    """Neither a text in a query, nor who does not know the secret; and who asks for a user sees no organization."""
    connection.execute(MEMBERS)
    migrate(connection)
    nobody = [(True, None, None, None)]
    memberships = "select * from analytics_api.memberships()"
    assert api.execute(memberships).fetchall() == nobody
    for wall in (Wall(b"another" * 8), Wall(SECRET)):
        with api.transaction(force_rollback=True):
            wall.admit_user(api, "ann")
            assert (len(api.execute(memberships).fetchall()) == 2) is (
                wall is not None and wall._secret == Wall(SECRET)._secret
            )
            assert api.execute("select * from analytics_api.triggers").fetchall() == []
    with api.transaction(force_rollback=True):
        Wall(SECRET).admit(api, None)
        assert api.execute(memberships).fetchall() == nobody
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        api.execute("select * from public.organization_members")


def test_a_database_without_the_api_says_so(dsn: str, connection: Connection) -> None:
    """A fault, not an empty answer."""
    session = Session(Connector(ConnectionSettings("t", dsn)), label="api")
    with pytest.raises(DatabaseFault, match="analytics_api"):
        MemberReader(session, Wall(SECRET)).memberships("u")
    session.close()
