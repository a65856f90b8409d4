"""The README is short, and says what the command line does."""

import re
from pathlib import Path
from typing import Any

import typer

from analytics_refreshd.cli.main import app
from tests.generate.pictures import MOST_BYTES, PICTURES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def _commands() -> dict[str, str]:
    """Each command of the table, with its row."""
    section = README.split("\n## Commands\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    return {re.split(r"[` ]", row)[2]: row for row in rows}


def test_it_is_short() -> None:
    """What does not fit belongs in a guide."""
    assert len(README.splitlines()) <= 150


def test_the_table_names_every_command() -> None:
    """No command without a row, no row without a command."""
    group: Any = typer.main.get_command(app)
    assert set(_commands()) == set(group.commands)


def test_every_option_in_the_table_exists() -> None:
    """An option in a command's row is one of that command's."""
    group: Any = typer.main.get_command(app)
    seen = 0
    for name, row in _commands().items():
        known = {option for parameter in group.commands[name].params for option in parameter.opts}
        for option in re.findall(r"--[a-z-]+", row):
            assert option in known, f"{name} {option}"
            seen += 1
    assert seen > 10


def test_it_shows_the_pages() -> None:
    """The pictures that the script takes, each small, and no other of the pages."""
    shown = re.findall(r"!\[[^\]]*\]\(deploy/(pages[\w-]*\.png)\)", README)
    assert sorted(shown) == sorted(PICTURES)
    for name in PICTURES:
        assert (ROOT / "deploy" / name).stat().st_size < MOST_BYTES


def test_its_second_block_runs_the_tests() -> None:
    """Who pastes it tests what is checked out."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert "-m pytest" in blocks[1].splitlines()[-1]


def test_the_root_holds_what_was_agreed() -> None:
    """Nothing piles up in the repository's root."""
    allowed = {"pyproject.toml", "src", "deploy", "systemd", "tests", "config.example.toml", "README.md"}
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert found <= allowed
