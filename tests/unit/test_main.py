"""The entry point: output that cannot be written, and an interruption that comes early."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from analytics_refreshd.cli import main
from analytics_refreshd.cli.main import app

SCRIPT = Path(sys.executable).with_name("analytics-refreshd")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "words",
    [["query", "--list"], ["query", "--list", "--format", "json"], ["--help"], ["--version"]],
)
def test_an_answer_that_cannot_be_written_is_one_sentence(words: list[str], unbuffered: str, tmp_path: Path) -> None:
    """A full disk is no defect of ours, whoever writes, with Python's buffer and, as in the container, without."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [SCRIPT, *words],
            # in a folder of its own no demo is found
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered, "TMPDIR": str(tmp_path)},
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
        # a shell starts what it runs in the background with SIGINT ignored
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
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


@pytest.mark.parametrize(
    ("words", "mistake"),
    [
        (["refrsh"], "No such command 'refrsh'"),
        (["check", "--no-such"], "No such option: --no-such"),
        (["pause"], "Missing option '--for'"),
        (["--config"], "Option '--config' requires an argument"),
    ],
)
def test_a_wrong_command_line_ends_with_64_and_the_mistake(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], mistake: str
) -> None:
    """typer does not publish the class of its usage errors; they are known by what they can do."""
    monkeypatch.setattr(sys, "argv", ["analytics-refreshd", *words])
    assert main() == 64
    written = capsys.readouterr().err
    assert written.startswith(("Usage: analytics-refreshd", "Error: "))
    assert mistake in written


def test_examples_of_the_help_can_be_typed() -> None:
    """A command's example names that command, and its options and values are accepted."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    examples = {name: command.epilog for name, command in group.commands.items() if command.epilog}
    assert len(examples) >= 9
    for name, epilog in examples.items():
        line = epilog.splitlines()[-1]
        words = shlex.split(re.sub(r"^.*\| (?=analytics)| \| (?!analytics).*$", "", line).strip())
        words = words[:1] + (words[3:] if words[1] == "--config" else words[1:])
        assert words[:2] == ["analytics-refreshd", name]
        group.commands[name].make_context(name, words[2:])


@pytest.mark.fault
def test_L29_help_has_a_short_name_everywhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`-h` is what people type first."""
    for words in ([], ["status"], ["query"]):
        monkeypatch.setattr(sys, "argv", ["analytics-refreshd", *words, "-h"])
        assert main() == 0
        assert capsys.readouterr().out.startswith("Usage: analytics-refreshd")


@pytest.mark.fault
def test_L29_a_shell_completes_commands_and_options() -> None:
    """What `--install-completion` installs asks the program, as bash does here."""
    for typed, offered in (("analytics-refreshd hi", "history"), ("analytics-refreshd history --out", "--outcome")):
        asked = {
            "_ANALYTICS_REFRESHD_COMPLETE": "complete_bash",
            "COMP_WORDS": typed,
            "COMP_CWORD": str(typed.count(" ")),
        }
        done = subprocess.run([SCRIPT], env=os.environ | asked, capture_output=True, text=True, timeout=60, check=False)
        assert offered in done.stdout.split(), done.stderr
