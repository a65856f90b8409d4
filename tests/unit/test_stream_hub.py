"""Who gets which bytes, what a turn that fails tells, and whose access has ended."""

import asyncio
import json
import resource
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from analytics_refreshd.api.access.principal import AccessDenied, Principal
from analytics_refreshd.api.freshness import Timing
from analytics_refreshd.api.stream import hub as hubs
from analytics_refreshd.api.stream.documents import Base, RunRow
from analytics_refreshd.api.stream.endpoint import stream_limits
from analytics_refreshd.api.stream.hub import Hub, StreamFull, Trouble
from analytics_refreshd.api.stream.listener import Credentials, Listener
from analytics_refreshd.api.stream.poller import CHECK_SECONDS, Poller
from analytics_refreshd.api.stream.reading import State, Wanted
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.live import Counts, Hours
from analytics_refreshd.core.model import Limits, Reason
from analytics_refreshd.core.schedule import Schedule
from analytics_refreshd.core.stream import MOST_WAITING, Audience, Ending, Full, StreamLimits, Topic

NOW = datetime(2026, 3, 1, 10, 30, tzinfo=UTC)
HOUR = NOW.replace(minute=0)
VIEW = "action_metrics_hourly"
ACME, BOLT = ("acme",), ("bolt",)


class Time:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        """The wall clock."""
        return NOW + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        """The monotonic clock."""
        return self.seconds


def listener(
    organizations: Audience = ACME, *topics: Topic, key: str = "k", last: str | None = None, operator: bool = False
) -> Listener:
    """A client that may listen."""
    return Listener(
        Principal(f"key_{key}", organizations, "viewer", "pro", operator),
        topics or (Topic.SUMMARY,),
        Credentials((("x-api-key", key),), None, "192.0.2.1"),
        "request",
        began=0.0,
        checked_at=0.0,
        last_event_id=last,
    )


def says(figure: object) -> dict[str, object]:
    """A document."""
    return {"data": {"figure": figure}, "meta": {"generated_at": "now"}}


def heard(hub: Hub, client: Listener) -> list[tuple[str, Any]]:
    """The events that wait for a client: name and data."""
    found = []
    for block in hub.take(client)[0].decode().split("\n\n"):
        fields = dict(line.partition(": ")[::2] for line in block.splitlines())
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


def run(test: Any) -> None:
    """Run a test where listeners are woken."""
    asyncio.run(test())


def test_events_go_to_who_listens_to_them() -> None:
    """Each organization's summary to its own listeners, what is the same once alone, alerts to who may hear them."""

    async def test() -> None:
        hub = Hub(StreamLimits(), Time())
        acme, bolt = listener(ACME), listener(BOLT, Topic.SUMMARY, Topic.REFRESH)
        whole = listener(None, *Topic)
        operator = listener(BOLT, Topic.ALERTS, operator=True)
        for each in (acme, bolt, whole, operator):
            hub.join(each)
            assert [name for name, _ in heard(hub, each)] == ["open"]
        assert hub.wanted() == Wanted((ACME, BOLT, None), runs=True, running=True, alerts=True)
        for figure in (1, 1, 2):
            hub.publish(Topic.SUMMARY, ACME, says(figure))
        hub.publish(Topic.SUMMARY, ("acme", "bolt"), says("nobody listens"))
        hub.publish(Topic.REFRESH, (), says("tenants"))
        hub.publish(Topic.REFRESH, None, says("administrators"))
        hub.publish(Topic.ALERTS, None, says("alerts"))
        await asyncio.sleep(0)
        assert acme.wake.is_set()
        assert heard(hub, acme) == [("summary", says(2))]
        assert heard(hub, bolt) == [("refresh", says("tenants"))]
        assert heard(hub, whole) == [("refresh", says("administrators")), ("alerts", says("alerts"))]
        assert heard(hub, operator) == [("alerts", says("alerts"))]
        late = listener(ACME)
        hub.join(late)
        assert heard(hub, late)[1:] == [("summary", says(2))]

    run(test)


