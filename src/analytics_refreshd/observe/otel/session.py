"""The HTTP session of an exporter: it reads the headers' file for each request, and keeps why one failed."""

from pathlib import Path
from typing import Any

import requests

from analytics_refreshd.core.files import decode_text, read_small

_LEAST_ERROR = 400


class CollectorSession(requests.Session):
    """Sends an exporter's requests. `problem` says why the last one failed, None where it did not.

    The exporter itself tells that in its log alone, several lines for each export.
    """

    def __init__(self, headers_file: Path | None) -> None:
        super().__init__()
        self.problem: str | None = None
        self._headers_file = headers_file

    def send(self, request: requests.PreparedRequest, **how: Any) -> requests.Response:
        """Send a request, with the headers that the file holds now."""
        try:
            if self._headers_file is not None:
                request.headers.update(_read_headers(self._headers_file))
            answer = super().send(request, **how)
        except Exception as error:
            self.problem = _in_words(error)
            raise
        self.problem = (
            f"it answered {answer.status_code} {answer.reason}" if answer.status_code >= _LEAST_ERROR else None
        )
        return answer


def _read_headers(path: Path) -> dict[str, str]:
    """Read `Name: value` lines. Raises ValueError, whose text says why and holds no value."""
    try:
        lines = decode_text(read_small(path)).splitlines()
    except OSError as error:
        raise ValueError(f"otel.headers_file cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError("otel.headers_file is not UTF-8 text") from None
    found = {}
    for number, line in enumerate(lines, 1):
        name, colon, value = line.partition(":")
        if not line.strip():
            continue
        if not colon or not name.strip() or not line.isascii():
            raise ValueError(f"line {number} of otel.headers_file is no header: write Name: value")
        found[name.strip()] = value.strip()
    return found


def _in_words(error: BaseException) -> str:
    """Return the text of the innermost cause: those around it repeat it, with the address."""
    cause = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
