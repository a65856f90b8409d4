"""The gate: who is admitted by a key, what a refusal says, and how long a key is believed."""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import pytest

from analytics_refreshd.api.access.gate import AccessGate
from analytics_refreshd.api.access.keys import KeyGate
from analytics_refreshd.api.access.limits import LimitRules, Limits
from analytics_refreshd.api.access.lookup import FRESH_SECONDS, OUTAGE_SECONDS
from analytics_refreshd.api.access.principal import AccessDenied, Principal
from analytics_refreshd.api.access.unknown import BY_ADDRESS, IN_ALL, UnknownKeys
from analytics_refreshd.core.access import ApiKey, key_digest
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.model import Reason
from tests.support.fakes import FakeClock

SECRET = "rfd_" + "k" * 43
OTHER = "rfd_" + "o" * 43
CLOCK = FakeClock()
KEY = ApiKey("key_1", "portal", ("acme", "bolt"), "member", "pro", False, CLOCK.now(), "owner")


def fault(error_class: ErrorClass) -> DatabaseFault:
    """A fault of this class, whose text nobody outside may read."""
    return DatabaseFault("host db.internal refused", error_class=error_class, reason=Reason.OTHER)


class Keys:
    """A store in memory that counts what it is asked, and fails when told to."""

    def __init__(self, *keys: tuple[str, ApiKey]) -> None:
        self.keys = {key_digest(secret): key for secret, key in keys}
        self.finds = 0
        self.uses: list[bytes] = []
        self.fails: DatabaseFault | None = None

    def find(self, digest: bytes) -> ApiKey | None:
        self.finds += 1
        if self.fails:
            raise self.fails
        return self.keys.get(digest)

    def note_use(self, digest: bytes) -> None:
        if self.fails:
            raise self.fails
        self.uses.append(digest)


def admit(gate: KeyGate, headers: Mapping[str, str], organization: str | None = None) -> Principal:
    """Who the gate says asks."""
    return gate.admit(headers, organization, "192.0.2.1", 1).principal


def refused(gate: KeyGate, headers: Mapping[str, str], organization: str | None = None) -> AccessDenied:
    """How the gate refuses."""
    with pytest.raises(AccessDenied) as denied:
        admit(gate, headers, organization)
    return denied.value


@pytest.mark.parametrize(
    ("headers", "parameter", "organizations"),
    [
        ({"X-API-Key": SECRET}, None, ("acme", "bolt")),
        ({"x-api-key": SECRET, "X-Organization-ID": "bolt"}, None, ("bolt",)),
        ({"x-api-key": SECRET}, "acme", ("acme",)),
        ({"x-api-key": SECRET, "x-organization-id": "acme"}, "acme", ("acme",)),
    ],
)
def test_a_key_sees_its_organizations(
    headers: Mapping[str, str], parameter: str | None, organizations: tuple[str, ...]
) -> None:
    """All of them, or the one that header or parameter names."""
    gate = KeyGate(Keys((SECRET, KEY)), FakeClock())
    assert admit(gate, headers, parameter) == Principal("key_1", organizations, "member", "pro", False)


def test_a_key_for_all_organizations() -> None:
    """It sees all, or the one that is named; without a plan it has the largest."""
    everyone = replace(KEY, organizations=None, plan=None, operator=True, role="admin")
    gate = KeyGate(Keys((SECRET, everyone)), FakeClock())
    assert admit(gate, {"x-api-key": SECRET}) == Principal("key_1", None, "admin", "enterprise", True)
    assert admit(gate, {"x-api-key": SECRET}, "z").organizations == ("z",)


@pytest.mark.parametrize(
    ("headers", "parameter", "answer"),
    [
        ({}, None, (401, "unauthorized")),
        ({"x-api-key": ""}, None, (401, "unauthorized")),
        ({"x-api-key": OTHER}, None, (401, "unauthorized")),
        ({"x-api-key": SECRET + " "}, None, (401, "unauthorized")),
        ({"X-API-Key": SECRET, "x-api-key": SECRET}, None, (401, "unauthorized")),
        ({"x-api-key": SECRET}, "crux", (403, "forbidden")),
        ({"x-api-key": SECRET}, "", (400, "bad_request")),
        ({"x-api-key": SECRET}, "a\x00", (400, "bad_request")),
        ({"x-api-key": SECRET}, "x" * 1001, (400, "bad_request")),
        ({"x-api-key": SECRET, "x-organization-id": "acme"}, "bolt", (400, "bad_request")),
        ({"X-Organization-ID": "acme", "x-api-key": SECRET, "x-organization-id": "bolt"}, None, (400, "bad_request")),
    ],
)
def test_P03_what_is_refused(headers: Mapping[str, str], parameter: str | None, answer: tuple[int, str]) -> None:
    """Status and code are those of the guide; no key comes back in the text."""
    denied = refused(KeyGate(Keys((SECRET, KEY)), FakeClock()), headers, parameter)
    assert (denied.status, denied.code) == answer
    assert ("WWW-Authenticate" in denied.headers) is (denied.status == 401)
    assert "rfd_k" not in denied.detail


