"""What a key is good for, and which organizations a request may see."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from analytics_refreshd.core.access import (
    ApiKey,
    KeyState,
    Membership,
    Memberships,
    NoMembershipError,
    WhichOrganizationError,
    claimed,
    key_digest,
    membership,
    visible,
)

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
KEY = ApiKey("key_1", "portal", ("acme",), "viewer", None, False, NOW, "owner")


@pytest.mark.parametrize(
    ("expires", "revoked", "state"),
    [
        (None, None, KeyState.ACTIVE),
        (NOW + timedelta(seconds=1), None, KeyState.ACTIVE),
        (NOW, None, KeyState.EXPIRED),
        (NOW - timedelta(days=1), NOW, KeyState.REVOKED),
        (None, NOW + timedelta(days=1), KeyState.REVOKED),
    ],
)
def test_a_key_ends(expires: datetime | None, revoked: datetime | None, state: KeyState) -> None:
    """It ends when it expires, and at once when it is revoked, whatever a clock says of that time."""
    assert replace(KEY, expires_at=expires, revoked_at=revoked).state(NOW) is state


@pytest.mark.parametrize(
    ("text", "is_key"),
    [
        ("rfd_" + "a" * 43, True),
        ("rfd_" + "aZ0-_" * 8 + "abc", True),
        ("rfd_" + "a" * 42, False),
        ("rfd_" + "a" * 44, False),
        ("rfd_" + "a" * 43 + "\n", False),
        ("rfd_" + "é" * 43, False),
        ("sk_" + "a" * 43, False),
        ("", False),
    ],
)
def test_what_has_the_form_of_a_key(text: str, is_key: bool) -> None:
    """Only that is hashed, to the 32 bytes of a SHA-256; anything else asks no database."""
    digest = key_digest(text)
    assert (digest is not None and len(digest) == 32) is is_key


def test_which_organizations_a_request_sees() -> None:
    """All of its own without a name, the one that it names, and none of others."""
    assert visible(("a", "b"), None) == ("a", "b")
    assert visible(("a", "b"), "b") == ("b",)
    assert visible(None, None) is None
    assert visible(None, "z") == ("z",)
    assert visible((), None) == ()
    for asked in ("c", "", "A"):
        with pytest.raises(ValueError, match="not an organization"):
            visible(("a", "b"), asked)


OWNER, VIEWER = Membership("a", "owner", "pro"), Membership("b", "viewer", "free")


def test_a_user_sees_one_organization() -> None:
    """The one that is named, or the only one; several want a name, and none is none."""
    both = Memberships(True, (OWNER, VIEWER))
    assert membership(both, (), "b") == VIEWER
    assert membership(Memberships(True, (OWNER,)), (), None) == OWNER
    with pytest.raises(WhichOrganizationError):
        membership(both, (), None)
    for known, asked in ((both, "c"), (both, ""), (Memberships(True, ()), None)):
        with pytest.raises(NoMembershipError):
            membership(known, (), asked)


def test_claims_count_where_no_members_are_kept() -> None:
    """What the database knows counts more; where it keeps members, claims are not read."""
    claims = (Membership("a", "viewer"), Membership("c", "admin"))
    assert membership(Memberships(False, (OWNER,)), claims, "a") == OWNER
    assert membership(Memberships(False, (OWNER,)), claims, "c") == claims[1]
    with pytest.raises(NoMembershipError):
        membership(Memberships(True, (OWNER,)), claims, "c")


@pytest.mark.parametrize(
    ("claim", "found"),
    [
        (["a", "b"], [("a", "viewer"), ("b", "viewer")]),
        ({"a": "owner", "b": "root", "c": None}, [("a", "owner"), ("b", "viewer"), ("c", "viewer")]),
        (["a", 7, None, "", ["b"]], [("a", "viewer")]),
        ({"": "owner"}, []),
        ("a", []),
        (None, []),
        (True, []),
    ],
)
def test_a_claim_names_organizations(claim: object, found: list[tuple[str, str]]) -> None:
    """A list of ids, or a role by id; whatever else stands there names none."""
    assert [(one.organization_id, one.role) for one in claimed(claim)] == found
