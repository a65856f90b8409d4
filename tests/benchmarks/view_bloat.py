"""How large a view gets that is refreshed every 30 s, by the share of its rows that change and by autovacuum.

    python -m tests.benchmarks.view_bloat --refreshes 2880 --shares 0.1,0.3,0.6,0.9

Starts a PostgreSQL of its own, with the incremental mode and without autovacuum. Between two refreshes of
trigger_performance_summary so many of its 1,000 triggers act. VACUUM runs where autovacuum would have come: a visit
each `naptime`, which vacuums where more rows are dead than its threshold. So a whole day takes minutes, and no load on
the machine changes a figure. The largest sizes of the view, of its indexes and of both together are
compared with those after VACUUM FULL, and so are those of the last third, by which time they should have stopped to
grow. The last column is what `check` would say.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import psycopg

from analytics_refreshd.core.bloat import Autovacuum, Churn, bloat
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.migrate.run import migrate
from tests.benchmarks.query_latency import fill
from tests.conftest import create_application
from tests.support.postgres import Server

VIEW = "trigger_performance_summary"
TRIGGERS = 1000
INTERVAL = 30.0
SETTINGS = {
    "default": Autovacuum(True, 60.0, 50.0, 0.2),
    "view's own, naptime 60 s": Autovacuum(True, 60.0, 100.0, 0.05),
    "view's own, naptime 15 s": Autovacuum(True, 15.0, 100.0, 0.05),
}
_INSERT = (
    "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms)"
    " select gen_random_uuid(), 'j', 'trigger-' || (%(first)s + n) %% 1000, 'rest', 'success', clock_timestamp(),"
    " 100 + 900 * random() from generate_series(1, %(rows)s) n"
)
_SIZES = "select pg_relation_size(c.oid), pg_indexes_size(c.oid) from pg_class c where c.oid = %s::regclass"
Sizes = tuple[int, int]
"""Bytes of the view and of its indexes."""


@dataclass(slots=True)
class Grown:
    """The sizes after each refresh, and those of the view without dead rows."""

    sizes: list[Sizes]
    packed: Sizes

    def times(self, sizes: Sequence[Sizes]) -> list[float]:
        """How many times its size the view had at most, its indexes, and both together."""
        parts: list[Callable[[Sizes], int]] = [itemgetter(0), itemgetter(1), sum]
        return [max(map(part, sizes)) / part(self.packed) for part in parts]


def _sizes(connection: psycopg.Connection[Any]) -> Sizes:
    row = connection.execute(_SIZES, [VIEW]).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def grow(connection: psycopg.Connection[Any], refreshes: int, acting: int, autovacuum: Autovacuum) -> Grown:
    """Refresh so often, `acting` triggers at a time, and vacuum where autovacuum would."""
    connection.execute(f"vacuum (full, analyze) {VIEW}")
    sizes, dead, visit = [], 0, autovacuum.naptime_seconds
    for number in range(refreshes):
        connection.execute(_INSERT, {"first": number * acting, "rows": acting})
        connection.execute("select * from refresh_action_analytics_view(%s)", [VIEW])
        dead += acting
        sizes.append(_sizes(connection))
        # the visits until the next refresh
        while visit <= (number + 1) * INTERVAL:
            if dead > autovacuum.threshold + autovacuum.scale_factor * TRIGGERS:
                connection.execute(f"vacuum {VIEW}")
                dead = 0
            visit += autovacuum.naptime_seconds
    connection.execute(f"vacuum (full) {VIEW}")
    return Grown(sizes, _sizes(connection))


def main() -> int:
    """Measure and print a row for each share and setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--refreshes", type=int, default=240, help="2,880 are a day")
    parser.add_argument("--shares", default="0.1,0.3,0.6,0.8,1.0", help="of the rows that change in a refresh")
    parser.add_argument("--settings", default=",".join(SETTINGS), help="which of them")
    options = parser.parse_args()
    chosen = [name for name in SETTINGS if name in options.settings]
    server = Server(settings={"shared_buffers": "256MB", "autovacuum": "off"}).start()
    try:
        create_application(server.dsn())
        with psycopg.connect(server.dsn(), autocommit=True, options="-c timezone=UTC") as connection:
            migrate(connection)
            fill(connection, 20_000)
            incremental.install(connection)
            connection.execute("select * from refresh_action_analytics()")
            print(f"{options.refreshes:,} refreshes each, {TRIGGERS:,} rows; times the size after VACUUM FULL")
            print(
                f"{'share':>6} {'autovacuum':28} {'view':>5} {'later':>6} {'indexes':>8} {'later':>6}"
                f" {'both':>5} {'later':>6} {'check':>8}"
            )
            for share in map(float, options.shares.split(",")):
                for name in chosen:
                    grown = grow(connection, options.refreshes, round(share * TRIGGERS), SETTINGS[name])
                    late = grown.sizes[-max(1, len(grown.sizes) // 3) :]
                    # for a larger view, since a small one is nobody's trouble
                    told = bloat(VIEW, Churn(10**6, round(share * 10**6)), SETTINGS[name], INTERVAL)
                    view, indexes, both = zip(grown.times(grown.sizes), grown.times(late), strict=True)
                    print(
                        f"{100 * share:5.0f}% {name:28} {view[0]:5.2f} {view[1]:6.2f} {indexes[0]:8.2f}"
                        f" {indexes[1]:6.2f} {both[0]:5.2f} {both[1]:6.2f}"
                        f" {'nothing' if told is None else f'{told.times:.1f}':>8}",
                        flush=True,
                    )
    finally:
        server.destroy()
    return 0


if __name__ == "__main__":
    sys.exit(main())
