"""Reads receipts from a file: what `erase --format json` printed."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from analytics_refreshd.core.erasure import Mode, Receipt, Scope
from analytics_refreshd.core.errors import UsageError
from analytics_refreshd.core.files import decode_text, read_small

_MOST_BYTES = 16 << 20


def read_receipts(path: Path) -> list[Receipt]:
    """Return the receipts in a file.

    It holds one or several answers of `erase --format json`. Raises UsageError where it cannot be read, or holds
    something else.
    """
    try:
        return [_receipt(found) for answer in _answers(decode_text(read_small(path, _MOST_BYTES))) for found in answer]
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"{path} does not hold what `erase --format json` printed") from None


def _answers(text: str) -> Iterator[list[dict[str, Any]]]:
    decoder, place = json.JSONDecoder(), 0
    while (rest := text[place:].lstrip()) != "":
        place = len(text) - len(rest)
        answer, length = decoder.raw_decode(rest)
        place += length
        yield answer["receipts"]


def _receipt(found: dict[str, Any]) -> Receipt:
    return Receipt(
        erasure_id=UUID(found["erasure_id"]),
        scope=Scope(found["scope"]),
        mode=Mode(found["mode"]),
        subject_hash=str(found["subject_hash"]),
        key_id=str(found["key_id"]),
        begun_at=_moment(found["begun_at"]),
        ended_at=_moment(found["ended_at"]) if found["ended_at"] else None,
        actor=str(found["actor"]),
        triggers=int(found["triggers"]),
        rows_erased=int(found["rows_erased"]),
        rows_left=found["rows_left"],
        rows_unlinked=int(found["rows_unlinked"]),
        frozen_executions=int(found["frozen_executions"]),
        texts_erased=int(found["texts_erased"]),
        outcome=found["outcome"],
        reason=found["reason"],
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
