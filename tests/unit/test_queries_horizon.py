"""What a query becomes where its window begins before the frozen horizon."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from analytics_refreshd.postgres.catalogue.definition import ParameterError
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.horizon import Horizon, with_horizon
from analytics_refreshd.postgres.catalogue.run import BoundQuery, bind

CATALOGUE = Catalogue.load()
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
HORIZON = Horizon(datetime(2026, 10, 20, 7, tzinfo=UTC))
ACME = ("acme",)


def asked(
    name: str,
    limit: Sequence[str] | None,
    horizon: Horizon | None = HORIZON,
    schema: str = "public",
    days: float = 80,
    **filters: str,
) -> BoundQuery:
    """A query over so many days, as it is asked over the horizon."""
    span = {"since": NOW - timedelta(days=days)}
    return with_horizon(bind(CATALOGUE.get(name), span, limit, NOW, schema, filters), horizon)


@pytest.mark.parametrize("name", ["success-rate", "distribution", "most-active"])
def test_days_stand_in_for_what_is_older(name: str) -> None:
    """Rows count from the horizon on; each statement names its placeholders, and the notes say what is read."""
    found = asked(name, ACME)
    assert found.frozen_until == found.placeholders["frozen_until"] == HORIZON.until
    text = found.statement().as_string(None)
    assert "executed_at >= %(frozen_until)s" in text
    assert "analytics_refresh.frozen_days" in text
    assert "{" not in text
    assert len(found.notes) == 1
    for horizon, days in ((None, 80), (HORIZON, 10)):
        alone = asked(name, ACME, horizon, days=days)
        assert (alone.frozen_until, alone.notes) == (None, ())
        assert "frozen" not in alone.statement().as_string(None)


def test_whoever_asks_of_a_trigger_reads_days_too() -> None:
    """The views by the hour know none: of all organizations, and of some, its days are read, and its type's alone."""
    assert asked("success-rate", None).frozen_until is None
    for limit in (None, ACME):
        text = asked("success-rate", limit, trigger_id="t").statement().as_string(None)
        assert text.count("trigger_id = %(TRIGGER_ID)s") == 2
        text = asked("most-active", limit, trigger_id="t", action_type="rest").statement().as_string(None)
        assert text.count("trigger_id = %(TRIGGER_ID)s") == text.count("action_type = %(ACTION_TYPE)s") == 2
        assert text.count("organization_id = any") == (3 if limit else 0)


def test_the_api_reads_days_by_the_walls_function() -> None:
    """The tables are closed to its role; what it asks for is limited as well."""
    text = asked("success-rate", ACME, schema="analytics_api").statement().as_string(None)
    assert 'from "analytics_api".frozen_days(' in text
    assert "analytics_refresh." not in text
    assert text.count("organization_id = any") == 2


def test_what_days_cannot_answer_is_refused_or_told() -> None:
    """Hours are not made of days; percentiles are made of rows, of which some may be gone."""
    with pytest.raises(ParameterError, match=r"peak-hours limited .* ask --since 2026-10-20T07:00:00Z"):
        asked("peak-hours", ACME)
    with pytest.raises(ParameterError, match="peak-hours limited"):
        asked("peak-hours", None, trigger_id="t")
    assert asked("peak-hours", None).notes == ()
    gone = with_horizon(
        bind(CATALOGUE.get("latency"), {"hours": 744}, None, NOW + timedelta(days=25), "public"), HORIZON
    )
    assert gone.notes == ()
    gone = with_horizon(bind(CATALOGUE.get("latency"), {"hours": 744}, None, NOW, "public"), Horizon(NOW))
    assert "may be deleted" in gone.notes[0]
    assert with_horizon(bind(CATALOGUE.get("trigger-health"), {}, None, NOW, "public"), HORIZON).notes == ()


def test_what_is_not_known_of_organizations_is_told() -> None:
    """An installation may have frozen figures before it froze days."""
    late = Horizon(HORIZON.until, HORIZON.until - timedelta(days=3))
    assert asked("success-rate", ACME, late).notes[1] == (
        "nothing is known of organizations before 2026-10-17 07:00 UTC"
    )
    assert len(asked("success-rate", ACME, late, days=40).notes) == 1
