"""Carries out erasures that were decided: rows in portions, then our own texts, frozen figures and the views."""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from uuid import UUID

from analytics_refreshd.app.commands.portions import KEY_SECONDS, STOP_SECONDS, Progress, Turns
from analytics_refreshd.config import Config
from analytics_refreshd.core.erasure import Scope
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.model import Reason
from analytics_refreshd.core.retention import End, Pace
from analytics_refreshd.postgres.retention.action_log import Leaf
from analytics_refreshd.postgres.retention.erasure import Begun, Erasure, Task

_MOST_PASSES = 30
"""Rows that others hold are tried again as often; those of somebody who goes on acting come without end."""
_HELD_SECONDS = 1.0


@dataclass(slots=True)
class Job:
    """One erasure, and how far it is. `replay_of` is the one that it does again; `rows_left` is None while unknown."""

    erasure_id: UUID
    scope: Scope
    subject_hash: str
    task: Task
    replay_of: UUID | None = None
    rows_to_go: int = 0
    rows_left: int | None = None
    frozen_executions: int = 0
    texts_erased: int = 0


class Run:
    """One run of the command, after everything was decided."""

    def __init__(
        self,
        config: Config,
        erasure: Erasure,
        jobs: list[Job],
        stop: threading.Event,
        told: Callable[[Progress], None],
    ) -> None:
        self._function = config.refresh.function
        self._refresh_seconds = config.statement_timeout_seconds
        self._erasure = erasure
        self._jobs = jobs
        self._stop = stop
        self._told = told
        self._turns = Turns(config, stop, erasure.standbys, self._waiting)
        self._progress = Progress(0, sum(job.rows_to_go for job in jobs))
        self._pace = Pace()

    def work(self, rows_unlinked: int) -> list[str]:
        """Erase, and record how it ended.

        Returns the views that could not be refreshed. Raises DatabaseFault, recorded where that is possible.
        """
        failed: list[str] = []
        try:
            for job in self._jobs:
                self._begin(job, rows_unlinked)
                self._erase_rows(job)
            if not self._stop.is_set():
                failed = self._finish()
        except DatabaseFault as fault:
            # a signal gives up the statement first, and says so then
            if not self._stop.wait(STOP_SECONDS):
                with suppress(DatabaseFault):
                    self._end(End.FAILED, str(fault.reason))
                raise
        if self._stop.is_set():
            self._erasure.renew()
            self._end(End.STOPPED, "stopped on request")
        elif failed:
            self._end(End.FAILED, "views not refreshed")
        else:
            self._end(End.OK, None)
        return failed

    def _begin(self, job: Job, rows_unlinked: int) -> None:
        self._erasure.begin(
            Begun(
                erasure_id=job.erasure_id,
                scope=job.scope,
                mode=job.task.mode,
                subject_hash=job.subject_hash,
                replay_of=job.replay_of,
                triggers=len(job.task.triggers),
                rows_unlinked=rows_unlinked,
            )
        )

    def _erase_rows(self, job: Job) -> None:
        """Erase rows until there are none, or until others held the rest for too long."""
        for _ in range(_MOST_PASSES):
            before = self._progress.rows_done
            for found in self._erasure.leaves():
                try:
                    self._erase_found(job, found.leaf)
                except DatabaseFault as fault:
                    # `retain` drops months that it detached
                    if fault.reason is not Reason.UNDEFINED or not self._erasure.is_gone(found.leaf):
                        raise
            if self._stop.is_set():
                return
            job.rows_left = self._erasure.rows_left(job.task)
            if not job.rows_left:
                return
            if self._progress.rows_done == before:
                self._turns.wait(_HELD_SECONDS, "rows that others hold")

    def _erase_found(self, job: Job, leaf: Leaf) -> None:
        for rows in self._erasure.found(leaf, job.task):
            left = rows
            while left and self._turns.may_begin(self._pace):
                left = self._portion(job, leaf, left)
            if left:
                return

    def _portion(self, job: Job, leaf: Leaf, rows: list[str]) -> list[str]:
        """Erase the first of these rows; return those that are still to be tried."""
        tried = self._pace.rows
        portion = self._erasure.erase(job.erasure_id, leaf, job.task, rows, self._pace)
        if portion.timed_out:
            smaller = self._pace.after_timeout()
            self._pace = smaller or self._pace
            return rows if smaller else rows[tried:]
        if portion.rows is None:
            self._turns.wait(KEY_SECONDS, "a refresh")
            return rows
        self._progress = replace(self._progress, rows_done=self._progress.rows_done + portion.rows)
        self._told(self._progress)
        self._pace = self._pace.after(portion.seconds, portion.commit_seconds)
        return rows[tried:]

    def _finish(self) -> list[str]:
        """Erase what is not in rows; return the views that could not be refreshed."""
        for job in self._jobs[:1]:
            job.texts_erased = self._erasure.erase_texts()
        if any(job.task.frozen for job in self._jobs):
            while not self._erasure.build_step():
                self._turns.wait(0.0, "the rollups to be built")
        for job in self._jobs:
            job.texts_erased += self._erasure.erase_questions(job.task)
            job.frozen_executions = self._erasure.erase_frozen(job.task)
        while not self._stop.is_set():
            failed = self._erasure.refresh(self._function, self._refresh_seconds)
            if failed is not None:
                return failed
            self._turns.wait(KEY_SECONDS, "a refresh")
        return []

    def _waiting(self, waits_for: str) -> None:
        self._told(replace(self._progress, waits_for=waits_for))

    def _end(self, end: End, reason: str | None) -> None:
        """Record this of every erasure that has begun."""
        for job in self._jobs:
            held = end is End.OK and job.rows_left
            self._erasure.end(
                job.erasure_id,
                str(End.STOPPED if held else end),
                "rows that others hold, or that came meanwhile" if held else reason,
                frozen_executions=job.frozen_executions,
                texts_erased=job.texts_erased,
                rows_left=job.rows_left,
            )
