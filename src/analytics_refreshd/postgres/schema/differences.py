"""How installed views differ from ours, in words."""

import difflib
import re

from analytics_refreshd.core.redaction import cut, printable
from analytics_refreshd.postgres.schema.definitions import index_names
from analytics_refreshd.postgres.schema.installed import Objects, View

OTHER_COLUMNS = "its columns are not those of the contract"
_MOST_SHOWN = 800
_FROM = re.compile(r"^ *FROM (?:\w+\.)?(\w+)(?: (\w+))?$", re.MULTILINE)


def differences_of(view: View, found: Objects, expected: Objects) -> list[str]:
    """How an existing view and its indexes differ from ours, in words."""
    ours = expected.views[view.name]
    differences = []
    has, wants = ([column.split(" ", 1) for column in side.columns] for side in (view, ours))
    if [name for name, _ in has] != [name for name, _ in wants]:
        differences.append(OTHER_COLUMNS)
    else:
        types = [
            f"{name} is {kind} instead of {other}"
            for (name, kind), (_, other) in zip(has, wants, strict=True)
            if kind != other
        ]
        if types:
            differences.append(", ".join(types))
        if any("numeric(10,2)" in one for one in types):
            differences.append("a duration of 100,000,000 ms fails its refresh")
    if view.definition != ours.definition:
        differences.append(query_difference(view.definition, ours.definition))
    for name in index_names(view.name):
        index = found.indexes.get(name)
        if index is not None and index.definition != expected.indexes[name].definition:
            differences.append(f"index {name} differs")
    return differences


def query_difference(found: str, wanted: str) -> str:
    """Say in one sentence how a view's query differs from ours; both as the server writes them out."""
    changed: dict[str, list[str]] = {"-": [], "+": []}
    for line in difflib.unified_diff(_unqualified(wanted), _unqualified(found), lineterm="", n=0):
        if line[:1] in changed and not line.startswith(("---", "+++")):
            changed[line[0]].append(" ".join(line[1:].split()))
    has, lacks = (f"`{cut(printable(' '.join(lines)), _MOST_SHOWN)}`" for lines in (changed["+"], changed["-"]))
    return f"its query differs: it has {has} where ours has {lacks}"


def _unqualified(query: str) -> list[str]:
    """The query's lines without the table's alias before each column: before PostgreSQL 16 all would differ."""
    named = _FROM.search(query)
    if named is None:
        return query.splitlines()
    qualifier = re.compile(rf"(?<![\w.]){re.escape(named[2] or named[1])}\.")
    return qualifier.sub("", query).splitlines()
