"""A real Prometheus and a real Alertmanager on loopback, with the shipped rules and routes at a test's pace."""

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.support import DEPLOY, RULES, tool
from tests.support.postgres import free_port
from tests.support.receivers import Receiver
from tests.support.waiting import eventually


class Webhook(Receiver):
    """Receives what Alertmanager sends; `alerts` are those of every message, in order."""

    @property
    def alerts(self) -> list[dict[str, Any]]:
        """Every alert so far."""
        return [alert for got in list(self.got) for alert in got.json["alerts"]]

    def seen(self, name: str, view: str, status: str) -> dict[str, Any] | None:
        """The alert of that name and view in that status, once it has arrived."""
        return next(
            (
                alert
                for alert in self.alerts
                if alert["status"] == status
                and alert["labels"]["alertname"] == name
                and alert["labels"].get("view") == view
            ),
            None,
        )


class Prometheus:
    """Its query interface."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str, **parameters: str) -> Any:
        """One answer of the HTTP interface, its `data`; OSError while it does not answer."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}{path}?{query}", timeout=10) as answer:
            return json.loads(answer.read())["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """An instant vector."""
        found: list[dict[str, Any]] = self.get("/api/v1/query", query=expression)["result"]
        return found


def hurried_rules() -> dict[str, Any]:
    """The shipped rules with every expression as it is, judged each second and after a tenth of the waiting."""
    document: dict[str, Any] = yaml.safe_load(RULES.read_text())
    for group in document["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = "3s"
    return document


def hurried_routes(url: str) -> dict[str, Any]:
    """The example routes with every message to one webhook, without long waits."""
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "alertmanager" / "alertmanager.yaml").read_text())
    for route in document["route"]["routes"]:
        route |= {"group_wait": "1s", "group_interval": "1s"}
    for receiver in document["receivers"]:
        receiver["webhook_configs"] = [{"url": url}]
    return document


@contextmanager
def monitoring(folder: Path, target: str, webhook: Webhook) -> Iterator[Prometheus]:
    """Prometheus scraping `target` (host:port) and Alertmanager behind it; both are gone afterwards."""
    binaries = tool("prometheus"), tool("prometheus-alertmanager")
    prometheus_port, alertmanager_port = free_port(), free_port()
    (folder / "rules.yaml").write_text(yaml.safe_dump(hurried_rules()))
    (folder / "alertmanager.yaml").write_text(yaml.safe_dump(hurried_routes(webhook.url)))
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "rules.yaml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager_port}"]}]}]},
        "scrape_configs": [{"job_name": "analytics-refreshd", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
    commands = [
        [
            binaries[0],
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{prometheus_port}",
        ],
        [
            binaries[1],
            f"--config.file={folder / 'alertmanager.yaml'}",
            f"--storage.path={folder / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{alertmanager_port}",
            "--cluster.listen-address=",
        ],
    ]
    processes = []
    with (folder / "monitoring.log").open("wb") as log:
        try:
            processes = [subprocess.Popen(command, stdout=log, stderr=log) for command in commands]
            prometheus = Prometheus(prometheus_port)
            eventually(lambda: prometheus.query('up{job="analytics-refreshd"} == 1'), within=60)
            yield prometheus
        finally:
            for process in processes:
                process.kill()
                process.wait()
