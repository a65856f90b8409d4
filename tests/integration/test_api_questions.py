"""Questions that people keep: who finds them, what may be kept, and what stands between two tenants."""

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jsonschema
import psycopg
import pytest
from psycopg import errors

from analytics_refreshd.api.questions.endpoint import QUESTION_PATH, QUESTIONS_PATH
from analytics_refreshd.core.questions import MOST_QUESTIONS
from analytics_refreshd.postgres.tenants.wall import Wall
from tests.support.api import Answer, Api, make_key, problem
from tests.support.faults import Connection, value
from tests.support.tenants import SECRET
from tests.support.tokens import bearer, members_api
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow
MEMBERS = "('acme', 'ann', 'member'), ('acme', 'vic', 'viewer'), ('bolt', 'bob', 'owner')"
ADDRESS = "?page=failures&range=7d&zone=UTC"


@dataclass(frozen=True)
class World:
    """The API of two tenants, its database, and the keys of both and of a platform administrator."""

    api: Api
    dsn: str
    own: str
    connection: Connection
    acme: str
    bolt: str
    both: str
    platform: str

    def send(self, method: str, path: str, key: str | None, /, headers: Any = None, **members: object) -> Answer:
        """Send a request with a body of these members."""
        given = {**({"Content-Type": "application/json"} if members else {}), **(headers or {})}
        body = json.dumps(members).encode() if members else None
        return self.api.ask(f"{QUESTIONS_PATH}{path}", key, given, method, body)

    def keep(self, key: str | None, name: str, address: str = ADDRESS, query: str = "", headers: Any = None) -> Answer:
        """Keep a question."""
        return self.send("POST", query, key, headers, name=name, address=address)

    def names(self, key: str, query: str = "?limit=100") -> list[str]:
        """The names of all that a key finds."""
        return [each["name"] for each in self.send("GET", query, key).json["data"]]


