"""The table of fault tests, and what a plain run leaves out, held to what is really collected."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import fault_table

ROOT = Path(__file__).parents[2]
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
    "deploy/test_release.py": "two releases, each with a package and an image",
    "deploy/test_upgrade_guide.py": "two builds, and the installation of each",
    "deploy/test_wheel.py": "a build, and an installation of all that the wheel depends on",
}
"""What a plain run tests nothing of, since the fastest test takes long, and what that needs."""


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, set[str]]:
    """The table as the collection of all tests writes it now, and the files of which a plain run takes a test."""
    folder = tmp_path_factory.mktemp("collected")
    written = {"--fault-table": folder / "README.md", "--quick-files": folder / "quick.txt"}
    words = ["-m", "pytest", "tests", "--full", "--collect-only", "-q", "-p", "no:cacheprovider"]
    options = [str(word) for option in written.items() for word in option]
    done = subprocess.run([sys.executable, *words, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    return written["--fault-table"].read_text(), set(written["--quick-files"].read_text().splitlines())


@pytest.fixture
def written(collected: tuple[str, set[str]]) -> str:
    """The table."""
    return collected[0]


def test_every_file_has_a_quick_test(collected: tuple[str, set[str]]) -> None:
    """Whoever runs the README's command hears of a defect in any area within minutes."""
    present = {path.relative_to(ROOT / "tests").as_posix() for path in ROOT.glob("tests/**/test_*.py")}
    assert present - collected[1] == set(LEFT_OUT)


def test_the_table_is_up_to_date(written: str) -> None:
    """The committed table is the one that the collection writes."""
    assert (ROOT / "tests/acceptance/README.md").read_text() == written


def test_every_row_has_a_test_or_a_reason(written: str) -> None:
    """No row of the matrix is without a test and without the reason why; and no reason outlives its need."""
    rows = {line.split(" | ")[0].strip("| "): line for line in written.splitlines() if line.startswith("| ")}
    assert set(fault_table.ROWS) <= set(rows)
    bare = {row for row in fault_table.ROWS if "| none: " in rows[row]}
    assert bare == set(fault_table.NOT_COVERED)
    assert all(row[0] in "LPRW" for row in bare), "the fault matrix is covered whole"


@pytest.mark.quick
def test_row_names_are_read() -> None:
    """A name may bear several rows, or none."""
    assert fault_table.rows_of("test_A18_A19_a_standby") == ["A18", "A19"]
    assert fault_table.rows_of("test_a_standby") == []


@pytest.mark.quick
def test_tests_named_by_a_row_are_marked(request: pytest.FixtureRequest) -> None:
    """Whoever runs `-m fault` runs every test that bears a row."""
    unmarked = [
        item.nodeid
        for item in request.session.items
        if fault_table.rows_of(item.name) and item.get_closest_marker("fault") is None
    ]
    assert unmarked == []
