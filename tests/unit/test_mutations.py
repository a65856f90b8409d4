"""The list of breakages is kept: each still applies, each fault test is named by one."""

import pytest

from tests.mutations.catalog import ROOT, Mutation, fault_tests, mutations

ALL = list(mutations())


@pytest.mark.parametrize("mutation", ALL, ids=lambda mutation: mutation.breaks)
def test_a_breakage_still_applies(mutation: Mutation) -> None:
    """Its text is in its file exactly once, so that the change breaks what it says it breaks."""
    assert (ROOT / mutation.file).read_text().count(mutation.old) == 1
    assert mutation.old != mutation.new


def test_every_fault_test_was_seen_to_fail() -> None:
    """Each test that bears a row is expected to fail under some breakage, and none that does not exist is named."""
    named = {test for mutation in ALL for test in mutation.fails}
    assert fault_tests() - named == set()
    assert named - fault_tests() == set()
