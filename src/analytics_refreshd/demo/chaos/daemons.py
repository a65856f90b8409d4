"""Run the two daemons, and read what they log and show."""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import urllib3
from prometheus_client.parser import text_string_to_metric_families

from analytics_refreshd.demo.chaos.model import Logged, Shown
from analytics_refreshd.demo.child import FollowingProcess
from analytics_refreshd.demo.ports import HOST

_ANSWER_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a daemon is configured, listens and logs."""

    replica: str
    file: Path
    port: int
    log: Path


class Daemon(FollowingProcess):
    """One of the two, through all its processes."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self._http = urllib3.PoolManager(timeout=_ANSWER_SECONDS, retries=False)
        self._lines: TextIOWrapper | None = None
        self._unfinished = ""

    def start(self) -> None:
        """Start a process. It goes on with the log."""
        self.begin("--config", str(self.place.file), "run", log=self.place.log)

    def logged(self) -> list[Logged]:
        """Return the log's lines since the last call."""
        if self._lines is None:
            if not self.place.log.exists():
                return []
            self._lines = self.place.log.open(encoding="utf-8", errors="replace")
        *whole, self._unfinished = (self._unfinished + self._lines.read()).split("\n")
        return [line for line in map(self._read_line, whole) if line is not None]

    def _read_line(self, text: str) -> Logged | None:
        with suppress(ValueError, TypeError, KeyError):
            fields = json.loads(text)
            at = datetime.fromisoformat(fields["timestamp"]).timestamp()
            return Logged(at, self.place.replica, fields["event"], fields)
        return None

    def last_line(self) -> str:
        """Return the last line of its log, for an error."""
        lines = self.place.log.read_text(errors="replace").splitlines()
        return f"its log ends with: {lines[-1]}" if lines else "its log is empty"

    def shown(self) -> Shown | None:
        """Return what its gauges and its status document show now.

        None without an answer.
        """
        if not self.is_running():
            return None
        try:
            metrics = self._get("/metrics").decode()
            document = json.loads(self._get("/status.json"))
        except (urllib3.exceptions.HTTPError, ValueError):
            return None
        return read_shown(time.time(), self.place.replica, metrics, document)

    def close(self) -> None:
        """End its process, and close its log."""
        self.stop()
        self._http.clear()
        if self._lines is not None:
            self._lines.close()
            self._lines = None

    def _get(self, path: str) -> bytes:
        return self._http.request("GET", f"http://{HOST}:{self.place.port}{path}").data


def read_shown(at: float, replica: str, metrics: str, document: Mapping[str, Any]) -> Shown:
    """Return what `/metrics` and `/status.json` say of a daemon."""
    found: dict[str, list[tuple[str, float]]] = {}
    for family in text_string_to_metric_families(metrics):
        found[family.name] = [(sample.labels.get("view", ""), sample.value) for sample in family.samples]
    durations = [seconds for _, seconds in found.get("analytics_refresh_duration_seconds", [])]
    blocker = (document["progress"] or {}).get("blocker") or {}
    return Shown(
        at,
        replica,
        leads=("", 1.0) in found.get("analytics_leader", []),
        database_up=("", 0.0) not in found.get("analytics_database_up", []),
        healthy=document["healthy"],
        failing=frozenset(view for view, value in found.get("analytics_view_refresh_success", []) if not value),
        slowest_seconds=max(durations, default=0.0),
        blocker=blocker.get("application"),
    )
