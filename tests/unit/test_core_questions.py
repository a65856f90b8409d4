"""What the name and the address of a kept question may be."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_refreshd.core.questions import (
    MOST_ADDRESS,
    MOST_NAME,
    PAGE_PARAMETERS,
    QuestionError,
    author,
    checked_address,
    checked_name,
    named_organization,
    naming,
    user_of,
)

WEB = Path(__file__).parents[2] / "src" / "analytics_refreshd" / "api" / "web" / "src"
KEY = "rfd_" + "k" * 43
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


def test_an_address_of_the_pages_is_kept_as_it_is() -> None:
    """Whatever the pages put into it; written in one way."""
    address = "?page=failures&range=custom&zone=Europe%2FBerlin&since=2026-03-01T00%3A00&type=%3Cb%3E&search=a+b%26c"
    assert checked_address(address) == address
    assert checked_address("?page=growth&search=") == "?page=growth&search="
    assert checked_address("?search=a%20b&type=%e2%82%ac") == "?search=a+b&type=%E2%82%AC"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("", "stands after the path"),
        ("?", "stands after the path"),
        ("/?page=growth", "stands after the path"),
        ("https://evil.example/?page=growth", "stands after the path"),
        ("//evil.example/?page=growth", "stands after the path"),
        ("javascript:alert(1)", "stands after the path"),
        ("?page", "stands after the path"),
        ("?page=%ff", "stands after the path"),
        ("?page=\u20ac", "stands after the path"),
        ("?" + "&".join(["page=a"] * 20), "stands after the path"),
        ("?page=a&page=b", "twice: page"),
        ("?key=1", "what no page has: key"),
        ("?https://evil.example=1", "what no page has: no name"),
        (f"?{'a' * 500}=1", "what no page has: aaaa"),
        ("?search=a%00b", "control character in search"),
        ("?search=a%0ab", "control character in search"),
        ("?search=%E2%80%AEb", "control character in search"),
        (f"?search={KEY}", "a key in search"),
        (f"?search=x%2520{KEY.replace('_', '%255F')}", "a key in search"),
        (f"?trigger={TOKEN}", "a key in trigger"),
        (f"?organization=sk_live_{'1' * 20}", "a key in organization"),
        ("?search=" + "a" * MOST_ADDRESS, "2,000"),
        ("?search=" + "*" * (MOST_ADDRESS // 2), "2,000"),
    ],
)
def test_an_address_leads_nowhere_else_and_holds_no_key(address: str, said: str) -> None:
    """It is the query of our own pages, as their address has it; the refusal repeats nothing secret."""
    with pytest.raises(QuestionError, match=re.escape(said)) as refused:
        checked_address(address)
    assert KEY not in str(refused.value)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x00", "\u202eevil", "n" * (MOST_NAME + 1), f"mine {KEY}"])
def test_a_name_is_one_short_line_without_a_key(name: str) -> None:
    """Anything else is refused."""
    with pytest.raises(QuestionError, match="name "):
        checked_name(name)


def test_a_name_loses_its_margins() -> None:
    """Words that only sound like a secret are no key."""
    assert checked_name("  Basic plan: token refreshes, <b>bold</b> ✓ ") == "Basic plan: token refreshes, <b>bold</b> ✓"


@given(st.dictionaries(st.sampled_from(PAGE_PARAMETERS), st.text(max_size=30), min_size=1))
def test_what_is_kept_is_what_is_kept_again(items: dict[str, str]) -> None:
    """And has only letters that the database's check lets in."""
    try:
        kept = checked_address("?" + "&".join(naming(name, value) for name, value in items.items()))
    except QuestionError:
        return
    assert checked_address(kept) == kept
    assert re.fullmatch(r"\?[-A-Za-z0-9%&=+._~]+", kept)
    assert (named_organization(kept) or "") == items.get("organization", "")
    if items.get("organization"):
        assert f"{naming('organization', items['organization'])}&" in f"{kept[1:]}&"


def test_who_kept_it_is_a_user_or_a_key() -> None:
    """As the API names who asks."""
    assert user_of(author("ann")) == "ann"
    assert user_of("key_0123") is None


def test_the_pages_parameters_are_those_of_the_pages() -> None:
    """What the pages write into their address can be kept."""
    state = (WEB / "state.ts").read_text("utf-8")
    listed = re.search(r"const TEXTS = \[([^\]]*)\]", state)
    assert listed is not None
    written = {*re.findall(r'"(\w+)"', listed[1]), *re.findall(r'given\.set\("(\w+)"', state)}
    always = re.search(r"new URLSearchParams\(\{([^}]*)\}", state)
    assert always is not None
    written |= set(re.findall(r"(\w+):", always[1]))
    assert written == set(PAGE_PARAMETERS)
