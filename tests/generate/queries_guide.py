"""The reference of the catalogue in Markdown, written from the query files alone."""

from collections.abc import Iterator
from pathlib import Path

from analytics_refreshd.postgres.catalogue.definition import COLUMN_UNITS, Query
from analytics_refreshd.postgres.catalogue.files import SECTIONS, Catalogue, relations


def guide_markdown(catalogue: Catalogue) -> str:
    """The whole guide, ending in a newline."""
    text = (Path(__file__).parent / "queries.head.md").read_text("utf-8")
    names = sorted(name for name in relations() if " " not in name)
    introduction = text.format(
        app="public",
        count=len(catalogue.queries),
        sections=_NUMBERS.get(len(SECTIONS), str(len(SECTIONS))),
        units=", ".join(f"`{unit}`" for unit in COLUMN_UNITS),
        relations=", ".join(f"`{{{name}}}`" for name in names),
    )
    return introduction + "\n".join(_reference(catalogue)) + "\n"


def _reference(catalogue: Catalogue) -> Iterator[str]:
    yield "| query | section | endpoint | reads | limit |"
    yield "|---|---|---|---|---|"
    for query in catalogue:
        limit = "organizations" if query.organizations else "none"
        link = f"[{query.name}](#{query.name})"
        yield f"| {link} | {query.section} | `{query.endpoint}` | {_sources(query)} | {limit} |"
    for query in catalogue:
        yield ""
        yield f"### {query.name}"
        yield ""
        yield query.purpose
        yield ""
        if query.parameters:
            yield "| parameter | default and bounds | meaning |"
            yield "|---|---|---|"
            for item in query.parameters:
                yield f"| `--{item.name}` | {item.in_words} | {item.meaning} |"
            yield ""
        yield "| column | unit | meaning |"
        yield "|---|---|---|"
        for column in query.columns:
            how = f". Approximated: {column.approximated}" if column.approximated else ""
            yield f"| {column.name} | {column.unit} | {column.meaning}{how} |"


def _sources(query: Query) -> str:
    rows = ["rows"] if query.reads_rows else []
    return ", ".join([*query.views, *rows]) or "the status function"


_NUMBERS = {7: "seven"}
