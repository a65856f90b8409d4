"""Whether the incremental mode would pay, with what a database says of itself."""

from dataclasses import replace

import pytest

from analytics_refreshd.core.savings import Workload, saving

LARGE = Workload(288, 41.0, 6_600_000, 90_000, log_rows=10_000_000, changes=345_600, failures=17_000)


def test_it_pays_where_plain_refreshes_read_a_large_table() -> None:
    """The sentence has this database's figures, and what would be left of the cost."""
    found = saving(LARGE)
    assert found is not None
    assert found.pays
    assert 0.1 < found.seconds < 1.0
    assert found.text == (
        "288 plain refreshes in 24 h took 41 s each, 6.3 MiB of WAL, 90,000 blocks read, 3 h 16 min in all, for 1,200 "
        "changed rows each of about 10,000,000: the incremental mode would take about 249 ms"
    )


@pytest.mark.parametrize(
    "workload",
    [
        replace(LARGE, seconds=0.3),
        pytest.param(replace(LARGE, seconds=0.9, changes=288, failures=0), id="under a second"),
        pytest.param(replace(LARGE, seconds=5.0, changes=288 * 100_000), id="most rows change"),
    ],
)
def test_it_does_not_pay_everywhere(workload: Workload) -> None:
    """Cheap refreshes are cheap, and where much changes the fold is no cheaper than the whole."""
    found = saving(workload)
    assert found is not None
    assert not found.pays
    assert found.text.endswith("the incremental mode would gain little")


@pytest.mark.parametrize(
    "workload", [replace(LARGE, runs=9), replace(LARGE, seconds=None), replace(LARGE, changes=None)]
)
def test_too_little_is_known(workload: Workload) -> None:
    """Nobody is told to change the mode by a guess."""
    assert saving(workload) is None


def test_what_is_unknown_is_left_out() -> None:
    """A figure that the server or an older history lacks is not said as 0."""
    found = saving(replace(LARGE, wal_bytes=None, blocks_read=None, log_rows=None, failures=None))
    assert found is not None
    assert "WAL" not in found.text
    assert "blocks" not in found.text
    assert "of about" not in found.text
