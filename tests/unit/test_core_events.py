"""Every event the daemon logs is named once and explained."""

import re

from analytics_refreshd.core.events import MEANING, Event


def test_every_event_has_a_meaning() -> None:
    """The list is closed: each event is explained in one line, and nothing else is."""
    assert set(MEANING) == set(Event)
    assert all(text and "\n" not in text for text in MEANING.values())


def test_events_are_named_alike() -> None:
    """A subject, a dot and what became of it, and no name twice."""
    names = [event.value for event in Event]
    assert all(re.fullmatch(r"[a-z]+\.[a-z_]+", name) for name in names)
    assert len(set(names)) == len(names)
