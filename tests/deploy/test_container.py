"""The image's recipe and its locks."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.support import DEPLOY, ROOT, accepted, tool

CONTAINER = DEPLOY / "container"
LOCKS = ["requirements.lock", "build.lock", "api.lock", "otel.lock"]
EXTRAS = {"api.lock": ["api"], "otel.lock": ["api", "otel"]}
_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^ ;]+)")


def pins(name: str) -> dict[str, tuple[str, int]]:
    """Locked packages: version, and how many hashes it may have."""
    found: dict[str, tuple[str, int]] = {}
    current = ""
    for line in (CONTAINER / name).read_text().splitlines():
        if match := _PIN.match(line):
            current = canonicalize_name(match[1])
            found[current] = (match[2], 0)
        found.update({current: (found[current][0], found[current][1] + 1)} if "--hash=sha256:" in line else {})
    return found


def wanted(name: str) -> list[Requirement]:
    """What pyproject.toml asks for at run time, or for building."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = project["build-system"]["requires"] if name == "build.lock" else project["project"]["dependencies"]
    for extra in EXTRAS.get(name, ()):
        listed = listed + project["project"]["optional-dependencies"][extra]
    return [Requirement(text) for text in listed]


def test_hadolint_finds_nothing() -> None:
    """The Containerfile follows the rules of the trade."""
    accepted(tool("hadolint"), CONTAINER / "Containerfile")


@pytest.mark.parametrize("lock", LOCKS)
def test_every_dependency_is_locked_at_a_version_that_is_allowed(lock: str) -> None:
    """A dependency added to pyproject.toml without locking it anew is noticed here."""
    locked = pins(lock)
    for requirement in wanted(lock):
        version, _ = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} is locked at {version}"


@pytest.mark.fault
@pytest.mark.parametrize("lock", LOCKS)
def test_H19_every_locked_package_has_hashes_and_no_address(lock: str) -> None:
    """pip can check what it downloads, wherever it downloads it from."""
    text = (CONTAINER / lock).read_text()
    assert "://" not in text
    assert "index-url" not in text.replace("--no-emit-index-url", "")
    assert [name for name, (_, hashes) in pins(lock).items() if not hashes] == []


@pytest.mark.parametrize(("smaller", "larger"), [("requirements.lock", "api.lock"), ("api.lock", "otel.lock")])
def test_a_lock_is_the_smaller_one_and_more(smaller: str, larger: str) -> None:
    """The daemon is the same in all images."""
    less, more = pins(smaller), pins(larger)
    assert {name: more[name] for name in less} == less


def test_the_driver_brings_its_own_libpq() -> None:
    """The image has no libpq of its own, so the driver's binary package must be locked."""
    assert "psycopg-binary" in pins("requirements.lock")


def test_the_image_runs_unprivileged_and_tells_how_it_is() -> None:
    """A numeric user, so that Kubernetes can see that it is not root; a health check; nothing of the build stage."""
    recipe = (CONTAINER / "Containerfile").read_text()
    stages = recipe.split("\nFROM ")
    assert len(stages) == 3
    assert "USER 65532:65532" in stages[2]
    assert "HEALTHCHECK" in stages[2]
    assert "/livez" in stages[2]
    assert "pip" not in stages[2]
    assert recipe.count("--require-hashes") == 2
