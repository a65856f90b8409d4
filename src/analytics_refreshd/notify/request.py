"""Builds the POST that a receiver is sent. Values and secret files go in; no socket is opened here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from analytics_refreshd import __version__
from analytics_refreshd.core.files import decode_text, read_small


class BadRequest(Exception):
    """The request cannot be made. The text says why, and shows neither address nor secret."""


@dataclass(frozen=True, slots=True)
class Request:
    """One POST. `url`, `body` and `headers` may hold secrets, so they are not shown."""

    url: str = field(repr=False)
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)


def json_request(url: str, payload: object, headers: Mapping[str, str] | None = None) -> Request:
    """Build a POST with `payload` as JSON in UTF-8. Lone surrogates become question marks."""
    body = json.dumps(payload, ensure_ascii=False).encode("utf-8", "replace")
    common = {"Content-Type": "application/json", "User-Agent": f"analytics-refreshd/{__version__}"}
    return Request(url, body, {**common, **(headers or {})})


def bearer(token_file: Path | None) -> dict[str, str]:
    """Build the Authorization header, empty where there is no token. Raises BadRequest."""
    if token_file is None:
        return {}
    return {"Authorization": f"Bearer {read_ascii_secret(token_file, 'token')}"}


def read_ascii_secret(path: Path, what: str) -> str:
    """Read a secret that must be ASCII. Raises BadRequest, as `read_secret` does."""
    text = read_secret(path, what)
    if not text.isascii():
        raise BadRequest(f"the file with its {what} holds more than ASCII")
    return text


def read_secret(path: Path, what: str) -> str:
    """Read a secret's one line from its file. Raises BadRequest, which names `what` and not the secret."""
    try:
        text = decode_text(read_small(path)).strip()
    except OSError as error:
        raise BadRequest(f"the file with its {what} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadRequest(f"the file with its {what} is not UTF-8 text") from error
    if not text or not text.isprintable():
        raise BadRequest(f"the file with its {what} does not hold one line of text")
    return text
