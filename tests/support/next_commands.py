"""The commands that alerts tell to type."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def next_commands() -> list[str]:
    """Every command of ours that an alert, of the daemon or of Prometheus, names after `Next:`.

    Left out is the incremental mode's verification, which has grants of its own.
    """
    rules = yaml.safe_load((ROOT / "deploy/prometheus/analytics-refreshd.rules.yaml").read_text())
    texts = [
        rule["annotations"]["description"]
        for group in rules["groups"]
        for rule in group["rules"]
        if "annotations" in rule
    ]
    found = {line for text in texts for line in re.findall(r"Next: (analytics-refreshd [^,]*)", text)}
    for path in (ROOT / "src/analytics_refreshd/core/alerts").glob("*.py"):
        found |= set(re.findall(r"""(analytics-refreshd (?:check|status|history|query)[^"',.;]*)""", path.read_text()))
    commands = {re.sub(r"\{\{ \$labels.view \}\}|\{view\}", "recent_failures", line).strip() for line in found}
    return sorted(line for line in commands if "migrate --verify" not in line)