@pytest.fixture(scope="module")
def served(
    templates: Callable[..., str], migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """One API for all tests of this file."""
    dsn, folder = templates(migrated_template), tmp_path_factory.mktemp("api")
    with members_api(dsn, folder, MEMBERS, administrator="all") as (api, owner, own):
        acme, bolt = (make_key(dsn, "--organization", one, "--role", "member") for one in ("acme", "bolt"))
        both = make_key(dsn, "--organization", "acme", "--organization", "bolt", "--role", "admin")
        platform = make_key(dsn, "--all-organizations", "--role", "admin")
        yield World(api, dsn, own, owner, acme, bolt, both, platform)


@pytest.fixture
def world(served: World) -> World:
    """Nothing is kept yet."""
    served.connection.execute("delete from analytics_refresh.api_questions")
    return served


def fill_up(world: World, number: int) -> None:
    """Let an organization keep so many questions."""
    world.connection.execute(
        "insert into analytics_refresh.api_questions (organization_id, name, address, kept_by)"
        " select 'acme', 'n' || n, '?page=growth', 'key_1' from generate_series(1, %s) n",
        [number],
    )


def test_a_question_is_kept_found_replaced_and_removed(world: World) -> None:
    """Each answer is as the document of the API says; what is kept is told of at once."""
    document = world.api.ask("/api/v1/openapi.json").json

    def valid(answer: Answer, path: str, method: str) -> Any:
        schema = document["paths"][path][method]["responses"][str(answer.status)]["content"]["application/json"][
            "schema"
        ]
        components = {"components": document["components"]}
        jsonschema.Draft202012Validator({**schema, **components}).validate(answer.json)
        assert answer.headers["cache-control"] == "no-store"
        assert "x-ratelimit-remaining" in answer.headers
        return answer.json["data"]

    kept = world.keep(world.acme, " Failures of the week ", ADDRESS + "&search=%3Cb%3E")
    assert kept.status == 201, kept.body
    data = valid(kept, QUESTIONS_PATH, "post")
    assert (data["name"], data["organization_id"]) == ("Failures of the week", "acme")
    assert data["address"] == ADDRESS + "&search=%3Cb%3E"
    place = kept.headers["location"]
    assert place == QUESTION_PATH.format(question_id=data["question_id"])
    one = world.api.ask(place, world.acme)
    assert (one.status, valid(one, QUESTION_PATH, "get")) == (200, data)
    path = place.removeprefix(QUESTIONS_PATH)
    replaced = world.send("PUT", path, world.acme, name="Of the month", address="?page=failures&range=30d")
    assert replaced.status == 200, replaced.body
    assert valid(replaced, QUESTION_PATH, "put") == {
        **data,
        "name": "Of the month",
        "address": "?page=failures&range=30d",
        "kept_at": replaced.json["data"]["kept_at"],
    }
    listed = world.send("GET", "", world.acme)
    assert valid(listed, QUESTIONS_PATH, "get") == [replaced.json["data"]]
    removed = world.send("DELETE", path, world.acme)
    assert (removed.status, removed.body, "content-type" in removed.headers) == (204, b"", False)
    assert problem(world.send("DELETE", path, world.acme)) == (404, "not_found")
    assert world.names(world.acme) == []
    line = world.api.wait_for("request.finished", lambda line: line["method"] == "DELETE" and line["status"] == 204)
    assert line["endpoint"] == "questions"


def test_pages_are_by_name(world: World) -> None:
    """With a link to the next and the one before."""
    for name in ("c", "a", "b"):
        assert world.keep(world.acme, name).status == 201
    first = world.send("GET", "?limit=2", world.acme)
    assert [each["name"] for each in first.json["data"]] == ["a", "b"]
    assert first.json["pagination"] == {"total": 3, "limit": 2, "offset": 0, "has_more": True}
    assert first.headers["link"] == f'<{QUESTIONS_PATH}?limit=2&offset=2>; rel="next"'
    assert world.names(world.acme, "?limit=2&offset=2") == ["c"]
    for query, said in (
        ("limit=0", "at least 1"),
        ("limit=x", "whole"),
        ("limit=1&limit=2", "twice"),
        ("sort=a", "sort"),
    ):
        refused = world.send("GET", f"?{query}", world.acme)
        assert problem(refused) == (400, "validation_error")
        assert said in refused.json["message"]


def test_P19_a_tenant_has_its_own_and_no_other(world: World) -> None:
    """It neither lists, reads, replaces nor removes another's, and may give the same name; who sees all finds all."""
    ours, theirs = (world.keep(key, "same name").json["data"] for key in (world.acme, world.bolt))
    platform = world.keep(world.platform, "of all").json["data"]
    assert platform["organization_id"] is None
    assert [each["organization_id"] for each in world.send("GET", "", world.acme).json["data"]] == ["acme"]
    assert world.names(world.platform) == ["of all", "same name", "same name"]
    assert world.names(world.platform, "?organization_id=bolt") == ["same name"]
    assert world.names(world.both) == ["same name", "same name"]
    for question in (theirs, platform):
        path = f"/{question['question_id']}"
        assert problem(world.send("GET", path, world.acme)) == (404, "not_found")
        assert problem(world.send("PUT", path, world.acme, name="mine", address=ADDRESS)) == (404, "not_found")
        assert problem(world.send("DELETE", path, world.acme)) == (404, "not_found")
    foreign = world.send("GET", "?organization_id=bolt", world.acme)
    assert problem(foreign) == (403, "forbidden")
    assert problem(world.keep(world.acme, "x", query="?organization_id=bolt")) == (403, "forbidden")
    assert problem(world.keep(world.acme, "x", ADDRESS + "&organization=bolt")) == (403, "forbidden")
    assert problem(world.keep(world.both, "x")) == (400, "missing_organization")
    assert world.keep(world.both, "x", query="?organization_id=bolt").json["data"]["organization_id"] == "bolt"
    helped = world.keep(world.platform, "for acme", ADDRESS + "&organization=acme", "?organization_id=acme")
    assert helped.json["data"]["organization_id"] == "acme"
    assert world.names(world.acme) == ["for acme", "same name"]
    assert world.send("DELETE", f"/{ours['question_id']}", world.platform).status == 204
    assert problem(world.keep(world.platform, "x", query="?organization_id=nobody")) == (404, "not_found")


def test_viewers_read_and_members_keep(world: World) -> None:
    """By key and by token; a token's user is noted, for the day that what it kept is to be erased."""
    assert world.keep(None, "by ann", headers=bearer("ann")).status == 201
    viewer = make_key(world.dsn, "--organization", "acme")
    (kept,) = world.send("GET", "", viewer).json["data"]
    path = f"/{kept['question_id']}"
    for given in ({"X-API-Key": viewer}, bearer("vic")):
        assert world.send("GET", path, None, given).status == 200
        assert problem(world.keep(None, "x", headers=given)) == (403, "forbidden")
        assert problem(world.send("PUT", path, None, given, name="x", address=ADDRESS)) == (403, "forbidden")
        refused = world.send("DELETE", path, None, given)
        assert problem(refused) == (403, "forbidden")
        assert "a viewer may open questions" in refused.json["message"]
    assert problem(world.send("GET", path, None, bearer("bob"))) == (404, "not_found")
    assert problem(world.send("GET", "", None)) == (401, "unauthorized")
    assert value(world.connection, "select kept_by from analytics_refresh.api_questions") == "user:ann"
    assert world.keep(None, "by root", headers=bearer("root", all=True)).json["data"]["organization_id"] is None


def test_P19_what_cannot_be_kept_is_named(world: World) -> None:
    """One sentence says why; a key in it is repeated nowhere, and nothing is written."""
    key = "rfd_" + "k" * 43
    bad: list[tuple[bytes, int, str]] = [
        (b"{", 400, "no JSON"),
        (b"[]", 400, "object"),
        (b"", 400, "name must be a text"),
        (b'{"name": "x"}', 400, "address must be a text"),
        (b'{"name": 1, "address": "?page=growth"}', 400, "name must be a text"),
        (b'{"name": "x", "adress": "?page=growth"}', 400, "did you mean address?"),
        (b'{"name": " ", "address": "?page=growth"}', 400, "1 to 100"),
        (b'{"name": "x", "address": "https://evil.example/"}', 400, "after the path of a page"),
        (b'{"name": "x", "address": "?key=1"}', 400, "what no page has"),
        (json.dumps({"name": "x", "address": f"?search={key}"}).encode(), 400, "looks like a key in search"),
        (json.dumps({"name": key, "address": ADDRESS}).encode(), 400, "looks like a key"),
        (b'{"name": "' + b"x" * 40_000 + b'"}', 413, "32,768"),
    ]
    for body, status, said in bad:
        sent = {"Content-Type": "application/json"}
        answer = world.api.ask(QUESTIONS_PATH, world.acme, sent, "POST", body)
        assert answer.status == status, (body[:80], answer.body)
        assert said in answer.json["message"], (body[:80], answer.body)
        assert key.encode() not in answer.body
    assert problem(world.keep(world.acme, "x", query="?days=1")) == (400, "validation_error")
    for path in ("/1", f"/{uuid.uuid4()}", "/%27", "/" + "x" * 36):
        assert problem(world.send("GET", path, world.acme)) == (404, "not_found")
        assert problem(world.send("PUT", path, world.acme, name="x", address=ADDRESS)) == (404, "not_found")
    wrong = world.send("PATCH", "", world.acme)
    assert (problem(wrong), wrong.json["message"]) == ((405, "method_not_allowed"), "only GET and HEAD and POST")
    assert world.names(world.platform) == []
    # who asks wrongly is no failure of ours
    assert not [line for line in world.api.events("library.message") if line["level"] == "error"]


def test_P19_no_page_of_another_site_can_change_any(world: World) -> None:
    """A form cannot say that it sends JSON, and what a browser says of its origin is looked at."""
    (kept,) = [world.keep(world.acme, "mine").json["data"]]
    path = f"/{kept['question_id']}"
    form = {"Content-Type": "text/plain"}
    assert problem(world.api.ask(QUESTIONS_PATH, world.acme, form, "POST", b"{}")) == (415, "bad_request")
    for given in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert problem(world.keep(world.acme, "x", headers=given)) == (403, "forbidden")
        assert problem(world.send("PUT", path, world.acme, given, name="x", address=ADDRESS)) == (403, "forbidden")
        assert problem(world.send("DELETE", path, world.acme, given)) == (403, "forbidden")
    own = {"Origin": f"http://127.0.0.1:{world.api.port}", "Sec-Fetch-Site": "same-origin"}
    assert world.send("DELETE", path, world.acme, own).status == 204


def test_a_name_stands_for_one_and_a_hundred_are_the_most(world: World) -> None:
    """A second of the name is a conflict; so is one too many, of each organization by itself."""
    mine = world.keep(world.acme, "mine").json["data"]
    assert problem(world.keep(world.acme, "mine")) == (409, "conflict")
    other = world.keep(world.acme, "other").json["data"]
    taken = world.send("PUT", f"/{other['question_id']}", world.acme, name="mine", address=ADDRESS)
    assert problem(taken) == (409, "conflict")
    assert "name is taken" in taken.json["message"]
    assert world.send("PUT", f"/{mine['question_id']}", world.acme, name="mine", address="?page=growth").status == 200
    fill_up(world, MOST_QUESTIONS - 4)
    full = [world.keep(world.acme, f"one more {number}") for number in range(3)]
    assert [answer.status for answer in full] == [201, 201, 409]
    assert "100 questions are kept" in full[-1].json["message"]
    assert len(world.names(world.acme)) == MOST_QUESTIONS
    assert world.keep(world.bolt, "mine").status == 201


def test_P19_the_last_place_is_taken_once(world: World) -> None:
    """Who keeps a question while another is keeping one waits for that, and counts it."""
    fill_up(world, MOST_QUESTIONS - 1)
    kept: list[Any] = []

    def keep(own: psycopg.Connection[Any], name: str) -> None:
        Wall(SECRET).admit(own, ["acme"])
        kept.append(
            own.execute(
                "select (k).room from analytics_api.keep_question('acme', %s, '?a=b', 'k') k", [name]
            ).fetchone()
        )

    with psycopg.connect(world.own) as first, psycopg.connect(world.own) as second:
        keep(first, "first")
        other = threading.Thread(target=keep, args=(second, "second"))
        other.start()
        waits = "select exists (select from pg_locks where pid = %s and not granted)"
        eventually(lambda: len(kept) == 2 or value(world.connection, waits, second.info.backend_pid))
        first.commit()
        other.join(60)
        assert kept == [(True,), (False,)]


def test_P02_P19_the_database_lets_nobody_around_the_wall(world: World) -> None:
    """The API's role sees and changes nothing without a token, and what is not admitted is not changed with one."""
    kept = world.keep(world.acme, "mine").json["data"]["question_id"]
    calls = {
        "select count(*) from analytics_api.saved_questions": 0,
        "select count(*) from analytics_api.keep_question('acme', 'x', '?page=growth', 'k') k where k.known": 0,
        "select count(*) from analytics_api.keep_question(null, 'x', '?page=growth', 'k') k where k.known": 0,
        f"select analytics_api.replace_question('{kept}', 'x', '?page=growth', 'k')": None,
        f"select analytics_api.remove_question('{kept}')": None,
    }
    with psycopg.connect(world.own) as own:
        for admitted in (None, ["bolt"], []):
            for call, nothing in calls.items():
                if admitted is not None:
                    Wall(SECRET).admit(own, admitted)
                row = own.execute(call).fetchone()
                assert row == (nothing,), (admitted, call)
                own.rollback()
        for statement in ("select * from {}", "delete from {}", "insert into {} default values"):
            with pytest.raises(errors.InsufficientPrivilege):
                own.execute(statement.format("analytics_refresh.api_questions"))
            own.rollback()
        Wall(SECRET).admit(own, ["acme"])
        for wrong in ("https://evil.example", "?page=a b", "growth", "?" + "a" * 2000):
            with pytest.raises(errors.CheckViolation), own.transaction():
                own.execute("select analytics_api.keep_question('acme', 'x', %s, 'k')", [wrong])
    assert world.names(world.platform) == ["mine"]


def test_P11_a_schema_of_before_is_told_of(world: World) -> None:
    """Where `migrate` has not run yet, questions are 503, and figures are read."""
    world.connection.execute("alter view analytics_api.saved_questions rename to other")
    try:
        assert problem(world.send("GET", "", world.acme)) == (503, "service_unavailable")
        assert problem(world.keep(world.acme, "x")) == (503, "service_unavailable")
        assert world.api.ask("triggers/slowest", world.acme).status == 200
    finally:
        world.connection.execute("alter view analytics_api.other rename to saved_questions")
