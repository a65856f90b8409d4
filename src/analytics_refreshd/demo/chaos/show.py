"""Break one thing after the other, each until it is healed."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from analytics_refreshd.demo import DemoError
from analytics_refreshd.demo.chaos import cases, report
from analytics_refreshd.demo.chaos.breaking import Breaker
from analytics_refreshd.demo.chaos.cases import Case, Next
from analytics_refreshd.demo.chaos.daemons import Daemon
from analytics_refreshd.demo.chaos.inbox import Inbox
from analytics_refreshd.demo.chaos.model import Break, Evidence, Kind, Shown

_POLL_SECONDS = 0.25


class Show:
    """The breaks of one demo. `ended` are the cases that are over.

    `say` gets each line of the table. `wait` sleeps for so many seconds; nowhere else may a signal interrupt.
    """

    def __init__(
        self,
        daemons: Sequence[Daemon],
        inbox: Inbox,
        breaker: Breaker,
        *,
        say: Callable[[str], None],
        wait: Callable[[float], None],
    ) -> None:
        self._daemons = daemons
        self._inbox = inbox
        self._breaker = breaker
        self._say = say
        self._wait = wait
        self.ended: list[Case] = []

    def run(self, order: Iterator[Break], minutes: int | None) -> None:
        """Break what `order` says, every 20 seconds. Without `minutes` it has no end."""
        self._until_ready()
        self._say(report.HEAD)
        began_at, previous_at = time.time(), None
        while (at := cases.next_begin(began_at, previous_at, time.time(), minutes)) is not None:
            while (left := at - time.time()) > 0:
                self._wait(min(left, _POLL_SECONDS))
            leader = self._until_ready()
            previous_at = time.time()
            broken = next(order)
            self._follow(replace(broken, replica=leader) if broken.kind is Kind.KILL else broken)

    def _follow(self, broken: Break) -> None:
        number = len(self.ended) + 1
        how = self._breaker.break_now(broken)
        case = cases.begin(broken, time.time())
        self._say(report.line(case.broken_at, number, "broken", f"{broken} ({how})"))
        while (step := cases.decide(case, time.time())) is not Next.END:
            if step is Next.FIX:
                how = self._breaker.fix()
                case = cases.fixed(case, time.time())
                self._say(report.line(time.time(), number, "fixed", how))
            self._wait(_POLL_SECONDS)
            for evidence in self._observe():
                before, case = case, cases.observe(case, evidence)
                for name, mark in report.news(before, case):
                    self._say(report.line(evidence.at, number, name, mark.by, mark.after_seconds))
        for name in report.missing(case):
            self._say(report.line(time.time(), number, "never", name))
        if how := self._breaker.fix():
            self._say(report.line(time.time(), number, "fixed", how))
        self.ended.append(case)

    def _until_ready(self) -> str:
        """Wait until both daemons answer, one leads, and nothing is wrong. Returns the leader's name."""
        while True:
            shown = [one for one in self._observe() if isinstance(one, Shown)]
            leaders = [one for one in shown if one.leads and one.healthy]
            if len(shown) == len(self._daemons) and len(leaders) == 1 and all(one.database_up for one in shown):
                return leaders[0].replica
            for daemon in self._daemons:
                if not daemon.is_running():
                    raise DemoError(f"The daemon {daemon.place.replica} has ended by itself; {daemon.last_line()}")
            self._wait(_POLL_SECONDS)

    def _observe(self) -> list[Evidence]:
        """Return what came since the last call, and what is shown now."""
        found: list[Evidence] = [*self._inbox.take()]
        for daemon in self._daemons:
            found.extend(daemon.logged())
            shown = daemon.shown()
            if shown is not None:
                found.append(shown)
        # a line of the log is older than the poll that read it
        return sorted(found, key=lambda evidence: evidence.at)
