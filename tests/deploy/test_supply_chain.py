"""What a release carries along: licences, and a base image that cannot move."""

import os
import subprocess

import pytest

from tests.deploy.support import ROOT
from tests.generate.licences import COMPATIBLE, api_licences, licences, otel_licences


def test_every_licence_is_known_and_compatible() -> None:
    """A new dependency under other terms is noticed here, and one without any."""
    base, api, otel = list(licences()), api_licences(), otel_licences()
    assert len(base) > 20
    assert len(api) > 10
    assert len(otel) > 10
    found = [*base, *api, *otel]
    assert [each for each in found if each[2] not in COMPATIBLE] == []


@pytest.mark.parametrize(
    "image", ["", "docker.io/library/python:3.13-slim-bookworm", "python@sha256:", "python@sha256:12"]
)
def test_a_release_demands_the_digest_of_its_base_image(image: str, tmp_path: os.PathLike[str]) -> None:
    """A tag is another image tomorrow: the release refuses it before it makes anything."""
    folder = os.path.join(tmp_path, "release")
    done = subprocess.run(
        [ROOT / ".ci/release", folder],
        env={"PATH": os.environ["PATH"], "PYTHON_IMAGE": image},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 64
    assert "set PYTHON_IMAGE to the base image with its digest" in done.stderr
    assert not os.path.exists(folder)
