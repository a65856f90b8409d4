"""Erases what the action log holds of somebody, for `erase`."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from analytics_refreshd.app.commands.erasing import Job, Run
from analytics_refreshd.app.commands.portions import OtherRunError, Progress, RefusedError, connected, stopping
from analytics_refreshd.app.commands.receipts import read_receipts
from analytics_refreshd.config import Config
from analytics_refreshd.core import confirmation
from analytics_refreshd.core.erasure import Key, Mode, Receipt, Scope, Subject, latest, matching
from analytics_refreshd.core.errors import ConfigError, DatabaseFault, UsageError
from analytics_refreshd.core.files import read_small
from analytics_refreshd.core.model import Reason
from analytics_refreshd.postgres.retention.erasure import Erasure

__all__ = ["Mode", "OtherRunError", "Progress", "Receipt", "Scope", "Subject"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose rows to erase, and how.

    Without a subject it is what receipts say was erased before. `receipts` is a file of those that the database may
    have lost.
    """

    subject: Subject | None
    mode: Mode
    receipts: Path | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be erased. `refused` says why it would not; `token` confirms it.

    `erasures` is how many are done again by a replay. `other_keys` names the keys of receipts that ours cannot read.
    """

    database: str
    erasures: int
    triggers: int
    rows: int
    rows_unlinked: int
    frozen_executions: int
    questions: int
    other_keys: tuple[str, ...]
    refused: str | None
    token: str


@dataclass(frozen=True, slots=True)
class Erased:
    """What was done: the receipts, the views that could not be refreshed, and what cleans the server's files."""

    receipts: tuple[Receipt, ...]
    views_failed: tuple[str, ...]
    commands: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether all that should be erased is."""
        return not self.views_failed and all(receipt.outcome == "ok" for receipt in self.receipts)


_Counts = tuple[int, int, int]
"""Rows, frozen executions, and questions."""


@dataclass(frozen=True, slots=True)
class _Plan:
    jobs: list[Job]
    preview: Preview


def preview(config: Config, wanted: Wanted) -> Preview:
    """Look at what would be erased; changes nothing."""
    key = _key(config)
    with connected(config, "erase") as session:
        erasure = Erasure(session, key)
        now, database = erasure.database()
        return _plan(config, erasure, key, wanted, database, confirmation.whole_hour(now)).preview


def erase(config: Config, wanted: Wanted, *, confirm: str | None, told: Callable[[Progress], None]) -> Erased:
    """Erase it, and refresh the views.

    `confirm` is a preview's token. Raises UsageError without one that is right, RefusedError, OtherRunError, and
    DatabaseFault.
    """
    key = _key(config)
    if confirm is None:
        raise UsageError(
            "look first: the same command with --dry-run prints what would be erased, and a token for --confirm"
        )
    with connected(config, "erase") as session, stopping(session) as stop:
        erasure = Erasure(session, key)
        now, database = erasure.database()
        newest = confirmation.whole_hour(now)
        plan = _plan(config, erasure, key, wanted, database, newest)
        if plan.preview.refused:
            raise RefusedError(plan.preview.refused)
        said = _said(config, wanted, key, database, plan.jobs)
        if confirmation.confirmed_hour(confirm, newest, lambda hour: _token(hour, said)) is None:
            raise UsageError(
                "--confirm is not the token of this erasure, or is older than a day: the same command with --dry-run"
                " prints a new one"
            )
        if not erasure.claim():
            raise OtherRunError("another `erase` is under way in this database")
        run = Run(config, erasure, plan.jobs, stop, told)
        failed = run.work(plan.preview.rows_unlinked)
        receipts = [receipt for job in plan.jobs for receipt in erasure.receipts(job.erasure_id)]
        return Erased(tuple(receipts), tuple(failed), tuple(erasure.cleaning()))


def _plan(config: Config, erasure: Erasure, key: Key, wanted: Wanted, database: str, hour: datetime) -> _Plan:
    try:
        leaves = erasure.leaves()
        jobs, other_keys = _jobs(erasure, key, wanted)
        counted = [erasure.count(job.task) for job in jobs]
        rows_unlinked = erasure.rows_unlinked()
    except DatabaseFault as fault:
        raise _explained(fault) from fault
    if wanted.subject is None:
        # what is gone is not erased again
        jobs, counted = _with_rows(jobs, counted)
    for job, (rows, *_) in zip(jobs, counted, strict=True):
        job.rows_to_go = rows
    foreign = [each.name for each in leaves if each.foreign]
    hidden = [each.name for each in leaves if each.hidden]
    found = Preview(
        database=database,
        erasures=len(jobs),
        triggers=sum(len(job.task.triggers) for job in jobs),
        rows=sum(rows for rows, _, _ in counted),
        rows_unlinked=rows_unlinked,
        frozen_executions=sum(frozen for _, frozen, _ in counted),
        questions=sum(questions for _, _, questions in counted),
        other_keys=other_keys,
        refused=_refusal(foreign, hidden, _nothing_found(wanted, jobs, counted, rows_unlinked)),
        token=_token(hour, _said(config, wanted, key, database, jobs)),
    )
    return _Plan(jobs, found)


def _jobs(erasure: Erasure, key: Key, wanted: Wanted) -> tuple[list[Job], tuple[str, ...]]:
    if wanted.subject is not None:
        subject = wanted.subject
        task = erasure.task(subject, wanted.mode)
        return [Job(uuid4(), subject.scope, key.subject_hash(subject), task)], ()
    receipts = latest([*erasure.receipts(), *(read_receipts(wanted.receipts) if wanted.receipts else [])])
    jobs = [
        Job(
            uuid4(),
            subject.scope,
            receipt.subject_hash,
            erasure.task(subject, Mode(receipt.mode), receipt.until),
            replay_of=receipt.erasure_id,
        )
        for receipt, subject in matching(key, receipts, erasure.candidates())
    ]
    return jobs, tuple(sorted({receipt.key_id for receipt in receipts} - {key.key_id}))


def _with_rows(jobs: list[Job], counted: list[_Counts]) -> tuple[list[Job], list[_Counts]]:
    left = [(job, counts) for job, counts in zip(jobs, counted, strict=True) if any(counts)]
    return [job for job, _ in left], [counts for _, counts in left]


def _refusal(foreign: list[str], hidden: list[str], nothing: str | None) -> str | None:
    if foreign:
        return f"{', '.join(foreign)} is a foreign table: erase its rows where they are stored"
    if hidden:
        return (
            f"row security of {', '.join(hidden)} may hide rows from this role, and they would stay:"
            " a superuser's `alter role ROLE bypassrls` lets it see them"
        )
    return nothing


def _nothing_found(wanted: Wanted, jobs: list[Job], counted: list[_Counts], rows_unlinked: int) -> str | None:
    if wanted.subject is None or jobs[0].task.triggers or any(counted[0]):
        return None
    return (
        f"no trigger belongs to this {wanted.subject.scope}; rows of triggers that were deleted cannot be found:"
        f" {rows_unlinked} rows of the log are linked to no user"
    )


def _said(config: Config, wanted: Wanted, key: Key, database: str, jobs: list[Job]) -> list[str]:
    said = [database, config.database.db_schema, key.key_id]
    if wanted.subject is not None:
        return [*said, str(wanted.subject.scope), wanted.subject.identifier, str(wanted.mode)]
    return [*said, "replay", *sorted(str(job.replay_of) for job in jobs)]


def _token(hour: datetime, said: list[str]) -> str:
    return confirmation.token(hour, [hour.isoformat(), *said])


def _key(config: Config) -> Key:
    path = config.retention.erasure_key_file
    if path is None:
        raise UsageError(
            "set `[retention] erasure_key_file` to a key's file: `(umask 077; head -c 32 /dev/urandom | base64 > FILE)`"
            " makes one"
        )
    try:
        return Key(read_small(path).strip())
    except OSError as error:
        raise ConfigError([f"retention.erasure_key_file cannot be read: {error.strerror}"]) from None
    except ValueError as error:
        raise ConfigError([f"retention.erasure_key_file is no key: {error}"]) from None


def _explained(fault: DatabaseFault) -> DatabaseFault:
    if fault.reason is Reason.PERMISSION:
        return fault.reworded(f"{fault.message}: deploy/sql/erasure.sql makes the role that `erase` runs as")
    if fault.reason is Reason.UNDEFINED:
        return fault.reworded(f"{fault.message}: run `analytics-refreshd migrate` first")
    return fault
