"""The manual page is one that man can show."""

import shutil
import subprocess
from pathlib import Path

import pytest

from analytics_refreshd.cli.main import app

PAGE = Path(__file__).parents[2] / "deploy/man/analytics-refreshd.1"


@pytest.mark.fault
@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_L29_the_manual_page_renders_without_a_warning() -> None:
    """Every command and its options are there, and nothing is lost as a command of troff."""
    done = subprocess.run(
        ["groff", "-man", "-Tascii", "-P-cbou", "-ww", PAGE], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    assert len(app.registered_commands) > 10
    for command in app.registered_commands:
        name = command.name or (command.callback.__name__ if command.callback else "")
        assert f"Usage: analytics-refreshd {name} " in done.stdout
    assert "analytics-refreshd --config /etc/analytics-refreshd/config.toml run" in done.stdout