def test_P03_a_revocation_is_seen_after_ten_seconds() -> None:
    """Until then the key is as it was read; a key that was not known is looked for again as soon."""
    store, clock = Keys((SECRET, KEY)), FakeClock()
    gate = KeyGate(store, clock)
    admit(gate, {"x-api-key": SECRET})
    refused(gate, {"x-api-key": OTHER})
    store.keys = {
        key_digest(SECRET): replace(KEY, revoked_at=clock.now()),
        key_digest(OTHER): replace(KEY, key_id="key_2"),
    }
    clock.pass_by(FRESH_SECONDS - 0.1)
    admit(gate, {"x-api-key": SECRET})
    refused(gate, {"x-api-key": OTHER})
    assert store.finds == 2
    clock.pass_by(0.1)
    assert "revoked" in refused(gate, {"x-api-key": SECRET}).detail
    assert admit(gate, {"x-api-key": OTHER}).key_id == "key_2"


def test_P03_a_key_expires_between_two_readings() -> None:
    """The time is looked at in every request."""
    clock = FakeClock()
    gate = KeyGate(Keys((SECRET, replace(KEY, expires_at=clock.now()))), FakeClock(clock.now()))
    assert "expired" in refused(gate, {"x-api-key": SECRET}).detail


def test_P03_P13_an_outage_ends_nobodys_key() -> None:
    """Keys that were read hold for five minutes; others cannot be checked. Nothing of the fault is told."""
    store, clock = Keys((SECRET, KEY)), FakeClock()
    gate = KeyGate(store, clock)
    admit(gate, {"x-api-key": SECRET})
    store.fails = fault(ErrorClass.CONNECT)
    clock.pass_by(OUTAGE_SECONDS - 1)
    admit(gate, {"x-api-key": SECRET})
    denied = refused(gate, {"x-api-key": OTHER})
    assert (denied.status, denied.code, "db.internal" in denied.detail) == (503, "service_unavailable", False)
    assert "Retry-After" in denied.headers
    # the second request did not wait for a connection again
    assert store.finds == 2
    clock.pass_by(1)
    assert refused(gate, {"x-api-key": SECRET}).status == 503
    store.fails = None
    clock.pass_by(1)
    admit(gate, {"x-api-key": SECRET})


def test_a_database_without_keys_admits_nobody() -> None:
    """A fault that is an answer of the database is no outage."""
    store = Keys((SECRET, KEY))
    gate = KeyGate(store, FakeClock())
    admit(gate, {"x-api-key": SECRET})
    store.fails = fault(ErrorClass.PERMANENT)
    denied = refused(gate, {"x-api-key": OTHER})
    assert (denied.status, denied.__cause__) == (503, store.fails)
    assert "`analytics-refreshd check`" in denied.detail
    assert "db.internal" not in denied.detail


def test_the_last_use_is_written_once_a_minute() -> None:
    """For each key; and a database that cannot write refuses no request."""
    store, clock = Keys((SECRET, KEY), (OTHER, KEY)), FakeClock()
    gate = KeyGate(store, clock)
    for _ in range(3):
        admit(gate, {"x-api-key": SECRET})
        admit(gate, {"x-api-key": OTHER})
        clock.pass_by(19)
    assert store.uses == [key_digest(SECRET), key_digest(OTHER)]
    clock.pass_by(5)
    admit(gate, {"x-api-key": SECRET})
    assert len(store.uses) == 3
    clock.pass_by(60)
    admit(gate, {"x-api-key": SECRET})
    assert len(store.uses) == 4