def test_a_client_that_takes_nothing_is_slow() -> None:
    """Summaries wait as one; of other events no more than may."""

    async def test() -> None:
        hub = Hub(StreamLimits(), Time())
        client = listener(ACME, Topic.SUMMARY, Topic.REFRESH)
        hub.join(client)
        for number in range(MOST_WAITING):
            hub.publish(Topic.SUMMARY, ACME, says(number))
            hub.publish(Topic.REFRESH, (), says(number))
            assert client.ending is (Ending.SLOW if number == MOST_WAITING - 1 else None), number
        assert hub.take(client)[1]
        ((name, data),) = heard(hub, client)
        assert (name, data["reason"]) == ("end", "slow")

    run(test)


def test_limits_and_places_that_become_free() -> None:
    """By key and in all; who leaves makes room."""

    async def test() -> None:
        hub = Hub(StreamLimits(streams=3, per_key=2), Time())
        clients = [listener(key="a"), listener(key="a"), listener(key="b")]
        for client in clients[:2]:
            hub.join(client)
        with pytest.raises(StreamFull) as of_key:
            hub.join(listener(key="a"))
        hub.join(clients[2])
        with pytest.raises(StreamFull) as of_process:
            hub.join(listener(key="c"))
        assert (of_key.value.reached, of_process.value.reached) == (Full.KEY, Full.PROCESS)
        hub.leave(clients[0])
        hub.join(listener(key="a"))
        assert hub.open_streams == 3

    run(test)


def test_a_channel_lingers_and_then_begins_anew() -> None:
    """Who comes back in time continues; the poller reads on until then, and no longer."""

    async def test() -> None:
        time = Time()
        hub = Hub(StreamLimits(), time)
        client = listener()
        hub.join(client)
        hub.publish(Topic.SUMMARY, ACME, says(1))
        last = hub.take(client)[0].decode().split("id: ")[1].split("\n")[0]
        hub.leave(client)
        time.seconds = hubs.LINGER_SECONDS - 1
        assert hub.wanted().summaries == (ACME,)
        hub.publish(Topic.SUMMARY, ACME, says(2))
        back = listener(last=last)
        hub.join(back)
        ((_, opened), *events) = heard(hub, back)
        assert (opened["resumed"], events) == (True, [("summary", says(2))])
        hub.leave(back)
        time.seconds += hubs.LINGER_SECONDS
        assert hub.wanted() == Wanted()
        late = listener(last=last)
        hub.join(late)
        assert [data["resumed"] for _, data in heard(hub, late)] == [False]
        assert hub.somebody.is_set()

    run(test)


def test_the_end_of_the_server_reaches_everybody() -> None:
    """Also who comes while it is stopping."""

    async def test() -> None:
        hub = Hub(StreamLimits(), Time())
        clients = [listener(), listener(None)]
        hub.join(clients[0])
        hub.close()
        hub.join(clients[1])
        for client in clients:
            body, last = hub.take(client)
            assert last
            assert b'"reason":"stopping"' in body

    run(test)


class Reader:
    """What a turn reads, and the faults that it meets."""

    def __init__(self) -> None:
        self.marker: str | None = "m1"
        self.waits = 0
        self.fault: Exception | None = None
        self.of_bolt: Exception | None = None
        self.bases: list[Audience] = []
        self.frozen_until: datetime | None = None

    def state(self, wanted: Wanted, now: datetime) -> State:
        """Read what all share."""
        if self.fault:
            raise self.fault
        running: list[RunRow] | None = [] if wanted.running else None
        return State(self.marker, {VIEW: NOW}, None, running, None, self.frozen_until)

    def since(self, now: datetime) -> datetime:
        """The window's beginning."""
        return HOUR - timedelta(hours=23)

    def base(self, audience: Audience, now: datetime) -> tuple[Base, Hours | None]:
        """Read a summary whole."""
        if audience == BOLT and self.of_bolt:
            raise self.of_bolt
        self.bases.append(audience)
        live = self.marker is not None
        settled = {HOUR: Counts(10, 10)} if live else None
        row = {"time_window": "24 hours", "total_executions": 10}
        approximate = ("avg_duration_ms", "p95_duration_ms")
        base = Base(self.marker, self.since(now), HOUR, (VIEW,), False, {VIEW: NOW}, now, row, settled, approximate)
        return base, ({HOUR: Counts(self.waits, self.waits)} if live else None)

    def waiting(self, audiences: Sequence[Audience], marker: str, now: datetime) -> Mapping[Audience, Hours] | None:
        """Read what waits."""
        if marker != self.marker:
            return None
        return {audience: {HOUR: Counts(self.waits, self.waits)} for audience in audiences}


