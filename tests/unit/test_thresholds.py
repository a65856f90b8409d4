"""Thresholds as the configuration has them, and whose count."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from analytics_refreshd.config import load
from analytics_refreshd.core.errors import ConfigError
from analytics_refreshd.core.thresholds import Threshold, Thresholds
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.run import bind
from analytics_refreshd.postgres.catalogue.settings import QuerySettings

TEXT = """
[thresholds]
success_rate_warning = 90
latency_p95_warning = "1500ms"
[thresholds.organizations.acme]
latency_p95_critical = "2s"
degraded_rate = 70.5
[thresholds.types.rest]
success_rate_critical = 60
"""


def loaded(folder: Path, text: str) -> Thresholds:
    """The thresholds of a configuration file."""
    path = folder / "config.toml"
    path.write_text('[database]\nurl = "postgresql:///app"\n' + text)
    return load(path).thresholds.known()


def test_what_is_left_out_is_as_in_general(tmp_path: Path) -> None:
    """Defaults, then what is general, then what is own."""
    general = Threshold(success_warning_percent=90, latency_warning_ms=1500)
    acme = Threshold(90, 50, 1500, 2000, 95, 70.5)
    rest = Threshold(90, 60, 1500)
    assert loaded(tmp_path, TEXT) == Thresholds(general, {"acme": acme}, {"rest": rest})
    assert loaded(tmp_path, "") == Thresholds()


def test_a_type_counts_before_an_organization(tmp_path: Path) -> None:
    """An organization's count for figures of it alone."""
    found = loaded(tmp_path, TEXT)
    acme, rest = found.organizations["acme"], found.types["rest"]
    assert [found.of(None), found.of(["acme"]), found.of(["acme", "bolt"]), found.of(["bolt"]), found.of([])] == [
        found.general, acme, found.general, found.general, found.general,
    ]  # fmt: skip
    assert found.of(["acme"], "rest") == rest
    assert found.of(["acme"], "mcp") == acme


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("success_rate_critical = 81", "thresholds.success_rate_critical must not be over success_rate_warning"),
        ('latency_p95_warning = "11s"', "thresholds.latency_p95_critical must not be under latency_p95_warning"),
        ("degraded_rate = 96", "thresholds.degraded_rate must not be over healthy_rate"),
        ("organizations.acme.healthy_rate = 50", "thresholds.organizations.acme.degraded_rate must not be over"),
        ("types.rest.healthy_rat = 50", "did you mean thresholds.types.rest.healthy_rate?"),
        ("success_rate_warning = 101", "thresholds.success_rate_warning must be at most 100"),
        ('organizations."" = {}', "thresholds holds the name of no organization or action type"),
    ],
)
def test_a_wrong_threshold_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    """It names the key."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, f"[thresholds]\n{text}\n")
    (told,) = caught.value.problems
    assert said in told


def test_a_parameter_that_is_not_given_leaves_it_to_the_thresholds() -> None:
    """In SQL it is NULL then; one that is given counts."""
    query = Catalogue.load().get("sla-violations")
    now = datetime.now(UTC)
    assert query.configured == ("above-ms", "critical-ms")
    assert bind(query, {}, None, now, "public").values["above_ms"] is None
    assert bind(query, {"above-ms": 7}, None, now, "public").values["above_ms"] == 7


def test_health_is_judged_by_whose_it_is() -> None:
    """The API's filter by type, and a single organization, choose the limits of the summary."""
    thresholds = Thresholds(
        organizations={"acme": Threshold(healthy_percent=70)}, types={"rest": Threshold(healthy_percent=60)}
    )
    query, now = Catalogue.load().get("summary"), datetime.now(UTC)
    settings = QuerySettings(thresholds=thresholds)

    def healthy(limit: list[str] | None, filters: dict[str, str] | None = None) -> int:
        bound = bind(query, {}, limit, now, "public", filters, settings)
        return int(str(bound.values["healthy_percent"]))

    assert [healthy(None), healthy(["acme"]), healthy(["acme"], {"action_type": "rest"})] == [95, 70, 60]
