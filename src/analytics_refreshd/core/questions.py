"""Questions of the pages that people name and keep: what an address and a name may be."""

import re
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import parse_qsl, unquote_plus, urlencode
from uuid import UUID

from analytics_refreshd.core.access import KEY_PREFIX
from analytics_refreshd.core.redaction import holds_token

MOST_NAME = 100
MOST_ADDRESS = 2000
MOST_QUESTIONS = 100
"""How many an organization may keep."""
PAGE_PARAMETERS = (
    "page", "range", "since", "until", "zone", "organization", "type", "trigger", "month",
    "list", "search", "sort", "offset",
)  # fmt: skip
"""What the address of a page may say."""
_MOST_SHOWN = 40
_KEY = re.compile(rf"{KEY_PREFIX}[A-Za-z0-9_-]{{8,}}")
_USER = "user:"
_EXAMPLE = "?page=failures&range=7d"


class QuestionError(ValueError):
    """A name or an address that cannot be kept. The text says why, and repeats no secret."""


class NameTakenError(ValueError):
    """The organization keeps another question of this name."""


class NoRoomError(ValueError):
    """The organization keeps as many questions as it may."""


class UnknownOrganizationError(ValueError):
    """There is no such organization."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question that was kept.

    `address` is the query of a page's address. `organization_id` None: it is of those who see all organizations.
    """

    question_id: UUID
    organization_id: str | None
    name: str
    address: str
    kept_at: datetime


@dataclass(frozen=True, slots=True)
class QuestionText:
    """A question as somebody wants to keep it. Name and address are checked."""

    name: str
    address: str


def checked_name(name: str) -> str:
    """Return the name as it is kept. Raises QuestionError."""
    kept = name.strip()
    if not kept or len(name) > MOST_NAME or not kept.isprintable():
        raise QuestionError(f"name must be one line of 1 to {MOST_NAME} characters")
    if _secret(kept):
        raise QuestionError("name holds what looks like a key: a question is read by others")
    return kept


def checked_address(address: str) -> str:
    """Return the address as it is kept. Raises QuestionError.

    It is the query of our own pages and nothing else: it leads to no other path, scheme or host.
    """
    if len(address) > MOST_ADDRESS:
        raise QuestionError(f"address has over {MOST_ADDRESS:,} characters")
    try:
        if not address.startswith("?") or address == "?" or not address.isascii():
            raise ValueError
        items = parse_qsl(
            address[1:],
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=len(PAGE_PARAMETERS),
        )
    except ValueError:
        raise QuestionError(f"address must be what stands after the path of a page, such as {_EXAMPLE}") from None
    names = [name for name, _ in items]
    for name, value in items:
        if name not in PAGE_PARAMETERS or names.count(name) > 1:
            why = "names twice" if name in PAGE_PARAMETERS else "has what no page has"
            raise QuestionError(f"address {why}: {name[:_MOST_SHOWN] if name.isidentifier() else 'no name'}")
        if not value.isprintable():
            raise QuestionError(f"address holds a control character in {name}")
        if _secret(value):
            raise QuestionError(f"address holds what looks like a key in {name}: a question is read by others")
    kept = f"?{urlencode(items)}"
    if len(kept) > MOST_ADDRESS:
        raise QuestionError(f"address has over {MOST_ADDRESS:,} characters")
    return kept


def named_organization(address: str) -> str | None:
    """Return the organization that an address names."""
    return dict(parse_qsl(address[1:])).get("organization")


def naming(parameter: str, value: str) -> str:
    """Return the part of a kept address that says `value`."""
    return urlencode({parameter: value})


def author(user: str) -> str:
    """Return how a question names the user who kept it."""
    return f"{_USER}{user}"


def user_of(kept_by: str) -> str | None:
    """Return the user who kept a question. None: it was a key."""
    return kept_by.removeprefix(_USER) if kept_by.startswith(_USER) else None


def _secret(text: str) -> bool:
    """Whether a text holds a key, also an escaped one."""
    forms = (text, unquote_plus(text), unquote_plus(unquote_plus(text)))
    return any(_KEY.search(form) or holds_token(form) for form in forms)
