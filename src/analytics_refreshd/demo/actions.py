"""Generate realistic executions from a seed and a `now`, deterministically."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from random import Random

from analytics_refreshd.demo.failures import describe
from analytics_refreshd.demo.world import Trigger, World, new_id

HISTORY = timedelta(days=30)
_HOUR = timedelta(hours=1)
_LIVE_SLOT = timedelta(minutes=10)
_WITHOUT_TRIGGER = 0.015
_WITHOUT_EXECUTED_AT = 0.0003
_WITHOUT_DURATION = 0.002
_TAIL = 0.008
_TAIL_EXPONENT = 1.3
_DURATION_MAX_MS = 600_000
_MAX_RETRIES = 5
# How long an execution may still be waiting for its next attempt.
_UNSETTLED = timedelta(minutes=3)
_STUCK = 0.03


@dataclass(frozen=True, slots=True)
class Action:
    """A row of `action_results`.

    `response_data` is JSON text. `executed_at` is an aware UTC datetime or None.
    """

    id: str
    job_id: str
    trigger_id: str | None
    event_id: str | None
    action_type: str
    status: str
    executed_at: datetime | None
    duration_ms: int | None
    error_message: str | None
    response_data: str | None
    retry_count: int


@dataclass(frozen=True, slots=True)
class FailureBurst:
    """A time in which one action type fails more often.

    It fails with probability `severity`, for the reason `kind`.
    """

    begins_at: datetime
    ends_at: datetime
    action_type: str
    severity: float
    kind: str


def make_bursts(seed: int, now: datetime, history: timedelta = HISTORY) -> tuple[FailureBurst, ...]:
    """Return about one burst of failures for every other day.

    One of them is always in the last 24 hours before `now`.
    """
    random = Random(f"incidents {seed}")  # noqa: S311
    days = history / timedelta(days=1)
    ages = [random.uniform(0.2, 0.8), *(random.uniform(1.0, days) for _ in range(round(days / 2)))]
    return tuple(_burst(random, now - timedelta(days=age)) for age in ages)


def _burst(random: Random, begins_at: datetime) -> FailureBurst:
    return FailureBurst(
        begins_at=begins_at,
        ends_at=begins_at + timedelta(minutes=random.lognormvariate(3.1, 0.7)),
        action_type=random.choice(("telegram", "rest", "mcp")),
        severity=random.uniform(0.5, 0.95),
        kind=random.choice(("unavailable", "timeout", "rate_limit", "refused")),
    )


def live_burst(seed: int, begun_at: datetime, now: datetime) -> FailureBurst:
    """Return the burst, about a minute long, of the current ten minutes.

    Ten minutes are counted from `begun_at`. No burst is of timeouts: they take ten seconds each, and in a short log
    would soon be the p95 of the day.
    """
    number = (now - begun_at) // _LIVE_SLOT
    random = Random(f"live incident {seed} {number}")  # noqa: S311
    begins_at = begun_at + _LIVE_SLOT * number + timedelta(seconds=random.uniform(90, 400))
    burst = _burst(random, begins_at)
    kind = random.choice(("unavailable", "rate_limit", "refused"))
    return replace(burst, kind=kind, ends_at=begins_at + timedelta(seconds=random.uniform(40, 90)))


def intensity(at: datetime) -> float:
    """Return the rate of executions at `at`, relative to the average.

    It peaks at 14:00 UTC, and is lower at night and on weekends.
    """
    hour = at.hour + at.minute / 60
    daily = 1.0 + 0.65 * math.cos((hour - 14.0) / 12.0 * math.pi)
    return daily * (0.6 if at.weekday() >= 5 else 1.0)


class Generator:
    """Draw executions in a world; all randomness comes from `random`."""

    def __init__(self, world: World, random: Random, bursts: tuple[FailureBurst, ...] = ()) -> None:
        self._triggers = world.triggers
        self._weights = list(accumulate(trigger.weight for trigger in world.triggers))
        self._random = random
        self._bursts = bursts

    def history(self, rows: int, now: datetime, span: timedelta = HISTORY) -> Iterator[Action]:
        """Yield exactly `rows` executions of the `span` before `now`.

        The oldest comes first; the last one is at `now`.
        """
        hours = max(1, round(span / _HOUR))
        begins = [now - _HOUR * (hours - number) for number in range(hours)]
        shares = list(accumulate(intensity(at) * self._random.gammavariate(12, 1 / 12) for at in begins))
        counts = [round(rows * share / shares[-1]) for share in shares]
        done = 0
        for begin, count in zip(begins, counts, strict=True):
            bursts = [one for one in self._bursts if one.begins_at < begin + _HOUR and one.ends_at > begin]
            offsets = sorted(self._random.random() for _ in range(count - done))
            for number, offset in enumerate(offsets, start=done + 1):
                at = now if number == rows else begin + _HOUR * offset
                yield self._draw(at, now, bursts, may_lack_time=number < rows)
            done = max(done, count)

    def at(self, moment: datetime, burst: FailureBurst | None = None) -> Action:
        """Return one execution at `moment`. Most failing ones still wait for a retry."""
        return self._draw(moment, moment, [burst] if burst else [], may_lack_time=True)

    def settle(self, action: Action) -> Action:
        """Return a retrying execution after its next attempt: most succeed."""
        retries = action.retry_count + 1
        if self._random.random() >= 0.75:
            return replace(action, status="failed", retry_count=retries)
        return replace(
            action,
            status="success",
            duration_ms=int(self._random.lognormvariate(5.0, 0.6)),
            error_message=None,
            response_data=_response(action.id, action.action_type),
            retry_count=retries,
        )

    def _draw(self, at: datetime, now: datetime, bursts: list[FailureBurst], *, may_lack_time: bool) -> Action:
        random = self._random
        trigger = random.choices(self._triggers, cum_weights=self._weights)[0]
        burst = next((one for one in bursts if one.begins_at <= at < one.ends_at), None)
        if burst and burst.action_type != trigger.action_type:
            burst = None
        fails = random.random() < max(trigger.failure_rate, burst.severity if burst else 0.0)
        status, retries = self._outcome(fails, age=now - at)
        duration: int | None = self._duration(trigger)
        error: str | None = None
        if status != "success":
            error, duration = describe(random, trigger.action_type, burst.kind if burst else None, duration or 1)
        if random.random() < _WITHOUT_DURATION:
            duration = None
        lacks_time = may_lack_time and random.random() < _WITHOUT_EXECUTED_AT
        identity = new_id(random)
        return Action(
            id=identity,
            job_id=new_id(random),
            trigger_id=None if random.random() < _WITHOUT_TRIGGER else trigger.id,
            event_id=new_id(random) if random.random() < 0.96 else None,
            action_type=trigger.action_type,
            status=status,
            executed_at=None if lacks_time else at.astimezone(UTC),
            duration_ms=duration,
            error_message=error,
            response_data=_response(identity, trigger.action_type) if status == "success" else None,
            retry_count=retries,
        )

    def _outcome(self, fails: bool, age: timedelta) -> tuple[str, int]:
        random = self._random
        if not fails:
            return "success", (1 + int(random.expovariate(1.4)) if random.random() < 0.03 else 0)
        if random.random() < (0.6 if age < _UNSETTLED else _STUCK):
            return "retrying", random.randint(1, 3)
        return "failed", (min(_MAX_RETRIES, 3 + int(random.expovariate(1.0))) if random.random() < 0.8 else 0)

    def _duration(self, trigger: Trigger) -> int:
        took = self._random.lognormvariate(math.log(trigger.median_ms), trigger.spread)
        if self._random.random() < _TAIL:
            took *= 3 * self._random.paretovariate(_TAIL_EXPONENT)
        return max(1, min(_DURATION_MAX_MS, int(took)))


def _response(identity: str, action_type: str) -> str:
    if action_type == "telegram":
        return f'{{"ok": true, "message_id": {int(identity[:6], 16)}}}'
    if action_type == "rest":
        return f'{{"status": 200, "bytes": {120 + int(identity[:3], 16)}}}'
    return f'{{"result": "accepted", "tokens": {40 + int(identity[:2], 16)}}}'
