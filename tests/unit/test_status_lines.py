"""The lines that `status` prints below its table, and the page's fact of what a run costs."""

from typing import Any

from analytics_refreshd.cli.show import _about_views
from analytics_refreshd.core.cost import FIGURES
from analytics_refreshd.observe.page.cost import cost_words


def views(*doubts: str | None) -> list[dict[str, Any]]:
    """Views a, b and so on, about whose times there are these doubts."""
    names = "abcd"[: len(doubts)]
    return [{"view": name, "doubt": doubt, "last_run": None} for name, doubt in zip(names, doubts, strict=True)]


def test_a_doubt_about_several_views_is_said_once() -> None:
    """A lock on one view keeps the status function from telling of any."""
    assert list(_about_views(views("late", "late", "late"))) == ["all views: late"]
    assert list(_about_views(views("late", None, "late", "gone"))) == ["a, c: late", "d: gone"]
    assert list(_about_views(views("late"))) == ["a: late"]
    assert list(_about_views(views(None, None))) == []


def cost(wal_bytes: int | None) -> dict[str, int | None]:
    """A cost of which only this is known."""
    return {**dict.fromkeys(FIGURES), "wal_bytes": wal_bytes}


def test_a_card_has_room_for_wal_alone() -> None:
    """What is not known is called unknown, in the last run as in the day."""
    last, day = {"cost": cost(2048)}, {"runs": 288, "unknown": 3, "cost": cost(1 << 20)}
    assert cost_words({"last_run": last, "day": day}) == {
        "text": "2.0 KiB of WAL",
        "detail": "1.0 MiB of WAL in 288 runs of 24 h, 3 of them unknown; blocks and more: status",
    }
    day = {"runs": 1, "unknown": 0, "cost": cost(None)}
    assert cost_words({"last_run": {"cost": cost(None)}, "day": day}) == {
        "text": "unknown",
        "detail": "unknown in 1 run of 24 h; blocks and more: status",
    }
    assert cost_words({"last_run": None, "day": day}) is None
