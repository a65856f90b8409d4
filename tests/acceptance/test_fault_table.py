"""The table of fault tests, held to what is really collected."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import fault_table

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The table as the collection of all tests writes it now."""
    path = tmp_path_factory.mktemp("table") / "README.md"
    words = [
        "-m",
        "pytest",
        "tests",
        "--full",
        "--collect-only",
        "-q",
        "-p",
        "no:cacheprovider",
        "--fault-table",
        str(path),
    ]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    return path.read_text()


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
