"""Asks a daemon on this machine for its status document."""

import json
from typing import Any

import urllib3

_SECONDS = 3.0
_MOST_BYTES = 8 << 20
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - what a daemon listens on, not we


def local_address(host: str, port: int) -> str:
    """Return `host:port` as this machine reaches a daemon that listens there."""
    reached = _EVERYWHERE.get(host, host)
    return f"[{reached}]:{port}" if ":" in reached else f"{reached}:{port}"


def fetch_status(host: str, port: int, database: str) -> dict[str, Any] | None:
    """Return the status document of the daemon that listens there.

    None where nobody answers within three seconds, without a page, and for a daemon of another database. Port 0 is any
    free one, which nobody knows.
    """
    if port == 0:
        return None
    try:
        answer = urllib3.PoolManager().request(
            "GET",
            f"http://{local_address(host, port)}/status.json",
            headers={"User-Agent": "analytics-refreshd"},
            timeout=urllib3.Timeout(total=_SECONDS),
            retries=False,
            preload_content=False,
        )
        try:
            document = json.loads(answer.read(_MOST_BYTES))
        finally:
            answer.close()
    except (urllib3.exceptions.HTTPError, OSError, ValueError):
        return None
    ours = answer.status == 200 and isinstance(document, dict) and document.get("database") == database
    return document if ours else None
