"""How fold, outbox and warehouse grow with the actions a second, computed: where PostgreSQL becomes the limit.

    python -m tests.benchmarks.warehouse_growth
    python -m tests.benchmarks.warehouse_growth --measured FILE

Nothing is run: the distribution is that of `tests.benchmarks.data` (1,000 triggers, three types, log-normal durations),
in which a cell exists once its value has occurred. What a fold, a row of a batch and its sending cost, and what a row
of each table takes on disk, is what `tests.benchmarks.warehouse` measured and printed in FILE. Without one, these are
round figures that nobody measured. The warehouse is away for `--away-hours`, then catches up while new batches come.
The second table is what the warehouse holds of `--rows` actions in `--days` days.
"""

import argparse
import itertools
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TYPES = (3 / 6, 2 / 6, 1 / 6)
STATUSES = (("success", 0.93), ("failed", 0.05), ("retrying", 0.02))
RETRIES = (0.95, 0.0125, 0.0125, 0.025)
TRIGGERS, LONGEST_MS = 1000, 30_000
RATES = (4, 16, 106, 320, 1_000, 3_000)
_GROUPS = 60


@dataclass(frozen=True)
class Costs:
    """What things cost.

    Seconds of a refresh and of sending that do not depend on the rows, microseconds of a row in each, and bytes of a
    row in the outbox and in each table of the warehouse.
    """

    fold_seconds: float
    fold_row_us: float
    send_seconds: float
    send_row_us: float
    outbox_row_bytes: float
    table_bytes: Mapping[str, float]


ASSUMED = Costs(0.6, 120, 0.5, 15, 100, {})


def durations(status: str) -> list[float]:
    """The probability of each millisecond."""
    mean, spread = 5.3 + (0 if status == "success" else 1.2), 0.9

    def below(value: float) -> float:
        return 0.5 * (1 + math.erf((math.log(value) - mean) / (spread * math.sqrt(2)))) if value > 0 else 0.0

    shares = [below(value + 1) - below(value) for value in range(LONGEST_MS)]
    return [*shares, 1 - sum(shares)]


def triggers() -> list[float]:
    """The probability of each trigger: a few do most of the work."""
    return [math.sqrt((number + 1) / TRIGGERS) - math.sqrt(number / TRIGGERS) for number in range(TRIGGERS)]


def grouped(shares: list[float]) -> list[tuple[int, float]]:
    """Values that are about as likely as each other: how many, and how likely each."""
    ordered = sorted(shares, reverse=True)
    size = math.ceil(len(ordered) / _GROUPS)
    # the likely ones alone, where it matters, the long tail together
    sizes = itertools.chain([1] * 20, [5] * 20, [20] * 20, itertools.repeat(size))
    place = 0
    found: list[tuple[int, float]] = []
    for count in sizes:
        part = ordered[place : place + count]
        if not part:
            return found
        found.append((len(part), sum(part) / len(part)))
        place += count
    return found


def distinct(actions: float, *dimensions: list[tuple[int, float]]) -> float:
    """How many combinations occur among so many actions."""
    total = 0.0
    for combination in itertools.product(*dimensions):
        count, share = math.prod(each[0] for each in combination), math.prod(each[1] for each in combination)
        total -= count * math.expm1(-actions * share)
    return total


def kinds() -> Iterator[tuple[float, list[tuple[int, float]]]]:
    """Each type and status: its share, and its durations."""
    for kind, (status, share) in itertools.product(TYPES, STATUSES):
        yield kind * share, grouped(durations(status))


def hour_cells(actions: float) -> float:
    """Cells of an hour's histograms."""
    return sum(distinct(actions * share, values) for share, values in kinds())


def trigger_hour_cells(actions: float) -> float:
    """Cells of an hour's triggers."""
    names = grouped(triggers())
    return sum(distinct(actions * share, names) for share, _ in kinds())


def batch_rows(actions: float) -> float:
    """Rows of a batch: combinations of trigger, type, status, duration and retries."""
    names, retries = grouped(triggers()), [(1, share) for share in RETRIES]
    return sum(distinct(actions * share, names, values, retries) for share, values in kinds())


