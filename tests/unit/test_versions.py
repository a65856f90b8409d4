"""What is said of PostgreSQL's versions: one list, in the code and in the documents."""

import re
from pathlib import Path

import pytest

from analytics_refreshd.postgres.check.findings import Level
from analytics_refreshd.postgres.check.server import version_finding
from analytics_refreshd.postgres.connection.versions import TESTED_VERSIONS
from tests.support.postgres import PROGRAMS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("document", ["README.md", "deploy/guides/managed-postgres.md"])
def test_L30_the_documents_name_the_versions_that_are_tested(document: str) -> None:
    """And no other: what README says is what `check` goes by."""
    (words,) = re.findall(
        r"(?:Supported:|Tested are) PostgreSQL ((?:\d+(?:, | and )?)+)", (ROOT / document).read_text()
    )
    assert tuple(int(number) for number in re.findall(r"\d+", words)) == TESTED_VERSIONS


def test_L30_the_tests_have_a_server_of_each() -> None:
    """The gate and .ci/nightly run on all of them."""
    assert tuple(PROGRAMS) == TESTED_VERSIONS
    nightly = (ROOT / ".ci/nightly").read_text()
    others = re.search(r"for version in ((?:\d+ ?)+);", nightly)
    assert others is not None
    assert {*map(int, others[1].split())} == {*TESTED_VERSIONS[:-1]}


@pytest.mark.parametrize(
    ("number", "level", "said"),
    [
        (140_020, Level.ERROR, "too old"),
        (150_000, Level.OK, "PostgreSQL 15"),
        (180_600, Level.OK, "PostgreSQL 18"),
        (190_000, Level.WARNING, "not tested: 15 to 18 are"),
        (200_001, Level.WARNING, "not tested: 15 to 18 are"),
    ],
)
def test_L30_a_server_is_too_old_tested_or_not_tested(number: int, level: Level, said: str) -> None:
    """Only the first is an error."""
    found = version_finding(number, f"{number // 10_000}")
    assert (found.level, said in found.text) == (level, True)
    assert (found.remedy is None) == (level is Level.OK)
