"""The Prometheus operator's form of the rules, written from the rules file."""

import textwrap
from pathlib import Path

_HEAD = """\
# The groups of deploy/prometheus/analytics-refreshd.rules.yaml, word for word; .ci/generate writes this file.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: analytics-refreshd
  labels:
    app.kubernetes.io/name: analytics-refreshd
spec:
"""


def prometheus_rule(rules: Path) -> str:
    """Return the manifest that holds the groups of a rules file."""
    text = rules.read_text("utf-8")
    return _HEAD + textwrap.indent(text[text.index("groups:\n") :], "  ")