def line(rate: float, cycle: float, costs: Costs, away_hours: float, limit: float) -> list[str]:
    """One row of the table."""
    actions = rate * cycle
    batch = batch_rows(actions)
    fold = costs.fold_seconds + actions * costs.fold_row_us / 1e6
    away = away_hours * 3600 / cycle * batch
    # the fixed part of sending is that of each batch
    sending, coming = batch / (costs.send_seconds + batch * costs.send_row_us / 1e6), batch / cycle
    catching_up = min(away, limit) / (sending - coming) / 60 if sending > coming else math.inf
    hourly, by_trigger = hour_cells(rate * 3600), trigger_hour_cells(rate * 3600)
    return [
        f"{rate:,}", f"{actions:,.0f}", f"{batch:,.0f}", f"{fold:.1f} s", f"{fold / cycle:.0%}",
        f"{limit / batch * cycle / 3600:,.1f} h", f"{min(away, limit) * costs.outbox_row_bytes / 1e6:,.0f} MB",
        f"{catching_up:.1f} min", f"{24 * hourly:,.0f}", f"{24 * by_trigger:,.0f}",
    ]  # fmt: skip


def tables(rows: float, days: float) -> dict[str, float]:
    """How many rows each table of the warehouse has in the end, after its merges."""
    by_hour, hours = rows / days / 24, days * 24
    names, retries = grouped(triggers()), [(1, share) for share in RETRIES]
    return {
        "hour_totals": hours * len(TYPES) * len(STATUSES),
        "hour_durations": hours * hour_cells(by_hour),
        "trigger_totals": float(TRIGGERS),
        "trigger_durations": distinct_durations(rows, names),
        "trigger_retries": distinct(rows, names, retries),
        "trigger_hours": hours * trigger_hour_cells(by_hour),
        "action_results": rows,
    }


def distinct_durations(rows: float, names: list[tuple[int, float]]) -> float:
    """How many durations each trigger has had; of all statuses together, whose shares add up."""
    by_status = {status: durations(status) for status, _ in STATUSES}
    together = [sum(share * by_status[status][value] for status, share in STATUSES) for value in range(LONGEST_MS + 1)]
    return distinct(rows, names, grouped(together))


def measured(file: Path) -> Costs:
    """Read what `tests.benchmarks.warehouse` printed: by the smallest and the largest of its folds."""
    found = json.loads(file.read_text())
    folds, disk = found["folds"]["figures"], found["disk"]["figures"]
    few, many = folds[0], folds[-1]
    fold_row = (many["refresh_seconds"] - few["refresh_seconds"]) / (many["rows"] - few["rows"])
    send_row = (many["send_seconds"] - few["send_seconds"]) / (many["batch_rows"] - few["batch_rows"])
    return Costs(
        max(0.0, few["refresh_seconds"] - few["rows"] * fold_row),
        1e6 * fold_row,
        max(0.0, few["send_seconds"] - few["batch_rows"] * send_row),
        1e6 * send_row,
        many["outbox_bytes"] / many["batch_rows"],
        {table: size / rows for table, (rows, size) in disk.items() if rows},
    )


HEADINGS = (
    "actions a second", "in a cycle", "rows of a batch", "fold", "of the cycle", "outbox full after",
    "outbox after the outage", "caught up in", "hour cells a day", "trigger-hour cells a day",
)  # fmt: skip


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measured", type=Path, help="what tests.benchmarks.warehouse printed")
    parser.add_argument("--cycle-seconds", type=float, default=300)
    parser.add_argument("--away-hours", type=float, default=1)
    parser.add_argument("--limit", type=float, default=5_000_000)
    parser.add_argument("--rows", type=float, default=10_000_000_000)
    parser.add_argument("--days", type=float, default=400)
    given = parser.parse_args()
    costs = measured(given.measured) if given.measured else ASSUMED
    _print(HEADINGS)
    for rate in RATES:
        _print(line(rate, given.cycle_seconds, costs, given.away_hours, given.limit))
    print()
    _print(("table", "rows", "on disk"))
    for table, rows in tables(given.rows, given.days).items():
        _print((table, f"{rows:,.0f}", f"{rows * costs.table_bytes.get(table, math.nan) / 1e9:,.2f} GB"))
    return 0


def _print(cells: Sequence[str]) -> None:
    print("|", " | ".join(cells), "|", flush=True)
    if cells in (HEADINGS, ("table", "rows", "on disk")):
        print("|", " | ".join("---" for _ in cells), "|")


if __name__ == "__main__":
    sys.exit(main())
