"""Addresses that the configuration names."""

import pytest

from analytics_refreshd.core.addresses import base_problem, url_problem


@pytest.mark.parametrize("url", ["http://127.0.0.1:4318", "https://otel.example.net", "https://otel.example.net/in/"])
def test_an_address_that_paths_can_be_appended_to(url: str) -> None:
    """With or without a path of its own."""
    assert base_problem(url) is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("127.0.0.1:4318", "must begin with http:// or https:// and name a host"),
        ("http://[::1", "cannot be read: look at its host and port"),
        ("http://höst", "must name its host in ASCII"),
        ("http://u:CANARY@h:4318", "must hold no user and no password"),
        ("http://h:4318/?key=CANARY", "must end with a host or a path"),
        ("http://h:4318/#CANARY", "must end with a host or a path"),
    ],
)
def test_what_is_wrong_is_said_without_the_address(url: str, words: str) -> None:
    """An address may hold a secret."""
    problem = base_problem(url) or ""
    assert problem.startswith(words)
    assert "CANARY" not in problem


def test_an_address_of_its_own_may_hold_a_query() -> None:
    """A receiver's address is used as it stands."""
    assert url_problem("https://hooks.example.net/?key=one") is None
