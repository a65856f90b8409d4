"""The list of breakages, read from the .toml files beside this module."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
_TEST = re.compile(r"^def (test_[A-H]\d\d_\w+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mutation:
    """One change of one file, and the tests that must fail under it (`tests/…py::name`)."""

    section: str
    breaks: str
    file: str
    old: str
    new: str
    fails: tuple[str, ...]

    def apply(self, root: Path) -> None:
        """Break the tree at `root`. Raises AssertionError where the text to change is not there exactly once."""
        path = root / self.file
        text = path.read_text()
        assert text.count(self.old) == 1, f"{self.file} holds {text.count(self.old)} times: {self.old!r}"
        path.write_text(text.replace(self.old, self.new))


def mutations() -> Iterator[Mutation]:
    """Every breakage, section by section."""
    for path in sorted(HERE.glob("*.toml")):
        for entry in tomllib.loads(path.read_text())["mutation"]:
            fails = tuple(f"tests/{test}" for test in entry.pop("fails"))
            yield Mutation(section=path.stem.upper(), fails=fails, **entry)


def fault_tests() -> set[str]:
    """Every test that bears a row of the fault matrix, as `tests/…py::name`."""
    return {
        f"{path.relative_to(ROOT).as_posix()}::{name}"
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in _TEST.findall(path.read_text())
    }