def test_a_refused_request_is_no_use() -> None:
    """Neither of a key that is over, nor of one that asks for another's organization."""
    store = Keys((SECRET, KEY))
    gate = KeyGate(store, FakeClock())
    refused(gate, {"x-api-key": SECRET}, "crux")
    refused(gate, {"x-api-key": OTHER})
    assert store.uses == []


def test_P03_what_has_not_the_form_of_a_key_is_not_looked_for() -> None:
    """Nobody asks the database for it, and nothing is remembered."""
    store = Keys((SECRET, KEY))
    gate = KeyGate(store, FakeClock())
    for given in ("", "rfd_short", SECRET + "k", SECRET.upper(), "é" * 47, "rfd_" + "k" * 42 + "\n"):
        assert refused(gate, {"x-api-key": given}).status == 401
    assert store.finds == 0
    assert not gate._unknown._seen


def test_random_keys_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody has is remembered for a moment, the newest of it; keys that somebody has stay."""
    monkeypatch.setattr("analytics_refreshd.api.access.unknown.MOST_REMEMBERED", 3)
    store = Keys((SECRET, KEY))
    gate = KeyGate(store, FakeClock())
    admit(gate, {"x-api-key": SECRET})
    for number in range(5):
        refused(gate, {"x-api-key": f"rfd_{number:043}"})
    refused(gate, {"x-api-key": f"rfd_{4:043}"})
    admit(gate, {"x-api-key": SECRET})
    assert store.finds == 6
    assert len(gate._keys._remembered) == 1
    assert len(gate._unknown._seen) == 3
    refused(gate, {"x-api-key": f"rfd_{0:043}"})
    assert store.finds == 7


def limited(store: Keys, clock: FakeClock, counts: Counter[str], *, by_address: bool) -> KeyGate:
    """A gate that counts unknown keys."""
    return KeyGate(store, clock, UnknownKeys(clock, by_address=by_address, counted=lambda one: counts.update([one])))


def tried(gate: KeyGate, number: int, address: str) -> AccessDenied:
    """How one of many random keys is refused."""
    with pytest.raises(AccessDenied) as denied:
        gate.admit({"x-api-key": f"rfd_{number:043}"}, None, address, 1)
    return denied.value


def test_unknown_keys_of_an_address_have_a_limit() -> None:
    """Beyond it nothing is looked for until the minute ends. Other addresses and keys that were found are admitted."""
    store, clock, counts = Keys((SECRET, KEY), (OTHER, KEY)), FakeClock(), Counter[str]()
    gate = limited(store, clock, counts, by_address=True)
    gate.admit({"x-api-key": SECRET}, None, "192.0.2.1", 1)
    assert {tried(gate, number, "192.0.2.1").status for number in range(BY_ADDRESS)} == {401}
    clock.pass_by(FRESH_SECONDS)
    denied = tried(gate, BY_ADDRESS, "192.0.2.1")
    assert (denied.status, denied.code, denied.headers["Retry-After"]) == (429, "rate_limited", "50")
    with pytest.raises(AccessDenied, match="too many"):
        gate.admit({"x-api-key": OTHER}, None, "192.0.2.1", 1)
    assert store.finds == 1 + BY_ADDRESS
    # it is read again, since its ten seconds are over
    gate.admit({"x-api-key": SECRET}, None, "192.0.2.1", 1)
    gate.admit({"x-api-key": OTHER}, None, "192.0.2.2", 1)
    assert counts == {"unknown": BY_ADDRESS, "limited": 2}
    clock.pass_by(60 - FRESH_SECONDS)
    assert tried(gate, BY_ADDRESS, "192.0.2.1").status == 401


@pytest.mark.parametrize("by_address", [True, False])
def test_P03_unknown_keys_of_all_have_a_limit(by_address: bool) -> None:
    """It is the only one where addresses may be a proxy's; memory has a limit in both cases."""
    store, clock, counts = Keys(), FakeClock(), Counter[str]()
    gate = limited(store, clock, counts, by_address=by_address)
    for number in range(IN_ALL + 50):
        address = f"2001:db8:0:{number:x}::1" if by_address else "192.0.2.1"
        assert tried(gate, number, address).status == (401 if number < IN_ALL else 429)
    assert (store.finds, counts) == (IN_ALL, {"unknown": IN_ALL, "limited": 50})
    assert len(gate._unknown._failed) <= IN_ALL
    clock.pass_by(60)
    assert tried(gate, IN_ALL + 50, "192.0.2.1").status == 401
    assert len(gate._unknown._failed) == 1


