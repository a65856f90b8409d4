"""Which tests a plain `pytest` runs: those of every area that are quick. `--full` runs all but the nightly ones."""

from collections.abc import Callable

import pytest

PROCESSES = "acceptance"
"""The folder whose tests drive whole processes: of these a plain run takes what is marked `quick`."""


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what only `--full`, `.ci/nightly` or a name on the command line runs."""
    if _named(config):
        return
    runs: Callable[[pytest.Item], bool] = _by_day if config.getoption("--full") else _quick
    left_out = [item for item in items if not runs(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if runs(item)]


def _named(config: pytest.Config) -> bool:
    """Whether `-k`, `-m` or a path to a file or test says what to run."""
    named = any(argument.split("::")[0].endswith(".py") for argument in config.args)
    return bool(config.getoption("keyword") or config.getoption("markexpr") or named)


def _by_day(item: pytest.Item) -> bool:
    return item.get_closest_marker("nightly") is None


def _quick(item: pytest.Item) -> bool:
    if PROCESSES in item.path.parts:
        return item.get_closest_marker("quick") is not None
    return _by_day(item) and item.get_closest_marker("slow") is None
