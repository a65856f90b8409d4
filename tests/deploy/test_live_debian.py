"""The Debian package, made in a Debian tree, installed, upgraded, removed and purged under a real systemd."""

import csv
import hashlib
import shutil
import subprocess
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.booted import UNIT, Machine, boot
from tests.deploy.support import ROOT
from tests.deploy.trees import database_in, debian_tree
from tests.support.postgres import Server
from tests.support.waiting import eventually

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(2400)]

NEEDED = ("pyproject.toml", "README.md", "config.example.toml", ".github/LICENSE", "deploy", "src", "systemd")
"""What the package is made of."""
HOME = "/opt/analytics-refreshd"
ACTIVE = ("systemctl", "list-units", "--no-legend", "--plain", "--state=active,activating,failed", f"{UNIT}*")


@pytest.fixture(scope="module")
def tree(wheels: Path) -> Iterator[Path]:
    """A Debian tree with the sources in /src and the wheels of the locks in /wheels."""
    with debian_tree() as made:
        for name in NEEDED:
            target = made / "src" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, target)
        shutil.copytree(wheels, made / "wheels")
        yield made


def build(tree: Path, folder: str) -> Path:
    """Make the package in the tree, from the wheels that are there."""
    given = ("PIP_NO_INDEX=1", "PIP_FIND_LINKS=/wheels", "SOURCE_DATE_EPOCH=1790000000", "PATH=/usr/bin:/bin")
    done = subprocess.run(
        ["chroot", tree, "env", "-i", *given, "/src/deploy/debian/build", folder],
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (package,) = (tree / folder.lstrip("/")).glob("*.deb")
    return package


@pytest.fixture(scope="module")
def package(tree: Path) -> str:
    """The package's path within the tree."""
    return f"/{build(tree, '/out').relative_to(tree)}"


@pytest.fixture(scope="module")
def host(tree: Path, package: str) -> Iterator[Machine]:
    """The tree, booted, with nothing of ours installed."""
    with boot(tree) as booted:
        yield booted


@pytest.fixture(scope="module")
def database(tree: Path) -> Iterator[Server]:
    """A migrated database whose socket lies in the tree."""
    with database_in(tree) as server:
        yield server


def apply(host: Machine, *words: str) -> str:
    """Run dpkg, which must succeed; return what it said."""
    done = host.run("env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--force-confold", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def installed(host: Machine, package: str) -> Iterator[Machine]:
    """The host with the package; purged afterwards."""
    apply(host, "--install", package)
    yield host
    apply(host, "--purge", UNIT)


def left(tree: Path) -> list[Path]:
    """What bears our name anywhere in the tree's file system, apart from what the test put there."""
    found = subprocess.run(
        [
            "find",
            tree,
            "-xdev",
            "-name",
            f"*{UNIT}*",
            "-not",
            "-path",
            f"{tree}/src/*",
            "-not",
            "-path",
            f"{tree}/out*",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return [Path(line) for line in found.stdout.splitlines()]


def test_the_same_sources_make_the_same_package(tree: Path, package: str) -> None:
    """Byte by byte: nothing of the folder, the hour or the order of files is in it."""
    again = build(tree, "/out-again")
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256((tree / package[1:]).read_bytes()).digest()


def recorded(text: str) -> dict[str, str]:
    """Files with their digests, as a package's RECORD has them; itself it does not measure."""
    return {row[0]: row[1] for row in csv.reader(text.splitlines()) if row[1]}


def digest(path: Path) -> str:
    """A file's, in the form of a RECORD."""
    return "sha256=" + urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()


def test_it_holds_the_wheel(installed: Machine, wheel: Path) -> None:
    """Every file that the wheel records is there, as it is, with its compiled form, and no other file of ours is."""
    packages = installed.tree / HOME[1:] / "lib/python3.11/site-packages"
    with zipfile.ZipFile(wheel) as opened:
        (record,) = (name for name in opened.namelist() if name.endswith(".dist-info/RECORD"))
        rows = recorded(opened.read(record).decode())
    ours = {name: expected for name, expected in rows.items() if name.startswith("analytics_refreshd/")}
    assert len(ours) > 100
    assert {name: digest(packages / name) for name in ours} == ours
    present = {
        path.relative_to(packages).as_posix()
        for path in (packages / "analytics_refreshd").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert present == set(ours)
    assert len(list((packages / "analytics_refreshd").rglob("*.pyc"))) == sum(name.endswith(".py") for name in ours)


def test_every_package_is_as_its_record_says(installed: Machine) -> None:
    """Scripts too, whose first line was changed after pip had written them."""
    packages = installed.tree / HOME[1:] / "lib/python3.11/site-packages"
    records = list(packages.glob("*.dist-info/RECORD"))
    assert len(records) > 40
    for record in records:
        for name, expected in recorded(record.read_text()).items():
            assert digest(packages / name) == expected, name


def test_it_names_no_folder_of_its_making(installed: Machine) -> None:
    """Scripts, settings and compiled files are those of /opt, wherever they were made."""
    listed = installed.run("grep", "-rlaE", "/tmp/tmp\\.|/src/|/wheels", HOME, "/usr/share/bash-completion/completions")
    assert [line for line in listed.stdout.splitlines() if UNIT.replace("-", "_") in line or "/bin/" in line] == []
    assert (
        installed.run(
            f"{HOME}/bin/python3", "-c", "import sys; sys.exit(sys.prefix != '/opt/analytics-refreshd')"
        ).returncode
        == 0
    )


def test_an_installation_starts_nothing(installed: Machine) -> None:
    """The units are known and at rest, the group is there, and the command answers to everybody."""
    assert installed.run(*ACTIVE).stdout == ""
    assert installed.run("systemctl", "is-enabled", UNIT).stdout.strip() == "disabled"
    assert (
        installed.run("systemctl", "show", "--property=LoadState", f"{UNIT}@orders").stdout.strip()
        == "LoadState=loaded"
    )
    assert installed.run("getent", "group", "analytics-oncall").returncode == 0
    anybody = ("runuser", "--user", "nobody", "--", UNIT)
    assert installed.run(*anybody, "--version").stdout.startswith(UNIT)
    assert "--interval" not in installed.run(*anybody, "api", "--help").stderr
    assert installed.run(f"{HOME}/bin/python3", "-c", "import starlette, uvicorn, jwt, limits").returncode == 0


def test_shells_complete_commands(installed: Machine) -> None:
    """What bash asks for a line is answered with the commands that fit."""
    script = (installed.tree / "usr/share/bash-completion/completions/analytics-refreshd").read_text()
    assert "_ANALYTICS_REFRESHD_COMPLETE=complete_bash" in script
    line = f"""
        . /usr/share/bash-completion/completions/{UNIT}
        COMP_WORDS=({UNIT} hist) COMP_CWORD=1 COMP_LINE='{UNIT} hist'
        $(complete -p {UNIT} | sed -E 's/.* -F ([^ ]+) .*/\\1/') {UNIT}
        echo "${{COMPREPLY[@]}}"
    """
    assert installed.run("bash", "-c", line).stdout.split() == ["history"]


def test_an_installation_by_hand_is_in_the_way(host: Machine, package: str) -> None:
    """Its files would stay among the package's: the package is refused, says what to remove, and changes nothing."""
    by_hand = host.tree / HOME[1:]
    by_hand.mkdir(parents=True)  # the purge of another test may have taken /opt, empty as it was
    try:
        done = host.run("dpkg", "--install", package)
        assert done.returncode != 0
        assert f"{HOME} belongs to an installation by hand" in done.stderr
        assert list(by_hand.iterdir()) == []
    finally:
        by_hand.rmdir()
        host.run("dpkg", "--purge", UNIT)


def test_the_daemon_runs_is_upgraded_removed_and_purged(host: Machine, database: Server, package: str) -> None:
    """An upgrade restarts what ran; a removal stops it and keeps the configuration; a purge leaves nothing."""
    configuration = (
        f'[service]\nname = "orders"\n[database]\nhost = "/var/postgresql"\nport = {database.port}\n'
        'dbname = "postgres"\nuser = "postgres"\n[schedule]\ninterval = "6h"\n'
    )
    host.write("/etc/analytics-refreshd/config.toml", configuration)
    host.write("/etc/analytics-refreshd/config.password", "not-asked-for\n", 0o600)
    apply(host, "--install", package)
    assert host.run(*ACTIVE).stdout == ""
    assert host.run("systemctl", "enable", "--now", UNIT).returncode == 0, host.journal()[-5:]
    eventually(host.is_up, within=60)
    first = host.show()["MainPID"]

    apply(host, "--install", package)
    eventually(lambda: host.show()["MainPID"] not in (first, "0") and host.is_up(), within=60)

    apply(host, "--remove", UNIT)
    assert host.run(*ACTIVE).stdout == ""
    assert not (host.tree / HOME[1:]).exists()
    assert (host.tree / "etc/analytics-refreshd/config.toml").read_text() == configuration

    apply(host, "--install", package)
    assert (host.tree / "etc/analytics-refreshd/config.toml").read_text() == configuration
    assert host.run("systemctl", "is-enabled", UNIT).stdout.strip() == "enabled"
    assert host.run(*ACTIVE).stdout == ""

    apply(host, "--purge", UNIT)
    assert left(host.tree) == []
