"""Random load and random faults: no answer is wrong, and none is a defect.

REFRESHD_TEST_API_SECONDS   how long (60; the night: 1200)
REFRESHD_TEST_API_SEED      which questions and faults (72176)
"""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.client import HTTPException
from pathlib import Path

import psycopg
import pytest

from analytics_refreshd.core.access import key_digest
from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.migrate.run import migrate
from tests.conftest import create_application
from tests.support.api import Api, install_api, make_key
from tests.support.api_ledger import QUESTIONS, Given, Ledger, Question, digest_of
from tests.support.daemon import Settings, command
from tests.support.faults import value
from tests.support.postgres import Server
from tests.support.waiting import eventually

SECONDS = float(os.environ.get("REFRESHD_TEST_API_SECONDS", "60"))
SEED = int(os.environ.get("REFRESHD_TEST_API_SEED", "72176"))
ALLOWED = {200, 304, 400, 401, 403, 404, 429, 503}
HELD_SECONDS = 10.0
"""How long a key is believed after it was read."""
SETTINGS: Settings = {
    "schedule__interval": "1h",
    "staleness__max_age": "3h",
    "api__statement_timeout": "2s",
    "api__requests_per_hour": {"free": 40, "starter": 10**6, "pro": 10**6, "enterprise": 10**6},
    "log__level": "info",
}
pytestmark = [pytest.mark.nightly, pytest.mark.fault, pytest.mark.timeout(SECONDS + 900)]


class Replica:
    """One API, which can be killed and started again."""

    def __init__(self, name: str, start: Callable[[], Api]) -> None:
        self.name = name
        self._start = start
        self.api = start().__enter__()
        self.port = self.api.port
        self.away: list[tuple[float, float]] = []

    def kill(self, chance: random.Random) -> None:
        """Kill it, and start another in its place after a while."""
        began = time.monotonic()
        self.api.process.kill()
        self.close()
        time.sleep(chance.uniform(0, 2))
        self.api = self._start().__enter__()
        self.port = self.api.port
        self.away.append((began, time.monotonic()))

    def close(self) -> None:
        """End it."""
        self.api.__exit__(None, None, None)


class Scene:
    """Primary, standby, an API on each, keys, and what has been answered."""

    def __init__(self, primary: Server, standby: Server, replicas: list[Replica], keys: dict[str, str]) -> None:
        self.primary, self.standby, self.replicas, self.keys = primary, standby, replicas, keys
        self.dsn = primary.dsn()
        self.given: list[Given] = []
        self.wrong: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.outages: list[tuple[float, float]] = []
        self.revoked: dict[str, float] = {}
        self.over = threading.Event()

    def ask(self, chance: random.Random, tags: dict[tuple[str, Question], tuple[str, str | None]]) -> None:
        """Send one random request, and note what came."""
        replica, question = chance.choice(self.replicas), chance.choice(QUESTIONS)
        key, suffix = self.keys[question.who], ""
        headers: dict[str, str] = {}
        kind = chance.random()
        if kind < 0.1:
            odd = [("?limits=1", key), ("?limit=0", key), ("", "rfd_" + "x" * 43), ("?organization_id=crux", key)]
            suffix, key = chance.choice([*odd, *(("", one) for one in [*list(self.revoked), self.keys["limited"]])])
        elif kind < 0.4 and (replica.name, question) in tags:
            headers["If-None-Match"] = tags[replica.name, question][0]
        sent = time.monotonic()
        try:
            answer = replica.api.ask(question.name + suffix, key, headers)
        except (OSError, HTTPException, AssertionError) as error:
            self.wrong.append(f"{replica.name} {sent} {time.monotonic()}: {error!r}")
            return
        received = time.monotonic()
        self.statuses[answer.status] += 1
        if answer.status not in ALLOWED:
            self.wrong.append(f"{replica.name} {question} {suffix}: {answer.status} {answer.body[:500]!r}")
        if answer.status < 400 and key in self.revoked:
            self._revoked(key, sent)
        if answer.status >= 400 or suffix or key != self.keys[question.who]:
            return
        lags = replica.name == "standby"
        if answer.status == 304:
            self.given.append(Given(question, sent, received, tags[replica.name, question][1], None, lags))
            return
        as_of = answer.json["meta"]["as_of"]
        self.given.append(Given(question, sent, received, as_of, digest_of(answer.json["data"]), lags))
        if "etag" in answer.headers:
            tags[replica.name, question] = (answer.headers["etag"], as_of)

    def _revoked(self, key: str, sent: float) -> None:
        """A key holds for ten seconds after it was revoked, for longer while nobody can read that."""
        revoked = self.revoked[key]
        away = any(began < sent and revoked - HELD_SECONDS < ended for began, ended in self.outages)
        if sent > revoked + HELD_SECONDS and not away:
            self.wrong.append(f"a key was good {sent - revoked:.1f} s after it was revoked")

    def load(self, seed: int) -> None:
        """Ask until it is over."""
        chance = random.Random(seed)
        tags: dict[tuple[str, Question], tuple[str, str | None]] = {}
        while not self.over.is_set():
            self.ask(chance, tags)
            time.sleep(chance.uniform(0, 0.02))

    @contextmanager
    def outage(self) -> Iterator[None]:
        """A stretch of time in which the primary may be away."""
        self.outages.append((time.monotonic(), float("inf")))
        try:
            yield
        finally:
            self.outages[-1] = (self.outages[-1][0], time.monotonic())


