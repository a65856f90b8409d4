"""What the API answers without waiting for the database, and so in the server's own loop."""

import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from starlette.datastructures import Headers

from analytics_refreshd.api.access.limits import PER_HOUR
from analytics_refreshd.api.exchange import Reply, Request, Step
from analytics_refreshd.api.service import ApiService
from analytics_refreshd.config import load
from tests.support.api import api_role, make_key
from tests.support.faults import Connection
from tests.support.tenants import fill
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class World:
    """An API's parts, without a server; keys of a tenant and of everybody; the owner's connection."""

    service: ApiService
    acme: str
    everybody: str
    owner: Connection

    def ask(self, name: str, key: str, *items: tuple[str, str], **headers: str) -> Step:
        """What the endpoint makes of a request."""
        route = next(route for route in self.service.routes if route.name == name)
        given = Headers({"x-api-key": key, **{name.replace("_", "-"): value for name, value in headers.items()}})
        return self.service.endpoints.answer(route, Request(route.paths[0], {}, items, given, "192.0.2.1", "r"))

    def waited(self, name: str, key: str, *items: tuple[str, str], **headers: str) -> Reply:
        """The reply, whatever it waits for."""
        step = self.ask(name, key, *items, **headers)
        return step if isinstance(step, Reply) else step()


@pytest.fixture(scope="module")
def world(
    templates: Callable[..., str], migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Two tenants, and an API whose database may be asked at once."""
    dsn, folder = templates(migrated_template), tmp_path_factory.mktemp("api")
    with psycopg.connect(dsn, autocommit=True) as owner:
        fill(owner)
        with api_role(dsn, owner, folder) as (own, secret):
            config = load(
                {
                    "database": {"url": own},
                    "api": {
                        "secret_file": str(secret),
                        "requests_per_hour": dict.fromkeys(PER_HOUR, 1_000_000),
                        "burst": 1.0,
                    },
                    "schedule": {"interval": "1h"},
                    "staleness": {"max_age": "3h"},
                }
            )
            service = ApiService(config)
            service.pool.open()
            acme, everybody = make_key(dsn, "--organization", "acme"), make_key(dsn, "--all-organizations")
            world = World(service, acme, everybody, owner)
            eventually(lambda: world.waited("actions/hourly", world.everybody).status == 200)
            yield world
            service.close()


def kept(world: World, *asks: Any, **headers: str) -> Reply:
    """The reply, once that the views' last successes are known, as they are for a second."""

    def at_once() -> Reply | None:
        world.waited(*asks, **headers)
        step = world.ask(*asks, **headers)
        return step if isinstance(step, Reply) else None

    return eventually(at_once)


def test_what_is_kept_is_answered_at_once(world: World) -> None:
    """The first reads; the same again is the reply itself, and so is a 304; a counted limit comes with both."""
    first = world.waited("triggers/slowest", world.acme)
    again = kept(world, "triggers/slowest", world.acme)
    assert (again.status, again.body) == (200, first.body)
    assert again.headers["ETag"] == first.headers["ETag"]
    unchanged = kept(world, "triggers/slowest", world.acme, if_none_match=first.headers["ETag"])
    assert (unchanged.status, unchanged.body) == (304, b"")
    short = kept(world, "triggers/slowest", world.acme, accept_encoding="br, gzip")
    assert short.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(short.body) == first.body
    lefts = [int(reply.headers["X-RateLimit-Remaining"]) for reply in (first, again, unchanged)]
    assert lefts[0] > lefts[1] > lefts[2]
    other = kept(world, "triggers/slowest", world.everybody)
    assert other.body != first.body


def test_what_must_be_read_waits(world: World) -> None:
    """Rows, a question that nobody asked, and how fresh views are; and who was not read in the last ten seconds."""
    kept(world, "triggers/slowest", world.acme)
    for name in ("actions/success-rate", "meta/refresh-status"):
        assert not isinstance(world.ask(name, world.acme), Reply)
        assert world.waited(name, world.acme).status == 200
    assert not isinstance(world.ask("triggers/slowest", "rfd_" + "x" * 43), Reply)
    assert world.waited("triggers/slowest", "rfd_" + "x" * 43).status == 401


def test_a_refusal_waits_for_nobody(world: World) -> None:
    """No key, another's organization, a parameter that there is not: each is a problem at once."""
    kept(world, "triggers/slowest", world.acme)
    for key, items, status in (
        ("", (), 401),
        (world.acme, (("organization_id", "bolt"),), 403),
        (world.acme, (("limits", "3"),), 400),
        (world.acme, (("limit", "101"),), 400),
    ):
        reply = world.ask("triggers/slowest", key, *items)
        assert isinstance(reply, Reply)
        assert reply.status == status
    assert world.waited("actions/daily", world.acme, ("days", "x")).status == 400


def test_what_was_answered_in_this_second_is_given_again_until_a_refresh(world: World) -> None:
    """A tenant's is not another's; after a refresh nobody gets the answer from before."""
    before = kept(world, "triggers/slowest", world.acme)
    again = [kept(world, "triggers/slowest", world.acme) for _ in range(3)]
    assert {reply.body for reply in again} == {before.body}
    assert ("acme",) in {each[-2] for each in world.service.endpoints.repeats._kept[1]}
    assert kept(world, "triggers/slowest", world.everybody).body != before.body
    world.owner.execute("update triggers set name = name || ' later' where organization_id = 'acme'")
    world.owner.execute("select refresh_action_analytics()")
    later = eventually(lambda: _other(kept(world, "triggers/slowest", world.acme), before))
    assert b" later" in later.body


def _other(reply: Reply, before: Reply) -> Reply | None:
    return reply if reply.headers["ETag"] != before.headers["ETag"] else None
