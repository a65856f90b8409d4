"""The list of breakages is kept: each still applies, and the tests that must notice it exist."""

import pytest

from tests.mutations.catalog import ROOT, Mutation, mutations


@pytest.mark.parametrize("mutation", list(mutations()), ids=lambda mutation: mutation.breaks)
def test_a_breakage_still_applies(mutation: Mutation) -> None:
    """Its text is in its file exactly once, so that the change breaks what it says it breaks."""
    assert (ROOT / mutation.file).read_text().count(mutation.old) == 1
    assert mutation.old != mutation.new
    for test in mutation.fails:
        path, _, name = test.partition("::")
        assert f"\ndef {name}(" in (ROOT / path).read_text(), test
