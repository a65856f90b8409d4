"""Public docstrings begin with a short sentence."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.mutations.catalog import ROOT

SOURCE = ROOT / "src" / "analytics_refreshd"
MOST_WORDS = 12
NOT_YET = (
    "postgres/check/",
    "postgres/migrate/",
    "postgres/schema/",
)
"""Rooms and modules whose docstrings are still long. Remove a line when its docstrings are short; add none."""

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def public(node: Documented) -> Iterator[Documented]:
    """The node, and every public class and function within public ones."""
    yield node
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
            if isinstance(node, ast.Module | ast.ClassDef):
                yield from public(child)


def first_sentence(docstring: str) -> str:
    """The text up to the first full stop that ends a sentence, or up to an empty line."""
    return re.split(r"(?<=[.:])\s|\n\s*\n", docstring.strip(), maxsplit=1)[0]


def long_docstrings(path: Path) -> list[str]:
    """`module:line: sentence` for each first sentence of too many words."""
    found = []
    for node in public(ast.parse(path.read_text())):
        sentence = first_sentence(ast.get_docstring(node) or "")
        if len(sentence.split()) > MOST_WORDS:
            line = 1 if isinstance(node, ast.Module) else node.lineno
            found.append(f"{path.relative_to(SOURCE).as_posix()}:{line}: {sentence}")
    return found


MODULES = sorted(SOURCE.rglob("*.py"))
COVERED = [path for path in MODULES if not path.relative_to(SOURCE).as_posix().startswith(NOT_YET)]


def test_first_sentences_are_short() -> None:
    """In every room that is covered, a public docstring's first sentence has at most twelve words."""
    assert [text for path in COVERED for text in long_docstrings(path)] == []
