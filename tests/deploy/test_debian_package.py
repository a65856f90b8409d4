"""What the Debian package holds beside the program; test_live_debian.py makes, installs and removes it."""

import gzip
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from analytics_refreshd import __version__
from tests.deploy.support import DEPLOY, ROOT, SYSTEMD, accepted, tool

DEBIAN = DEPLOY / "debian"
SCRIPTS = ["preinst", "postinst", "prerm", "postrm"]
PROGRAM = "/opt/analytics-refreshd/bin/analytics-refreshd"


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's tree as `lay` fills it, where Debian's tools are."""
    for needed in ("dpkg-deb", "gzip"):
        tool(needed)
    if not Path("/usr/bin/python3").exists():
        pytest.skip("Debian's own Python is not installed")
    tree = tmp_path_factory.mktemp("package") / "tree"
    tree.mkdir()
    accepted(DEBIAN / "lay", tree, __version__)
    return tree


@pytest.fixture(scope="module")
def package(laid: Path) -> Path:
    """A package of that tree."""
    made = laid.with_name("analytics-refreshd.deb")
    accepted(tool("dpkg-deb"), "--root-owner-group", "-Znone", "--build", laid, made)
    return made


def test_it_holds_every_unit_as_it_is(laid: Path) -> None:
    """A unit that is added to the project is in the package, where Debian's units lie."""
    packed = {path.name: path.read_bytes() for path in (laid / "usr/lib/systemd/system").iterdir()}
    assert packed == {path.name: path.read_bytes() for path in SYSTEMD.iterdir()}


def test_the_units_and_the_command_find_the_program(laid: Path) -> None:
    """The folder that is packed is the one that the units and the link on the PATH name."""
    assert str((laid / "usr/bin/analytics-refreshd").readlink()) == PROGRAM
    folder = re.search(r"^target=(.+)$", (DEBIAN / "build").read_text(), re.MULTILINE)
    assert folder is not None
    assert PROGRAM.startswith(f"/{folder[1]}/")
    for unit in SYSTEMD.glob("analytics-refreshd*.service"):
        for start in re.findall(r"^ExecStart=(\S+)", unit.read_text(), re.MULTILINE):
            assert start in (PROGRAM, "/bin/systemctl"), unit.name


def test_the_configuration_is_a_conffile(package: Path) -> None:
    """dpkg keeps what an administrator changed; nothing else of the package lies in /etc."""
    listed = accepted(tool("dpkg-deb"), "--info", package, "conffiles").split()
    assert listed == ["/etc/analytics-refreshd/config.toml"]
    contents = accepted(tool("dpkg-deb"), "--contents", package)
    assert re.findall(r"\./(etc/\S+[^/])$", contents, re.MULTILINE) == ["etc/analytics-refreshd/config.toml"]


def test_the_configuration_is_the_example(laid: Path) -> None:
    """Every key with its meaning is in the file that an administrator edits."""
    example = (ROOT / "config.example.toml").read_bytes()
    assert (laid / "etc/analytics-refreshd/config.toml").read_bytes() == example


def test_every_file_is_roots_and_nobody_elses_to_write(package: Path) -> None:
    """Only root may change a unit or a script of it: they run as root."""
    lines = accepted(tool("dpkg-deb"), "--contents", package).splitlines()
    assert len(lines) > 40
    for line in lines:
        mode, owner = line.split()[:2]
        assert owner == "root/root", line
        assert mode.startswith("l") or (mode[5], mode[8]) == ("-", "-"), line


def test_the_manual_page_and_the_changes_come_along(laid: Path) -> None:
    """Compressed without a date, as Debian wants it."""
    for packed, source in (
        ("usr/share/man/man1/analytics-refreshd.1.gz", DEPLOY / "man/analytics-refreshd.1"),
        ("usr/share/doc/analytics-refreshd/changelog.gz", DEPLOY / "guides/changes.md"),
    ):
        compressed = (laid / packed).read_bytes()
        assert gzip.decompress(compressed) == source.read_bytes()
        assert compressed[4:8] == b"\0\0\0\0", "the header has a time"


