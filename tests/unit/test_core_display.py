"""Text of others on terminals, in JSON documents and in spreadsheets."""

import csv
import io
import json
import re
import unicodedata
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_refreshd.core.display import csv_cell, escaped_json, json_number, spreadsheet_cell, without_controls

HOSTILE = "\x1b[31m\x9b31m\x07\x00\x7f\u202e\u2066\u200f\U000e0041\ud800"
NUMBER = re.compile(r"[+-]\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
TEXTS = st.text(st.characters() | st.sampled_from(HOSTILE + "=+-@\t\r\n; '\""), max_size=40)


def acts_on_a_terminal(text: str) -> set[str]:
    """Return its control and direction characters; a line feed is none."""
    return {each for each in text if unicodedata.category(each) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")} - {"\n"}


@given(TEXTS)
def test_no_text_gives_a_terminal_commands(text: str) -> None:
    """Escapes, C1 controls and changes of direction are gone; lines and what is printable stay."""
    shown = without_controls(text)
    assert not acts_on_a_terminal(shown)
    assert shown.count("\n") == text.count("\n")
    assert [each for each in shown if each.isprintable() and each != " "] == [
        each for each in text if each.isprintable() and each != " "
    ]


def test_lines_and_indentation_stay() -> None:
    """What separates words becomes a space, so that they do not run together."""
    assert without_controls("a\n  b\tc\u2028d\r\n") == "a\n  b c d \n"
    assert without_controls("plain é") == "plain é"


@given(st.recursive(TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=5))
def test_json_holds_the_same_and_no_control_character(value: object) -> None:
    """The document reads back as it was, and a terminal that shows it does nothing."""
    document = escaped_json(json.dumps(value, indent=2, ensure_ascii=False))
    assert json.loads(document) == value
    assert not acts_on_a_terminal(document)
    document.encode()


def test_only_what_must_be_is_escaped_in_json() -> None:
    """People read it: letters of any language stay."""
    assert escaped_json('"é \x9b\u202e\x7f"') == '"é \\u009b\\u202e\\u007f"'
    assert escaped_json('"\U000e0041"') == '"\\udb40\\udc41"'
    assert escaped_json('{\n "a": "b"}') == '{\n "a": "b"}'


@pytest.mark.parametrize(
    "text",
    [
        "=cmd|' /C calc'!A0",
        "@SUM(1+1)*cmd|' /C calc'!A0",
        "+cmd|' /C calc'!A0",
        "-2+3+cmd|' /C calc'!A0",
        "\t=1+1",
        "\r=1+1",
        "\n=1+1",
        "  =1+1",
        "\uff1d1+1",
        "\tindented",
        "a;=1+1",
        "a\n=1+1",
        "-",
        "--help",
    ],
)
def test_no_cell_begins_a_formula(text: str) -> None:
    """An apostrophe, which spreadsheets do not show, comes before it; the text itself stays."""
    cell = spreadsheet_cell(text)
    assert "'" in cell
    assert cell != text
    assert cell.replace("'", "") == text.replace("'", "")


@pytest.mark.parametrize("text", ["-5", "+49.5", "-1e-7", "1", "a=b", "a-b", "2026-01-01", "", "it's = 3"])
def test_numbers_and_plain_text_stay(text: str) -> None:
    """A number of either sign is no formula, and neither is a sign inside of a text."""
    assert spreadsheet_cell(text) == text


@given(st.text(st.sampled_from("=-@\uff1dx;\t\r\n \x0b\u2003'"), max_size=12))
def test_an_apostrophe_stands_at_each_beginning_and_nowhere_else(text: str) -> None:
    """After each separator, and at the start: where a sign follows behind white space, or a tab or return at once."""
    begins = [at for at in range(len(text) + 1) if at == 0 or text[at - 1] in ";\t\r\n"]
    marked = [at for at in begins if text[at:].lstrip()[:1] in tuple("=-@\uff1d") or text[at : at + 1] in tuple("\t\r")]
    assert spreadsheet_cell(text) == "".join(("'" if at in marked else "") + text[at : at + 1] for at in range(13))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("long", "before_sign", "before_digit"),
    [("\n" * 100_000, 100_000, 0), ("; " * 50_000, 1, 0), (" \t\r\n" * 30_000, 90_000, 30_000)],
    ids=["lines", "semicolons", "all kinds"],
)
def test_a_long_text_takes_a_moment(long: str, before_sign: int, before_digit: int) -> None:
    """Its time grows with its length: with the square it would be minutes."""
    assert spreadsheet_cell(f"x{long}=1").count("'") == before_sign
    assert spreadsheet_cell(f"x{long}1").count("'") == before_digit


@given(TEXTS, st.sampled_from(",;\t"))
def test_however_a_spreadsheet_splits_no_cell_begins_a_formula(text: str, delimiter: str) -> None:
    """Some locales split at semicolons or tabs, and then do not heed quotes inside of a cell."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(["1", spreadsheet_cell(text)])
    for row in csv.reader(io.StringIO(out.getvalue(), newline=""), delimiter=delimiter):
        for cell in row:
            formula = cell.lstrip()[:1] in tuple("=+-@")
            assert not formula or NUMBER.fullmatch(cell), row


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, ""),
        (True, "true"),
        (False, "false"),
        (7, 7),
        (Decimal("1.50"), Decimal("1.50")),
        (datetime(2026, 3, 1, 14, 7, 30, tzinfo=UTC), "2026-03-01T14:07:30Z"),
        ({"a": "ä"}, '{"a": "ä"}'),
        (["=x"], '["=x"]'),
        ("=cmd|x", "'=cmd|x"),
        ("a\x1b[31m", "a[31m"),
    ],
)
def test_what_a_cell_of_a_csv_file_holds(value: object, cell: object) -> None:
    """Numbers stay numbers, unknown is empty, text is harmless."""
    assert csv_cell(value) == cell


def test_a_cell_is_left_as_it_is_where_asked() -> None:
    """A formula for who wants one, control characters for who reads the file by a program."""
    assert csv_cell("=1+1", raw=True) == "=1+1"
    assert csv_cell("a\tb\x07", controls=True) == "a\tb\x07"


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (Decimal("100"), 100),
        (Decimal("98.36"), 98.36),
        (Decimal("NaN"), "NaN"),
        (Decimal("-Infinity"), "-Infinity"),
        (float("inf"), "Infinity"),
        (1.5, 1.5),
        ("text", "text"),
        (None, None),
    ],
)
def test_numbers_in_json_are_exact(value: object, number: object) -> None:
    """Whole decimals are integers; what JSON has no number for is text."""
    assert json_number(value) == number
    assert type(json_number(value)) is type(number)
