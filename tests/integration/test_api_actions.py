"""What operators ask for over HTTP: who may, in which words, and what is refused before anything is written."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jsonschema
import pytest

from analytics_refreshd.api.actions.endpoint import ACTION_PATHS, STATE_PATH
from tests.support.api import Api, make_key, problem
from tests.support.faults import Connection, value
from tests.support.requests import expire
from tests.support.tokens import bearer, members_api

pytestmark = pytest.mark.slow
GOOD: dict[str, dict[str, object]] = {"refresh": {}, "pause": {"for": "2h", "reason": "import"}, "resume": {}}


@dataclass(frozen=True)
class World:
    """The API of two tenants, its database, and an operator's key."""

    api: Api
    dsn: str
    connection: Connection
    operator: str

    @property
    def written(self) -> int:
        """How many requests the database has."""
        return int(value(self.connection, "select count(*) from analytics_refresh.operator_requests"))


@pytest.fixture(scope="module")
def world(
    templates: Callable[..., str], migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """One API for all tests of this file. No daemon serves it."""
    dsn, folder = templates(migrated_template), tmp_path_factory.mktemp("api")
    with members_api(dsn, folder, "('acme', 'owner', 'owner')", operator="operator", administrator="all") as made:
        api, owner, _ = made
        yield World(api, dsn, owner, make_key(dsn, "--organization", "acme", "--operator"))


def test_an_action_is_taken_and_told_of(world: World) -> None:
    """202, who asked and until when it may be done, and where to ask for more; as the document of the API says."""
    document = world.api.ask("/api/v1/openapi.json").json
    for path, kind in ACTION_PATHS.items():
        answer = world.api.post(kind, world.operator, members=GOOD[kind])
        assert answer.status == 202, answer.body
        schema = document["paths"][path]["post"]["responses"]["202"]["content"]["application/json"]["schema"]
        jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(answer.json)
        data = answer.json["data"]
        assert (data["kind"], data["state"], data["leader"], data["outcome"]) == (kind, "waiting", False, None)
        assert data["actor"].startswith("key_")
        assert (data["for_seconds"], data["reason"]) == ((7200, "import") if kind == "pause" else (None, None))
        assert answer.headers["location"] == STATE_PATH.format(request_id=data["request_id"])
        assert answer.headers["cache-control"] == "no-store"
        assert "x-ratelimit-remaining" in answer.headers
        told = world.api.ask(answer.headers["location"], world.operator)
        assert (told.status, told.json["data"]) == (200, data)
    expire(world.connection, data["request_id"])
    assert world.api.ask(answer.headers["location"], world.operator).json["data"]["state"] == "expired"
    line = world.api.wait_for("request.finished", lambda line: line["endpoint"] == "pause" and line["status"] == 202)
    assert (line["method"], line["key_id"]) == ("POST", data["actor"])


def test_P16_tenants_are_refused(world: World) -> None:
    """Whatever role a key or a member has, and of however many organizations; only the right of operators counts."""
    before = world.written
    keys = [
        make_key(world.dsn, "--organization", "acme", "--role", "owner"),
        make_key(world.dsn, "--all-organizations", "--role", "admin"),
    ]
    headers = [{"X-API-Key": key} for key in keys]
    headers += [bearer("owner"), bearer("root", all=True), bearer("owner", operator="yes"), bearer("ann", operator=1)]
    for given in headers:
        for kind in GOOD:
            assert problem(world.api.post(kind, headers=given, members=GOOD[kind])) == (403, "forbidden")
        state = world.api.ask("/api/v1/requests/00000000-0000-0000-0000-000000000000", headers=given)
        assert problem(state) == (403, "forbidden")
    assert problem(world.api.post("refresh")) == (401, "unauthorized")
    assert problem(world.api.post("refresh", "rfd_" + "x" * 43)) == (401, "unauthorized")
    assert world.written == before


def test_a_token_with_the_claim_is_an_operators(world: World) -> None:
    """Also of a user who is in no organization."""
    answer = world.api.post("resume", headers=bearer("on-call", operator=True))
    assert (answer.status, answer.json["data"]["actor"]) == (202, "user:on-call")


def test_P16_no_page_of_another_site_can_ask(world: World) -> None:
    """A form cannot say that it sends JSON; a script's origin is looked at; nothing is allowed to other origins."""
    before = world.written
    forms = ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", "")
    for kind in forms:
        sent = {"Content-Type": kind}
        answer = world.api.ask("/api/v1/refresh", world.operator, sent, "POST", b"{}")
        assert problem(answer) == (415, "bad_request"), kind
    others: tuple[dict[str, str], ...] = (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[", "Host": f"127.0.0.1:{world.api.port}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": f"http://127.0.0.1:{world.api.port}"},
    )
    for given in others:
        assert problem(world.api.post("refresh", world.operator, given)) == (403, "forbidden"), given
    preflight = world.api.ask("/api/v1/refresh", headers={"Origin": "https://evil.example"}, method="OPTIONS")
    assert problem(preflight) == (405, "method_not_allowed")
    assert not [name for name in preflight.headers if name.startswith("access-control")]
    assert world.written == before
    own = {"Origin": f"http://127.0.0.1:{world.api.port}"}
    for given in (own, own | {"Sec-Fetch-Site": "same-origin"}):
        assert world.api.post("resume", world.operator, given).status == 202


def test_P16_what_cannot_be_asked_for_is_named(world: World) -> None:
    """One sentence says which member is wrong; nothing is written."""
    before = world.written
    bad: list[tuple[str, bytes, int, str]] = [
        ("refresh", b"{", 400, "no JSON"),
        ("refresh", b"[" * 3000, 400, "no JSON"),
        ("refresh", b"[]", 400, "object"),
        ("refresh", b'{"reasn": "x"}', 400, "did you mean reason?"),
        ("refresh", b'{"for": "2h"}', 400, "no parameter"),
        ("refresh", b'{"reason": 1}', 400, "reason"),
        ("refresh", json.dumps({"reason": "x" * 501}).encode(), 400, "500"),
        ("refresh", json.dumps({"reason": "a\nb"}).encode(), 400, "one line"),
        ("refresh", b'{"reason": "' + rb"\udbae\udc94" * 501 + b'"}', 400, "500 characters"),
        ("refresh", b'{"reason": "' + b"x" * 40_000 + b'"}', 413, "32,768"),
        ("pause", b"", 400, "reason"),
        ("pause", b'{"for": "2h", "reason": " "}', 400, "reason"),
        ("pause", b'{"reason": "x"}', 400, '"2h"'),
        ("pause", b'{"for": 7200, "reason": "x"}', 400, '"2h"'),
        ("pause", b'{"for": "0s", "reason": "x"}', 400, '"2h"'),
        ("pause", b'{"for": "8d", "reason": "x"}', 400, "7d"),
        ("pause", json.dumps({"for": "9" * 400 + "d", "reason": "x"}).encode(), 400, "7d"),
    ]
    for kind, body, status, said in bad:
        sent = {"Content-Type": "application/json; charset=utf-8"}
        answer = world.api.ask(f"/api/v1/{kind}", world.operator, sent, "POST", body)
        assert answer.status == status, (kind, body[:80], answer.body)
        assert said in answer.json["message"], (kind, body[:80], answer.body)
    assert problem(world.api.post("refresh?days=1", world.operator)) == (400, "validation_error")
    assert world.written == before
    for path in ("00000000-0000-0000-0000-000000000000", "1", "%27", "x" * 36):
        assert problem(world.api.ask(f"/api/v1/requests/{path}", world.operator)) == (404, "not_found")
    wrong = world.api.ask("/api/v1/refresh", world.operator)
    assert (problem(wrong), wrong.json["message"]) == ((405, "method_not_allowed"), "only POST")
    wrong = world.api.ask("actions/hourly", world.operator, method="POST")
    assert (problem(wrong), wrong.json["message"]) == ((405, "method_not_allowed"), "only GET and HEAD")


def test_P16_an_hour_has_its_bound(world: World) -> None:
    """Over twenty of one operator the answer is 429, and another may go on."""
    loud, quiet = (make_key(world.dsn, "--all-organizations", "--operator") for _ in range(2))
    answers = [world.api.post("refresh", loud) for _ in range(21)]
    assert [answer.status for answer in answers] == [202] * 20 + [429]
    assert problem(answers[-1]) == (429, "rate_limited")
    assert int(answers[-1].headers["retry-after"]) > 0
    assert world.api.post("resume", quiet).status == 202


def test_P11_a_schema_of_before_is_told_of(world: World) -> None:
    """Where `migrate` has not run yet, the answer is 503, and reading goes on."""
    world.connection.execute("alter function analytics_api.request(text, text, text, interval) rename to other")
    try:
        assert problem(world.api.post("refresh", world.operator)) == (503, "service_unavailable")
        assert world.api.ask("triggers/slowest", world.operator).status == 200
    finally:
        world.connection.execute("alter function analytics_api.other(text, text, text, interval) rename to request")
