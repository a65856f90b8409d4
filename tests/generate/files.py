"""Which files are generated, and from what."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from analytics_refreshd.observe.log.schema import schema
from analytics_refreshd.observe.status.schema import status_schema
from analytics_refreshd.postgres.catalogue.files import Catalogue
from tests.generate.api_dashboard import api_dashboard
from tests.generate.clickhouse import cluster_tables, one_servers_wall
from tests.generate.cloudwatch import cloudwatch
from tests.generate.licences import licences_guide
from tests.generate.log_events import log_events
from tests.generate.man_page import man_page
from tests.generate.metrics_guide import metrics_guide
from tests.generate.prometheus_rule import prometheus_rule
from tests.generate.queries_dashboard import dashboard_json
from tests.generate.queries_guide import guide_markdown
from tests.generate.status_guide import status_guide

ROOT = Path(__file__).parents[2]
_DEPLOY = ROOT / "deploy"
_RULES = _DEPLOY / "prometheus" / "analytics-refreshd.rules.yaml"


@cache
def generated() -> Mapping[Path, str]:
    """Every generated file with the text that it should hold."""
    catalogue = Catalogue.load()
    return MappingProxyType(
        {
            _DEPLOY / "guides" / "licences.md": licences_guide(),
            _DEPLOY / "man" / "analytics-refreshd.1": man_page(),
            _DEPLOY / "guides" / "log-schema.json": json.dumps(schema(), indent=1) + "\n",
            _DEPLOY / "guides" / "log-events.md": log_events(),
            _DEPLOY / "guides" / "metrics.md": metrics_guide(),
            _DEPLOY / "guides" / "status-schema.json": json.dumps(status_schema(), indent=1) + "\n",
            _DEPLOY / "guides" / "status-json.md": status_guide(),
            _DEPLOY / "guides" / "queries.md": guide_markdown(catalogue),
            _DEPLOY / "grafana" / "queries-dashboard.json": dashboard_json(catalogue),
            _DEPLOY / "grafana" / "api-dashboard.json": api_dashboard(catalogue),
            _DEPLOY / "clickhouse" / "tables.sql": cluster_tables(),
            _DEPLOY / "clickhouse" / "tenants.sql": one_servers_wall(),
            _DEPLOY / "ecs" / "cloudwatch.json": cloudwatch(_RULES, _DEPLOY / "runbooks"),
            _DEPLOY / "kubernetes" / "components" / "prometheus-rule" / "prometheus-rule.yaml": prometheus_rule(_RULES),
        }
    )
