"""Prints tables for people: a line a row, or a block where that does not fit."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analytics_refreshd.cli.common import console
from analytics_refreshd.core.display import without_controls

_LEAST_PROSE = 24
"""The least width of a column of prose; a narrower one would have one word a line."""


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str | None = None,
    prose: Collection[str] = (),
    spare: Sequence[str] = (),
) -> None:
    """Print a line per row, or a block if too wide.

    A block has one value a line, so that no name or value is split. On a terminal that is too narrow for a line, the
    columns of `spare` are left out first, one by one, if a line fits then. Only the columns of `prose` are folded,
    between words, if they stay wide enough. In a pipe nothing is folded or left out. Numbers are right-aligned. Text
    from the database is never read as markup.
    """
    cells = [[_as_text(value) for value in row] for row in rows]
    widths = [max([len(name), *(_width(row[at]) for row in cells)]) for at, name in enumerate(columns)]
    needed = sum(widths) + 2 * len(widths)
    out = console(max(needed, len(title or "")))
    kept = _fitting(dict(zip(columns, widths, strict=True)), spare, out.width)
    if len(kept) < len(columns):
        cells = [[row[at] for at in kept] for row in cells]
        columns, widths = [columns[at] for at in kept], [widths[at] for at in kept]
        needed = sum(widths) + 2 * len(widths)
    if title is not None:
        out.print(title, markup=False, style="bold")
    foldable = sum(max(0, width - _LEAST_PROSE) for name, width in zip(columns, widths, strict=True) if name in prose)
    if needed - foldable > out.width:
        _print_blocks(out, columns, cells)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for at, name in enumerate(columns):
        right = bool(cells) and all(row[at].justify == "right" or row[at].plain == "-" for row in cells)
        table.add_column(name, justify="right" if right else "left", no_wrap=name not in prose, overflow="fold")
    for row in cells:
        table.add_row(*row)
    out.print(table)


def _fitting(widths: Mapping[str, int], spare: Sequence[str], width: int) -> list[int]:
    """Return the places of the columns to show: all of them if leaving out `spare` would not make a line fit."""
    left_out: list[str] = []
    for name in ("", *spare):
        left_out.append(name)
        kept = [at for at, column in enumerate(widths) if column not in left_out]
        if sum(list(widths.values())[at] + 2 for at in kept) - 2 <= width:
            return kept
    return list(range(len(widths)))


def _print_blocks(out: Console, columns: Sequence[str], cells: Sequence[Sequence[Text]]) -> None:
    for row in cells:
        block = Table.grid(padding=(0, 2), pad_edge=False)
        block.add_column(style="bold", no_wrap=True)
        block.add_column(overflow="fold")
        for name, value in zip(columns, row, strict=True):
            block.add_row(name, Text(value.plain, style=value.style))
        out.print()
        out.print(block)


def _width(text: Text) -> int:
    return max((cell_len(line) for line in text.plain.splitlines()), default=0)


def _as_text(value: object) -> Text:
    if isinstance(value, Text):
        return Text(without_controls(value.plain), style=value.style, justify=value.justify)
    return Text(without_controls(_cell(value)), justify="right" if isinstance(value, int | float) else None)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)
