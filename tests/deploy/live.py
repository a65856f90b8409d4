"""A real Prometheus and a real Alertmanager on loopback, with the shipped rules and routes at a test's pace."""

import json
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.support import DEPLOY, RULES, tool
from tests.support.postgres import free_port
from tests.support.waiting import eventually


class Webhook:
    """Receives what Alertmanager sends; `alerts` holds every alert of every message, in order."""

    def __init__(self) -> None:
        received: list[dict[str, Any]] = []
        self.alerts = received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.extend(json.loads(body).get("alerts", []))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

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
