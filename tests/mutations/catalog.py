"""The list of breakages, read from seams.toml beside this module."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@dataclass(frozen=True, slots=True)
class Mutation:
    """One change of one file, and the tests that must fail under it (`tests/…py::name`)."""

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
    """Every breakage, in the order of the file."""
    for entry in tomllib.loads((HERE / "seams.toml").read_text())["mutation"]:
        fails = tuple(f"tests/{test}" for test in entry.pop("fails"))
        yield Mutation(fails=fails, **entry)
