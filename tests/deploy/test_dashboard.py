"""The dashboard: valid for Grafana, valid for Prometheus, and about metrics that exist."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from analytics_refreshd.api.routes import routes_of
from analytics_refreshd.core.metrics import METRICS
from analytics_refreshd.postgres.catalogue.files import Catalogue
from tests.deploy.support import DASHBOARD, accepted, tool
from tests.deploy.test_prometheus_rules import exported, rules
from tests.generate.api_dashboard import PLUGIN

_LABELS = {metric.name: metric.labels for metric in METRICS}

# Keys that Grafana reads and the published models do not know.
_BEYOND_THE_MODELS = re.compile(r"annotations|spanNulls|tooltip\.(mode|showColorScale)")


def dashboard(path: Path = DASHBOARD) -> dict[str, Any]:
    """The dashboard as JSON."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found


API_DASHBOARD = DASHBOARD.with_name("api-dashboard.json")
each = pytest.mark.parametrize(
    "path", [DASHBOARD, DASHBOARD.with_name("queries-dashboard.json"), API_DASHBOARD], ids=lambda it: it.stem
)


def expressions() -> list[str]:
    """Every panel's queries."""
    return [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]


def plain(expression: str) -> str:
    """An expression as Prometheus sees it, with everything selected."""
    return expression.replace("$database", ".*").replace("$view", ".*").replace("$__rate_interval", "5m")


def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    """promtool parses each panel's expression."""
    records = [{"record": f"panel:{number}", "expr": plain(text)} for number, text in enumerate(expressions())]
    path = tmp_path / "panels.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": records}]}))
    accepted(tool("promtool"), "check", "rules", path)


def test_every_metric_shown_exists() -> None:
    """Panels show what the daemon exports and what the rules record, with labels that exist."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for expression in expressions():
        names = set(re.findall(r"[a-z_]+:[a-z0-9_:]+", expression))
        assert names <= recorded, expression
        metrics = set(re.findall(r"(?<![:\w])analytics_[a-z0-9_]+(?![:\w])", expression))
        assert metrics <= exported(), expression
        for name, matchers in re.findall(r"(?<![:\w])(analytics_[a-z0-9_]+)\{([^}]*)\}", expression):
            used = set(re.findall(r"(\w+)=", matchers))
            assert used <= {"database", "process", *_LABELS[name.removesuffix("_bucket")]}, expression


def test_every_panel_follows_the_chosen_data_source() -> None:
    """Nothing is tied to the data source of whoever drew it."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    variables = {variable["name"] for variable in dashboard()["templating"]["list"]}
    assert {"datasource", "database"} <= variables


def test_every_panel_below_the_fleet_follows_the_chosen_database() -> None:
    """The fleet shows all databases; every other query is limited to the chosen ones."""
    panels = dashboard()["panels"]
    second_row = [number for number, panel in enumerate(panels) if panel["type"] == "row"][1]
    for panel in panels[second_row:]:
        for target in panel.get("targets", []):
            assert "$database" in target["expr"], panel["title"]


def test_the_apis_dashboard_asks_endpoints_what_they_take() -> None:
    """Each URL is an endpoint's, with its parameters, and each column one of its fields; every endpoint has a panel."""
    routes = {route.paths[0]: route for route in routes_of(Catalogue.load()) if not route.endpoint.places}
    panels = [panel for panel in dashboard(API_DASHBOARD)["panels"] if panel["type"] != "row"]
    assert {panel["targets"][0]["url"] for panel in panels} == set(routes)
    for panel in panels:
        (target,) = panel["targets"]
        route = routes[target["url"]]
        assert {each["key"] for each in target["url_options"]["params"]} <= set(route.parameters), panel["title"]
        assert [each["selector"] for each in target["columns"]] == [field.name for field in route.endpoint.fields]
        assert target["datasource"] == panel["datasource"] == {"type": PLUGIN, "uid": "${datasource}"}
        # another server's address would get the key
        assert "://" not in target["url"]
    (variable,) = dashboard(API_DASHBOARD)["templating"]["list"]
    assert (variable["name"], variable["query"]) == ("datasource", PLUGIN)


@each
def test_panels_have_ids_titles_and_places_of_their_own(path: Path) -> None:
    """Grafana would silently drop or move what collides."""
    panels = dashboard(path)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    boxes = [(at["x"], at["y"], at["x"] + at["w"], at["y"] + at["h"]) for at in places]
    assert all(right <= 24 for _, _, right, _ in boxes)
    for one, other in itertools.combinations(boxes, 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart, (one, other)
    for panel in panels:
        assert panel["type"] in {"row", "text"} or (panel["title"] and panel["description"])


@each
def test_grafanas_models_keep_everything(path: Path) -> None:
    """Read into Grafana's published models and written again, nothing of the dashboard is lost."""
    models = pytest.importorskip(
        "grafana_foundation_sdk.models.dashboard", reason="grafana-foundation-sdk is not installed"
    )
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins

    register_default_plugins()
    written = json.loads(JSONEncoder().encode(models.Dashboard.from_json(dashboard(path))))
    lost = [place for place in _lost(dashboard(path), written, "") if not _BEYOND_THE_MODELS.search(place)]
    assert lost == []


def _lost(before: Any, after: Any, place: str) -> list[str]:
    if isinstance(before, dict):
        return [
            where
            for key, value in before.items()
            for where in (
                _lost(value, after[key], f"{place}.{key}")
                if isinstance(after, dict) and key in after
                else [f"{place}.{key}"]
            )
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [where for number, (old, new) in pairs for where in _lost(old, new, f"{place}[{number}]")]
    return [] if before == after else [place]