def test_the_scripts_and_rules_of_the_guides_come_along(laid: Path) -> None:
    """What the guides call deploy/sql and so on is in /usr/share/analytics-refreshd."""
    share = laid / "usr/share/analytics-refreshd"
    for folder in ("alertmanager", "grafana", "guides", "prometheus", "runbooks", "sql"):
        packed = {path.relative_to(share / folder) for path in (share / folder).rglob("*") if path.is_file()}
        assert packed == {path.relative_to(DEPLOY / folder) for path in (DEPLOY / folder).rglob("*") if path.is_file()}
    assert (laid / "usr/share/doc/analytics-refreshd/guides/install.md").exists()


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_maintainer_script_starts_or_enables_anything(script: str) -> None:
    """Each is a script that sh can read, and asks systemd for nothing new to run."""
    path = DEBIAN / script
    accepted("sh", "-n", path)
    asked = {
        word
        for line in path.read_text().splitlines()
        if not line.lstrip().startswith("#")
        for word in re.findall(r"(?:systemctl|deb-systemd-invoke) (\S+)", line)
    }
    assert asked <= {"daemon-reload", "try-restart", "stop"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "expected"), [("1.2.3", "1.2.3-1+"), ("1.2.3rc1", "1.2.3~rc1-1+"), ("1.2.3.dev4", "1.2.3~dev4-1+")]
)
def test_the_version_sorts_as_pythons_does(version: str, expected: str, tmp_path: Path) -> None:
    """What comes before a release in Python comes before it in Debian, and the release of Debian is named."""
    for needed in ("dpkg-deb", "gzip"):
        tool(needed)
    accepted(DEBIAN / "lay", tmp_path, version)
    control = (tmp_path / "DEBIAN/control").read_text()
    found = re.search(r"^Version: (\S+)$", control, re.MULTILINE)
    assert found is not None
    assert found[1].startswith(expected)
    if version != "1.2.3":
        compared = subprocess.run([tool("dpkg"), "--compare-versions", found[1], "lt", "1.2.3-1+"], check=False)
        assert compared.returncode == 0
    assert "@" not in control.replace("root@localhost", "")


def test_it_depends_on_the_python_that_it_was_made_with(package: Path) -> None:
    """A virtual environment belongs to one minor version."""
    minor = int(accepted("/usr/bin/python3", "-c", "import sys; print(sys.version_info[1])"))
    depends = accepted(tool("dpkg-deb"), "--field", package, "Depends")
    assert f"python3 (>= 3.{minor}), python3 (<< 3.{minor + 1})" in depends


def test_its_size_is_that_of_its_files(laid: Path, tmp_path: Path) -> None:
    """A folder that once held more stays larger on many file systems: the same files still make the same package."""
    shown = []
    for passing in (0, 2000):
        tree = tmp_path / str(passing)
        shutil.copytree(laid, tree, symlinks=True)
        more = [tree / "usr" / "share" / f"{number:0200}" for number in range(passing)]
        for path in more:
            path.touch()
        for path in more:
            path.unlink()
        accepted(DEBIAN / "seal", tree)
        shown.append([(tree / "DEBIAN" / name).read_text() for name in ("control", "md5sums")])
    assert shown[1] == shown[0]
    entries = [path for path in laid.rglob("*") if "DEBIAN" not in path.relative_to(laid).parts]
    files = [path for path in entries if path.is_file() and not path.is_symlink()]
    kibibytes = sum(-(-path.stat().st_size // 1024) for path in files) + len(entries) - len(files)
    assert f"\nInstalled-Size: {kibibytes}\n" in shown[0][0]
    assert len(shown[0][1].splitlines()) == len(files)
