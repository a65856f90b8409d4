"""The judge of tests/acceptance/test_truth.py notices each kind of lie, and calls nothing else one."""

from dataclasses import replace

import pytest

from tests.support import truth
from tests.support.truth import Incident, Limits, Logged, Marker, Said, Shown, Told

LIMITS = Limits(max_age=8.0, reading=2.0, evaluation=1.0, evaluations=3)
STALE, FAILED = (truth.STALE, "v"), ("AnalyticsRefreshFailed", "v")
MARKERS = [Marker(float("-inf"), None), *(Marker(float(at), at + 0.1) for at in range(1, 60))]


def shows(number: int, *moments: float) -> list[Shown]:
    """The view shows this marker at these moments."""
    return [Shown(at, at + 0.05, "v", number) for at in moments]


def says(at: float, age: float, *firing: truth.AlertOf, verdict: str = "fresh") -> Said:
    """The leader says this age, and that these alerts fire."""
    alerts = frozenset(firing)
    return Said(at, at + 0.1, "one", "leader", at - 0.5, True, {"v": (verdict, age)}, alerts, alerts)


@pytest.fixture
def stuck() -> truth.Truth:
    """The view shows marker 5 from second 5 to 50."""
    return truth.Truth(MARKERS, shows(5, *range(5, 50)))


def test_an_age_is_bounded_from_both_sides(stuck: truth.Truth) -> None:
    """By the change that it shows, and by the one that it does not."""
    assert stuck.at_least("v", 20.0) == pytest.approx(20.0 - 6.1)
    assert stuck.at_most("v", 20.0) == pytest.approx(20.0 - 5.0)
    assert truth.Truth(MARKERS, []).at_most("v", 20.0) == float("inf")
    assert truth.Truth(MARKERS, []).at_least("v", 20.0) == 0.0


def test_a_change_that_was_not_seen_to_commit_bounds_nothing(stuck: truth.Truth) -> None:
    """The next one does."""
    lost = [*MARKERS[:6], replace(MARKERS[6], committed=None), *MARKERS[7:]]
    assert truth.Truth(lost, shows(5, 21.0)).at_least("v", 20.0) == pytest.approx(20.0 - 7.1)


def test_an_age_told_too_low_is_found(stuck: truth.Truth) -> None:
    """Up to what a reading allows it may be lower."""
    assert truth.wrong_ages(stuck, [says(20.0, 12.0)], LIMITS) == []
    (found,) = truth.wrong_ages(stuck, [says(20.0, 11.0)], LIMITS)
    assert "v is fresh, 11.0 s old; its content is 13.9 s old" in found


def test_old_content_that_nobody_is_told_of_is_missed(stuck: truth.Truth) -> None:
    """After so many evaluations of a leader; not where the alert fires, or the database is away."""
    said = [says(float(at), 99.0, verdict="stale") for at in range(10, 30)]
    assert len(truth.missed(stuck, said[:9], LIMITS)) == 0
    assert len(truth.missed(stuck, said[:12], LIMITS)) == 1
    assert truth.missed(stuck, [replace(one, firing=frozenset([STALE])) for one in said], LIMITS) == []
    assert truth.missed(stuck, [replace(one, database_up=False) for one in said], LIMITS) == []
    assert truth.missed(stuck, [replace(one, role="standby") for one in said], LIMITS) == []


def test_an_alert_that_nothing_explains_is_false(stuck: truth.Truth) -> None:
    """It has to be young content, or an alert that the incident does not raise."""
    fresh = truth.Truth(MARKERS, [each for at in range(5, 50) for each in shows(at - 1, float(at))])
    during = Incident("trouble", 10.0, 40.0, frozenset({("AnalyticsRefreshFailed", "*")}))

    def fires(alert: truth.AlertOf, at: float = 20.0) -> list[Logged]:
        return [Logged(at, "one", alert, True, 0.0)]

    assert truth.false(stuck, fires(STALE), [], LIMITS) == []
    assert len(truth.false(fresh, fires(STALE), [during], LIMITS)) == 1
    assert truth.false(fresh, fires(FAILED), [during], LIMITS) == []
    assert len(truth.false(fresh, fires(FAILED, 45.0), [during], LIMITS)) == 1
    assert len(truth.false(fresh, fires(("AnalyticsContractBroken", "")), [during], LIMITS)) == 1


def test_places_that_differ_for_long_contradict_each_other() -> None:
    """Gauge, document and log may follow each other within some evaluations."""
    line = Logged(5.0, "one", FAILED, True, 100.0)
    hook = [Told(5.2, "key", FAILED, True, 100.0), Told(59.0, "key", FAILED, False, 100.0)]
    over = Logged(58.0, "one", FAILED, False, 100.0)
    agreeing = [says(float(at), 1.0, FAILED) for at in range(6, 20)]
    assert truth.contradictions(agreeing, [line, over], hook, LIMITS) == []
    no_gauge = [replace(one, gauge=frozenset()) for one in agreeing]
    assert truth.contradictions(no_gauge[:3], [line, over], hook, LIMITS) == []
    assert len(truth.contradictions(no_gauge, [line, over], hook, LIMITS)) == 1
    silent = [replace(one, gauge=frozenset(), firing=frozenset()) for one in agreeing]
    assert len(truth.contradictions(silent, [line, over], hook, LIMITS)) == 1
    # who lost the lead for a moment tells of it once it leads again
    lost = replace(silent[2], role="standby")
    assert truth.contradictions([*silent[:2], lost, *silent[3:5]], [line, over], hook, LIMITS) == []
    other = replace(lost, replica="two")
    assert len(truth.contradictions([*silent[:2], other, *silent[3:5]], [line, over], hook, LIMITS)) == 1
    assert len(truth.contradictions([*silent[:2], lost, *silent[3:]], [line, over], hook, LIMITS)) == 1


def test_log_and_webhook_hold_the_same() -> None:
    """Nothing is told that no log has, nothing kept from the webhook, nothing left open, nothing open twice."""
    line = Logged(5.0, "one", FAILED, True, 100.0)
    over = Logged(8.0, "one", FAILED, False, 100.0)
    on, off = Told(5.2, "key", FAILED, True, 100.0), Told(8.2, "key", FAILED, False, 100.0)
    assert truth.contradictions([], [line, over], [on, off], LIMITS) == []
    assert len(truth.contradictions([], [line, over], [off], LIMITS)) == 1
    assert len(truth.contradictions([], [over], [on, off], LIMITS)) == 1
    assert len(truth.contradictions([], [line, over], [on], LIMITS)) == 1
    twice = [on, replace(on, key="other", at=6.0), off, replace(off, key="other")]
    assert len(truth.contradictions([], [line, over], twice, LIMITS)) == 1
    away = Logged(6.0, "one", (truth.AWAY, ""), True, 105.0)
    told_away = [Told(6.1, "away", (truth.AWAY, ""), True, 105.0), Told(9.0, "away", (truth.AWAY, ""), False, 105.0)]
    back = replace(away, at=9.0, firing=False)
    assert truth.contradictions([], [line, over, away, back], told_away, LIMITS) == []
