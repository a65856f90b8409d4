"""How long the page, status.json and a scrape take to make, and how large they are.

    python -m tests.benchmarks.page_render --views 50 --rounds 200

No database and no network: the state is made up, with a day of runs. Counts CPU time, so that a busy machine does not
matter. Exits 1 where the page's median is not under 20 ms or the page is not under 100 kB.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

from prometheus_client import generate_latest

from analytics_refreshd.observe.metrics.counters import PrometheusMetrics
from analytics_refreshd.observe.page.render import render_page
from analytics_refreshd.observe.status.document import status_json
from tests.support.fakes import FakeHealth
from tests.support.states import healthy


def main() -> int:
    """Print a table of milliseconds and bytes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--views", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    names = [f"analytics_of_department_{number:02}" for number in range(arguments.views)]
    state = healthy(names)
    metrics = PrometheusMetrics("orders", "0.1.0", names)
    metrics.watch(FakeHealth(state))
    makers: dict[str, Callable[[], bytes]] = {
        "page": lambda: render_page(state),
        "status.json": lambda: status_json(state).encode(),
        "metrics": lambda: generate_latest(metrics.registry),
    }
    print(f"{arguments.views} views, {arguments.rounds} rounds")
    failed = False
    for name, make in makers.items():
        size, took = len(make()), []
        for _ in range(arguments.rounds):
            began = time.thread_time()
            make()
            took.append((time.thread_time() - began) * 1000)
        median = statistics.median(took)
        print(
            f"{name:12} median {median:6.1f} ms   p95 {sorted(took)[int(len(took) * 0.95)]:6.1f} ms   {size:8,} bytes"
        )
        failed |= name == "page" and (median >= 20 or size >= 100_000)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
