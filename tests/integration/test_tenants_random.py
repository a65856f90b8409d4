"""Two tenants, and all who ask: whatever is sent, nobody sees another's rows, also where a query forgot its limit.

All of it with both engines: PostgreSQL behind its views, and a warehouse behind its row policies.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt
import psycopg
import pytest

from analytics_refreshd.api.access.build import access_gate
from analytics_refreshd.api.access.gate import AccessGate
from analytics_refreshd.api.access.limits import PER_HOUR
from analytics_refreshd.api.access.principal import AccessDenied
from analytics_refreshd.api.engine import Admitted, NotAnsweredHereError
from analytics_refreshd.api.warehouse.reader import WarehouseReader
from analytics_refreshd.app.clock import SystemClock
from analytics_refreshd.config import load
from analytics_refreshd.core.access import KeyRequest, key_digest
from analytics_refreshd.postgres.catalogue.definition import Query
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.page import Page
from analytics_refreshd.postgres.catalogue.run import bind, run
from analytics_refreshd.postgres.connection.connector import Connector
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.settings import ConnectionSettings
from analytics_refreshd.postgres.migrate.run import migrate
from analytics_refreshd.postgres.tenants.keys import ApiKeys, KeyReader
from analytics_refreshd.postgres.tenants.members import MemberReader
from analytics_refreshd.postgres.tenants.wall import Wall
from tests.support.clickhouse import needs_chdb
from tests.support.tenants import SCHEMA, SECRET, TENANTS, fill, foreign, walled
from tests.support.tokens import JWT_SECRET, taking_tokens
from tests.support.tokens import MEMBERS as TABLE
from tests.support.warehouse_loading import walled_warehouse

CATALOGUE = list(Catalogue.load())
MEMBERS = f"""{TABLE}
('acme', 'ann', 'admin'), ('bolt', 'bob', 'owner'), ('acme', 'eve', 'viewer'), ('bolt', 'eve', 'viewer')
"""
KEYS: tuple[tuple[str, KeyRequest], ...] = tuple(
    (f"rfd_{number:043}", KeyRequest(f"key {number}", organizations, role, None, operator, None))
    for number, (organizations, role, operator) in enumerate(
        [
            (("acme",), "viewer", False),
            (("acme",), "owner", True),
            (("bolt",), "admin", False),
            (("acme", "bolt"), "member", False),
            (None, "admin", False),
        ]
    )
)
_USERS = ("ann", "bob", "eve", "nobody", "ann' or true --", "acme")


Rows = Callable[[Query, Sequence[str] | None, Sequence[str] | None], Sequence[Sequence[object]]]
"""Reads a query's rows, for the organizations of who asks, and with the query's own limit."""


@dataclass(frozen=True)
class World:
    """The gate, and what reads rows behind the second wall."""

    gate: AccessGate
    rows: Rows
    number: int
    """How many requests the gate makes."""


@pytest.fixture(scope="module", params=["postgres", pytest.param("warehouse", marks=[needs_chdb, pytest.mark.slow])])
def world(
    request: pytest.FixtureRequest,
    templates: Callable[..., str],
    migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    """Two tenants with keys and members, and a gate that limits nobody."""
    dsn = templates(migrated_template)
    tokens = taking_tokens(tmp_path_factory.mktemp("api"), administrator="all", organizations="orgs")
    plenty = dict.fromkeys(PER_HOUR, 10_000_000)
    config = load(
        {
            "database": {"url": dsn},
            "api": {**tokens, "requests_per_hour": plenty, "burst": 1.0},
        }
    )
    with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as owner:
        now = fill(owner)
        owner.execute(MEMBERS)
        with walled(dsn, owner) as api:
            store_keys(dsn)
            session = Session(Connector(ConnectionSettings("t", api.info.dsn)), label="api")
            gate = access_gate(config, KeyReader(session), MemberReader(session, Wall(SECRET)), SystemClock())
            assert not migrate(owner).changed
            if request.param == "postgres":
                yield World(gate, lambda query, seen, limit: by_postgres(api, now, query, seen, limit), 300)
            else:
                with walled_warehouse(owner, tmp_path_factory.mktemp("warehouse")) as settings:
                    reader = WarehouseReader(settings, ["view"], 60, time.monotonic)
                    yield World(gate, lambda query, seen, limit: by_warehouse(reader, now, query, seen, limit), 100)
            session.close()


def by_postgres(
    api: psycopg.Connection[Any], now: datetime, query: Query, seen: Sequence[str] | None, limit: Sequence[str] | None
) -> Sequence[Sequence[object]]:
    """The rows in an admitted transaction."""
    with api.transaction(force_rollback=True):
        Wall(SECRET).admit(api, seen)
        return run(api, bind(query, {}, limit, now, SCHEMA)).rows


def by_warehouse(
    reader: WarehouseReader,
    now: datetime,
    query: Query,
    seen: Sequence[str] | None,
    limit: Sequence[str] | None,
) -> Sequence[Sequence[object]]:
    """The rows of an admitted request; none where the warehouse does not answer."""
    asked = Admitted(bind(query, {}, limit, now, SCHEMA), None if seen is None else tuple(seen))
    try:
        return reader.read(asked, Page(None)).page.rows
    except NotAnsweredHereError:
        return ()


def store_keys(dsn: str) -> None:
    """Store the keys, as `keys create` does."""
    session = Session(Connector(ConnectionSettings("t", dsn)))
    for number, (key, wanted) in enumerate(KEYS):
        digest = key_digest(key)
        assert digest is not None
        ApiKeys(session).create(f"key_{number}", digest, wanted)
    session.close()


def request(chance: random.Random) -> tuple[dict[str, str], str | None]:
    """Headers and the parameter of a request that somebody may send."""
    headers: dict[str, str] = {}
    by_key = chance.random() < 0.6
    if by_key:
        key = chance.choice([key for key, _ in KEYS] + ["rfd_" + "x" * 43, "", "rfd_"])
        headers[chance.choice(["X-API-Key", "x-api-key"])] = key
    if not by_key or chance.random() < 0.05:
        claims: dict[str, Any] = {"sub": chance.choice(_USERS), "exp": time.time() + chance.choice([3600, 3600, -3600])}
        claims |= chance.choice([{}, {}, {"all": True}, {"all": "yes"}, {"orgs": ["acme", "bolt"]}, {"all": 1}])
        secret = chance.choice([JWT_SECRET, JWT_SECRET, JWT_SECRET, "x" * 32])
        headers["Authorization"] = f"Bearer {jwt.encode(claims, secret, 'HS256')}"
    named = ["acme", "bolt"] * 5 + ["nobody", "acme,bolt", "*", "", "ACME", "acme' or true --", "bolt\x00", "%"]
    if chance.random() < 0.3:
        headers[chance.choice(["X-Organization-ID", "x-organization-id"])] = chance.choice(named)
    return headers, chance.choice(named) if chance.random() < 0.2 else None


def may_see(headers: dict[str, str], parameter: str | None) -> tuple[str, ...]:
    """What whoever sent this may see at most, worked out from keys and members alone."""
    given = {name.lower(): value for name, value in headers.items()}
    if "x-api-key" in given:
        wanted = next(request for key, request in KEYS if key == given["x-api-key"])
        most = (*TENANTS, "nobody") if wanted.organizations is None else wanted.organizations
    else:
        claims = jwt.decode(given["authorization"].removeprefix("Bearer "), JWT_SECRET, ["HS256"])
        members = {"ann": ("acme",), "bob": ("bolt",), "eve": TENANTS}
        most = (*TENANTS, "nobody") if claims.get("all") is True else members[claims["sub"]]
    asked = given.get("x-organization-id", parameter)
    return tuple(most) if asked is None else tuple(one for one in most if one == asked)


def calls(world: World, seed: int, number: int) -> tuple[int, int]:
    """Make so many random requests; return how many were admitted, and how many rows came."""
    chance = random.Random(seed)
    admitted = seen = 0
    for at in range(number):
        headers, parameter = request(chance)
        try:
            principal = world.gate.admit(headers, parameter, "192.0.2.1", 1).principal
        except AccessDenied:
            continue
        admitted += 1
        most = may_see(headers, parameter)
        query = chance.choice(CATALOGUE)
        # half of them forget their limit
        limit = principal.organizations if query.organizations and chance.random() < 0.5 else None
        rows = world.rows(query, principal.organizations, limit)
        seen += len(rows)
        assert [row for row in rows if foreign(row, most)] == [], (seed, at, query.name)
    return admitted, seen


def test_nobody_sees_anothers_rows(world: World) -> None:
    """Random keys, tokens, roles, headers and parameters, with a query's limit and without."""
    admitted, seen = calls(world, int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()), world.number)
    assert admitted > world.number / 6
    assert seen > world.number / 3


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_nobody_sees_anothers_rows_in_ten_thousand_calls(world: World) -> None:
    """As above, with other requests each night."""
    seed = random.SystemRandom().randrange(2**32)
    admitted, seen = calls(world, seed, 10_000)
    print(f"{admitted} calls admitted, {seen} rows")
    assert admitted > 3_000
    assert seen > 10_000 / 3
