"""A release, made as the workflow would make it: of a commit, with the image, on a base named by its digest."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from analytics_refreshd import __version__
from tests.deploy.support import ROOT, accepted, tool
from tests.deploy.test_live_image import BASE, Buildah, layers_of, offline, python_base

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(1800)]
IMAGE = f"localhost/analytics-refreshd:{__version__}"
SECONDS = 1200


@pytest.fixture(scope="module")
def commit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone, as the workflow fetches it."""
    clone = tmp_path_factory.mktemp("clone") / "source"
    done = subprocess.run(
        ["git", "clone", "--quiet", str(ROOT), str(clone)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"a release is made of a commit, and here is none: {done.stderr[-200:]}")
    return clone


@pytest.fixture(scope="module")
def builder(debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    """A store that holds the base image alone."""
    buildah = Buildah(tmp_path_factory.mktemp("release-image"))
    python_base(buildah, debian)
    yield buildah
    shutil.rmtree(buildah.folder, ignore_errors=True)


def released(commit: Path, builder: Buildah, wheels: Path, folder: Path) -> Path:
    """Run the script. A command `buildah` before all others uses the store, and the wheels instead of a registry."""
    programs = folder / "programs"
    programs.mkdir(parents=True)
    words = " ".join([*builder.words, '"$1"', *offline(folder, wheels), '"${@:2}"'])
    (programs / "buildah").write_text(f"#!/bin/bash\nexec {words}\n")
    (programs / "buildah").chmod(0o755)
    digest = json.loads(builder("inspect", "--type", "image", BASE))["FromImageDigest"]
    variables = builder.environment | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHON_IMAGE": f"{BASE}@{digest}",
    }
    done = subprocess.run(
        [commit / ".ci/release", folder / "release"],
        env=variables, capture_output=True, text=True, check=False, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-3000:]} {done.stderr[-3000:]}"
    return folder / "release"


def test_a_release_can_be_repeated(
    commit: Path, builder: Buildah, wheels: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Its files agree with their checksums, its image starts, and a second one is the same, byte by byte."""
    if shutil.which("podman"):
        pytest.skip("the script takes podman before buildah, and podman would ask a registry")
    tool("dpkg-deb")
    folder = tmp_path_factory.mktemp("releases")
    made, layers = [], []
    for number in ("one", "two"):
        made.append(released(commit, builder, wheels, folder / number))
        layers.append(layers_of(builder, IMAGE))
        if number == "one":
            builder("rmi", "--force", IMAGE)
    names = {path.name for path in made[0].iterdir()}
    assert names >= {
        f"analytics_refreshd-{__version__}-py3-none-any.whl",
        "SHA256SUMS",
        "changes.md",
        "openapi.json",
        "sbom.cdx.json",
        "sbom-with-api.cdx.json",
        "sbom-with-api-and-otel.cdx.json",
    }
    assert any(name.endswith(".deb") for name in names)
    accepted("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=made[0])
    assert (made[1] / "SHA256SUMS").read_text() == (made[0] / "SHA256SUMS").read_text()
    assert layers[1] == layers[0]
    container = builder("from", IMAGE)
    root = builder("mount", container)
    enter: list[str | Path] = [tool("bash"), Path(__file__).with_name("enter-image.sh"), root]
    assert __version__ in accepted(*enter, "--", "/opt/analytics-refreshd/bin/analytics-refreshd", "--version")
    builder("umount", container)
