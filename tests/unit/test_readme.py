"""The README says what the code does."""

import re
from pathlib import Path

import pytest

from analytics_refreshd.core.events import MEANING, Event
from analytics_refreshd.observe.metrics.names import METRICS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def _rows(heading: str) -> list[list[str]]:
    """The cells of the first table after a heading."""
    section = README.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_event_is_in_the_table_with_its_meaning() -> None:
    """The table of log events is the enum, in order, word for word."""
    expected = [[f"`{event}`", MEANING[event]] for event in sorted(Event)]
    assert _rows("Log events") == expected


def test_every_metric_is_in_the_table_with_its_help() -> None:
    """The table of metrics is what the daemon exports, word for word."""
    expected = [
        [f"`{metric.name}`" + (f"{{{','.join(metric.labels)}}}" if metric.labels else ""), metric.kind, metric.help]
        for metric in METRICS
    ]
    assert _rows("Metrics") == expected


def test_every_event_has_a_meaning() -> None:
    """No event without an explanation."""
    assert set(MEANING) == set(Event)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!https?:)([^)#]+)", README))))
def test_links_lead_somewhere(target: str) -> None:
    """Each file that the README points to exists."""
    assert (ROOT / target).exists()


def test_the_root_holds_what_was_agreed() -> None:
    """Nothing piles up in the repository's root."""
    allowed = {"pyproject.toml", "src", "deploy", "systemd", "tests", "config.example.toml", "README.md"}
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert found <= allowed
