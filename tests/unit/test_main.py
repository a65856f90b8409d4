"""The entry point: output that cannot be written, and an interruption that comes early."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from analytics_refreshd.cli import main

SCRIPT = Path(sys.executable).with_name("analytics-refreshd")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "words",
    [["query", "--list"], ["query", "--list", "--format", "json"], ["--help"], ["--version"]],
)
def test_an_answer_that_cannot_be_written_is_one_sentence(words: list[str], unbuffered: str) -> None:
    """A full disk is no defect of ours, whoever writes, with Python's buffer and, as in the container, without."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [SCRIPT, *words],
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    told = [line for line in done.stderr.splitlines() if "only the built-in queries" not in line]
    assert told == ["analytics-refreshd: cannot write the answer: No space left on device"]
    assert done.returncode == 74


def test_an_interruption_while_importing_is_quiet() -> None:
    """Ctrl-C in the first second ends as at any other time: without a traceback, with 130."""
    interrupting = (
        "import os, signal, sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'typer':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        f"sys.argv[1:] = ['query', '--list']\n"
        f"exec(compile(open({str(SCRIPT)!r}).read(), 'script', 'exec'))\n"
    )
    done = subprocess.run([sys.executable, "-c", interrupting], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", "")


def test_a_choice_that_does_not_exist_is_refused_in_plain_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A library's kind of error is nothing for a person."""
    monkeypatch.setattr(sys, "argv", ["analytics-refreshd", "query", "--list", "--format", "xml"])
    assert main() == 64
    assert "Invalid value for '--format': 'xml' is not one of" in capsys.readouterr().err
