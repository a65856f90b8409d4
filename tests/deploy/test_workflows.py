"""The release workflow: nothing runs it here, so that validators say what they can."""

import re
from pathlib import Path

import pytest
import yaml

from tests.deploy.support import ROOT, accepted, tool

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))


def name(path: Path) -> str:
    """The file's name."""
    return path.name


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_zizmor_finds_nothing(path: Path) -> None:
    """No template that a name could break out of, no right without need, no action that can move."""
    accepted(tool("zizmor"), "--offline", "--no-progress", path)


@pytest.mark.slow
@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_it_fits_the_schema_of_workflows(path: Path) -> None:
    """By the schema that comes with the validator."""
    accepted(tool("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", path)


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_it_says_that_it_was_not_run_and_pins_what_it_uses(path: Path) -> None:
    """Each action by its hash, with the version in words."""
    text = path.read_text()
    assert text.startswith("# Not run here")
    used = re.findall(r"uses: (.+)", text)
    assert used
    assert [each for each in used if not re.fullmatch(r"[\w-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)] == []


def test_the_release_is_what_the_script_makes(tmp_path: Path) -> None:
    """It holds the tag against version and changes, checks, and publishes what `.ci/release` made."""
    (job,) = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yaml").read_text())["jobs"].values()
    steps = "\n".join(step.get("run", "") for step in job["steps"])
    for path in (".ci/check", ".ci/release"):
        assert path in steps
        assert (ROOT / path).exists()
    held = next(step["run"] for step in job["steps"] if step["name"] == "Hold the tag against the version")
    version = re.findall(r'^__version__ = "(.+)"$', (ROOT / "src/analytics_refreshd/__init__.py").read_text(), re.M)[0]
    script = tmp_path / "held"
    script.write_text(held)
    accepted("env", f"GITHUB_REF_NAME=v{version}", "bash", "-e", script, cwd=ROOT)
    with pytest.raises(AssertionError, match=r"the tag is v0\.0\.1"):
        accepted("env", "GITHUB_REF_NAME=v0.0.1", "bash", "-e", script, cwd=ROOT)
