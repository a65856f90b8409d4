"""Generated files say what their sources say."""

from pathlib import Path

import pytest

from tests.generate.files import ROOT, generated


@pytest.mark.parametrize("path", sorted(generated()), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_generated_file_is_current(path: Path) -> None:
    """`.ci/generate` writes it; a change of the source alone fails here."""
    assert path.read_text("utf-8") == generated()[path]
