"""The gate that a configuration makes, and what is refused of it."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from analytics_refreshd.api.access.build import access_gate, limit_rules
from analytics_refreshd.api.access.limits import PER_HOUR
from analytics_refreshd.api.access.principal import AccessDenied, Principal
from analytics_refreshd.config import load
from analytics_refreshd.config.adapters import key_settings, limits_url, writing_settings
from analytics_refreshd.core.access import Membership
from analytics_refreshd.core.errors import ConfigError
from tests.support.fakes import FakeClock
from tests.unit.test_api_keys import KEY, SECRET, Keys
from tests.unit.test_api_tokens import Members

HS256 = {"jwt_algorithms": ["HS256"]}


def configured(**api: Any) -> Any:
    """A configuration with this section."""
    return load({"database": {"url": "postgresql://u@h/app"}, "api": api})


@pytest.mark.parametrize(
    ("api", "said"),
    [
        ({"jwt_algorithms": ["none"]}, "jwt_algorithms"),
        ({"jwt_algorithms": ["HS256", "RS256"], "jwt_secret_file": "x", "jwt_keys": "y"}, "must not be taken for"),
        (HS256, "jwt_secret_file is missing"),
        ({"jwt_algorithms": ["RS256"], "jwt_audience": "a"}, "jwt_keys is missing"),
        ({"jwt_algorithms": ["RS256"], "jwt_keys": "jwks.json"}, "jwt_audience is missing"),
        ({"jwt_keys": "http://id.example.net/jwks"}, "https://"),
        ({"jwt_keys": "ftp://id.example.net/jwks"}, "https://"),
        ({"trusted_proxies": ["10.0.0.0/8", "proxy"]}, "is no network"),
        ({"trusted_proxies": ["10.0.0.1/8"]}, "is no network"),
        ({"requests_per_hour": {"gold": 5}}, "requests_per_hour"),
        ({"requests_per_hour": {"free": 0}}, "requests_per_hour"),
        ({"burst": 0}, "burst"),
    ],
)
def test_what_is_refused(api: dict[str, Any], said: str) -> None:
    """Each before anything starts, by its key."""
    with pytest.raises(ConfigError, match=said):
        configured(**api)


def test_the_daemon_reads_no_secret_of_the_api() -> None:
    """Files that only the API's user may read are no mistake of the daemon's configuration."""
    config = configured(**HS256, jwt_secret_file="/nowhere/jwt", secret_file="/nowhere/api")
    with pytest.raises(ConfigError, match="jwt_secret_file cannot be read"):
        access_gate(config, Keys(), Members(), FakeClock())


def test_keys_alone_by_default() -> None:
    """Without `jwt_algorithms` no token is taken; what is admitted is counted."""
    gate = access_gate(configured(), Keys((SECRET, KEY)), Members(), FakeClock())
    admitted = gate.admit({"x-api-key": SECRET}, "acme", "", 1)
    assert admitted.principal == Principal("key_1", ("acme",), "member", "pro")
    assert admitted.headers["X-RateLimit-Remaining"] == "499"
    with pytest.raises(AccessDenied, match="not taken here"):
        gate.admit({"authorization": "Bearer a.b.c"}, None, "", 1)


def test_a_shared_secret(tmp_path: Path) -> None:
    """From its file; a short one is refused."""
    file = tmp_path / "secret"
    file.write_text("s" * 31)
    config = configured(**HS256, jwt_secret_file=str(file), jwt_operator_claim="ops")
    with pytest.raises(ConfigError, match="too short"):
        access_gate(config, Keys(), Members(), FakeClock())
    file.write_text("s" * 32 + "\n")
    gate = access_gate(config, Keys(), Members(u=[Membership("acme", "owner", "pro")]), FakeClock())
    token = jwt.encode({"sub": "u", "exp": time.time() + 3600, "ops": True}, "s" * 32, "HS256")
    admitted = gate.admit({"authorization": f"Bearer {token}"}, None, "", 1)
    assert admitted.principal == Principal("user:u", ("acme",), "owner", "pro", True)


@contextmanager
def files_over_http(folder: Path) -> Iterator[str]:
    """A folder over HTTP on loopback."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_keys_of_an_issuer(tmp_path: Path) -> None:
    """From a file or an address; one that leads elsewhere, or has no keys, is as good as away."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    keys = {"keys": [{**RSAAlgorithm.to_jwk(private.public_key(), as_dict=True), "kid": "r"}]}
    claims = {"sub": "u", "exp": time.time() + 3600, "aud": "analytics"}
    token = jwt.encode(claims, private, "RS256", headers={"kid": "r"})
    (tmp_path / "jwks.json").write_text(json.dumps(keys))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "large").write_text(" " * 300_000 + json.dumps(keys))

    def seen(source: str) -> tuple[str, ...] | None:
        config = configured(jwt_algorithms=["RS256"], jwt_keys=source, jwt_audience="analytics")
        gate = access_gate(config, Keys(), Members(u=[Membership("acme", "owner", "pro")]), FakeClock())
        return gate.admit({"authorization": f"Bearer {token}"}, None, "", 1).principal.organizations

    with files_over_http(tmp_path) as url:
        assert seen(str(tmp_path / "jwks.json")) == ("acme",)
        assert seen(f"{url}/jwks.json") == ("acme",)
        # the second is a redirection
        for source in (
            f"{url}/none",
            f"{url}/elsewhere",
            f"{url}/large",
            str(tmp_path / "none"),
            "http://127.0.0.1:1/",
        ):
            with pytest.raises(AccessDenied) as denied:
                seen(source)
            assert denied.value.status == 503


def test_limits_are_those_of_the_configuration(tmp_path: Path) -> None:
    """What is left out keeps its default; with a Redis the replicas count together."""
    rules = limit_rules(configured(requests_per_hour={"free": 7}, replicas=3, burst=0.5, without_limits="refuse"))
    assert rules.per_hour == {**PER_HOUR, "free": 7}
    assert (rules.replicas, rules.burst, rules.storage, rules.open_without_storage) == (3, 0.5, "memory://", False)
    file = tmp_path / "url"
    file.write_text("redis://127.0.0.1:1/0\n")
    rules = limit_rules(configured(replicas=3, limits_url_file=str(file)))
    assert (rules.replicas, rules.storage, rules.open_without_storage) == (1, "redis://127.0.0.1:1/0", True)
    file.write_text("memcached://h")
    with pytest.raises(ConfigError, match="no address of a Redis"):
        limits_url(configured(limits_url_file=str(file)))


def test_the_primary_is_where_write_url_says() -> None:
    """Else it is the server of `[database]` that takes writes; keys are read there where it is known."""
    written = "postgresql://api@primary/app"
    one, named = configured(), configured(write_url=written)
    assert (writing_settings(one).url, key_settings(one).standby) == ("postgresql://u@h/app", True)
    assert (writing_settings(named).url, key_settings(named).url) == (written, written)
    assert not key_settings(named).standby
    two = load({"database": {"url": "postgresql://u@one,two/app", "sslmode": "disable", "user": "reader"}})
    assert not key_settings(two).standby
    moved = load({"database": {"host": "h", "user": "reader", "sslmode": "require"}, "api": {"write_url": written}})
    assert writing_settings(moved).parameters == {"sslmode": "require"}


def test_a_write_url_that_cannot_be_read_is_named_without_its_secret() -> None:
    """Nor is a good one logged."""
    with pytest.raises(ConfigError) as caught:
        configured(write_url="postgresql://u:secretword@x@h/db")
    assert "api.write_url" in str(caught.value)
    assert "secretword" not in str(caught.value)
    assert "secretword" not in repr(configured(write_url="postgresql://u:secretword@h/db").public())
