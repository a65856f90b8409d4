"""Whether the incremental mode would pay, by what plain refreshes cost here."""

from dataclasses import dataclass

from analytics_refreshd.core.wording import bytes_in_words, seconds_in_words

_LEAST_RUNS = 10
_LEAST_SECONDS = 1.0
"""Below it a refresh is cheap already, and capture triggers on the log are not worth it."""
_LEAST_GAIN = 3.0
# measured by tests/benchmarks/refresh_cost.py at 1 to 30 million rows: what is left when nothing changed, which grows
# with the failures of 24 hours, and what each changed row adds
_FLOOR_SECONDS = 0.08
_SECONDS_A_FAILURE = 5e-6
_SECONDS_A_CHANGE = 7e-5


@dataclass(frozen=True, slots=True)
class Workload:
    """What plain refreshes did in the last 24 hours. None is unknown.

    `runs` succeeded, in `seconds` each on average, with `wal_bytes` and `blocks_read` each where that is known.
    `log_rows` are about how many the log has, `changes` how many of them were written, and `failures` how many failed.
    """

    runs: int
    seconds: float | None
    wal_bytes: int | None = None
    blocks_read: int | None = None
    log_rows: int | None = None
    changes: int | None = None
    failures: int | None = None


@dataclass(frozen=True, slots=True)
class Saving:
    """Whether the incremental mode pays, and why in one sentence.

    A refresh would take about `seconds` in it.
    """

    pays: bool
    seconds: float
    text: str


def saving(workload: Workload) -> Saving | None:
    """Compare plain refreshes with what incremental ones would take. None where too little is known."""
    if workload.runs < _LEAST_RUNS or workload.seconds is None or workload.changes is None:
        return None
    changes = workload.changes / workload.runs
    expected = _FLOOR_SECONDS + _SECONDS_A_FAILURE * (workload.failures or 0) + _SECONDS_A_CHANGE * changes
    pays = workload.seconds >= _LEAST_SECONDS and workload.seconds >= _LEAST_GAIN * expected
    return Saving(pays, expected, _words(workload, changes, expected, pays))


def _words(workload: Workload, changes: float, expected: float, pays: bool) -> str:
    each = seconds_in_words(workload.seconds)
    paid = [
        f"{bytes_in_words(workload.wal_bytes)} of WAL" if workload.wal_bytes is not None else "",
        f"{workload.blocks_read:,} blocks read" if workload.blocks_read is not None else "",
    ]
    costs = "".join(f", {part}" for part in paid if part)
    whole = seconds_in_words((workload.seconds or 0.0) * workload.runs)
    rows = f" of about {workload.log_rows:,}" if workload.log_rows is not None else ""
    gain = (
        f"the incremental mode would take about {seconds_in_words(expected)}"
        if pays
        else "the incremental mode would gain little"
    )
    return (
        f"{workload.runs:,} plain refreshes in 24 h took {each} each{costs}, {whole} in all, for {changes:,.0f} changed"
        f" rows each{rows}: {gain}"
    )