def test_an_ipv6_client_is_its_network() -> None:
    """Who has 64 bits of addresses has one limit."""
    gate = limited(Keys(), FakeClock(), Counter(), by_address=True)
    answers = [tried(gate, number, f"2001:db8::{number:x}").status for number in range(BY_ADDRESS + 1)]
    assert answers == [401] * BY_ADDRESS + [429]


def test_an_outage_counts_no_key_as_unknown() -> None:
    """Who cannot be checked is neither remembered nor limited."""
    store, counts = Keys(), Counter[str]()
    gate = limited(store, FakeClock(), counts, by_address=True)
    store.fails = fault(ErrorClass.CONNECT)
    assert {tried(gate, number, "192.0.2.1").status for number in range(2 * BY_ADDRESS)} == {503}
    assert not counts
    assert not gate._unknown._seen


def test_many_threads_at_once() -> None:
    """Each is admitted as itself."""
    store = Keys((SECRET, KEY), (OTHER, replace(KEY, key_id="key_2", organizations=None)))
    gate = KeyGate(store, FakeClock())
    seen: list[bool] = []

    def ask(secret: str, key_id: str) -> None:
        for _ in range(200):
            seen.append(admit(gate, {"x-api-key": secret}).key_id == key_id)

    threads = [threading.Thread(target=ask, args=pair) for pair in [(SECRET, "key_1"), (OTHER, "key_2")] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 1600


def test_what_is_remembered_asks_no_database() -> None:
    """None where a key would be read, or its use noted; what is known is refused or admitted as by any other way."""
    store, clock = Keys((SECRET, KEY)), FakeClock()
    gate = KeyGate(store, clock)
    headers = {"x-api-key": SECRET}
    assert gate.admit_remembered(headers, None) is None
    assert store.finds == 0
    admit(gate, headers)
    store.fails = fault(ErrorClass.CONN_LOST)
    admission = gate.admit_remembered(headers, "acme")
    assert admission is not None
    assert admission.principal == Principal("key_1", ("acme",), "member", "pro", False)
    assert gate.admit_remembered({"x-api-key": OTHER}, None) is None
    for wrong, organization, status in (({}, None, 401), ({"x-api-key": "x"}, None, 401), (headers, "crux", 403)):
        with pytest.raises(AccessDenied) as denied:
            gate.admit_remembered(wrong, organization)
        assert denied.value.status == status
    clock.pass_by(FRESH_SECONDS)
    assert gate.admit_remembered(headers, None) is None
    assert (store.finds, len(store.uses)) == (1, 1)


def test_a_use_is_noted_by_who_may_wait() -> None:
    """A minute after the last one that was noted, what is remembered does not do; the next that waits notes it."""
    store, clock = Keys((SECRET, replace(KEY, revoked_at=None))), FakeClock()
    gate = KeyGate(store, clock)
    headers = {"x-api-key": SECRET}
    for second in range(0, 70, 5):
        if gate.admit_remembered(headers, None) is None:
            admit(gate, headers)
        assert gate.admit_remembered(headers, None) is not None
        assert len(store.uses) == 1 + (second >= 60)
        clock.pass_by(5)


def test_counting_elsewhere_is_for_who_may_wait() -> None:
    """With a Redis, or a token, nothing is decided from memory, and nothing counted."""
    keys = KeyGate(Keys((SECRET, KEY)), FakeClock())
    headers = {"x-api-key": SECRET}
    admit(keys, headers)
    limits = Limits(LimitRules(burst=1.0))
    gate = AccessGate(keys, None, limits)
    admission = gate.admit_remembered(headers, "acme", "192.0.2.1", 10)
    assert admission is not None
    assert admission.headers["X-RateLimit-Remaining"] == "490"
    for _ in range(49):
        assert gate.admit_remembered(headers, "acme", "192.0.2.1", 10) is not None
    with pytest.raises(AccessDenied, match="all 500"):
        gate.admit_remembered(headers, "acme", "192.0.2.1", 10)
    elsewhere = Limits(LimitRules(storage="redis://127.0.0.1:1"))
    assert AccessGate(keys, None, elsewhere).admit_remembered(headers, "acme", "", 1) is None
    with pytest.raises(AccessDenied, match="not both"):
        gate.admit_remembered({**headers, "authorization": "Bearer x"}, "acme", "", 1)