def stop_database(scene: Scene, chance: random.Random) -> None:
    """The primary crashes, and comes back."""
    with scene.outage():
        scene.primary.stop("immediate")
        time.sleep(chance.uniform(0, 6))
        scene.primary.start()
        recovered(scene, "primary")


def stop_standby(scene: Scene, chance: random.Random) -> None:
    """The standby crashes, and comes back."""
    scene.standby.stop("immediate")
    time.sleep(chance.uniform(0, 6))
    scene.standby.start()


def lock_view(scene: Scene, chance: random.Random) -> None:
    """Somebody holds a view, for less or more than a statement may take."""
    with psycopg.connect(scene.dsn, options="-c lock_timeout=20s") as holder:
        # LOCK takes no materialized view; this changes nothing, and locks it against readers
        holder.execute(f"alter materialized view {chance.choice(VIEWS)} owner to current_user")
        time.sleep(chance.uniform(0.5, 6))
        holder.rollback()


def revoke_key(scene: Scene, chance: random.Random) -> None:
    """A key that is in use is revoked, and another stands in for it."""
    who = chance.choice(["acme", "bolt"])
    key, scene.keys[who] = scene.keys[who], make_key(scene.dsn, "--organization", who, "--plan", "pro")
    with psycopg.connect(scene.dsn) as connection:
        key_id = value(connection, "select key_id from analytics_refresh.api_keys where key_hash = %s", key_digest(key))
    done = command(scene.dsn, "keys", "revoke", str(key_id))
    assert done.returncode == 0, done.stderr
    scene.revoked[key] = time.monotonic()


def kill_replica(scene: Scene, chance: random.Random) -> None:
    """An API dies, and another one comes."""
    chance.choice(scene.replicas).kill(chance)


FAULTS = (stop_database, stop_standby, lock_view, revoke_key, kill_replica)


def recovered(scene: Scene, *names: str) -> None:
    """Wait until those APIs answer what must be read."""
    for replica in scene.replicas:
        if not names or replica.name in names:
            eventually(partial(_answers, scene, replica))


def _answers(scene: Scene, replica: Replica) -> bool:
    return replica.api.ask("organizations/usage", scene.keys["all"]).status == 200


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[tuple[Scene, Ledger]]:
    """A primary with rows, its standby, and an API on each."""
    primary = Server(settings={"synchronous_commit": "on", "wal_keep_size": "512MB"}).start()
    standby = None
    replicas: list[Replica] = []
    try:
        create_application(primary.dsn())
        with primary.connect() as connection:
            migrate(connection)
            own, secret = install_api(primary.dsn(), connection, "api", tmp_path)
        ledger = Ledger(primary.dsn())
        standby = primary.standby()
        standby.start()
        keys = {who: make_key(primary.dsn(), "--organization", who, "--plan", "pro") for who in ("acme", "bolt")}
        keys["both"] = make_key(primary.dsn(), "--organization", "acme", "--organization", "bolt", "--plan", "pro")
        keys["all"] = make_key(primary.dsn(), "--all-organizations")
        keys["limited"] = make_key(primary.dsn(), "--organization", "crux", "--plan", "free")
        there = psycopg.conninfo.make_conninfo(own, host="127.0.0.1", port=standby.port)
        replicas.append(Replica("primary", lambda: Api(own, secret, **SETTINGS)))
        replicas.append(Replica("standby", lambda: Api(there, secret, api__write_url=own, **SETTINGS)))
        yield Scene(primary, standby, replicas, keys), ledger
    finally:
        for replica in replicas:
            replica.close()
        for server in (standby, primary):
            if server is not None:
                server.destroy()


def test_no_answer_is_wrong_whatever_fails(scene: tuple[Scene, Ledger]) -> None:
    """Each answer is what SQL says at its `as_of`, and no older than it may be; all others say what is wrong."""
    set_up, ledger = scene
    recovered(set_up)
    chance = random.Random(SEED)
    drawn: Counter[str] = Counter()
    threads = [threading.Thread(target=set_up.load, args=(SEED + number,), daemon=True) for number in range(4)]
    with ledger:
        for thread in threads:
            thread.start()
        until = time.monotonic() + SECONDS
        deck: list[Callable[[Scene, random.Random], None]] = []
        while time.monotonic() < until:
            if not deck:
                deck = chance.sample(FAULTS, len(FAULTS))
            fault = deck.pop()
            drawn[fault.__name__] += 1
            fault(set_up, chance)
            recovered(set_up)
            time.sleep(chance.uniform(0, 3))
        set_up.over.set()
        for thread in threads:
            thread.join(60)
    away = [one for replica in set_up.replicas for one in replica.away]
    wrong = [said for said in set_up.wrong if not killed(said, away)]
    wrong += [said for given in set_up.given if (said := ledger.wrong(given)) is not None]
    print(f"seed {SEED}, {SECONDS:.0f} s: {dict(drawn)}; {dict(set_up.statuses)}; {len(set_up.given)} answers compared")
    print(f"{ledger.batches} batches of rows, {ledger.refreshes} refreshes")
    assert wrong == []
    assert set_up.statuses[200] > set_up.statuses[503]
    assert {200, 304, 400, 401, 403, 503} <= set(set_up.statuses)


def killed(said: str, away: list[tuple[float, float]]) -> bool:
    """Whether a connection was lost while its API was being killed."""
    words = said.split()
    if words[0] not in ("primary", "standby") or not words[1].replace(".", "").isdigit():
        return False
    sent, ended = float(words[1]), float(words[2].rstrip(":"))
    return any(sent <= until and ended >= since for since, until in away)
