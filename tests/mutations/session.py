"""Runs pytest in a process forked from one that has imported what tests need from others."""

import multiprocessing
import os
import sys
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
# what each run would import anew, a third of its time; nothing of ours, which is what a breakage changes
_FORKS.set_forkserver_preload(["hypothesis.stateful", "psycopg.sql", "pydantic_settings", "pytest", "structlog"])


def start(root: Path, words: Sequence[str]) -> BaseProcess:
    """Run pytest with these words in the tree at `root`, and on that tree's program."""
    process = _FORKS.Process(target=_run, args=(root, words))
    process.start()
    return process


def _run(root: Path, words: Sequence[str]) -> None:
    import pytest

    # this module came from the tree that is intact
    for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
        del sys.modules[name]
    nowhere = os.open(os.devnull, os.O_RDWR)
    for place in range(3):
        os.dup2(nowhere, place)
    os.chdir(root)
    search_path = [str(root / "src"), str(root)]
    sys.path[:0] = search_path
    # the daemons that the tests start must be the broken ones too
    os.environ["PYTHONPATH"] = os.pathsep.join(search_path)
    # a pytest closes the folder that pytest's temporary folders share, beside whatever other tests run
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(root)
    # none of these is a plugin whose asserts would be read
    sys.exit(pytest.main(["-W", "ignore::pytest.PytestAssertRewriteWarning", *words]))
