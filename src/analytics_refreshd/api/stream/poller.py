"""Reads what the stream tells, while somebody listens. One thread a process serves all listeners."""

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from analytics_refreshd.api.access.principal import AccessDenied, Principal
from analytics_refreshd.api.freshness import Timing
from analytics_refreshd.api.problems import Problem, internal_error, of_fault
from analytics_refreshd.api.stream.documents import Base, alerts_document, refresh_document, summary_document
from analytics_refreshd.api.stream.hub import Hub, Trouble
from analytics_refreshd.api.stream.listener import Listener
from analytics_refreshd.api.stream.reading import LiveReader, State, Wanted
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.ports import Clock
from analytics_refreshd.core.stream import Audience, Ending, Topic, overdue, pause_seconds

CHECK_SECONDS = 20.0
"""How often the access of a listener is checked again."""
_AT_ONCE = 50
_AGAIN_SECONDS = 30.0
"""How long a summary that could not be read is left alone."""
_SPACING_SECONDS = 0.1
_PATIENCE = 3
"""How many turns in a row may fail before listeners are told. That the database is away is told at once."""

Check = Callable[[Mapping[str, str], str | None, str], Principal]
"""Who asks by headers, organization and address. It raises AccessDenied."""


class Poller:
    """Takes turns until it is stopped. `failed` gets what a turn met, whenever that is another fault than before."""

    def __init__(
        self,
        hub: Hub,
        reader: LiveReader,
        timing: Timing,
        clock: Clock,
        *,
        check: Check,
        failed: Callable[[Exception], None],
    ) -> None:
        self._hub = hub
        self._reader = reader
        self._timing = timing
        self._clock = clock
        self._check = check
        self._failed = failed
        self._bases: dict[Audience, Base] = {}
        self._not_before: dict[Audience, float] = {}
        self._failures = 0
        self._told: Trouble | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin to wait for listeners."""
        threading.Thread(target=self._run, name="stream", daemon=True).start()

    def stop(self) -> None:
        """Take no further turn."""
        self._stopped.set()
        self._hub.somebody.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            wanted = self._hub.wanted()
            if wanted == Wanted():
                self._bases.clear()
                # whatever it was, nobody looked since
                self._hub.trouble(None, everybody=True)
                self._hub.somebody.wait()
                continue
            began = self._clock.monotonic()
            self.turn(wanted)
            self.check_access()
            if self._hub.somebody.wait(pause_seconds(self._clock.monotonic() - began)):
                # many who come at once share a turn
                self._stopped.wait(_SPACING_SECONDS)

    def turn(self, wanted: Wanted) -> None:
        """Read once, and publish what is new. Never raises."""
        now = self._clock.now()
        try:
            state = self._reader.state(wanted, now)
            self._publish(state, now)
            self._summaries(wanted.summaries, state, now)
        except DatabaseFault as fault:
            self._failures += 1
            if fault.error_class.away or self._failures >= _PATIENCE:
                self._tell(of_fault(fault), fault)
        except Exception as error:
            self._tell(internal_error(), error)
        else:
            self._failures, self._told = 0, None
            self._hub.trouble(None, everybody=True)

    def _tell(self, problem: Problem, error: Exception) -> None:
        trouble = Trouble(problem.code, problem.message)
        if trouble != self._told:
            self._told = trouble
            self._failed(error)
        self._hub.trouble(trouble, everybody=True)

    def _publish(self, state: State, now: datetime) -> None:
        for runs, audience in ((state.runs, None), (state.running, ())):
            if runs is not None:
                whole = audience is None
                document = refresh_document(
                    state.successes, runs, self._timing, now, state.frozen_until, whole=whole, cost=state.cost
                )
                self._hub.publish(Topic.REFRESH, audience, document)
        if state.alerts is not None:
            self._hub.publish(Topic.ALERTS, None, alerts_document(state.alerts, now))

    def _summaries(self, audiences: Sequence[Audience], state: State, now: datetime) -> None:
        self._bases = {audience: base for audience, base in self._bases.items() if audience in audiences}
        since = self._reader.since(now)
        held = [
            audience
            for audience in audiences
            if audience in self._bases and self._bases[audience].holds(state.marker, since, state.successes)
        ]
        for start in range(0, len(held), _AT_ONCE):
            self._renew(held[start : start + _AT_ONCE], state, now)
        for audience in audiences:
            if audience not in held and not self._stopped.is_set():
                self._read_whole(audience, state)

    def _renew(self, audiences: Sequence[Audience], state: State, now: datetime) -> None:
        """Publish what changed since the summaries were read whole."""
        waiting = None if state.marker is None else self._reader.waiting(audiences, state.marker, now)
        if state.marker is not None and waiting is None:
            return  # something was folded just now: the next turn reads them whole
        for audience in audiences:
            changes = waiting[audience] if waiting is not None else None
            document = summary_document(self._bases[audience], changes, self._timing, now, state.frozen_until)
            self._hub.publish(Topic.SUMMARY, audience, document)

    def _read_whole(self, audience: Audience, state: State) -> None:
        """Read a summary whole. One that cannot be read keeps no other from being read."""
        if self._clock.monotonic() < self._not_before.get(audience, float("-inf")):
            return
        now = self._clock.now()
        try:
            base, waiting = self._reader.base(audience, now)
        except DatabaseFault as fault:
            if fault.error_class.away:
                raise
            self._not_before[audience] = self._clock.monotonic() + _AGAIN_SECONDS
            problem = of_fault(fault)
            self._hub.trouble(Trouble(problem.code, problem.message), audience)
            self._failed(fault)
            return
        self._not_before.pop(audience, None)
        self._bases[audience] = base
        self._hub.trouble(None, audience)
        document = summary_document(base, waiting, self._timing, now, state.frozen_until)
        self._hub.publish(Topic.SUMMARY, audience, document)

    def check_access(self) -> None:
        """Check who listens again: keys are revoked, tokens expire, memberships end."""
        found = self._hub.by_credentials()
        checked = [(each, min(listener.checked_at for listener in listeners)) for each, listeners in found.items()]
        most = max(_AT_ONCE, len(checked) // 10)
        now = self._clock.monotonic()
        for credentials in overdue(checked, now, CHECK_SECONDS, most):
            listeners = found[credentials]
            for listener in listeners:
                listener.checked_at = now
            try:
                principal = self._check(dict(credentials.headers), credentials.organization_id, credentials.address)
            except AccessDenied as denial:
                if denial.status >= 500:
                    self._hub.hold(listeners, True)
                else:
                    self._hub.end(listeners, Ending.ACCESS)
                continue
            self._hub.end([each for each in listeners if not _same(principal, each)], Ending.ACCESS)
            self._hub.hold(listeners, False)


def _same(principal: Principal, listener: Listener) -> bool:
    was = listener.principal
    return (principal.organizations, principal.operator) == (was.organizations, was.operator)
