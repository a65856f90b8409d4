"""The lines of a query file's header."""

import re
from dataclasses import dataclass, replace

from analytics_refreshd.postgres.catalogue.definition import QueryFileError

_ENTRY = re.compile(r"--\s(\w+):\s*(.*)")


@dataclass(frozen=True, slots=True)
class Line:
    """One `-- key: value`; `number` is its line in the file."""

    key: str
    value: str
    number: int


def split(text: str, file: str) -> tuple[list[Line], str, int]:
    """Return the header's lines, the SQL, and its first line's number."""
    lines: list[Line] = []
    # not splitlines, which also ends a line at characters that an editor shows within one
    rows = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    for index, row in enumerate(rows):
        if row.startswith("--   ") and lines:
            lines[-1] = replace(lines[-1], value=f"{lines[-1].value} {row[5:].strip()}")
        elif row.startswith("--"):
            entry = _ENTRY.fullmatch(row)
            if entry is None:
                raise QueryFileError(f"{file}:{index + 1}: expected `-- key: value`, found {row[:60]!r}")
            lines.append(Line(entry[1], entry[2].strip(), index + 1))
        elif row.strip():
            return lines, "\n".join(rows[index:]).strip().removesuffix(";").rstrip(), index + 1
    raise QueryFileError(f"{file}:{max(len(rows), 1)}: there is no SQL after the header")


def need(condition: object, file: str, line: Line, wanted: str) -> None:
    """Raise QueryFileError, which says what is `wanted`, unless the condition holds."""
    if not condition:
        raise QueryFileError(f"{file}:{line.number}: {line.key} must be {wanted}, not {line.value[:60]!r}")
