"""Who sees what over HTTP: keys, tokens, limits, error texts, and random requests of two tenants."""

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from analytics_refreshd.api.routes import routes_of
from analytics_refreshd.postgres.catalogue.files import Catalogue
from tests.integration.test_tenants_random import KEYS, MEMBERS, may_see, request, store_keys
from tests.support.api import Api, api_role, counted
from tests.support.daemon import environment
from tests.support.sabotage import FORGET_LIMITS
from tests.support.tenants import fill, foreign
from tests.support.tokens import bearer, taking_tokens

pytestmark = pytest.mark.slow
PATHS = [path for route in routes_of(Catalogue.load()) for path in route.paths]
TOP_ERRORS = "failures/top-errors"


@dataclass(frozen=True)
class World:
    """Two tenants, and a folder with the API's secrets."""

    dsn: str
    secret: Path
    folder: Path

    def api(self, *, broken: str | None = None, **settings: Any) -> Api:
        """The API, with these settings of `[api]`, and what its process executes first."""
        own = taking_tokens(self.folder, administrator="all", organizations="orgs")
        given = {f"api__{name}": value for name, value in (own | settings).items()}
        return Api(self.dsn, self.secret, broken=broken, schedule__interval="1h", staleness__max_age="3h", **given)


@pytest.fixture(scope="module")
def world(
    templates: Callable[..., str], migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A database of two tenants that all tests of this file read."""
    dsn, folder = templates(migrated_template), tmp_path_factory.mktemp("api")
    with psycopg.connect(dsn, autocommit=True) as owner:
        fill(owner)
        owner.execute(MEMBERS)
        with api_role(dsn, owner, folder) as (own, secret):
            store_keys(dsn)
            yield World(own, secret, folder)


def key(number: int) -> str:
    """A key of the random test's."""
    return f"rfd_{number:043}"


def test_a_token_is_as_good_as_a_key(world: World) -> None:
    """For the organization that its user is a member of; a problem document says what else is wrong."""
    with world.api() as api:
        of_ann = api.ask("triggers/slowest", headers=bearer("ann"))
        assert of_ann.status == 200
        assert {row["organization_id"] for row in of_ann.json["data"]} == {"acme"}
        for headers, path, status, code in (
            (bearer("eve"), "triggers/slowest", 400, "missing_organization"),
            (bearer("ann"), "triggers/slowest?organization_id=bolt", 403, "forbidden"),
            (bearer("nobody"), "triggers/slowest", 403, "forbidden"),
            (bearer("ann", exp=1), "triggers/slowest", 401, "unauthorized"),
            (bearer("ann") | {"X-API-Key": key(0)}, "triggers/slowest", 400, "bad_request"),
        ):
            answer = api.ask(path, headers=headers)
            assert (answer.status, answer.json["error"]) == (status, code)
            assert answer.headers["content-type"] == "application/problem+json"
        assert api.ask("triggers/slowest?organization_id=bolt", headers=bearer("eve")).status == 200


def test_limits_over_http(world: World) -> None:
    """Every answer tells what is left; over it, a problem says when to come again. Keys of an organization share it."""
    with world.api(requests_per_hour={"pro": 12}) as api:
        first = api.ask("actions/success-rate", key(0))
        assert (first.status, first.headers["x-ratelimit-limit"]) == (200, "12")
        statuses = [api.ask("actions/success-rate", key(number % 2)).status for number in range(14)]
        over = api.ask("actions/success-rate", key(1))
        assert (over.status, over.json["error"]) == (429, "rate_limited")
        assert 0 < int(over.headers["retry-after"]) <= 3601
        assert over.headers["x-ratelimit-remaining"] == "0"
        left = int(first.headers["x-ratelimit-remaining"])
        assert statuses.count(200) == left // (12 - left)
        assert api.ask("actions/success-rate", key(2)).status == 200


def test_error_texts_as_stored_are_for_some(world: World) -> None:
    """With `error_text = "stored"`, for owners and admins; by default for nobody."""
    secret = "token=sk_live_abcdefghijklmnop"
    with psycopg.connect(psycopg.conninfo.make_conninfo(world.dsn, user="postgres"), autocommit=True) as owner:
        owner.execute(
            "update action_results set error_message = %s where id = ("
            " select id from recent_failures where id like 'acme%%' order by executed_at desc limit 1)",
            (secret,),
        )
        owner.execute("select * from refresh_action_analytics()")
    for text, readers in (("stored", {1}), ("redacted", set())):
        with world.api(error_text=text) as api:
            for number in (0, 1):
                answer = api.ask("failures/recent", key(number))
                assert answer.status == 200
                assert (secret in answer.body.decode()) is (number in readers), (text, number)
                rows = api.ask("failures/recent?format=csv", key(number))
                assert (rows.status, secret in rows.body.decode()) == (200, number in readers), (text, number)


def calls(api: Api, seed: int, number: int) -> int:
    """Make random requests; return how many had an answer of 200."""
    chance = random.Random(seed)
    answered = 0
    for at in range(number):
        headers, parameter = request(chance)
        if any(ord(letter) < 32 for value in headers.values() for letter in value):
            continue
        path = chance.choice(PATHS).replace("{trigger_id}", chance.choice(["acme-trigger-1", "bolt-trigger-2", "x"]))
        query = "" if parameter is None else f"?organization_id={quote(parameter, safe='')}"
        answer = api.ask(path + query, headers=headers)
        assert answer.status in (200, 400, 401, 403, 404), (seed, at, answer.body)
        if answer.status == 200:
            answered += 1
            text = answer.json["data"] if "data" in answer.json else answer.json
            assert not foreign(text, may_see(headers, parameter)), (seed, at, path)
    return answered


@pytest.mark.parametrize("broken", [None, FORGET_LIMITS], ids=["limited", "without their limit"])
def test_P02_nobody_sees_anothers_rows_over_http(world: World, broken: str | None) -> None:
    """Random keys, tokens, roles, headers and endpoints, on one session, also with queries that forgot their limit."""
    with world.api(broken=broken, connections=1) as api:
        assert calls(api, 1, 150) > 30


def test_queries_can_forget_their_limit(world: World) -> None:
    """What the test above breaks is broken: without the wall, such queries show every tenant's rows."""
    words = ["query", "most-active", "--organization", "acme", "--format", "json"]
    program = f"{FORGET_LIMITS}from analytics_refreshd.cli import main\nraise SystemExit(main())"
    owner = psycopg.conninfo.make_conninfo(world.dsn, user="postgres")
    done = subprocess.run(
        [sys.executable, "-c", program, *words], env=environment(owner), capture_output=True, text=True, check=True
    )
    assert "bolt-trigger" in done.stdout


def test_P17_what_is_kept_is_nobody_elses(world: World) -> None:
    """Random requests of two tenants and all roles: what comes from the cache is what the database says."""
    chance = random.Random(7)
    asked = [
        path + query
        for path in ("triggers/slowest", "triggers/health", "failures/recent", "organizations/top", "actions/daily")
        for query in ("?limit=3", "?limit=3&offset=1", "?limit=3&format=csv")
    ]
    with world.api(error_text="stored") as api, world.api(error_text="stored", cache_megabytes=0) as fresh:
        for at in range(70):
            headers = chance.choice(
                [*({"X-API-Key": key(number)} for number in range(len(KEYS))), bearer("ann"), bearer("bob")]
            )
            named = chance.choice([{}, {}, {"X-Organization-ID": "acme"}, {"X-Organization-ID": "bolt"}])
            path = chance.choice(asked)
            got, wanted = (one.ask(path, headers=headers | named) for one in (api, fresh))
            assert got.status == wanted.status, (at, path, headers, named)
            if got.status == 200:
                bodies = [one.body if "csv" in path else one.json["data"] for one in (got, wanted)]
                assert bodies[0] == bodies[1], (at, path, headers, named)
        hits = int(counted(api, "analytics_api_cache")["hit"])
    assert hits > 5


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("broken", [None, FORGET_LIMITS], ids=["limited", "without their limit"])
def test_P02_nobody_sees_anothers_rows_over_http_in_ten_thousand_calls(world: World, broken: str | None) -> None:
    """As above, with other requests each night."""
    seed = random.SystemRandom().randrange(2**32)
    with world.api(broken=broken) as api:
        answered = calls(api, seed, 10_000)
    print(f"seed {seed}: {answered} answers of 10,000 calls, and nothing of another tenant in them")
    assert answered > 2_000