class Turns:
    """A poller over the reader, and one client of each of two organizations."""

    def __init__(self) -> None:
        self.time, self.reader = Time(), Reader()
        self.hub = Hub(StreamLimits(), self.time)
        self.failed: list[Exception] = []
        self.answers: dict[str, Principal | AccessDenied] = {}
        timing = Timing(Limits(), Schedule(timedelta(minutes=5), views=(VIEW,)))
        reader: Any = self.reader
        self.poller = Poller(self.hub, reader, timing, self.time, check=self._check, failed=self.failed.append)
        self.acme, self.bolt = listener(ACME, key="a"), listener(BOLT, key="b")
        for each in (self.acme, self.bolt):
            self.hub.join(each)
            heard(self.hub, each)

    def _check(self, headers: Mapping[str, str], organization_id: str | None, address: str) -> Principal:
        answer = self.answers[headers["x-api-key"]]
        if isinstance(answer, AccessDenied):
            raise answer
        return answer

    def turn(self) -> list[list[tuple[str, Any]]]:
        """Take a turn; return what each of the two hears."""
        self.poller.turn(self.hub.wanted())
        return [heard(self.hub, each) for each in (self.acme, self.bolt)]


def fault(error_class: ErrorClass, reason: Reason = Reason.TIMEOUT) -> DatabaseFault:
    """A fault."""
    return DatabaseFault("told to nobody", error_class=error_class, reason=reason)


def test_a_turn_reads_changes_and_after_a_fold_the_whole() -> None:
    """What waits is added to what was read once; a turn with nothing new says nothing."""

    async def test() -> None:
        turns = Turns()
        for events in turns.turn():
            ((name, event),) = events
            assert (name, event["data"]["total_executions"], event["meta"]["live"]) == ("summary", 10, True)
            assert event["meta"]["approximate"] == ["p95_duration_ms"]
        turns.time.seconds = 1
        assert turns.turn() == [[], []]
        turns.reader.waits = 3
        ((_, event),) = turns.turn()[0]
        assert (event["data"]["total_executions"], event["meta"]["as_of"]) == (13, "2026-03-01T10:30:01Z")
        assert len(turns.reader.bases) == 2
        turns.reader.marker, turns.reader.waits = "m2", 5
        assert [events[0][1]["data"]["total_executions"] for events in turns.turn()] == [15, 15]
        assert len(turns.reader.bases) == 4
        turns.reader.frozen_until = HOUR
        assert [events[0][1]["meta"]["frozen_until"] for events in turns.turn()] == ["2026-03-01T10:00:00Z"] * 2
        turns.reader.marker = None
        ((_, event),) = turns.turn()[1]
        assert (event["data"]["total_executions"], event["meta"]["live"]) == (10, False)
        assert event["meta"]["approximate"] == ["avg_duration_ms", "p95_duration_ms"]
        assert event["meta"]["as_of"] == "2026-03-01T10:30:00Z"
        assert turns.turn() == [[], []]

    run(test)


