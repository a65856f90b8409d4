"""A client that openapi-python-client makes of the API's document, and programs that use it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.pip import pip

_PACKAGES = ("openapi-python-client==0.29.*", "httpcore", "httpx<0.29", "ruamel.yaml", "typer<0.28")
"""The generator, and what it needs beside what is here. It takes an older typer than ours: so it has its own folder."""


class GeneratedClient:
    """The package `client`, made in `folder`. Skips the test where the generator cannot be installed."""

    def __init__(self, document: object, folder: Path) -> None:
        packages, made = folder / "packages", folder / "made"
        done = pip("install", "--quiet", "--no-deps", "--target", packages, *_PACKAGES, check=False)
        if done.returncode != 0:
            pytest.skip(f"openapi-python-client cannot be installed: {done.stderr.strip()[-300:]}")
        made.mkdir()
        (folder / "document.json").write_text(json.dumps(document), "utf-8")
        # its hooks only format what it wrote
        (folder / "config.yaml").write_text("post_hooks: []\n")
        self._environment = os.environ | {"PYTHONPATH": f"{packages}{os.pathsep}{made}"}
        words = ["--path", str(folder / "document.json"), "--config", str(folder / "config.yaml")]
        words += ["--meta", "none", "--output-path", str(made / "client"), "--fail-on-warning"]
        self.said = self._run("-m", "openapi_python_client", "generate", *words)

    def call(self, program: str, *words: str) -> Any:
        """Run a program that uses the package; return what it prints, as JSON."""
        return json.loads(self._run("-c", program, *words))

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
