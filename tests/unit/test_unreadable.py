"""What the configuration names and nobody can read ends with 78, as whoever runs it: systemd then leaves it stopped."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.ordinary import Call, commands, open_folder

pytestmark = pytest.mark.fault

GOOD = '[database]\nurl = "postgresql://u@127.0.0.1:1/x"\n'


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may look into."""
    with open_folder() as made:
        yield made


def _denied(path: Path) -> None:
    path.write_text(GOOD)
    path.chmod(0)


def _in_closed_folder(path: Path) -> None:
    closed = path.with_name("closed")
    closed.mkdir()
    (closed / "config.toml").write_text(GOOD)
    closed.chmod(0)
    path.symlink_to(closed / "config.toml")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def _loop(path: Path) -> None:
    path.symlink_to(path)


KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "denied": (_denied, "Permission denied"),
    "in a closed folder": (_in_closed_folder, "Permission denied"),
    "a folder": (Path.mkdir, "it is a directory"),
    "a FIFO": (os.mkfifo, "it is a FIFO"),
    "a socket": (_socket, "it is a socket"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "it is a device"),
    "a link to nothing": (lambda path: path.symlink_to("absent"), "does not exist"),
    "a link to itself": (_loop, "Too many levels of symbolic links"),
    "too long": (lambda path: path.write_bytes(b"# " * (1 << 20)), "KiB"),
    "Latin-1": (lambda path: path.write_bytes(GOOD.encode() + b"# \xe9\n"), "it is not UTF-8"),
    "no TOML": (lambda path: path.write_text("[database\n"), "is not TOML"),
}


def test_L21_a_configuration_that_cannot_be_read_ends_with_78(folder: Path) -> None:
    """Whatever stands there: 78 and one sentence that names the file and why."""
    calls, expected = [], []
    for number, (make, why) in enumerate(KINDS.values()):
        path = folder / str(number)
        path.mkdir()
        make(path / "config.toml")
        calls.append(Call(["--config", str(path / "config.toml"), "run"]))
        expected.append((path / "config.toml", why))
    for done, (path, why) in zip(commands(*calls), expected, strict=True):
        assert done.returncode == 78, done.stderr
        assert str(path) in done.stderr
        assert why in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.quick
def test_L21_every_command_says_so(folder: Path) -> None:
    """Also where the file comes from the environment, or is the default one."""
    path = folder / "config.toml"
    _denied(path)
    calls = []
    for word in ("run", "check", "status", "refresh", "history", "migrate", "resume"):
        calls += [
            Call(["--config", str(path), word]),
            Call([word], {"ANALYTICS_REFRESHD_CONFIG": str(path)}),
            Call([word], default=str(path)),
        ]
    for call, done in zip(calls, commands(*calls), strict=True):
        assert done.returncode == 78, (call, done.stderr)
        assert f"the configuration file {path} cannot be read: Permission denied" in done.stderr


def test_L21_every_file_that_it_names_is_looked_at(folder: Path) -> None:
    """Secrets, certificates, queries and libpq's service file: 78 and the key, also where a folder is closed."""
    secret, closed = folder / "secret", folder / "queries"
    secret.write_text("x")
    secret.chmod(0)
    closed.mkdir()
    closed.chmod(0)
    receiver = '\n[receivers.ops]\ntype = "{}"\n{} = "{}"\n'
    cases = (
        (f'{GOOD}password_file = "{secret}"\n', "database.password_file cannot be read: Permission denied"),
        (f'{GOOD}sslrootcert = "{secret}"\n', "database.sslrootcert cannot be read: Permission denied"),
        (GOOD.replace("/x", f"/x?sslkey={secret}"), "database.url names sslkey, which cannot be read: Permission"),
        (f'{GOOD}[queries]\ndirectory = "{closed}"\n', "queries.directory cannot be read: Permission denied"),
        (f'{GOOD}[queries]\ndirectory = "{closed}/below"\n', "queries.directory cannot be read: Permission denied"),
        (GOOD + receiver.format("slack", "url_file", secret), "receivers.ops.url_file cannot be read: Permission"),
        (
            GOOD + receiver.format("pagerduty", "routing_key_file", secret),
            "receivers.ops.routing_key_file cannot be read: Permission denied",
        ),
        ('[database]\nservice = "app"\n', "database.service names a service that no file defines, or none that can"),
        (f'{GOOD}password_file = "a\\u0000b"\n', "database.password_file cannot be read: its name holds a NUL"),
        (f'{GOOD}[queries]\ndirectory = "a\\u0000b"\n', "queries.directory cannot be read: its name holds a NUL"),
    )
    calls = []
    for number, (text, _) in enumerate(cases):
        (folder / f"{number}.toml").write_text(text)
        calls.append(Call(["--config", f"{folder}/{number}.toml", "run"], {"PGSERVICEFILE": str(secret)}))
    for (text, key), done in zip(cases, commands(*calls), strict=True):
        assert done.returncode == 78, (text, done.stderr)
        assert key in done.stderr
        assert "Traceback" not in done.stderr


def test_L21_a_query_file_that_cannot_be_read_is_named(folder: Path) -> None:
    """A catalogue that lacks a query without a word would be a lie."""
    (folder / "mine.sql").write_text("-- name: mine")
    (folder / "mine.sql").chmod(0)
    (folder / "config.toml").write_text(f'{GOOD}[queries]\ndirectory = "{folder}"\nprobes = ["latency"]\n')
    words = (["run"], ["query", "--list"], ["query", "mine"])
    for done in commands(*(Call(["--config", f"{folder}/config.toml", *each]) for each in words)):
        assert done.returncode == 78, done.stderr
        assert f"{folder}/mine.sql:1: cannot be read: Permission denied" in done.stderr


def test_L20_the_default_configuration_is_found(folder: Path) -> None:
    """Without --config it is that of /etc, where there is one; a file that is named comes first."""
    path, other = folder / "config.toml", folder / "other.toml"
    path.write_text(GOOD + "nonsense = 1\n")
    other.write_text(GOOD + "folly = 1\n")
    default, named, absent, told = commands(
        Call(["check"], default=str(path)),
        Call(["--config", str(other), "check"], default=str(path)),
        Call(["check"], default=str(folder / "absent.toml")),
        Call(["--help"]),
    )
    assert "database.nonsense is not a known key" in default.stderr
    assert "database.folly" in named.stderr
    assert "nonsense" not in named.stderr
    assert "database.url is missing" in absent.stderr
    assert "/etc/analytics-refreshd/config.toml" in "".join(told.stdout.split())
