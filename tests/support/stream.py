"""A client of the stream."""

import http.client
import json
import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

PATH = "/api/v1/stream"


@dataclass(frozen=True)
class Heard:
    """An event, or a comment (its name is empty)."""

    name: str
    data: Any
    event_id: str | None = None


class StreamClient:
    """Reads a stream in a thread of its own, until it ends or the client leaves."""

    def __init__(
        self, port: int, key: str, query: str = "", headers: Mapping[str, str] | None = None, path: str = PATH
    ) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._connection.request("GET", path + query, headers={"X-API-Key": key, **(headers or {})})
        self.response = self._connection.getresponse()
        self.ended = threading.Event()
        self.last_event_id: str | None = None
        self._heard: queue.Queue[Heard | None] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """Close the connection."""
        sock = self._connection.sock or getattr(getattr(self.response.fp, "raw", None), "_sock", None)
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(2)
        self._thread.join(30)
        self._connection.close()

    def next(self, name: str, fits: Callable[[Any], bool] = lambda data: True, seconds: float = 60) -> Heard:
        """Wait for the next event of that name that fits; others are passed over."""
        until = time.monotonic() + seconds
        while True:
            heard = self._heard.get(timeout=max(0.0, until - time.monotonic()))
            assert heard is not None, f"the stream ended before a fitting {name}"
            if heard.name == name and fits(heard.data):
                return heard

    def each(self, *names: str, seconds: float = 60) -> dict[str, Heard]:
        """Wait until an event of each name came, in whatever order; return the last of each."""
        until, found = time.monotonic() + seconds, dict[str, Heard]()
        while not set(names) <= set(found):
            heard = self._heard.get(timeout=max(0.0, until - time.monotonic()))
            assert heard is not None, f"the stream ended before {names}"
            found[heard.name] = heard
        return found

    def rest(self) -> list[Heard]:
        """What was heard and not asked for, after the end."""
        assert self.ended.wait(60)
        found = []
        while (heard := self._heard.get_nowait()) is not None:
            found.append(heard)
        return found

    def _read(self) -> None:
        fields: dict[str, str] = {}
        with suppress(OSError, ValueError, http.client.HTTPException, AttributeError):
            while line := self.response.readline():
                text = line.decode().rstrip("\n")
                if text:
                    name, _, value = text.partition(": ")
                    fields[name] = value
                elif fields:
                    self._complete(fields)
                    fields = {}
        self._heard.put(None)
        self.ended.set()

    def _complete(self, fields: Mapping[str, str]) -> None:
        if "event" not in fields:
            self._heard.put(Heard("", next(iter(fields.values()))))
            return
        self.last_event_id = fields.get("id", self.last_event_id)
        self._heard.put(Heard(fields["event"], json.loads(fields["data"]), fields.get("id")))