def test_a_database_that_is_away_is_told_once_and_when_it_is_back() -> None:
    """With the problem's words, not the fault's."""

    async def test() -> None:
        turns = Turns()
        turns.turn()
        turns.reader.fault = fault(ErrorClass.CONN_LOST, Reason.CONN_LOST)
        for events in turns.turn():
            ((name, data),) = events
            assert (name, data["available"], data["error"]) == ("database", False, "service_unavailable")
            assert "nobody" not in data["message"]
        assert turns.turn() == [[], []]
        assert len(turns.failed) == 1
        new = listener()
        turns.hub.join(new)
        assert [name for name, _ in heard(turns.hub, new)] == ["open", "database", "summary"]
        turns.reader.fault, turns.reader.waits = None, 1
        first, second = turns.turn()
        assert first == [("database", {"available": True}), *first[1:]]
        assert first[1][1]["data"]["total_executions"] == second[1][1]["data"]["total_executions"] == 11

    run(test)


def test_a_busy_moment_is_told_to_nobody() -> None:
    """Until it has lasted for three turns."""

    async def test() -> None:
        turns = Turns()
        turns.turn()
        turns.reader.fault = fault(ErrorClass.RESOURCE, Reason.TOO_MANY_CONNECTIONS)
        assert [turns.turn(), turns.turn()] == [[[], []]] * 2
        assert turns.turn()[0][0][0] == "database"
        turns.reader.fault = ValueError("a defect")
        assert turns.turn()[0][0][1]["error"] == "internal_error"
        assert len(turns.failed) == 2

    run(test)


def test_a_summary_that_cannot_be_read_harms_no_other() -> None:
    """Its own listeners are told; it is tried again after a while."""

    async def test() -> None:
        turns = Turns()
        turns.reader.of_bolt = fault(ErrorClass.CANCELLED)
        acme, bolt = turns.turn()
        assert [name for name, _ in acme] == ["summary"]
        assert [(name, data["error"]) for name, data in bolt] == [("database", "timeout")]
        turns.reader.of_bolt = None
        assert turns.turn() == [[], []]
        turns.time.seconds = 31
        acme, bolt = turns.turn()
        assert (acme, [name for name, _ in bolt]) == ([], ["database", "summary"])

    run(test)


def test_an_access_that_ended_or_changed_ends_the_stream() -> None:
    """One that cannot be checked holds the figures back until it can."""

    async def test() -> None:
        turns = Turns()
        turns.time.seconds = CHECK_SECONDS - 1
        turns.poller.check_access()  # not due: nobody is asked
        turns.time.seconds = CHECK_SECONDS
        turns.answers = {
            "a": AccessDenied(503, "service_unavailable", "away"),
            "b": AccessDenied(401, "unauthorized", "revoked"),
        }
        turns.poller.check_access()
        assert (turns.acme.ending, turns.bolt.ending) == (None, Ending.ACCESS)
        acme, bolt = turns.turn()
        assert (acme, [name for name, _ in bolt]) == ([], ["summary", "end"])
        turns.time.seconds *= 2
        turns.answers["a"] = replace(turns.acme.principal, role="admin", plan="free")
        turns.poller.check_access()
        assert [name for name, _ in heard(turns.hub, turns.acme)] == ["summary"]
        turns.time.seconds *= 2
        turns.answers["a"] = replace(turns.acme.principal, organizations=BOLT)
        turns.poller.check_access()
        assert turns.acme.ending is Ending.ACCESS

    run(test)


def test_streams_leave_files_for_the_rest_of_the_process() -> None:
    """Half of those that it may open."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert stream_limits(10**9, 7) == StreamLimits(files // 2, 7)
    assert stream_limits(1, 7) == StreamLimits(1, 7)


def test_trouble_of_everybody_comes_before_that_of_one() -> None:
    """A new listener is told what holds."""

    async def test() -> None:
        hub = Hub(StreamLimits(), Time())
        hub.trouble(Trouble("timeout", "slow"), ACME)
        hub.trouble(Trouble("service_unavailable", "away"), everybody=True)
        client = listener()
        hub.join(client)
        assert heard(hub, client)[1][1]["error"] == "service_unavailable"
        hub.trouble(None, everybody=True)
        assert heard(hub, client)[0][1]["error"] == "timeout"
        hub.trouble(None, ACME)
        assert heard(hub, client) == [("database", {"available": True})]

    run(test)
