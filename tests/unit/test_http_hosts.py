"""By which names the HTTP port answers."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_refreshd.config import Config, load
from analytics_refreshd.config.adapters import http_names
from analytics_refreshd.core.errors import ConfigError
from analytics_refreshd.observe.http_hosts import host_allowed

NAMES = ("refresh-a.Example.net", ".svc")


@pytest.mark.parametrize(
    "field",
    [
        None,
        "localhost",
        "LOCALHOST:9720",
        "localhost.",
        "orders.localhost:80",
        "127.0.0.1",
        "10.2.3.4:9720",
        "[::1]",
        "[2001:DB8::1]:9720",
        "[fe80::1%25eth0]:9720",
        "refresh-a.example.net:9720",
        "analytics-refreshd.analytics.svc",
        "localhost:",
    ],
)
def test_addresses_loopback_and_configured_names_are_allowed(field: str | None) -> None:
    """With any port, in any case, with the root's dot."""
    assert host_allowed(field, NAMES)


@pytest.mark.parametrize(
    "field",
    [
        "",
        ":9720",
        "evil.example",
        "refresh-a.example.net.evil.example",
        "a.refresh-a.example.net",
        "evil-localhost",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "svc",
        "evilsvc",
        "0x7f.1",
        "2130706433",
        "[127.0.0.1]",
        "[evil.example]",
        "::1",
        "localhost:9720:80",
        "localhost:x",
        "localhost, evil.example",
        "user@localhost",
        "localhost/",
        "localhost#.evil.example",
    ],
)
def test_any_other_name_is_refused(field: str) -> None:
    """Also what contains an allowed name, and what is no host at all."""
    assert not host_allowed(field, NAMES)


@given(st.text(st.characters(codec="latin-1") | st.sampled_from("[]:.%0127localhost"), max_size=30))
def test_whatever_is_sent_is_decided(field: str) -> None:
    """Nothing raises, and only addresses and loopback names pass without configured names."""
    if host_allowed(field, ()):
        name = field.lower().rpartition(":")[0] if field.count(":") == 1 else field.lower()
        if name.startswith("["):
            ipaddress.IPv6Address(name[1 : name.index("]")])
        elif not name.removesuffix(".").endswith("localhost"):
            ipaddress.IPv4Address(name.removesuffix("."))


def names(**http: object) -> tuple[str, ...]:
    """The names that follow from `[http]`."""
    return http_names(Config.model_validate({"database": {"url": "postgresql://u@h/d"}, "http": http}))


def test_the_page_s_address_and_the_host_listened_on_count() -> None:
    """People come by public_url, through a proxy that leaves the name as it is."""
    assert host_allowed("Refreshd.example.net", names(public_url="https://refreshd.example.net:8443/x"))
    assert host_allowed("monitor:9720", names(host="monitor"))
    assert host_allowed("b", names(hosts=["a", "b"]))
    assert not host_allowed("b", names(hosts=["a"]))
    assert names(public_url="http://[broken") == ("127.0.0.1",)


@pytest.mark.parametrize("host", ["http://a", "a:9720", "*.example.net", "", "a b", "ä"])
def test_a_name_that_could_match_nothing_is_refused(host: str) -> None:
    """Schemes, ports and stars are told at the start."""
    with pytest.raises(ConfigError, match=r"http\.hosts\.0 must be a name without scheme and port"):
        load({"database": {"url": "postgresql://u@h/d"}, "http": {"hosts": [host]}})
