"""A plain `pytest` leaves no area out: of every file it runs a test, apart from those named here."""

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
LEFT_OUT = {
    "acceptance/test_alert_flood.py": "fifty views that fail, and a daemon",
    "acceptance/test_api_attacks.py": "an API, and hundreds of hostile clients",
    "acceptance/test_api_faults.py": "minutes of random load and faults",
    "acceptance/test_api_process.py": "processes that are stopped, and servers",
    "acceptance/test_api_trouble.py": "an API, a standby, and an answer of megabytes",
    "acceptance/test_api_replicas.py": "a Redis, and three processes of the API",
    "acceptance/test_api_rollout.py": "processes that are replaced",
    "acceptance/test_demo_real_log.py": "a real log, which is not in the repository",
    "acceptance/test_operator_requests.py": "daemons whose heartbeats are waited for",
    "acceptance/test_pages_browser.py": "an API, a database of two tenants, and a browser",
    "acceptance/test_rolling_upgrade.py": "the wheel of an earlier version",
    "acceptance/test_soak.py": "minutes of random faults",
    "acceptance/test_view_schedule.py": "daemons whose slots are waited for",
    "acceptance/test_warehouse_crash.py": "a ClickHouse, and a daemon that is killed in each cycle",
    "acceptance/test_warehouse_daemon.py": "a ClickHouse, and daemons that are killed",
    "acceptance/test_warehouse_trouble.py": "a ClickHouse in trouble, and a daemon beside it",
    "integration/test_api_warehouse.py": "an API, two ClickHouse databases, and one of two tenants",
    "integration/test_warehouse_cluster.py": "four ClickHouse servers and a ZooKeeper",
    "integration/test_warehouse_failover.py": "a ClickHouse, a primary and its standby",
    "integration/test_warehouse_rows.py": "a ClickHouse, and months of rows",
    "integration/test_warehouse_unusual.py": "a ClickHouse, and databases of other encodings and owners",
    "integration/test_warehouse.py": "a ClickHouse, which takes seconds to start",
    "integration/test_warehouse_answers.py": "a ClickHouse, which takes seconds to start",
    "integration/test_warehouse_cli.py": "a ClickHouse, and a process for each question",
    "integration/test_admitted_reading.py": "a database of two tenants behind the wall",
    "integration/test_api.py": "an API, and a database filled for it",
    "integration/test_api_actions.py": "an API, and a database of two tenants",
    "integration/test_api_questions.py": "an API, and a database of two tenants",
    "integration/test_api_access.py": "an API, and a database of two tenants",
    "integration/test_api_frozen.py": "an API, and a database with figures of rows that `retain` deleted",
    "integration/test_api_memory.py": "the parts of an API, and a database of two tenants",
    "integration/test_horizon_exact.py": "hundreds of random changes around a horizon, and writers beside it",
    "acceptance/test_stream.py": "an API, and a database in incremental mode",
    "acceptance/test_truth.py": "a minute and a half of random incidents",
    "integration/test_long_history.py": "thirty thousand runs in history",
    "integration/test_incremental_stateful.py": "hundreds of random changes to the log, each compared",
    "deploy/test_kubernetes_api.py": "manifests built with components, which takes seconds each",
    "deploy/test_live_alerting.py": "Prometheus and Alertmanager, with their own intervals",
    "acceptance/test_read_only.py": "a server that turns read-only, for long enough to alert",
    "deploy/test_live_debian.py": "a booted Debian, and the package made in it",
    "deploy/test_live_image.py": "a container image",
    "deploy/test_live_oncall.py": "a booted Debian",
    "deploy/test_live_systemd.py": "a booted Debian",
    "integration/test_year_of_retention.py": "twelve months of changes, by rows and by partitions",
    "integration/test_stream_reading.py": "a database in incremental mode, and the API's role",
    "unit/test_unusual_simulated.py": "months of simulated traffic",
    "unit/test_selection.py": "this one, which collects all of them",
    "deploy/test_upgrade_guide.py": "two builds, and the installation of each",
    "deploy/test_wheel.py": "a build, and an installation of all that the wheel depends on",
}
"""What a plain run tests nothing of, since the fastest test takes long, and what that needs."""


@pytest.mark.slow
def test_every_file_has_a_quick_test() -> None:
    """Whoever runs the README's command hears of a defect in any area within minutes."""
    words = ["-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run([sys.executable, *words], cwd=TESTS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    collected = {line.partition("::")[0].removeprefix("tests/") for line in done.stdout.splitlines() if "::" in line}
    present = {path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py")}
    assert present - collected == set(LEFT_OUT)
