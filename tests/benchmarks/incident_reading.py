"""How fast `incident` reads a log, and how much memory that takes.

python -m tests.benchmarks.incident_reading [LINES]

Writes a log of LINES lines (default 1,000,000) of two replicas with an incident every 2,000 lines, once in the order of
time and once one replica after the other, as `kubectl logs` of several pods prints them, and a tenth of it. Each is
read by the command itself; printed are lines per second and the process's peak memory.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

VIEWS = ("action_metrics_hourly", "trigger_performance_summary", "recent_failures", "action_type_distribution")
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def lines(count: int) -> Iterator[tuple[str, str]]:
    """Replica and text of every line: canonical lines mostly, as a real log has them."""
    for number in range(count):
        at = BEGIN + timedelta(seconds=30 * number)
        replica = f"refreshd-{number // 100 % 2}"
        bad = number % 2000 in (7, 8, 9)
        views = [
            {"view": view, "success": True, "seconds": 0.123, "rows": 123456}
            if not bad or view != "recent_failures"
            else {
                "view": view,
                "success": False,
                "seconds": 3.0,
                "rows": None,
                "reason": "lock_timeout",
                "sqlstate": "55P03",
                "error": "canceling statement due to lock timeout",
            }
            for view in VIEWS
        ]
        line = {
            "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": "warning" if bad else "info",
            "event": "refresh.finished",
            "database": "shop",
            "replica": replica,
            "run_id": f"00000000-0000-4000-8000-{number:012d}",
            "origin": "schedule",
            "outcome": "partial" if bad else "ok",
            "reason": None,
            "sqlstate": None,
            "error": None,
            "scheduled_at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "started_at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "duration_seconds": 0.5,
            "lateness_seconds": 0.001,
            "attempts": 1,
            "isolation": "cycle",
            "views": views,
        }
        yield replica, json.dumps(line, separators=(",", ":"))


def write(folder: Path, count: int) -> tuple[Path, Path]:
    """The log in the order of time, and one replica after the other."""
    ordered, by_pod = folder / "ordered.log", folder / "by_pod.log"
    parts = {name: folder / name for name in ("refreshd-0", "refreshd-1")}
    with ordered.open("w") as file, parts["refreshd-0"].open("w") as first, parts["refreshd-1"].open("w") as second:
        for replica, text in lines(count):
            file.write(text + "\n")
            (first if replica.endswith("0") else second).write(f"[pod/{replica}/daemon] {text}\n")
    with by_pod.open("wb") as file_:
        for part in ("refreshd-1", "refreshd-0"):
            with parts[part].open("rb") as source:
                shutil.copyfileobj(source, file_)
            parts[part].unlink()
    return ordered, by_pod


def measure(name: str, path: Path, count: int) -> None:
    """Read one log with the command and print what it took."""
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, "incident", "--format", "json", "--log", str(path)],
        check=True,
        capture_output=True,
    )
    seconds = time.perf_counter() - begun
    peak_mib = int(done.stderr.split()[-1]) / 1024
    found = len(json.loads(done.stdout)["incidents"])
    print(
        f"{name:<28} {count:>9,} lines {path.stat().st_size / 2**20:>6.0f} MiB {seconds:>6.1f} s "
        f"{count / seconds:>9,.0f} lines/s {peak_mib:>5.0f} MiB peak {found} incidents"
    )


_CHILD = """
import sys
from pathlib import Path
from analytics_refreshd.cli.main import main
code = main()
# ru_maxrss would count the parent's memory at the time of the fork
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0], file=sys.stderr)
sys.exit(code)
"""


def main() -> None:
    """Measure a tenth and the whole."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    for size in (count // 10, count):
        with tempfile.TemporaryDirectory(prefix="incident-reading-") as folder:
            ordered, by_pod = write(Path(folder), size)
            measure("in the order of time", ordered, size)
            measure("one replica after the other", by_pod, size)


if __name__ == "__main__":
    main()
