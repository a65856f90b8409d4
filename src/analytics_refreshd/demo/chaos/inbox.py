"""Receive the daemons' alerts, as a webhook of somebody's on-call service."""

import json
import queue
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

from analytics_refreshd.demo.background import BackgroundThread
from analytics_refreshd.demo.chaos.model import Told
from analytics_refreshd.demo.ports import HOST

_REQUEST_SECONDS = 5.0
_POLL_SECONDS = 0.1


class Inbox(BackgroundThread):
    """A webhook receiver on a free port of this machine."""

    def __init__(self) -> None:
        super().__init__("chaos-inbox")
        self._told: queue.SimpleQueue[Told] = queue.SimpleQueue()
        told = self._told

        class Handler(BaseHTTPRequestHandler):
            timeout = _REQUEST_SECONDS

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                for one in read_message(body, time.time()):
                    told.put(one)
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:
                """Leave the terminal to the table."""

        self._server = HTTPServer((HOST, 0), Handler)

    @property
    def url(self) -> str:
        """Return the address for the daemons' configuration."""
        return f"http://{HOST}:{self._server.server_port}/"

    def take(self) -> list[Told]:
        """Return what came since the last call."""
        return [self._told.get() for _ in range(self._told.qsize())]

    def stop(self) -> None:
        """Stop receiving, and close the port. Harmless before the start."""
        self._stopping.set()
        if self._thread.is_alive():
            self._server.shutdown()
        super().stop()
        self._server.server_close()

    def _run(self) -> None:
        if not self._stopping.is_set():
            self._server.serve_forever(_POLL_SECONDS)


def read_message(body: bytes, at: float) -> list[Told]:
    """Return the alerts of a webhook's message, as described in `webhook.md`."""
    return [Told(at, one["alert"], one["view"] or "", one["status"] == "firing") for one in json.loads(body)["alerts"]]
